"""`tfvae.apply`: the numbers of the run's other doors, for any data, in files, also after a stop."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from untrained import make_run

import tfvae
from tfvae import apply, trained
from tfvae.analysis import job, unfinished
from tfvae.config.capabilities import APPLICATIONS
from tfvae.config.flagfile import recorded_config
from tfvae.data.splits import Split
from tfvae.errors import InputError, RunError

pytestmark = pytest.mark.usefixtures("without_xla")
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (700, 6, 5), dtype=np.uint8)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """An untrained run on the digits, its pixels drawn, and its splits."""
    return make_run(tmp_path_factory.mktemp("runs") / "digits", "digits", binarize="stochastic")


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """An untrained run on a file of grey images."""
    folder = tmp_path_factory.mktemp("runs")
    np.save(folder / "grey.npy", GREY)
    return make_run(folder / "grey", folder / "grey.npy")


def run(of_run, output, **given):
    """Calls the command's main as the command line would; the arrays of a .npz output."""
    config, _ = of_run
    apply.main({"run_dir": config.run_dir, "output": str(output), **given})
    if not str(output).endswith(".npz"):
        return {}
    with np.load(output) as arrays:
        return dict(arrays)


def refusal(of_run, output, **given):
    with pytest.raises(InputError) as caught:
        run(of_run, output, **given)
    message = caught.value.for_command_line
    assert "\n" not in message
    return message


def of(output):
    return json.loads(output.with_name(f"{output.name}.json").read_text())["of"]


def test_python_applies_a_run_as_the_command_does(grey, tmp_path):
    np.save(tmp_path / "others.npy", GREY[:50])
    run(grey, tmp_path / "by_command.csv", what="scores", dataset=str(tmp_path / "others.npy"), eval_samples=3)
    loaded = tfvae.load(grey[0].run_dir)
    output, others = tmp_path / "by_python.csv", tmp_path / "others.npy"
    described = loaded.apply("scores", output, dataset=others, eval_samples=np.int64(3))
    assert output.read_bytes() == (tmp_path / "by_command.csv").read_bytes()
    assert described["of"] == of(tmp_path / "by_command.csv")
    with pytest.raises(InputError, match="overwrite"):
        loaded.apply("scores", output, dataset=others)


