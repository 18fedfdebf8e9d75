"""`tfvae.apply --what=impute`: the numbers of `Run.impute` in files, of tables with holes and of images with a mask."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from untrained import make_run

import tfvae
from tfvae import apply
from tfvae.errors import InputError

pytestmark = pytest.mark.usefixtures("without_xla")
RNG = np.random.default_rng(0)
NAMES = ["height", "weight", "age"]
ROWS = RNG.normal([170, 70, 40], [10, 12, 9], (60, 3))
GREY = RNG.integers(0, 256, (30, 4, 3), dtype=np.uint8)
MASK = RNG.random(GREY.shape) < 0.7


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """An untrained run on a table in which nothing is missing; beside it a table with holes."""
    folder = tmp_path_factory.mktemp("table")
    pd.DataFrame(ROWS, columns=NAMES).to_csv(folder / "whole.csv", index=False)
    holed = np.where(RNG.random(ROWS.shape) < 0.3, np.nan, ROWS)
    holed[3] = np.nan
    pd.DataFrame(holed, columns=NAMES)[["age", "height", "weight"]].to_csv(folder / "holed.csv", index=False)
    make_run(folder / "run", folder / "whole.csv", kind="vectors")
    return folder, holed


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """An untrained run on a file of grey images, a mask beside it."""
    folder = tmp_path_factory.mktemp("grey")
    np.save(folder / "grey.npy", GREY)
    np.save(folder / "others.npy", GREY[::-1])
    np.save(folder / "mask.npy", MASK)
    make_run(folder / "run", folder / "grey.npy")
    return folder


def run(folder, output, **given):
    apply.main({"run_dir": str(folder / "run"), "output": str(output), "what": "impute", **given})


def refusal(folder, **given):
    with pytest.raises(InputError) as caught:
        run(folder, folder / "refused.npz", **given)
    assert not list(folder.glob("refused*"))
    return caught.value.for_command_line


def test_a_table_with_holes_is_filled_in_by_a_run_on_whole_rows_as_run_impute_does(table, tmp_path, capsys):
    folder, holed = table
    run(folder, tmp_path / "out.csv", dataset=str(folder / "holed.csv"), draws=2, eval_samples=9)
    assert "rows with missing values" in capsys.readouterr().out  # of 9 samples fewer than 10 are effective
    frame = pd.read_csv(tmp_path / "out.csv")
    expected = tfvae.load(folder / "run").impute(holed, draws=2, samples=9)
    np.testing.assert_allclose(frame[NAMES], expected.mean, rtol=1e-6)
    for i in range(2):
        np.testing.assert_allclose(frame[[f"{name}_draw_{i}" for name in NAMES]], expected.draws[i], rtol=1e-6)
    np.testing.assert_array_equal(frame["missing"], np.isnan(holed).sum(axis=1))
    np.testing.assert_allclose(frame["effective_samples"], expected.effective_samples, rtol=1e-6)
    np.testing.assert_allclose(frame["log_observed"], expected.log_observed, rtol=1e-5, atol=1e-5)
    of = json.loads((tmp_path / "out.csv.json").read_text())["of"]
    assert (of["samples"], of["units"]) == (9, "nats per row") and "2 draws of them" in of["what"]


def test_images_are_filled_in_where_a_mask_says(grey, tmp_path):
    mask = str(grey / "mask.npy")
    run(grey, tmp_path / "out.npz", dataset=str(grey / "others.npy"), observed=mask, draws=1)
    expected = tfvae.load(grey / "run").impute(GREY[::-1], MASK, draws=1, samples=7)
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], expected.mean)
        np.testing.assert_array_equal(arrays["draw_0"], expected.draws[0])
        np.testing.assert_array_equal(arrays["effective_samples"], expected.effective_samples)
    np.save(tmp_path / "floats.npy", MASK.astype(float))  # as Run.impute takes them
    run(grey, f"{tmp_path}/pictures/", dataset=str(grey / "others.npy"), observed=str(tmp_path / "floats.npy"))
    picture = np.array(Image.open(tmp_path / "pictures" / "00.png"))
    np.testing.assert_array_equal(picture[MASK[0]], GREY[-1][MASK[0]])


def test_a_table_without_holes_is_said_to_have_none(table, tmp_path, capsys):
    folder, _ = table
    run(folder, tmp_path / "out.csv")
    printed = capsys.readouterr().out
    for part in ("train", "validation", "test"):
        assert f"{part}: no value of these rows is missing, so nothing is filled in" in printed


@pytest.mark.slow
def test_of_the_run_s_own_parts_a_mask_is_in_the_output_s_order(grey, tmp_path):
    run(grey, tmp_path / "own.npz", observed=str(grey / "mask.npy"))
    with np.load(tmp_path / "own.npz") as arrays:
        np.testing.assert_array_equal(arrays["missing"], (~MASK).sum(axis=(1, 2)))
        own = arrays["images"][..., 0]
        np.testing.assert_allclose(own[MASK], GREY[arrays["row"]][MASK] / 255, rtol=1e-6)


def test_what_can_t_be_filled_in_is_refused_in_one_line(grey, table, tmp_path):
    folder, _ = table
    np.save(tmp_path / "short.npy", MASK[:5])
    np.save(tmp_path / "grey.npy", MASK * 0.5)
    (tmp_path / "text.npy").write_text("0 1 1")
    for words, options in {
        "--observed: must be given for images: a .npy file": {},
        "--observed=none.npy: must be a .npy file, and there is none": {"observed": "none.npy"},
        "short.npy: must have the shape [30, 4, 3] or [30, 4, 3, 1], and": {"observed": str(tmp_path / "short.npy")},
        "grey.npy: must be True or 1 where observed": {"observed": str(tmp_path / "grey.npy")},
        "text.npy: must be a .npy file of numbers: ": {"observed": str(tmp_path / "text.npy")},
        "--draws=2: must be 0 without --what=impute": {"draws": 2, "what": "latents"},
        "--observed=m.npy: must not be set without --what=impute": {"observed": "m.npy", "what": "scores"},
    }.items():
        message = refusal(grey, **options)
        assert words in message and "\n" not in message
    with pytest.raises(InputError, match="draws=1: must be 0 for pictures, which show the means"):
        run(grey, tmp_path / "x.png", draws=1)
    np.savetxt(tmp_path / "infinite.csv", [[np.inf, 1, 2]], delimiter=",", header=",".join(NAMES), comments="")
    assert "finite" in refusal(folder, dataset=str(tmp_path / "infinite.csv"))
