"""What `verify` finds wrong with a SavedModel; three of these run it as the program that it is."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfvae.errors import RunError
from tfvae.serving import saved_model, signatures, verify


def save(folder, function, inputs, outputs):
    """A SavedModel of one signature f of x, and what the model is said to answer."""
    spec = tf.TensorSpec([None], inputs.dtype, name="x")
    compiled = tf.function(function, input_signature=[spec], autograph=False)
    tf.saved_model.save(tf.Module(), str(folder), signatures={"f": compiled})
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "tf_serving_warmup_requests").touch()
    expect(folder, inputs, outputs)


def expect(folder, inputs, outputs):
    np.savez(folder / "assets.extra" / "expected.npz", **{"f/in/x": inputs, "f/out/y": outputs})


def doubled(x):
    return {"y": 2 * tf.debugging.check_numerics(x, "x")}


ONES = np.ones(2, np.float32)


@pytest.fixture
def copied(exported, tmp_path):
    """An exported decoder that may be changed."""
    return shutil.copytree(exported.decoder, tmp_path / "1")


def change(folder, key, by):
    expected = dict(np.load(folder / "assets.extra" / "expected.npz"))
    expected[key].flat[1] += by
    np.savez(folder / "assets.extra" / "expected.npz", **expected)


def test_as_a_program_it_tells_what_it_compared(exported):
    text = verify.check(exported.decoder)
    lines = text.splitlines()
    assert [line.partition("(")[0] for line in lines[:3]] == ["decode", "sample", "serving_default"]
    assert lines[1].startswith("sample(seed): image within ")
    assert lines[3:] == ["9 warm-up requests answered"]


def test_as_a_program_it_refuses_a_model_that_answers_otherwise(copied):
    change(copied, "sample/out/z", by=1.1e-5)  # z is less than 10
    with pytest.raises(RunError, match="is not served as the model answers: sample differs from the model"):
        verify.check(copied)


def test_as_a_program_it_tells_in_one_line_what_is_no_model(tmp_path):
    with pytest.raises(RunError) as caught:
        verify.check(tmp_path)
    assert "Could not find SavedModel" in str(caught.value) and "\n" not in str(caught.value)


def test_an_export_is_verified(exported):
    assert "9 warm-up requests answered" in verify.verify(exported.decoder)
    assert verify.verify(exported.encoder).endswith("6 warm-up requests answered")


@pytest.mark.parametrize("key", ["decode/out/image", "sample/out/image", "sample/out/z", "serving_default/out/image"])
def test_each_output_of_each_signature_is_compared(copied, key):
    change(copied, key, by=1.1e-5)
    with pytest.raises(ValueError, match=f"{key.partition('/')[0]} differs from the model"):
        verify.verify(copied)


def test_an_answer_that_nobody_wrote_down_is_a_failure(copied):
    expected = dict(np.load(copied / "assets.extra" / "expected.npz"))
    del expected["sample/out/z"]
    np.savez(copied / "assets.extra" / "expected.npz", **expected)
    with pytest.raises(KeyError, match="sample/out/z"):
        verify.verify(copied)


def test_differences_are_compared_with_the_largest_answer_where_that_is_above_one(tmp_path):
    save(tmp_path, doubled, ONES, 2 * ONES)

    def check(largest, off_by):
        x = np.array([0.1, largest / 2], np.float32)
        expect(tmp_path, x, 2 * x + np.array([off_by, 0], np.float32))
        return verify.verify(tmp_path)

    assert "f(x): y within" in check(largest=0.5, off_by=8e-7)
    assert "f(x): y within" in check(largest=20, off_by=1.6e-5)
    for largest, off_by in (0.5, 1.4e-6), (20, 2.4e-5), (20, np.nan):
        with pytest.raises(ValueError, match="f differs from the model"):
            check(largest, off_by)


def test_xla_is_refused(tmp_path):
    inner = tf.function(lambda x: 2 * x, jit_compile=True)
    save(tmp_path, lambda x: {"y": inner(x)}, ONES, 2 * ONES)
    with pytest.raises(ValueError, match="it needs _XlaMustCompile"):
        verify.verify(tmp_path)


def test_randomness_with_a_state_is_refused(tmp_path):
    save(tmp_path, lambda x: {"y": x + 0 * tf.random.normal([2])}, ONES, ONES)
    with pytest.raises(ValueError, match="it needs RandomStandardNormal"):
        verify.verify(tmp_path)


def test_a_signature_that_takes_nan_is_refused(tmp_path):
    save(tmp_path, lambda x: {"y": 2 * x}, ONES, 2 * ONES)
    with pytest.raises(ValueError, match="f takes NaN for an input"):
        verify.verify(tmp_path)


def test_an_output_that_is_not_float32_is_refused(tmp_path):
    save(tmp_path, lambda x: {"y": x}, np.int32([1, 2]), np.int32([1, 2]))
    with pytest.raises(ValueError, match="f has an output that is not float32"):
        verify.verify(tmp_path)


def test_a_warm_up_request_that_fails_is_a_failure(copied):
    functions = {"decode": signatures.Signature(None, tf.TensorSpec([None, 4], tf.float32, name="z"))}  # of 3 latents
    saved_model._write_warm_up(copied / "assets.extra" / "tf_serving_warmup_requests", "run", functions)
    with pytest.raises(OSError, match="shape"):
        verify.verify(copied)


def test_warm_up_requests_are_read_as_tensorflow_reads_them(exported):
    path = exported.decoder / "assets.extra" / "tf_serving_warmup_requests"
    requests = verify.warm_up_requests(path)
    assert len(requests) == len(list(tf.data.TFRecordDataset(str(path)))) == 9
    rows = {"z": [], "seed": []}
    for request in requests:
        assert request.model_spec.name == "run"
        [(name, tensor)] = request.inputs.items()
        array = verify._array_of(tensor)
        np.testing.assert_array_equal(array, tf.make_ndarray(tensor))
        rows[name].append(len(array))
    assert sorted(rows["z"]) == [1, 1, 8, 8, 64, 64] and sorted(rows["seed"]) == [1, 8, 64]


def test_without_the_protocol_buffers_of_serving_it_says_what_it_did_not_try(exported, monkeypatch):
    find = verify.importlib.util.find_spec
    without = {"tensorflow_serving": None}
    monkeypatch.setattr(
        verify.importlib.util, "find_spec", lambda name, *rest: without[name] if name in without else find(name, *rest)
    )
    assert verify.verify(exported.decoder).endswith("warm-up requests not tried: no tensorflow-serving-api here")
