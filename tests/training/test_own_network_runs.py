"""The network of docs/extending.md, as its reader types it: trained, killed, resumed, evaluated, exported, served."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from runs import ROOT, named_variables, start, wait_until

import tfvae
from tfvae.config import Config

pytestmark = pytest.mark.nightly
FLAGS = ["--dataset=digits", "--network=attention:networks", "--latent_dim=4", "--eval_samples=10"]


def example():
    """The file that the page shows."""
    page = (ROOT / "docs" / "extending.md").read_text()
    section = page.partition("\n## A network of your own\n")[2].partition("\n## ")[0]
    [code] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return code


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "attention.py").write_text(example())
    return folder


def command(folder, name, *flags):
    """What a command prints; it must succeed."""
    process = start(["-m", "tfvae", name, *flags], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    return output


def assert_same_run(ours, theirs, **tolerance):
    step, variables = named_variables(ours)
    expected_step, expected = named_variables(theirs)
    assert step == expected_step and variables.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(variables[name], value, **{"rtol": 0, "atol": 0, **tolerance}, err_msg=name)


@pytest.fixture(scope="module")
def whole(folder):
    command(folder, "train", *FLAGS, "--epochs=30", "--run_dir=runs/whole")
    return folder / "runs" / "whole"


def test_a_run_that_was_killed_goes_on_to_the_same_bits(folder, whole):
    flags = [*FLAGS, "--epochs=30", "--run_dir=runs/killed"]
    with open(folder / "killed.txt", "w") as output:
        process = start(
            ["-m", "tfvae", "train", *flags, "--checkpoint_every=0"],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        kept = folder / "runs" / "killed" / "checkpoints"
        wait_until(lambda: kept.is_dir() and any(kept.glob("[1-9]*")), lambda: process.poll() is None)
        process.kill()
        process.wait()
    source = folder / "attention.py"
    source.write_text(example() + "\n\nSIZE = 16  # which changes nothing of a run that began without it\n")
    output = command(folder, "train", "--run_dir=runs/killed")
    source.write_text(example())
    assert "goes on from step" in output and f"network.json: {source} has changed since" in output
    assert_same_run(folder / "runs" / "killed", whole)
    results = [json.loads((run / "results.json").read_text())["test"] for run in (folder / "runs" / "killed", whole)]
    assert results[0] == results[1]


def test_it_is_evaluated_exported_verified_and_served(folder, whole, monkeypatch):
    results = json.loads((whole / "results.json").read_text())
    command(folder, "evaluate", "--run_dir=runs/whole")
    assert json.loads((whole / "evaluation.json").read_text())["test"] == results["test"]
    assert results["test"]["elbo"] > -32  # the digits' mean and no z: -41
    output = command(folder, "export", "--run_dir=runs/whole", "--export_format=onnx", "--explorer")
    assert "explorer.html: tfvae serve shows it, and decodes for it" in output
    assert "decode(z): image within" in command(folder, "export", "--verify=saved_models/whole/2")
    monkeypatch.chdir(folder)
    vae, z = tfvae.load(whole).vae, np.random.default_rng(0).normal(size=(3, 4)).astype("f")
    assert vae.decoder.own_trunk and vae.encoder.own_trunk
    server = start(["-m", "tfvae", "serve", "saved_models/whole", "--port=0"], cwd=folder, stdout=subprocess.PIPE)
    try:
        url = next(line.split()[-1] for line in server.stdout if "/v1/models/whole" in line)
        body = json.dumps({"instances": z.tolist()}).encode()
        with urllib.request.urlopen(f"{url}:predict", body, timeout=60) as answer:
            served = json.load(answer)["predictions"]
        with urllib.request.urlopen(url.partition("/v1/")[0], timeout=60) as answer:
            assert b'<meta name="served" content="/v1/models/whole:predict">' in answer.read()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    np.testing.assert_allclose(served, vae.decode(z).mean, atol=1e-6)


def test_two_devices_see_the_masks_of_one(folder):
    flags = [*FLAGS, "--epochs=3", "--optimizer=sgd", "--learning_rate=0.001", "--num_samples=2"]
    command(folder, "train", *flags, "--run_dir=runs/one")
    command(folder, "train", *flags, "--run_dir=runs/two", "--strategy=mirrored", "--logical_cpus=2")
    assert_same_run(folder / "runs" / "two", folder / "runs" / "one", atol=2e-6)


def test_weights_of_another_run_of_the_same_network_are_taken(folder, whole):
    flags = [*FLAGS, "--epochs=1", "--init_from=runs/whole"]
    command(folder, "train", *flags, "--run_dir=runs/from", "--learning_rate=1e-12")
    ours, theirs = (named_variables(run)[1] for run in (folder / "runs" / "from", whole))
    for name in [name for name in theirs if name.startswith("vae/")]:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-7, err_msg=name)
    (folder / "attention.py").write_text(example().replace("SIZE = 32", "SIZE = 16"))
    process = start(
        ["-m", "tfvae", "train", *flags, "--run_dir=runs/other"], cwd=folder, stdout=-1, stderr=subprocess.STDOUT
    )
    output = process.communicate(timeout=600)[0]
    (folder / "attention.py").write_text(example())
    assert process.returncode == 2
    assert re.search("must be the network of the run of --init_from=.*runs/whole, and its encoder is another", output)


def test_python_hands_layers_in_and_loads_them_again(tmp_path, monkeypatch):
    import keras
    from keras import layers

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    images = np.random.default_rng(0).integers(0, 256, (300, 6, 5, 1), dtype=np.uint8)
    config = Config(latent_dim=2, epochs=2, eval_samples=5, batch_size=50)

    def pair():
        encoder = keras.Sequential([layers.Flatten(), layers.Dense(9, "relu"), tfvae.Dropout(0.2)])
        return {"encoder": encoder, "decoder": layers.Dense(7, "tanh")}

    own = pair()
    run = tfvae.fit(config, images, **own)
    assert run.config.network == "layers"
    made = run.vae.decoder.trunk[0].get_weights()
    assert all((ours != theirs).any() for ours, theirs in zip(own["decoder"].get_weights()[:1], made))
    again = tfvae.fit(config, images, **pair())
    assert again.config.run_dir == run.config.run_dir and again.step == run.step
    other = tfvae.fit(config, images, encoder=pair()["encoder"], decoder=layers.Dense(8, "tanh"))
    assert other.config.run_dir != run.config.run_dir
    code = f"import tfvae, numpy as np; np.save('x.npy', tfvae.load({run.config.run_dir!r}).sample(3))"
    assert start(["-c", code], cwd=tmp_path).wait(300) == 0
    np.testing.assert_array_equal(np.load("x.npy"), run.sample(3))
    assert (Path(run.config.run_dir) / "network.json").is_file()
    with pytest.raises(tfvae.InputError, match="^encoder, decoder: must be those that .* was made with"):
        tfvae.fit(run.config, images, encoder=pair()["encoder"], decoder=layers.Dense(8, "tanh"))
    with pytest.raises(tfvae.InputError, match="^decoder: must be given with encoder"):
        tfvae.fit(config, images, encoder=pair()["encoder"])
    with pytest.raises(tfvae.InputError, match="^encoder, decoder: must not be given beside network=conv"):
        tfvae.fit(Config(network="conv"), images, **pair())
