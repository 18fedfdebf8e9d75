"""A directory with what the documents' commands assume: files of data, trained runs, exported models.

All is made quickly, of what scikit-learn brings: `mnist`, `binarized_mnist` and `fashion_mnist` are its digits in
28x28, prepared as TFDS prepares the real ones, so that every machine can run the text.
"""

import contextlib
import csv
import fnmatch
import re
import shutil
from pathlib import Path

import numpy as np
from documents import ROOT
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images, load_wine

from tfvae import train
from tfvae.runtime.tensorflow import import_tensorflow

QUICK = ["--epochs=1", "--eval_samples=5"]
ASSUMED_RUNS = {  # that a page names and has not trained: by which flags the reader has
    "mnist": ["--dataset=mnist", "--latent_dim=10"],
    "photos": ["--dataset=./photos", "--image_size=64", "--latent_dim=16"],
    "wine": ["--dataset=wine.csv", "--label_column=class"],
    "NAME": ["--dataset=digits", "--latent_dim=2"],
    "mine": ["--dataset=digits", "--latent_dim=2"],
    "digits": ["--dataset=digits", "--latent_dim=2"],
    "digits-5": ["--dataset=digits", "--latent_dim=5"],
}
OF_THE_CHECKOUT = ("flags", "serving", "benchmarks", "docs", "tfvae", "tests")


class Workshop:
    """Where a page's commands run. `store` keeps the assumed runs, which all pages' workshops copy."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self.store = folder, store
        folder.mkdir()
        for name in OF_THE_CHECKOUT:
            (folder / name).symlink_to(ROOT / name)
        for source in store.iterdir():
            if source.name not in ("runs", "saved_models"):
                (folder / source.name).symlink_to(source)

    def provide(self, text: str, made: str | None) -> None:
        """Puts the assumed runs that the text names where they are not there yet; `made` is the one that it makes."""
        patterns = re.findall(r"\b(?:runs|saved_models)/([\w*-]+)", text)
        for name in ASSUMED_RUNS:
            is_named = any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
            if is_named and name != made and not (self.folder / "runs" / name).exists():
                self._train(name)
                for place in (f"runs/{name}", f"saved_models/{name}", f"saved_models/{name}-encoder"):
                    shutil.copytree(self.store / place, self.folder / place)

    def _train(self, name: str) -> None:
        if not (self.store / "runs" / name / "results.json").exists():
            with contextlib.chdir(self.store):
                train.run([*ASSUMED_RUNS[name], *QUICK, f"--run_dir=runs/{name}"])


def make_store(store: Path) -> None:
    """The files that all pages assume."""
    make_photographs(store)
    make_tables(store)
    make_arrays(store)
    make_tfds(store / "tfds")


def make_photographs(store: Path) -> None:
    """photos/china, photos/flower: crops of scikit-learn's two photographs; new/, with some that are `scratched`."""
    rng = np.random.default_rng(0)
    names = ("china", "flower")
    for folder, count in (("photos", 500), ("new", 8)):
        for name, photograph in zip(names, load_sample_images().images):
            (store / folder / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(crop(photograph, rng)).save(store / folder / name / f"{i:03}.png")
    (store / "new" / "scratched").mkdir()
    for i in range(8):
        scratched = crop(load_sample_images().images[0], rng)
        scratched[30:34] = 255
        Image.fromarray(scratched).save(store / "new" / "scratched" / f"{i:03}.png")


def crop(photograph: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    top, left = (int(rng.integers(0, size - 72)) for size in photograph.shape[:2])
    return photograph[top : top + 72, left : left + 72].copy()


def make_tables(store: Path) -> None:
    """wine.csv with its class, new.csv without it, and holed.csv, in which a tenth of the values are missing."""
    wine = load_wine()
    names = [name.replace("/", "_") for name in wine.feature_names]
    write_table(store / "wine.csv", [*names, "class"], [[*row, label] for row, label in zip(wine.data, wine.target)])
    write_table(store / "new.csv", names, wine.data[:20].tolist())
    missing = np.random.default_rng(0).random(wine.data[:20].shape) < 0.1
    holed = [["" if hole else value for value, hole in zip(*row)] for row in zip(wine.data[:20], missing)]
    write_table(store / "holed.csv", names, holed)


def write_table(path: Path, names: list[str], rows: list[list]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def make_arrays(store: Path) -> None:
    """x.npy and x.npz, 300 of the digits in 28x28, and mask.npy, which hides their upper halves."""
    images = digits()[0][:300]
    np.save(store / "x.npy", images[..., 0])
    np.savez(store / "x.npz", train=images, test=images[:30])
    mask = np.ones(images.shape[:3], bool)
    mask[:, :14] = False
    np.save(store / "mask.npy", mask)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits as MNIST has them: uint8 [N, 28, 28, 1], and their labels."""
    found = load_digits()
    large = found.images.repeat(3, axis=1).repeat(3, axis=2) * 15
    return np.pad(large, ((0, 0), (2, 2), (2, 2)))[..., None].astype(np.uint8), found.target


def make_tfds(folder: Path) -> None:
    """Small sets that TFDS takes for the real ones."""
    import_tensorflow()
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()

    images, labels = digits()
    grey = tfds.features.Image(shape=(28, 28, 1))
    binary = tfds.features.Image(shape=(28, 28, 1), dtype=np.uint8)
    labelled = {"image": grey, "label": tfds.features.ClassLabel(num_classes=10)}
    parts = {"train": slice(0, 500), "validation": slice(500, 600), "test": slice(600, 700)}

    class Small(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("3.0.1")
        features, has_validation = labelled, False

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(self.features))

        def _split_generators(self, dl_manager):
            names = [name for name in parts if self.has_validation or name != "validation"]
            return {name: self._generate_examples(parts[name]) for name in names}

        def _generate_examples(self, rows):
            for i, (image, label) in enumerate(zip(images[rows], labels[rows])):
                yield i, {"image": image, "label": label} if "label" in self.features else {"image": image // 128}

    with tfds.core.registered.skip_registration():

        class Mnist(Small):
            name = "mnist"

        class FashionMnist(Small):
            name = "fashion_mnist"

        class BinarizedMnist(Small):
            name = "binarized_mnist"
            VERSION = tfds.core.Version("1.0.0")
            features, has_validation = {"image": binary}, True

    for builder in (Mnist, FashionMnist, BinarizedMnist):
        builder(data_dir=str(folder)).download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
