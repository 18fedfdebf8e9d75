"""A model's versions without HTTP: one that appears, one that is broken, one that goes; and the REST API's content."""

import json
import os
import shutil

import pytest
import serving_contract as suite

from tfvae.serving.contract import Refused
from tfvae.serving.registry import RestApi, ServedModel

ONE = b'{"instances": [[1, 2]]}'


@pytest.fixture
def model(tmp_path):
    """A model with the one version 1."""
    suite.write(tmp_path / "vae", 1, encoder=False)
    model = ServedModel(tmp_path / "vae")
    model.poll()
    return model


def add(model, version, scale=2.0):
    suite.write(model.base, version, scale=scale, encoder=False)


def copy(model, version, **options):
    shutil.copytree(model.base / "1", model.base / str(version), **options)


def states(model):
    return {version: state.state for version, state in model.states.items()}


def first_pixel(model):
    """2 of the version whose scale is 2."""
    _, session = model.session(None)
    return session.call("decode", {"z": [[1, 2]]})["image"].flat[0]


def refusal(function, *arguments):
    with pytest.raises(Refused) as caught:
        function(*arguments)
    return caught.value.status, str(caught.value)


def test_the_newest_version_serves_and_is_said_to(model, capsys):
    assert states(model) == {1: "AVAILABLE"} and model.session(1) == model.session(None)
    add(model, 10)  # after 1, not before 2
    model.poll()
    assert capsys.readouterr().out == "tfvae.serve: vae: version 10 serves\n"
    assert first_pixel(model) == 2
    assert states(model) == {10: "AVAILABLE", 1: "END"}
    assert refusal(model.session, 1) == (404, "Servable not found for request: Specific(vae, 1)")


def test_the_version_before_ends_when_the_last_request_has_let_go_of_it(model):
    _, session = model.session(None)
    add(model, 2)
    model.poll()
    assert states(model) == {2: "AVAILABLE", 1: "UNLOADING"}
    assert session.call("decode", {"z": [[1, 2]]})["image"].flat[0] == 1
    del session
    assert states(model) == {2: "AVAILABLE", 1: "END"}


def test_a_poll_without_news_loads_nothing(model):
    before = model.serving
    model.poll()
    assert model.serving is before


def test_a_directory_without_a_version_has_none(tmp_path):
    model = ServedModel(tmp_path / "none")
    model.poll()
    assert model.serving is None and model.states == {}
    assert refusal(model.session, None) == (404, "Servable not found for request: Latest(none)")


def test_names_that_are_no_versions_and_versions_that_are_not_whole_are_passed_over(model):
    for name in ("latest", "-3", "3.5", ".4", "9" * 19, "²", "٣", "05"):
        copy(model, name)
    (model.base / "14").write_text("a file")
    (model.base / "13").mkdir()  # no saved_model.pb yet
    model.poll()
    assert states(model) == {1: "AVAILABLE"}


def test_a_broken_version_ends_with_its_reason_and_the_old_one_goes_on(model, capsys):
    before = model.serving
    (model.base / "11").mkdir()
    (model.base / "11" / "saved_model.pb").write_bytes(b"no graph")
    copy(model, 12, ignore=shutil.ignore_patterns("variables.data*"))
    model.poll()
    assert states(model) == {12: "END", 11: "END", 1: "AVAILABLE"}
    assert model.serving is before
    for version in (11, 12):
        assert model.states[version].error_code != 0 and model.states[version].error_message
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"tfvae.serve: {model.base / '12'}: is not served: ") for line in lines)


def test_a_signature_that_fails_when_called_is_a_broken_version(model):
    import tensorflow as tf

    def fail(z):
        return {"image": tf.debugging.check_numerics(z / 0.0, "it never works")}

    spec = [tf.TensorSpec([None, 2], tf.float32, name="z")]
    signatures = {"serving_default": tf.function(fail, input_signature=spec)}
    tf.saved_model.save(tf.Module(), str(model.base / "2"), signatures=signatures)
    model.poll()
    assert states(model) == {2: "END", 1: "AVAILABLE"}
    assert model.states[2].error_code == 3 and "it never works" in model.states[2].error_message