@pytest.mark.parametrize("samples", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_scores_of_the_test_part_are_those_of_evaluate_to_the_last_digit(digits, tmp_path, capsys, samples):
    config, dataset = digits
    run(digits, tmp_path / "x.npz", what="scores", split="test", eval_samples=samples)
    means = json.loads((tmp_path / "x.npz.json").read_text())["means"]["test"]
    evaluated = trained.evaluate(recorded_config({"run_dir": config.run_dir, "eval_samples": samples}))["test"]
    for name in ("elbo", "log_likelihood", "kl", "log_px", "squared_error"):
        assert means[name] == evaluated[name]
    assert means["elbo_standard_error"] == evaluated["elbo_standard_error"]
    assert ("log_px_monte_carlo_error" in means) == (samples > 1)


def test_scores_of_all_are_those_of_each_part_by_itself(digits, tmp_path):
    together = run(digits, tmp_path / "all.npz", what="scores")
    assert list(dict.fromkeys(together["part"])) == ["train", "validation", "test"]
    alone = run(digits, tmp_path / "validation.npz", what="scores", split="validation")
    for name, values in alone.items():
        np.testing.assert_array_equal(values, together[name][together["part"] == "validation"])
    assert sorted(together["row"]) == list(range(1_797))


def test_images_from_outside_have_the_numbers_of_run_score_and_encode(grey, tmp_path):
    images = RNG.integers(0, 256, (300, 6, 5), dtype=np.uint8)
    np.save(tmp_path / "new.npy", images)
    loaded = tfvae.load(grey[0].run_dir)
    found = run(grey, tmp_path / "s.npz", what="scores", dataset=str(tmp_path / "new.npy"))
    in_python = {name: values for name, values in loaded.score(images)._asdict().items() if values is not None}
    assert set(found) == {"part", "row", *in_python} and "complexity_score" not in found  # of grey values
    for name, values in in_python.items():
        np.testing.assert_array_equal(found[name], values)
    assert found["row"].tolist() == list(range(300)) and set(found["part"]) == {"all"}
    found = run(grey, tmp_path / "l.npz", dataset=str(tmp_path / "new.npy"))
    np.testing.assert_allclose(found["mean"], loaded.encode(images).mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["log_variance"], loaded.encode(images).log_variance, rtol=1e-6, atol=1e-6)
    found = run(grey, tmp_path / "r.npz", what="reconstructions", dataset=str(tmp_path / "new.npy"))
    np.testing.assert_allclose(found["images"], loaded.reconstruct(images), rtol=1e-6, atol=1e-6)


def test_what_it_is_of_is_beside_it(grey, tmp_path, capsys):
    run(grey, tmp_path / "x.npz", what="scores", split="test")
    told = of(tmp_path / "x.npz")
    assert told["split"] == {"test": 70} and told["are_of_the_run"] and told["step"] == 5
    assert (told["pixels"], told["likelihood"], told["samples"], told["seed"]) == ("grey values", "bernoulli", 7, 0)
    assert told["units"] == "nats per image"
    printed = capsys.readouterr().out
    assert "grey.npy, 70 test images, grey values, bernoulli likelihood, step 5, seed 0" in printed
    run(grey, tmp_path / "l.npz")
    assert "samples" not in of(tmp_path / "l.npz") and "seed" not in of(tmp_path / "l.npz")


def test_samples_are_those_of_run_sample(grey, tmp_path):
    loaded = tfvae.load(grey[0].run_dir)
    found = run(grey, tmp_path / "x.npz", what="samples", count=12, seed=3)
    np.testing.assert_array_equal(found["images"], loaded.sample(12, seed=3))
    assert found["row"].tolist() == list(range(12)) and "part" not in found


def test_more_samples_than_memory_has_room_for_are_refused(grey, tmp_path):
    message = refusal(grey, tmp_path / "x.npz", what="samples", count=1_000_000, memory_gb=0.006)
    assert message.startswith("--count=1000000: must be at most 100,000, whose z of 3 latents fit")
    assert not list(tmp_path.iterdir())


def test_drawn_samples_are_of_the_likelihood(grey, tmp_path):
    means = run(grey, tmp_path / "m.npz", what="samples", count=400, seed=1)["images"]
    drawn = run(grey, tmp_path / "x.npz", what="samples", count=400, seed=1, draw=True)["images"]
    assert set(np.unique(drawn)) == {0, 1}
    error = np.sqrt((means * (1 - means)).sum()) / means.size
    assert abs(drawn.mean() - means.mean()) < 4 * error
    other = run(grey, tmp_path / "y.npz", what="samples", count=400, seed=2, draw=True)["images"]
    assert (drawn != other).any()


class Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


def stop_after(monkeypatch, chunks):
    """Ends the process, as far as it knows, when so many chunks are written."""
    write = unfinished.UnfinishedOutput.write

    def write_or_stop(self, number, columns):
        if number >= chunks:
            raise Killed
        write(self, number, columns)

    monkeypatch.setattr(unfinished.UnfinishedOutput, "write", write_or_stop)


WHATS = [pytest.param(what, "npz", marks=[pytest.mark.slow] * (what == "impute")) for what in APPLICATIONS]


@pytest.mark.parametrize(("what", "form"), [*WHATS, ("latents", "csv")])
def test_what_was_stopped_goes_on_to_the_same_bytes(grey, tmp_path, monkeypatch, what, form):
    monkeypatch.setattr("tfvae.analysis.applications.rows_together", lambda vae: 100)
    monkeypatch.setattr("tfvae.training.scoring._CHUNK_ROWS", 1)  # then it is a block
    given = {"what": what, "count": 700 if what == "samples" else None}
    if what == "impute":
        np.save(tmp_path / "mask.npy", GREY > 99)
        given |= {"observed": str(tmp_path / "mask.npy"), "eval_samples": 40, "draws": 1}  # chunks of 100 images
    run(grey, tmp_path / f"whole.{form}", **given)
    output = tmp_path / f"x.{form}"
    for chunks in (2,) if what == "scores" else (0, 1, 4):
        with monkeypatch.context() as patch:
            stop_after(patch, chunks)
            with pytest.raises(Killed):
                run(grey, output, **given)
        assert not output.exists()
    (unfinished.folder_of(output) / f"output.{form}").write_text("of a process that was killed while it wrote")
    run(grey, output, **given)
    assert output.read_bytes() == (tmp_path / f"whole.{form}").read_bytes()
    assert not unfinished.folder_of(output).exists()


def test_finished_chunks_are_not_computed_again(grey, tmp_path, monkeypatch):
    monkeypatch.setattr("tfvae.analysis.applications.rows_together", lambda vae: 100)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Killed):
            run(grey, tmp_path / "x.npz")
    computed = []
    columns = job.Job._columns
    monkeypatch.setattr(job.Job, "_columns", lambda self, chunk: computed.append(chunk.number) or columns(self, chunk))
    run(grey, tmp_path / "x.npz")
    assert computed == [4, 5, 6, 7]  # 560, 70 and 70 images


