"""What TensorBoard's PROJECTOR tab is given: read back as its plugin reads it."""

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import projector_config_pb2
from trainers import make_dataset, make_trainer

from tfvae.core.inputs import to_unit
from tfvae.data.splits import Split
from tfvae.training import projector


def read(folder):
    """The one embedding of a part, and its table."""
    text = (folder / "projector_config.pbtxt").read_text()
    [embedding] = text_format.Parse(text, projector_config_pb2.ProjectorConfig()).embeddings
    return embedding, np.loadtxt(folder / embedding.tensor_path, delimiter="\t", ndmin=2)


def with_labels(dataset, names=()):
    count = len(dataset.validation.images)
    split = Split(dataset.validation.array, np.arange(count) % 3, names)
    return type(dataset)(dataset.train, split, dataset.test)


def test_a_run_ends_with_the_means_labels_and_pictures_of_its_validation_images(tmp_path):
    dataset = with_labels(make_dataset(), ("an ape", "a\tbee", "eel"))
    made = make_trainer(tmp_path, dataset, epochs=1)
    made.train()
    folder = tmp_path / "run" / "tensorboard" / "validation"
    embedding, table = read(folder)
    images = dataset.validation.array
    np.testing.assert_allclose(table, made.state.vae.encode(to_unit(images)).mean, rtol=1e-5, atol=1e-6)
    lines = (folder / embedding.metadata_path).read_text().splitlines()
    assert lines[:4] == ["label\trow", "an ape\t0", "a bee\t1", "eel\t2"] and len(lines) == 21
    width, height = embedding.sprite.single_image_dim
    assert (height, width) == images.shape[1:3]
    sheet = np.array(Image.open(folder / embedding.sprite.image_path))
    assert sheet.shape == (5 * height, 5 * width, 3)  # the projector takes as many rows as columns: 20 of 25 places
    row, column = divmod(7, 5)
    small = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
    np.testing.assert_array_equal(small, np.broadcast_to(images[7], (height, width, 3)))


def test_without_validation_images_they_are_the_tests_and_without_labels_rows(tmp_path):
    dataset = make_dataset(validation=0)
    projector.write(tmp_path, make_trainer(tmp_path, dataset, latent_dim=1).state.vae, dataset, 7)
    embedding, table = read(tmp_path / "tensorboard" / "test")
    assert table.shape == (30, 2) and not table[:, 1].any()  # a single latent, and a column of zeros
    lines = (tmp_path / "tensorboard" / "test" / embedding.metadata_path).read_text().splitlines()
    assert lines == [str(row) for row in range(30)]


def test_points_and_pictures_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "_MOST_VALUES", 64)
    dataset = with_labels(make_dataset())
    projector.write(tmp_path, make_trainer(tmp_path, dataset, latent_dim=8).state.vae, dataset, 256)
    embedding, table = read(tmp_path / "tensorboard" / "validation")
    assert table.shape == (8, 8)
    lines = (tmp_path / "tensorboard" / "validation" / embedding.metadata_path).read_text().splitlines()
    rows = [int(line.split("\t")[1]) for line in lines[1:]]
    assert rows == list(np.linspace(0, 19, 8).astype(int)) and lines[1] == "0\t0"


@pytest.mark.parametrize(
    ("shape", "size"), [((64, 128, 3), (16, 32)), ((8, 8, 1), (8, 8)), ((100, 5, 2), (32, 2)), ((9, 9, 4), (9, 9))]
)
def test_large_images_become_small_ones(shape, size):
    images = np.full((10, *shape), 0.2, np.float32)
    sheet, height, width = projector.sprite_sheet(images)
    assert (height, width) == size and sheet.size == (4 * width, 4 * height)
    np.testing.assert_array_equal(np.array(sheet)[:height, :width], np.full((height, width, 3), 51))