def test_a_broken_version_is_tried_again_when_its_files_change_alone(model, capsys):
    copy(model, 12, ignore=shutil.ignore_patterns("variables.data*"))
    model.poll()
    capsys.readouterr()
    model.poll()
    assert capsys.readouterr().err == ""  # not tried
    os.utime(model.base / "12" / "saved_model.pb", (1, 1))
    model.poll()
    assert "12: is not served" in capsys.readouterr().err
    for data in (model.base / "1" / "variables").glob("variables.data*"):
        shutil.copy(data, model.base / "12" / "variables")  # the rest of it arrives
    model.poll()
    assert states(model) == {12: "AVAILABLE", 1: "END"}


def test_a_version_that_is_removed_gives_way_to_the_one_before(model):
    add(model, 2)
    model.poll()
    assert first_pixel(model) == 2
    shutil.rmtree(model.base / "2")
    model.poll()
    assert first_pixel(model) == 1
    assert states(model) == {2: "END", 1: "AVAILABLE"}


def test_a_model_whose_directory_is_gone_goes_on(model):
    shutil.rmtree(model.base)
    model.poll()
    assert first_pixel(model) == 1 and states(model) == {1: "AVAILABLE"}


@pytest.fixture
def api(model):
    return RestApi([model, ServedModel(model.base.with_name("vae-encoder"))], max_rows=3)


def test_predict_is_json_in_and_json_out(api):
    image = [[[1.0], [2.0]], [[1.0], [3.0]]]
    assert json.loads(api.predict("vae", None, ONE)) == {"predictions": [image]}
    assert json.loads(api.predict("vae", 1, b'{"inputs": [[1, 2]]}')) == {"outputs": [image]}


def test_predict_refuses(api):
    unknown = 'Serving signature name: "x" not found in signature def'
    assert refusal(api.predict, "vae", None, b'{"signature_name": "x", "inputs": 1}') == (400, unknown)
    rows = "4 rows: must be at most 3, see --max_rows"
    assert refusal(api.predict, "vae", None, b'{"instances": [[1, 2], [1, 2], [1, 2], [1, 2]]}') == (400, rows)
    status, message = refusal(api.predict, "vae", None, b'{"instances": [[1, 2, 3]]}')
    assert status == 400 and message.startswith("Matrix size-incompatible")
    assert refusal(api.predict, "vae", 2, ONE) == (404, "Servable not found for request: Specific(vae, 2)")
    for name in ("none", "vae-encoder"):  # which isn't there, or has no version
        assert refusal(api.predict, name, None, ONE) == (404, f"Servable not found for request: Latest({name})")


def test_status_lists_the_newest_first(api, model):
    copy(model, 3, ignore=shutil.ignore_patterns("variables.data*"))
    model.poll()
    broken, good = api.status("vae", None)["model_version_status"]
    ok = {"error_code": "OK", "error_message": ""}
    assert good == {"version": "1", "state": "AVAILABLE", "status": ok}
    assert (broken["version"], broken["state"]) == ("3", "END")
    assert broken["status"]["error_code"] in ("NOT_FOUND", "DATA_LOSS", "FAILED_PRECONDITION", "UNKNOWN")
    assert api.status("vae", 1) == {"model_version_status": [good]}
    assert refusal(api.status, "vae", 2) == (404, "Could not find version 2 of model vae")
    assert refusal(api.status, "vae-encoder", None) == (404, "Could not find any versions of model vae-encoder")


def test_metadata_names_each_signature_s_tensors(api):
    metadata = api.metadata("vae", None)
    assert metadata["model_spec"] == {"name": "vae", "signature_name": "", "version": "1"}
    decode = metadata["metadata"]["signature_def"]["signature_def"]["decode"]
    assert decode["inputs"]["z"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in decode["outputs"]["image"]["tensor_shape"]["dim"]] == ["-1", "2", "2", "1"]
    assert refusal(api.metadata, "x", 3) == (404, "Servable not found for request: Specific(x, 3)")
