"""`tfvae.apply --what=scores` finds anomalies: the limit of the run's own part, what lies beyond, AUROC, refusals."""

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from sklearn.datasets import load_digits
from untrained import make_run

import tfvae
from tfvae import apply
from tfvae.analysis import anomalies, job
from tfvae.analysis.anomaly_search import AnomalySearch
from tfvae.config.anomaly_request import AnomalyRequest
from tfvae.config.capabilities import SCORES
from tfvae.data.examples import Examples, ExamplesPart
from tfvae.data.splits import Split
from tfvae.errors import InputError
from tfvae.training.scoring import Scoring

pytestmark = pytest.mark.usefixtures("without_xla")
DIGITS = (load_digits().images * 15).astype(np.uint8)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """An untrained run on the digits as zeros and ones, of which log p(x) is a code length."""
    return make_run(tmp_path_factory.mktemp("runs") / "digits", "digits", binarize="threshold")


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A file of digits and of flat images, which its labels call 1."""
    flat = np.broadcast_to(np.arange(0, 250, 5, dtype=np.uint8)[:, None, None], (50, 8, 8))
    path = tmp_path_factory.mktemp("others") / "others.npz"
    np.savez(path, images=np.concatenate([DIGITS[:70], flat]), labels=np.repeat([0, 1], [70, 50]))
    return path


def run(of_run, output, **given):
    """The arrays of the output of the command's main, and what its JSON file says of anomalies."""
    config, _ = of_run
    apply.main({"run_dir": config.run_dir, "output": str(output), "what": "scores", **given})
    with np.load(output) as arrays:
        return dict(arrays), json.loads(output.with_name(f"{output.name}.json").read_text()).get("anomalies")


def refusal(of_run, folder, **given):
    with pytest.raises(InputError) as caught:
        run(of_run, folder / "x.npz", **given)
    message = caught.value.for_command_line
    assert "\n" not in message and not list(folder.iterdir())
    return message


@pytest.mark.parametrize(
    "by",
    ["complexity_score", "log_px", *(pytest.param(by, marks=pytest.mark.slow) for by in ("elbo", "squared_error"))],
)
def test_the_limit_is_the_quantile_of_the_run_s_validation_part(digits, others, tmp_path, by):
    validation, nothing = run(digits, tmp_path / "validation.npz", split="validation")
    assert nothing is None
    asked = {"threshold_quantile": 0.9, "threshold_by": by, "anomalous_labels": "1"}
    found, told = run(digits, tmp_path / "found.npz", dataset=str(others), **asked)
    sign = 1 if SCORES[by].larger_is_anomalous else -1
    limit = np.quantile(sign * validation[by].astype(np.float64), 0.9)
    assert told["limit"] == pytest.approx(sign * limit, rel=1e-6)
    np.testing.assert_array_equal(found["beyond"], sign * found[by] > limit)
    assert told["beyond"] == found["beyond"].sum() and told["of"] == {"split": "validation", "examples": 180}
    farthest = np.argsort(-sign * found[by].astype(np.float64), kind="stable")
    assert told["first"] == found["row"][farthest[: told["beyond"]]][:10].astype(str).tolist()
    expected = sklearn.metrics.roc_auc_score(np.repeat([0, 1], [70, 50]), sign * found[by])
    assert told["auroc"]["value"] == pytest.approx(expected, rel=1e-12)
    assert (told["auroc"]["anomalous"], told["auroc"]["usual"]) == (50, 70)


def test_the_numbers_are_those_of_python(digits, others, tmp_path):
    config, _ = digits
    found, told = run(digits, tmp_path / "x.npz", dataset=str(others), threshold_quantile=0.95, anomalous_labels="1")
    in_python = tfvae.load(config.run_dir)
    with np.load(others) as arrays:
        scores = in_python.score(arrays["images"])
        expected = scores.anomalies(in_python.score_validation(), quantile=0.95, is_anomalous=arrays["labels"])
    assert told["by"] == expected.by == "complexity_score"
    np.testing.assert_array_equal(found["complexity"], scores.complexity)
    np.testing.assert_array_equal(found["beyond"], expected.beyond)
    assert told["limit"] == expected.limit
    assert (told["auroc"]["value"], told["auroc"]["standard_error"]) == tuple(expected.auroc)


