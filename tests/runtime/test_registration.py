"""The hook after Keras's import, on a small package in the place of Keras, and on the real one in processes."""

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfvae.runtime import registration

ROOT = Path(__file__).parents[2]
FAKE, CLASSES = "keras_of_a_test", "tfvae_classes_of_a_test"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A folder with a module in the place of Keras, and one in that of the classes; nothing stays of either."""
    package = tmp_path / FAKE
    package.mkdir()
    (package / "__init__.py").write_text(f"from {FAKE} import backend\n")
    (package / "backend.py").write_text("def backend():\n    return 'tensorflow'\n")
    (tmp_path / f"{CLASSES}.py").write_text(f"import {FAKE}\nassert {FAKE}.backend\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registration, "_KERAS", FAKE)
    monkeypatch.setattr(registration, "_CLASSES", CLASSES)
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, registration._KerasFinder)])
    importlib.invalidate_caches()
    yield package
    for name in [name for name in sys.modules if name.startswith((FAKE, CLASSES, "tfvae.core.of_a_test"))]:
        del sys.modules[name]


def finders():
    return [finder for finder in sys.meta_path if isinstance(finder, registration._KerasFinder)]


def test_keras_first(fake):
    importlib.import_module(FAKE)
    registration.register_with_keras()
    assert CLASSES in sys.modules and finders() == []


def test_tfvae_first(fake):
    registration.register_with_keras()
    assert FAKE not in sys.modules and CLASSES not in sys.modules
    keras = importlib.import_module(FAKE)
    assert CLASSES in sys.modules and finders() == []
    # who reads the source through the loader finds Keras's own
    assert keras.__loader__ is keras.__spec__.loader
    assert keras.__loader__.get_source(FAKE) == (fake / "__init__.py").read_text()


def test_who_only_looks_for_keras_does_not_use_the_hook_up(fake):
    """TensorFlow does so when it is imported."""
    registration.register_with_keras()
    assert importlib.util.find_spec(FAKE).name == FAKE
    importlib.import_module(FAKE)
    assert CLASSES in sys.modules


def test_an_import_that_fails_is_waited_for_again(fake):
    registration.register_with_keras()
    source = (fake / "__init__.py").read_text()
    (fake / "__init__.py").write_text("raise OSError('no backend')")
    with pytest.raises(OSError, match="no backend"):
        importlib.import_module(FAKE)
    assert CLASSES not in sys.modules
    (fake / "__init__.py").write_text(source + "# another size, so that no cached bytecode is taken\n")
    importlib.import_module(FAKE)
    assert CLASSES in sys.modules


def test_tfvae_that_is_reloaded_waits_twice_and_imports_once(fake):
    registration.register_with_keras()
    registration.register_with_keras()
    importlib.import_module(FAKE)
    assert CLASSES in sys.modules


def test_without_keras_the_error_is_pythons(fake, monkeypatch):
    monkeypatch.setattr(registration, "_KERAS", "keras_that_is_not_installed")
    registration.register_with_keras()
    with pytest.raises(ModuleNotFoundError, match="No module named 'keras_that_is_not_installed'"):
        importlib.import_module("keras_that_is_not_installed")


def test_another_backend_has_no_use_for_the_classes(fake):
    (fake / "backend.py").write_text("def backend():\n    return 'jax'\n")
    registration.register_with_keras()
    importlib.import_module(FAKE)
    assert CLASSES not in sys.modules


def test_where_our_own_import_brings_keras_there_is_no_circle(fake, monkeypatch):
    path = fake.parent / "of_a_test.py"
    path.write_text(f"import {FAKE}\n")
    registration.register_with_keras()
    spec = importlib.util.spec_from_file_location("tfvae.core.of_a_test", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec._initializing = True  # as `import` has it while it executes a module
    spec.loader.exec_module(module)
    assert FAKE in sys.modules and CLASSES not in sys.modules


LOAD = """
import sys, warnings
warnings.simplefilter("error")
import keras
for name in ("vae", "encoder", "decoder"):
    model = keras.saving.load_model(sys.argv[1] + "/" + name + ".keras")
    assert model.name == name and type(model).__module__.startswith("tfvae."), type(model)
"""
ORDERS = {
    "keras, tfvae": "import keras, tfvae",
    "tfvae, keras": "import tfvae, keras",
    "tfvae, tensorflow, keras": "import tfvae, tensorflow, keras",
    "a part of ours first": "import tfvae.data.pixels, keras",
}


@pytest.mark.slow
def test_models_are_loaded_in_a_fresh_process_in_any_order(tmp_path):
    from tfvae.runtime.tensorflow import import_tensorflow

    import_tensorflow()
    import tfvae
    from tfvae.core.making import make_vae

    vae = make_vae(tfvae.Config(hidden_units=(4,)), (4, 4, 1))
    vae.compile("adam")
    for model in (vae, vae.encoder, vae.decoder):
        model.save(tmp_path / f"{model.name}.keras")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-c", f"{line}\n{LOAD}", str(tmp_path)], env=environment)
        for line in ORDERS.values()
    ]
    assert [process.wait(timeout=300) for process in processes] == [0] * len(ORDERS)


def test_load_model_says_what_is_wrong(tmp_path):
    from tfvae.runtime.tensorflow import import_tensorflow

    import_tensorflow()
    import keras

    import tfvae
    from tfvae.core.making import make_vae

    vae = make_vae(tfvae.Config(hidden_units=(4,)), (4, 4, 1))
    vae.save(tmp_path / "vae.keras")
    assert tfvae.load_model(tmp_path / "vae.keras").get_config() == vae.get_config()
    (tmp_path / "damaged.keras").write_bytes((tmp_path / "vae.keras").read_bytes()[:1_000])
    (tmp_path / "text.keras").write_text("no model")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    for name, message in {
        "nothing.keras": "must be a .keras file, and there is none",
        "damaged.keras": "must be a .keras file of a VAE, encoder or decoder: ",
        "text.keras": "must be a .keras file of a VAE, encoder or decoder: ",
        "other.keras": "must be a .keras file of a VAE, encoder or decoder, and has a Sequential",
    }.items():
        with pytest.raises(tfvae.InputError, match=message) as info:
            tfvae.load_model(str(tmp_path / name))
        assert str(info.value).startswith(f"path={tmp_path / name}: ") and "\n" not in str(info.value)
