"""A SavedModel by TensorFlow's C API, beside TensorFlow's own Python."""

import gc
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import tensorflow as tf

from tfvae.serving.session import Session


@pytest.fixture(scope="module")
def session(exported):
    return Session(exported.decoder)


def save(folder, function, *specs):
    compiled = tf.function(function, input_signature=specs, autograph=False)
    tf.saved_model.save(tf.Module(), str(folder), signatures={"f": compiled})
    return folder


def test_its_answers_are_the_model_s_for_any_number_of_rows(session, exported):
    for rows in (1, 7, 0):
        z = np.random.default_rng(rows).normal(size=(rows, 3)).astype("f")
        image = session.call("decode", {"z": z})["image"]
        assert image.shape == (rows, 6, 5, 2) and image.dtype == np.float32
        np.testing.assert_allclose(image, np.clip(exported.vae.decode(z).mean, 0, 1), atol=1e-6)


def test_signatures_are_the_model_s_without_tensorflow_s_own(session):
    assert set(session.signatures) == {"serving_default", "decode", "sample"}
    assert set(session.all_signatures) == {*session.signatures, "__saved_model_init_op"}
    assert list(session.signatures["sample"].inputs) == ["seed"]
    assert sorted(session.signatures["sample"].outputs) == ["image", "z"]


def test_inputs_are_converted_to_the_signature_s_type(session):
    doubles = session.call("decode", {"z": np.full((2, 3), 0.5)})["image"]
    transposed = session.call("decode", {"z": np.full((3, 2), 0.5, np.float32).T})["image"]
    np.testing.assert_array_equal(doubles, transposed)
    assert session.call("sample", {"seed": np.int64([3])})["z"].shape == (1, 3)


def test_each_type_and_shape_passes_unchanged(tmp_path):
    arrays = {
        "float": np.float32([[1.5, -2]]),
        "double": np.array(1 / 3),
        "int": np.int32([2**31 - 1]),
        "long": np.zeros((2, 0, 3), np.int64),
        "bool": np.array([[[True]], [[False]]]),
    }
    specs = [tf.TensorSpec(array.shape, array.dtype, name=name) for name, array in arrays.items()]
    names = list(arrays)
    path = save(tmp_path, lambda *tensors: {f"{k}_out": tf.identity(t) for k, t in zip(names, tensors)}, *specs)
    outputs = Session(path).call("f", arrays)
    assert set(outputs) == {f"{name}_out" for name in names}
    for name, array in arrays.items():
        output = outputs[f"{name}_out"]
        assert (output.dtype, output.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(output, array)


def test_a_type_that_is_not_served_is_refused(tmp_path):
    save(tmp_path, lambda x: {"y": tf.cast(x, tf.complex64)}, tf.TensorSpec([None], tf.float32, name="x"))
    with pytest.raises(ValueError, match="f has a type that is not served"):
        Session(tmp_path)


def test_what_is_no_saved_model_is_an_error_of_tensorflow_s(tmp_path):
    with pytest.raises(OSError, match="Could not find SavedModel") as caught:
        Session(tmp_path)
    assert caught.value.errno == 5  # NOT_FOUND
    (tmp_path / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(OSError, match="Read less bytes than requested") as caught:
        Session(tmp_path)
    assert caught.value.errno == 11  # OUT_OF_RANGE


def test_an_input_of_another_shape_is_an_error_of_tensorflow_s_and_the_session_goes_on(session):
    for shape in ((2,), (1, 4), (1, 1, 3)):
        with pytest.raises(OSError, match="shape") as caught:
            session.call("decode", {"z": np.zeros(shape)})
        assert caught.value.errno == 3  # INVALID_ARGUMENT
    assert session.call("decode", {"z": np.zeros((3, 3))})["image"].shape == (3, 6, 5, 2)


def test_threads_call_it_at_the_same_time(session):
    expected = [session.call("sample", {"seed": [i]})["image"] for i in range(8)]
    wrong = []

    def call_often(i):
        for _ in range(50):
            if not np.array_equal(session.call("sample", {"seed": [i]})["image"], expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=call_often, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_it_is_freed_with_the_last_reference(exported):
    session = Session(exported.encoder)
    freed = weakref.ref(session)
    del session
    gc.collect()
    assert freed() is None


@pytest.mark.slow
def test_python_s_own_hashes_and_tls_work_after_it(exported):
    program = """
import sys
from pathlib import Path
from tfvae.serving.session import Session
session = Session(Path(sys.argv[1]))
import hashlib, ssl
import numpy.random
assert hashlib.sha256(b"a").hexdigest().startswith("ca978112")
assert session.call("sample", {"seed": [1]})["z"].shape == (1, 3)
assert not {"keras", "tensorflow.python"} & set(sys.modules)
"""
    command = [sys.executable, "-c", program, str(exported.decoder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