def test_of_the_run_s_own_data_the_limit_is_the_same_whatever_is_written(digits, tmp_path, capsys):
    alone, told_alone = run(digits, tmp_path / "test.npz", split="test", threshold_quantile=0.9)
    everything, told = run(digits, tmp_path / "all.npz", threshold_quantile=0.9, anomalous_labels="8,9")
    assert told["limit"] == told_alone["limit"]
    np.testing.assert_array_equal(alone["beyond"], everything["beyond"][everything["part"] == "test"])
    in_validation = everything["beyond"][everything["part"] == "validation"]
    assert in_validation.sum() == 18  # a tenth of 180
    assert set(alone["part"]) == {"test"} and len(everything["row"]) == 1_797
    assert all(name.split()[0] in ("train", "validation", "test") for name in told["first"])
    assert told["auroc"]["anomalous"] == np.isin(load_digits().target, (8, 9)).sum()
    lines = capsys.readouterr().out
    assert f"anomalies: {told['beyond']:,} of 1,797" in lines and "of the run's 180 validation examples have" in lines
    assert "labelled 8 or 9 and" in lines


def test_without_a_quantile_the_labels_alone_give_the_auroc(digits, others, tmp_path):
    found, told = run(digits, tmp_path / "x.npz", dataset=str(others), anomalous_labels="1")
    assert "beyond" not in found and "limit" not in told and 0 <= told["auroc"]["value"] <= 1


def test_a_table_of_vectors_goes_by_log_px_and_a_label_column(tmp_path):
    rows = np.random.default_rng(0).normal(size=(300, 3))
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame["odd"] = np.arange(300) % 10 == 0
    frame.loc[frame["odd"], "a"] += 30
    frame["odd"] = frame["odd"].astype(int)
    frame.to_csv(tmp_path / "new.csv", index=False)
    table = make_run(tmp_path / "table", tmp_path / "rows.csv", kind="vectors")
    asked = {"threshold_quantile": 0.9, "label_column": "odd", "anomalous_labels": "1"}
    found, told = run(table, tmp_path / "x.npz", dataset=str(tmp_path / "new.csv"), **asked)
    assert told["by"] == "log_px" and told["auroc"]["value"] > 0.99 and found["beyond"][::10].all()
    assert "complexity" not in found