def test_an_unfinished_output_of_other_settings_is_refused_by_their_names(grey, tmp_path, monkeypatch):
    output = tmp_path / "x.npz"
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Killed):
            run(grey, output, what="samples", count=5_000)
    message = refusal(grey, output, what="samples", count=3, seed=4)
    assert "--count=3 (there: 5000), --seed=4 (there: 0)" in message
    assert "--dataset=70 test, checksum " in refusal(grey, output, split="test")
    run(grey, output, what="samples", count=3, overwrite=True)
    assert of(output)["samples"] == 3


def test_a_finished_output_is_refused_unless_it_may_be_written_over(grey, tmp_path):
    run(grey, tmp_path / "x.npz", split="test")
    before = (tmp_path / "x.npz").read_bytes()
    assert "x.npz: must be new, and is there: --overwrite" in refusal(grey, tmp_path / "x.npz", split="train")
    assert (tmp_path / "x.npz").read_bytes() == before
    assert len(run(grey, tmp_path / "x.npz", split="train", overwrite=True)["row"]) == 560


def test_a_signal_says_what_is_safe(grey, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tfvae.analysis.applications.rows_together", lambda vae: 100)
    columns = job.Job._columns

    def columns_or_exit(self, chunk):
        if chunk.number == 3:
            raise SystemExit(143)  # as the command's handler does
        return columns(self, chunk)

    monkeypatch.setattr(job.Job, "_columns", columns_or_exit)
    with pytest.raises(SystemExit):
        run(grey, tmp_path / "x.npz")
    error = capsys.readouterr().err
    assert error == (f"stopped; 300 of 700 are safe in {tmp_path}/x.npz.parts: the same command goes on from there\n")


def test_a_full_disk_says_what_is_safe(grey, tmp_path, monkeypatch):
    def full(self, number, columns):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unfinished.UnfinishedOutput, "write", full)
    with pytest.raises(RunError, match=r"is full: free some space; 0 of 700 are safe in .*x.npz.parts"):
        run(grey, tmp_path / "x.npz")


