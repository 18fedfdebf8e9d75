"""What a run is applied to: its own data by its own splits, and any other by its rules."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sources import GREY

from tfvae.config import Config
from tfvae.core.columns import Columns
from tfvae.core.inputs import InputRule
from tfvae.core.vectors import VectorRule
from tfvae.data import dataset as datasets
from tfvae.data import examples, place, sources
from tfvae.errors import InputError

RULE = InputRule((5, 7, 1))
ROWS = np.random.default_rng(0).normal(size=(40, 3))
VECTORS = VectorRule(Columns(("a", "b", "c"), (0.0,) * 3, (1.0,) * 3))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TFVAE_CACHE", str(tmp_path_factory.mktemp("cache")))


def others(dataset, rule=RULE, split="all", needs_labels=False, **settings):
    return examples.of_others(Config(dataset=str(dataset), **settings), rule, split, needs_labels)


def refusal(dataset, rule=RULE, split="all", needs_labels=False, **settings):
    with pytest.raises(InputError) as caught:
        others(dataset, rule, split, needs_labels, **settings)
    message = caught.value.for_command_line
    assert "\n" not in message
    return message


def of_run(config, split="all"):
    config = place.absolute(config)
    parts = sources.read(config)
    return examples.of_run(config, datasets.divide(config, parts), parts, split)


def everything(part):
    return part.images[np.arange(len(part))]


def test_the_rows_of_drawn_off_splits_are_those_of_the_file(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    found = of_run(Config(dataset=str(tmp_path / "x.npy"), batch_size=1))
    assert [part.name for part in found.parts] == ["train", "validation", "test"]
    for part in found.parts:
        np.testing.assert_array_equal(everything(part)[..., 0], GREY[part.names])
    assert sorted(np.concatenate([part.names for part in found.parts])) == list(range(40))
    [test] = of_run(Config(dataset=str(tmp_path / "x.npy"), batch_size=1), "test").parts
    np.testing.assert_array_equal(test.names, found.parts[2].names)


def test_rows_are_those_of_the_part_that_a_source_has(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=GREY[:30], x_test=GREY[30:], y_train=np.arange(30), y_test=np.arange(30, 40))
    train, validation, test = of_run(Config(dataset=str(tmp_path / "x.npz"), batch_size=1)).parts
    assert test.names.tolist() == list(range(10)) and test.labels.tolist() == list(range(30, 40))
    assert validation.names.tolist() == [*range(26, 30)] and train.names.tolist() == [*range(26)]


def save_images(folder, *names, size=(5, 7)):
    arrays = {}
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays[name] = np.random.default_rng(i).integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(arrays[name]).save(path)
    return arrays


def test_the_files_of_a_run_s_folder_are_those_of_its_images(tmp_path):
    arrays = save_images(tmp_path / "p", *(f"{kind}/{i}.png" for kind in "ab" for i in range(8)))
    (tmp_path / "p" / "a" / "3.png").write_bytes(b"no image")
    config = Config(dataset=str(tmp_path / "p"), batch_size=1, skip_damaged=True)
    for _ in range(2):  # decoded, and out of the cache
        parts = of_run(config).parts
        names = [name for part in parts for name in part.names]
        assert sorted(names) == sorted(set(arrays) - {"a/3.png"})
        for part in parts:
            for name, label, image in zip(part.names, part.labels, everything(part)):
                np.testing.assert_array_equal(image[..., 0], arrays[name])
                assert name[0] == label


def test_training_images_are_drawn_once(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    drawn = of_run(Config(dataset=str(tmp_path / "x.npy"), batch_size=1, binarize="stochastic"), "train").parts[0]
    assert set(np.unique(everything(drawn))) == {0, 255}
    np.testing.assert_array_equal(drawn.images[np.array([7, 3])], everything(drawn)[[7, 3]])


def test_a_set_without_parts_is_all(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    found = others(tmp_path / "x.npy")
    assert [part.name for part in found.parts] == ["all"] and not found.are_of_run
    np.testing.assert_array_equal(everything(found.parts[0])[..., 0], GREY)
    assert refusal(tmp_path / "x.npy", split="test").endswith("x.npy, which has no parts")


def test_the_parts_that_a_set_has(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=GREY[:3], x_test=GREY[3:])
    assert [(part.name, len(part)) for part in others(tmp_path / "x.npz").parts] == [("train", 3), ("test", 37)]
    assert [part.name for part in others(tmp_path / "x.npz", split="test").parts] == ["test"]
    assert "which has train, test" in refusal(tmp_path / "x.npz", split="validation")


def test_few_images_of_other_sizes_are_cropped_to_the_run_s(tmp_path):
    save_images(tmp_path / "p", "1.png", "2.png", size=(9, 20))
    found = others(tmp_path / "p")
    assert everything(found.parts[0]).shape == (2, 5, 7, 1) and found.parts[0].names.tolist() == ["1.png", "2.png"]
    assert found.have_files and "cropped and resized to 5x7" in found.notes


def test_a_folder_has_as_many_channels_as_the_run(tmp_path):
    save_images(tmp_path / "p", "1.png")
    assert everything(others(tmp_path / "p", InputRule((5, 7, 3))).parts[0]).shape == (1, 5, 7, 3)
    assert "of 2 channels" in refusal(tmp_path / "p", InputRule((5, 7, 2)))
    assert "is a folder of images" in refusal(tmp_path / "p", VECTORS)


def test_a_file_s_white_is_one_for_a_run_of_zeros_and_ones(tmp_path):
    (tmp_path / "p").mkdir()
    Image.fromarray(np.full((5, 7), 255, np.uint8)).save(tmp_path / "p" / "1.png")
    np.testing.assert_array_equal(everything(others(tmp_path / "p", RULE._replace(white=1)).parts[0]), 255)
    np.save(tmp_path / "x.npy", GREY)
    assert "whole numbers from 0 to 1" in refusal(tmp_path / "x.npy", RULE._replace(white=1))


def test_images_of_zeros_and_ones_are_warned_of_where_the_run_s_are_grey(tmp_path):
    np.save(tmp_path / "x.npy", GREY % 2)
    assert "no pixel is above 1" in others(tmp_path / "x.npy").notes[0]
    assert others(tmp_path / "x.npy", RULE._replace(white=1)).notes == ()


def test_another_shape_and_another_range_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", GREY[:, 1:])
    assert "must be images [N, 5, 7, 1], and has the shape [40, 4, 7" in refusal(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", GREY.astype(np.int16) - 300)
    assert "must be whole numbers from 0 to 255" in refusal(tmp_path / "y.npy")


def write_csv(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_columns_are_taken_by_their_names_and_others_are_ignored(tmp_path):
    a, b, c = ROWS.T
    path = write_csv(tmp_path / "x.csv", note=["x"] * 40, c=c, a=a, kind=["p", "q"] * 20, b=b)
    found = others(path, VECTORS)
    np.testing.assert_array_equal(everything(found.parts[0])[:, 0, 0], ROWS.astype(np.float32))
    assert found.notes == ("columns that the run was not trained on are ignored: note, kind",)
    assert found.parts[0].labels is None
    found = others(path, VECTORS, label_column="kind")
    assert found.parts[0].labels.tolist() == ["p", "q"] * 20
    assert found.notes == ("columns that the run was not trained on are ignored: note",)
    assert others(path, VECTORS, label_column="none").parts[0].labels is None  # the run's, which new rows need not have
    assert "--label_column=none: must be a column" in refusal(path, VECTORS, label_column="none", needs_labels=True)


def test_a_missing_column_is_refused_by_its_name(tmp_path):
    message = refusal(write_csv(tmp_path / "x.csv", a=ROWS[:, 0], c=ROWS[:, 2], B=ROWS[:, 1]), VECTORS)
    assert "lacks b; it has a, c, B" in message


def test_missing_values_are_the_run_s_business(tmp_path):
    rows = np.where(np.arange(3) == 1, np.nan, ROWS)  # a column without any value
    path = write_csv(tmp_path / "x.csv", a=rows[:, 0], b=rows[:, 1], c=rows[:, 2])
    assert "finite numbers, and has nan in row 0, b" in refusal(path, VECTORS)
    allowing = VectorRule(VECTORS.columns._replace(missing=True))
    np.testing.assert_array_equal(everything(others(path, allowing).parts[0])[:, 0, 0], rows.astype(np.float32))


def test_values_that_float32_can_not_hold_are_refused(tmp_path):
    path = write_csv(tmp_path / "x.csv", a=[1e300], b=[0.0], c=[0.0])
    assert "finite values that float32 can hold" in refusal(path, VECTORS)


def test_columns_without_names_are_taken_in_their_order(tmp_path):
    counted = VectorRule(VECTORS.columns._replace(names=("0", "1", "2")))
    path = write_csv(tmp_path / "x.csv", c=ROWS[:, 0], a=ROWS[:, 1], b=ROWS[:, 2])
    np.testing.assert_array_equal(everything(others(path, counted).parts[0])[:, 0, 0], ROWS.astype(np.float32))
    np.save(tmp_path / "x.npy", ROWS)
    np.testing.assert_array_equal(everything(others(tmp_path / "x.npy", counted).parts[0])[:, 0, 0], ROWS.astype("f"))


def test_the_run_s_own_data_are_known_at_another_place(tmp_path):
    for name in ("there", "here", "other"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", GREY if name != "other" else GREY[::-1])
    config = Config(dataset=str(tmp_path / "there" / "x.npy"), batch_size=1)
    fingerprint = datasets.load(config).fingerprint()
    here, other = (dataclasses.replace(config, dataset=str(tmp_path / n / "x.npy")) for n in ("here", "other"))
    assert examples.may_be_of_run(here, config)
    assert examples.find_of_run(here, fingerprint, "test").parts[0].name == "test"
    assert examples.find_of_run(other, fingerprint, "test") is None
    assert examples.may_be_of_run(here, dataclasses.replace(config, dataset="arrays"))
    assert not examples.may_be_of_run(here, dataclasses.replace(config, dataset=str(tmp_path / "y.npy")))


def test_the_checksum_changes_with_images_names_and_labels(tmp_path):
    sums = set()
    for labels in (np.arange(40), np.arange(40)[::-1]):
        for images in (GREY, GREY[::-1]):
            np.savez(tmp_path / "x.npz", images=images, labels=labels)
            sums.add(others(tmp_path / "x.npz").checksum)
    assert len(sums) == 4
