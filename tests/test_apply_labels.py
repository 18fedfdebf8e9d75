"""`tfvae.apply` of a conditional run: the labels of examples, the classes of samples, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image
from untrained import make_run

import tfvae
from tfvae import apply
from tfvae.analysis import output_files, unfinished
from tfvae.analysis.output_files import _as_folder
from tfvae.config import apply_options
from tfvae.data.splits import Split
from tfvae.errors import InputError

pytestmark = pytest.mark.usefixtures("without_xla")
RNG = np.random.default_rng(0)
CLASSES = ("ant", "bee", "eel")
GREY = RNG.integers(0, 256, (90, 6, 5), dtype=np.uint8)
NEW = RNG.integers(0, 256, (12, 6, 5), dtype=np.uint8)
LABELS = np.array(CLASSES)[RNG.integers(0, 3, 12)]


@pytest.fixture(scope="module")
def insects(tmp_path_factory):
    """A conditional run on a file of grey images of three classes, its weights away from their start."""
    folder = tmp_path_factory.mktemp("runs")
    np.savez(folder / "insects.npz", images=GREY, labels=np.array(CLASSES)[np.arange(90) % 3])
    config, _ = make_run(folder / "run", folder / "insects.npz", condition="label")
    return config


@pytest.fixture(scope="module")
def loaded(insects):
    return tfvae.load(insects.run_dir)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """A file of other images with labels."""
    path = tmp_path_factory.mktemp("new") / "new.npz"
    np.savez(path, images=NEW, labels=LABELS)
    return str(path)


def run(config, output, **given):
    apply.main({"run_dir": config.run_dir, "output": str(output), **given})
    if not str(output).endswith(".npz"):
        return {}
    with np.load(output) as arrays:
        return dict(arrays)


def refusal(config, output, **given):
    with pytest.raises(InputError) as caught:
        run(config, output, **given)
    assert not output.exists() and not unfinished.folder_of(output).exists()
    assert "\n" not in caught.value.for_command_line
    return caught.value.for_command_line


def of(output):
    return json.loads(output.with_name(f"{output.name}.json").read_text())["of"]


def test_samples_of_a_class_are_those_of_run_sample(insects, loaded, tmp_path, capsys):
    found = run(insects, tmp_path / "x.npz", what="samples", label=("eel",), count=7, seed=3)
    np.testing.assert_array_equal(found["images"], loaded.sample(7, seed=3, label="eel"))
    assert found["label"].tolist() == 7 * ["eel"] and found["row"].tolist() == list(range(7))
    assert "z ~ p(z), given the class eel, 7 of " in capsys.readouterr().out
    assert (of(tmp_path / "x.npz")["condition"], of(tmp_path / "x.npz")["label"]) == ("label", "eel")


def test_samples_of_several_classes_are_of_these_in_turn_and_without_label_of_all(insects, loaded, tmp_path, capsys):
    of_class = {name: loaded.sample(7, seed=1, label=name) for name in CLASSES}
    for label, names in (("eel", "ant"), ["eel", "ant"]), (None, CLASSES):
        found = run(insects, tmp_path / "x.npz", what="samples", label=label, count=7, seed=1, overwrite=True)
        assert found["label"].tolist() == np.resize(names, 7).tolist()
        for i, name in enumerate(found["label"]):
            np.testing.assert_allclose(found["images"][i], of_class[name][i], rtol=1e-6)
    printed = capsys.readouterr().out
    assert "given the classes eel, ant in turn" in printed and "given the 3 classes in turn" in printed


def test_drawn_samples_are_of_their_class(insects, loaded, tmp_path):
    drawn = run(insects, tmp_path / "x.npz", what="samples", label=("bee",), count=600, draw=True)["images"]
    means = loaded.sample(600, label="bee")
    assert set(np.unique(drawn)) == {0, 1}
    assert abs(drawn.mean() - means.mean()) < 4 * np.sqrt((means * (1 - means)).sum()) / means.size


def test_pictures_of_samples_are_a_folder_for_each_class(insects, loaded, tmp_path):
    run(insects, f"{tmp_path}/out/", what="samples", count=6)
    paths = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert paths == ["ant/0.png", "ant/3.png", "bee/1.png", "bee/4.png", "eel/2.png", "eel/5.png"]
    pixels = np.asarray(Image.open(tmp_path / "out" / "bee" / "4.png"))
    np.testing.assert_allclose(pixels, loaded.sample(6, label="bee")[4, ..., 0] * 255, atol=0.51)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("größe 1", "größe 1"), ("..", "%2E."), (".git", "%2Egit"), ("a/../b", "a%2F..%2Fb"), ("5%", "5%25")],
)
def test_the_folder_of_a_class_is_within_its_directory(name, folder):
    assert _as_folder(name) == folder


IN_PYTHON = {  # what `Run` answers, by the columns of the output
    "latents": lambda run: run.encode(NEW, labels=LABELS)._asdict(),
    "reconstructions": lambda run: {"images": run.reconstruct(NEW, labels=LABELS)},
    "scores": lambda run: {"log_px": run.score(NEW, labels=LABELS).log_px},
}


@pytest.mark.parametrize("what", ["latents", "reconstructions", pytest.param("scores", marks=pytest.mark.nightly)])
def test_the_labels_of_other_data_are_given(insects, loaded, new, tmp_path, capsys, what):
    found = run(insects, tmp_path / "x.npz", what=what, dataset=new)
    assert found["label"].tolist() == LABELS.tolist()
    for name, values in IN_PYTHON[what](loaded).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6)
    assert "given the label of each" in capsys.readouterr().out


def test_one_label_for_all_is_given_in_the_place_of_theirs(insects, loaded, new, tmp_path):
    np.save(tmp_path / "plain.npy", NEW)
    expected = loaded.encode(NEW, labels="bee").mean
    for dataset, output in (new, tmp_path / "a.npz"), (str(tmp_path / "plain.npy"), tmp_path / "b.npz"):
        found = run(insects, output, dataset=dataset, label=("bee",))
        np.testing.assert_allclose(found["mean"], expected, atol=1e-6)
    assert np.abs(expected - loaded.encode(NEW, labels="ant").mean).max() > 1e-3


@pytest.mark.nightly
def test_the_run_s_own_test_scores_are_those_of_evaluate(insects, loaded, tmp_path):
    run(insects, tmp_path / "x.npz", what="scores", split="test", threshold_quantile=0.5)
    means = json.loads((tmp_path / "x.npz.json").read_text())["means"]["test"]
    evaluated = loaded.evaluate()["test"]
    assert means["elbo"] == evaluated["elbo"] and means["log_px"] == evaluated["log_px"]


@pytest.mark.nightly
def test_missing_values_are_filled_in_given_the_label(insects, loaded, new, tmp_path):
    """Where nothing is observed, it is the mean of p(x|y): that of samples of this class."""
    np.save(tmp_path / "mask.npy", np.zeros((12, 6, 5), bool))
    given = {"dataset": new, "observed": str(tmp_path / "mask.npy"), "eval_samples": 400}
    found = run(insects, tmp_path / "x.npz", what="impute", **given)
    for name in CLASSES:
        samples = loaded.sample(4_000, label=name)
        error = samples.std(axis=0) / 20
        of_class = found["images"][found["label"] == name]
        assert (np.abs(of_class - samples.mean(axis=0)) < 5 * error + 1e-3).all()


REFUSED = {
    "no class": ({"label": ("cow",)}, "--label=cow: must be of the model's 3 classes, ant, bee, eel, and one is cow"),
    "one of several": (
        {"label": ("ant", "cow"), "what": "samples"},
        "--label=ant,cow: must be of the model's 3 classes",
    ),
    "several": ({"label": ("ant", "bee")}, "--label=ant,bee: must be one class: it is that of all the examples"),
}


@pytest.mark.parametrize(("given", "start"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_label_is_refused(insects, tmp_path, given, start):
    assert refusal(insects, tmp_path / "x.npz", **given).startswith(start)


def test_data_without_labels_or_of_other_classes_are_refused(insects, tmp_path):
    np.save(tmp_path / "plain.npy", NEW)
    np.savez(tmp_path / "others.npz", images=NEW, labels=np.where(LABELS == "bee", "cow", LABELS))
    message = refusal(insects, tmp_path / "x.npz", dataset=str(tmp_path / "plain.npy"))
    assert (
        "plain.npy: must have labels, for the run is conditional and is given them; or --label=NAME gives one"
        in message
    )
    message = refusal(insects, tmp_path / "x.npz", dataset=str(tmp_path / "others.npz"))
    assert "others.npz: labels: must be of the model's 3 classes, ant, bee, eel, and one is cow" in message


def test_a_run_that_is_not_conditional_refuses_a_label(tmp_path):
    config, _ = make_run(tmp_path / "run", "digits")
    message = refusal(config, tmp_path / "x.npz", what="samples", label=("3",))
    assert message.startswith("--label=3: must not be set for this run, which is not conditional")


def test_an_unfinished_output_of_another_label_is_refused(insects, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(output_files.WRITERS, "npz", fail)
        run(insects, tmp_path / "x.npz", what="samples", label=("ant",), count=4)
    with pytest.raises(InputError, match=r"label=auto \(there: ant\)"):
        run(insects, tmp_path / "x.npz", what="samples", count=4)
    assert run(insects, tmp_path / "x.npz", what="samples", label=("ant",), count=4)["label"].tolist() == 4 * ["ant"]


def test_python_takes_names_and_numbers(tmp_path):
    images = RNG.integers(0, 256, (60, 4, 4, 1), dtype=np.uint8)
    labels = np.arange(60) % 3 + 5
    arrays = {"train": Split(images, labels), "test": Split(images[:9], labels[:9])}
    config, _ = make_run(tmp_path / "run", "arrays", arrays=arrays, condition="label")
    numbered = tfvae.load(config.run_dir)
    expected = numbered.sample(3, label=6)
    for label in np.int64(6), ("6",):
        numbered.apply("samples", tmp_path / "x.npz", label=label, count=3, overwrite=True)
        with np.load(tmp_path / "x.npz") as found:
            assert found["label"].tolist() == ["6", "6", "6"]
            np.testing.assert_array_equal(found["images"], expected)
    for label in 6, "6", [6]:
        assert apply_options.checked({"label": label}) == {"label": ("6",)}
    for wrong in 1.5, [], "", True:
        with pytest.raises(
            InputError, match="^label=.*: must be None or the name of a class, or its number, or a list"
        ):
            numbered.apply("samples", tmp_path / "y.npz", label=wrong)