def test_killed_it_goes_on_with_the_chunks_that_the_limit_is_found_on(digits, others, tmp_path, monkeypatch):
    asked = {"dataset": str(others), "threshold_quantile": 0.9}
    run(digits, tmp_path / "whole.npz", **asked)
    real, computed = job.Job._columns, []

    def stop_at_the_second(self, chunk):
        computed.append(chunk.number)
        if len(computed) == 2:
            raise KeyboardInterrupt
        return real(self, chunk)

    monkeypatch.setattr(job.Job, "_columns", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(digits, tmp_path / "x.npz", **asked)
    run(digits, tmp_path / "x.npz", **asked)
    assert computed == [0, 1, 1]  # the others' chunk, then that of the run's validation part
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_what_cannot_be_had_is_refused_by_its_flag(digits, others, tmp_path):
    def refused(**given):
        return refusal(digits, tmp_path, **given)

    not_scores = "must not be set with --what=latents: it is of --what=scores"
    assert refused(what="latents", threshold_quantile=0.9) == f"--threshold_quantile=0.9: {not_scores}"
    assert refused(what="latents", threshold_by="elbo") == f"--threshold_by=elbo: {not_scores}"
    assert refused(threshold_by="elbo").startswith("--threshold_quantile: must be given, or --anomalous_labels")
    assert refused(threshold_quantile=0.999) == (
        "--threshold_quantile=0.999: must be at most 0.994 for one of the 180 usual examples to lie beyond"
    )
    for labels in ("ten", "9,ten"):  # one that is misspelt would change the AUROC in silence
        message = refused(anomalous_labels=labels)
        assert "must be some of the labels of digits, and not all; it has 0, 1, 2" in message
    np.save(others.with_name("bare.npy"), DIGITS[:30])
    bare = str(others.with_name("bare.npy"))
    assert "--label_column=kind: must not be set" in refused(label_column="kind", dataset=bare)
    assert "has no labels (see --label_column)" in refused(anomalous_labels="1", dataset=bare)


def test_a_run_without_validation_images_names_the_parts_that_it_has(tmp_path_factory, tmp_path):
    of_run = make_run(tmp_path_factory.mktemp("runs") / "run", "digits", validation_examples=0)
    assert refusal(of_run, tmp_path, threshold_quantile=0.9) == (
        "--threshold_split=validation: must be a part of the run's own examples, which have train, test"
    )


def test_a_line_break_in_a_file_s_name_breaks_no_line():
    asked = AnomalyRequest(threshold_quantile=0.5)
    part = ExamplesPart("all", np.zeros((2, 1, 1, 1)), np.array(["a\nb.png", "c.png"]), None)
    search = AnomalySearch("elbo", asked, None, Examples("photos", (part,), "", (), False))
    search.find_limit(np.array([0.0, 1.0]))
    assert search.first_names(np.array([-2.0, -1.0])) == ["a\\nb.png", "c.png"]


def test_the_farthest_beyond_the_limit_are_named_first_and_those_without_a_number_before_them():
    asked = AnomalyRequest(threshold_quantile=0.5)
    first, second = (ExamplesPart(name, np.zeros((2, 1, 1, 1)), np.arange(2), None) for name in ("train", "test"))
    search = AnomalySearch("squared_error", asked, first, Examples("x.npy", (first, second), "", (), True))
    search.find_limit(np.array([0.0, 1.0]))
    assert search.first_names(np.array([1.0, 0.2, 3.0, np.nan])) == ["test 1", "test 0", "train 0"]


@pytest.mark.parametrize(("examples", "most"), [(2, "0.5"), (30, "0.966"), (180, "0.994"), (5_000, "0.9998")])
def test_the_quantile_that_a_refusal_names_is_taken(examples, most):
    with pytest.raises(tfvae.InputError, match=f"must be at most {most} for one of the {examples:,} usual"):
        anomalies.check_quantile("quantile", 0.99999, examples)
    anomalies.check_quantile("quantile", float(most), examples)


def test_a_single_example_has_scores_and_no_standard_errors(digits, tmp_path, capsys):
    np.save(tmp_path / "one.npy", DIGITS[:1])
    found, _ = run(digits, tmp_path / "x.npz", dataset=str(tmp_path / "one.npy"))
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.split()[0] == "log_px"]
    assert line == f"    log_px          {found['log_px'][0]:12.4f}"


def test_a_score_that_the_run_has_not_is_refused(tmp_path_factory, tmp_path):
    folder = tmp_path_factory.mktemp("runs")
    grey = make_run(folder / "grey", "digits")
    message = refusal(grey, tmp_path, threshold_quantile=0.9, threshold_by="complexity_score")
    assert message.startswith("--threshold_by=complexity_score: must not be of a bernoulli likelihood of grey")
    plain = make_run(folder / "plain", "digits", objective="autoencoder", likelihood="gaussian")
    message = refusal(plain, tmp_path, threshold_quantile=0.9, threshold_by="log_px")
    assert message == "--threshold_by=log_px: must not be of a plain autoencoder, which has no p(x)"
    arrays = {"train": Split(DIGITS[:400, ..., None], None)}
    of_arrays = make_run(folder / "arrays", "arrays", arrays)
    np.save(folder / "others.npy", DIGITS[1_000:1_010])
    message = refusal(of_arrays, tmp_path, threshold_quantile=0.9, dataset=str(folder / "others.npy"))
    assert message.startswith("--threshold_quantile: must not be set for a run of arrays")


def test_a_line_tells_of_a_log_px_with_hardly_more_than_one_sample_behind_it(digits):
    run = tfvae.load(digits[0].run_dir)
    scoring = Scoring(run.vae, run.config)
    line = scoring.advice(lambda name: np.array([1.0, 0.9, 0.1]))
    assert line is not None and line.startswith("advice: of 3 images 2 have fewer than 2 effective samples of ")
    assert scoring.advice(lambda name: np.array([1.0, 0.1, 0.1])) is None
