"""The latents of some images for TensorBoard's PROJECTOR tab, with their labels and small pictures of them.

Files: `<run>/tensorboard/<part>/projector/` and `projector_config.pbtxt` beside it, which names them, and is written
last: TensorBoard sees all of them or none.

Shapes: N images, L latents.
"""

import io
import math
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from tfvae.core.inputs import to_unit
from tfvae.core.vae import VAE
from tfvae.data.pixels import shown_channels
from tfvae.data.splits import Dataset, Split
from tfvae.runtime import files

_MOST_POINTS = 2_000
_MOST_VALUES = 2_000_000  # of many latents there are fewer points
_SIDE = 32  # pixels, of a small picture
_CONFIG = "projector_config.pbtxt"
_FOLDER = "projector"


def write(run_dir: Path, vae: VAE, dataset: Dataset, block_size: int) -> None:
    """Writes the means of q(z|x) of validation images, or where there are none of test images, at most 2,000 of them.

    They are encoded by blocks of at most so many; vectors have no pictures, and examples without labels none.
    """
    part, split = "validation", dataset.validation
    if not len(split.images):
        part, split = "test", dataset.test
    most = max(1, min(_MOST_POINTS, _MOST_VALUES // vae.encoder.latent_dim))
    places = np.linspace(0, len(split.images) - 1, min(len(split.images), most)).astype(int)
    shown = split.rows(places)
    folder = run_dir / "tensorboard" / part / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["embeddings {", '  tensor_name: "latents"', f'  tensor_path: "{_FOLDER}/latents.tsv"']
    files.write_atomically(folder / "latents.tsv", _table(_means(vae, shown, block_size)))
    lines.append(f'  metadata_path: "{_FOLDER}/metadata.tsv"')
    files.write_atomically(folder / "metadata.tsv", _metadata(shown, places))
    if not dataset.columns:
        sprites, height, width = sprite_sheet(shown.array)
        content = io.BytesIO()
        sprites.save(content, "PNG")
        files.write_atomically(folder / "sprites.png", content.getvalue())
        lines.append(f'  sprite {{ image_path: "{_FOLDER}/sprites.png"')
        lines.append(f"    single_image_dim: {width} single_image_dim: {height} }}")
    files.write_atomically(folder.parent / _CONFIG, "\n".join([*lines, "}", ""]))


def _means(vae: VAE, split: Split, block_size: int) -> np.ndarray:
    """Means of q(z|x): [N, L]; of a single latent [N, 2], with zeros, for the projector draws no line."""
    blocks = [split.rows(slice(first, first + block_size)) for first in range(0, len(split.images), block_size)]
    means = np.concatenate([vae.given(b.y).encode(to_unit(tf.constant(b.array))).mean.numpy() for b in blocks])
    return means if means.shape[1] > 1 else np.pad(means, ((0, 0), (0, 1)))


def _table(values: np.ndarray) -> str:
    """Rows of numbers with tabs between them."""
    return "".join("\t".join(f"{value:.6g}" for value in row) + "\n" for row in values)


def _metadata(split: Split, rows: np.ndarray) -> str:
    """The label of each image, where there are labels, and its row in its part of the data set."""
    if split.labels is None:
        return "".join(f"{row}\n" for row in rows)  # a single column has no header, by TensorBoard's rule
    labels = [" ".join(label.split()) for label in split.shown_labels]
    return "label\trow\n" + "".join(f"{label}\t{row}\n" for label, row in zip(labels, rows))


def sprite_sheet(images: np.ndarray) -> tuple[Image.Image, int, int]:
    """One picture of all images [N, H, W, C], in rows of ceil(sqrt(N)), each at most 32 pixels high and wide.

    Returns:
        The picture, and the height and width of each image in it. TensorBoard asks for as many rows as columns.
    """
    channels, _ = shown_channels(images.shape[-1])
    scale = min(1.0, _SIDE / max(images.shape[1:3]))
    height, width = (max(1, round(side * scale)) for side in images.shape[1:3])
    columns = math.ceil(math.sqrt(len(images)))
    sheet = Image.new("RGB", (columns * width, columns * height), "white")
    for i, image in enumerate(images):
        small = _as_picture(image[..., :channels])
        if scale < 1:
            small = small.resize((width, height), Image.Resampling.BOX)
        sheet.paste(small, (i % columns * width, i // columns * height))
    return sheet, height, width


def _as_picture(image: np.ndarray) -> Image.Image:
    """[H, W, 1 or 3], uint8 or fractions, as a picture."""
    if image.dtype != np.uint8:
        image = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