def test_pictures_in_a_directory_are_named_by_their_files(grey, tmp_path, monkeypatch):
    monkeypatch.setenv("TFVAE_CACHE", str(tmp_path / "cache"))
    for i, name in enumerate(("b/1.png", "b/2.png", "a/1.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GREY[i]).resize((9, 14)).save(path)
    given = {"what": "reconstructions", "dataset": str(tmp_path / "photos")}
    run(grey, f"{tmp_path}/out/", **given)
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert names == ["a/1.png", "b/1.png", "b/2.png"]
    found = run(grey, tmp_path / "x.npz", **given)
    assert found["file"].tolist() == names and found["label"].tolist() == ["a", "b", "b"]
    for name, image in zip(names, found["images"]):
        np.testing.assert_array_equal(Image.open(tmp_path / "out" / name), np.rint(image[..., 0] * 255))


def test_a_directory_that_may_be_written_over_keeps_its_other_files(grey, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("a user's")
    assert "must be new, and is there" in refusal(grey, tmp_path / "out", what="samples", count=3)
    run(grey, tmp_path / "out", what="samples", count=3, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "2.png", "notes.txt"]


@pytest.fixture
def table(tmp_path):
    """An untrained run on a table, and the table."""
    frame = pd.DataFrame(RNG.normal(size=(60, 3)) * [1, 10, 100] + 5, columns=["a", "row", "c"])
    frame["kind"] = ["p", "q"] * 30
    frame.to_csv(tmp_path / "t.csv", index=False)
    return make_run(tmp_path / "run", tmp_path / "t.csv", kind="vectors", label_column="kind"), frame


def test_a_table_s_rows_go_out_in_its_own_units_under_its_own_names(table, tmp_path):
    of_run, frame = table
    new = frame[["c", "kind", "row", "a"]].head(7)
    new.assign(note="x").to_parquet(tmp_path / "new.parquet", index=False)
    given = {"dataset": str(tmp_path / "new.parquet"), "what": "reconstructions"}
    run(of_run, tmp_path / "r.csv", **given)
    found = pd.read_csv(tmp_path / "r.csv")
    assert list(found) == ["part", "row_", "label", "a", "row", "c"]
    loaded = tfvae.load(of_run[0].run_dir)
    np.testing.assert_allclose(found[["a", "row", "c"]], loaded.reconstruct(new[["a", "row", "c"]].to_numpy()), 1e-5)
    assert found["label"].tolist() == new["kind"].tolist()
    run(of_run, tmp_path / "s.parquet", **{**given, "what": "scores"})
    scores = pd.read_parquet(tmp_path / "s.parquet")
    np.testing.assert_allclose(scores["log_px"], loaded.score(new[["a", "row", "c"]].to_numpy()).log_px, 1e-6)
    assert "lacks c; it has a" in refusal(
        of_run, tmp_path / "y.csv", dataset=write_csv(tmp_path / "short.csv", frame[["a", "row"]])
    )


def write_csv(path, frame):
    frame.to_csv(path, index=False)
    return str(path)


def test_a_table_s_own_rows_are_those_of_the_file(table, tmp_path):
    of_run, frame = table
    found = run(of_run, tmp_path / "x.npz")
    assert sorted(found["row"]) == list(range(60))
    np.testing.assert_array_equal(found["label"], frame["kind"].to_numpy(str)[found["row"]])


def test_vectors_make_no_pictures_and_images_no_table(table, grey, tmp_path):
    of_run, _ = table
    for output in ("x.png", "out/"):
        message = refusal(of_run, tmp_path / output if output == "x.png" else f"{tmp_path}/out/", what="samples")
        assert "the run is of vectors, which have no pixels" in message
    assert "images fit into no table" in refusal(grey, tmp_path / "x.csv", what="samples")
    assert not list(tmp_path.glob("*.parts"))


def test_a_plain_autoencoder_has_squared_errors_alone(tmp_path):
    np.save(tmp_path / "grey.npy", GREY)
    of_run = make_run(tmp_path / "run", tmp_path / "grey.npy", objective="autoencoder")
    found = run(of_run, tmp_path / "x.npz", what="scores", split="test")
    assert set(found) == {"part", "row", "squared_error"}
    loaded = tfvae.load(tmp_path / "run")
    x = of_run[1].test.array
    expected = np.square(loaded.reconstruct(x) - x / np.float32(255)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found["squared_error"], expected, rtol=1e-4)
    assert "--what=samples: must not be of a plain autoencoder" in refusal(of_run, tmp_path / "y.npz", what="samples")


def test_a_run_of_arrays_is_known_by_a_file_of_the_same_arrays(tmp_path):
    of_run = make_run(tmp_path / "run", "arrays", {"train": Split(GREY, None)})
    assert "must be given: the run was made of arrays" in refusal(of_run, tmp_path / "x.npz")
    np.save(tmp_path / "same.npy", GREY)
    np.save(tmp_path / "other.npy", GREY[::-1])
    assert len(run(of_run, tmp_path / "x.npz", dataset=str(tmp_path / "same.npy"), split="test")["row"]) == 70
    assert of(tmp_path / "x.npz")["are_of_the_run"]
    run(of_run, tmp_path / "y.npz", dataset=str(tmp_path / "other.npy"))
    assert of(tmp_path / "y.npz")["split"] == {"all": 700}


def test_images_in_a_range_of_their_own_go_out_in_it(tmp_path):
    images = RNG.uniform(-1, 1, (60, 6, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    of_run = make_run(tmp_path / "run", tmp_path / "x.npy", scale="unit", value_range=(-1, 1))
    np.save(tmp_path / "new.npy", images[:4])
    found = run(of_run, tmp_path / "r.npz", what="reconstructions", dataset=str(tmp_path / "new.npy"))["images"]
    np.testing.assert_allclose(found, tfvae.load(tmp_path / "run").reconstruct(images[:4]), rtol=1e-5, atol=1e-6)
    assert found.min() < 0
    np.save(tmp_path / "wide.npy", 2 * images)
    assert "must be numbers from -1 to 1" in refusal(of_run, tmp_path / "y.npz", dataset=str(tmp_path / "wide.npy"))
