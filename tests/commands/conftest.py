"""A working directory for commands that are refused: files that are bad in many ways, a few that are good."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from settings import RECORDED

from tfvae.config.flagfile import to_flagfile
from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

from tfvae.data import tfds  # noqa: E402


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory of a command: files that are bad in many ways, a few that are good, no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tfds, "why_unreachable", lambda url: "no network: unplugged")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    grey = np.random.default_rng(0).integers(0, 256, (40, 5, 7), dtype=np.uint8)
    floats = (grey / 255).astype(np.float32)
    arrays = {
        "good": grey,
        "few": grey[:9],
        "nan": np.where(floats == floats.max(), np.nan, floats),
        "above": floats * 1.01,
        "below": floats - 0.01,
        "grey_floats": (grey * 1.5).astype(np.float32),
        "negative": grey.astype(np.int16) - 1,
        "wide": grey.astype(np.int16) * 2,
        "flat": grey.reshape(40, 35),
        "deep": grey[..., None, None],
        "words": np.full((40, 5, 7), "a"),
        "complex": floats.astype(complex),
        "empty": grey[:0],
        "thin": grey[:, :0],
        "pickled": np.array([{"a": 1}] * 40, object),
    }
    for name, array in arrays.items():
        np.save(f"{name}.npy", array, allow_pickle=name == "pickled")
    rows = np.random.default_rng(0).uniform(size=(40, 3))
    for name, value in {"constant_column": 5, "infinite_value": np.inf, "missing_value": np.nan}.items():
        changed = rows.copy()
        changed[7 if name != "constant_column" else slice(None), 1] = value
        np.save(f"{name}.npy", changed)
    np.save("rows.npy", rows)
    np.save("empty_row.npy", np.where(np.arange(40)[:, None] == 7, np.nan, rows))
    np.savez("columns.npz", x_train=rows, x_test=rows[:, :2])
    Path("table.csv").write_text("a,b,kind\n" + "".join(f"{a},{b},x\n" for a, b, _ in rows))
    np.savez("labels.npz", images=grey, labels=np.arange(39))
    np.savez("keys.npz", pictures=grey)
    np.savez("shapes.npz", train=grey, test=grey[:, 1:])
    np.savez("corrupt.npz", images=grey)
    whole = Path("corrupt.npz").read_bytes()
    Path("corrupt.npz").write_bytes(whole[:500] + bytes(20) + whole[520:])
    Path("truncated.npz").write_bytes(whole[:500])
    Path("garbage.npy").write_bytes(b"some words")
    Path("folder.npy").mkdir()
    Path("folder.csv").mkdir()
    Path("file").write_text("a file\n")
    Path("file").chmod(0o755)
    Path("binary.flags").write_bytes(bytes(range(256)))
    Path("typo.flags").write_text("--latent_dim=2\n--laten_dim=2\n")
    Path("words.flags").write_text("--latent_dim=2\nsome words\n")
    for name, text in {
        "run": to_flagfile(RECORDED),
        "cosine": to_flagfile(RECORDED) + "--lr_schedule=cosine\n",
        "auto_run": to_flagfile(RECORDED) + "--epochs=auto\n",
        "spoiled": "--latent_dim=many\n",
        "foreign": "--frobnicate=3\n",
        "binary": "\0\1",
    }.items():
        Path(name).mkdir()
        Path(name, "config.flags").write_text(text)
    Path("binary/config.flags").write_bytes(bytes(range(256)))
    unlabelled = dataclasses.replace(RECORDED, dataset=str(tmp_path / "good.npy"), batch_size=1, validation_examples=3)
    Path("unlabelled/checkpoints").mkdir(parents=True)
    Path("unlabelled/config.flags").write_text(to_flagfile(unlabelled))
    Path("trained/checkpoints/55").mkdir(parents=True)
    Path("trained/config.flags").write_text(to_flagfile(RECORDED))
    Path("full").mkdir()
    Path("full/config.flags").write_text(to_flagfile(RECORDED))
    Path("grid/seed=1").mkdir(parents=True)
    Path("grid/seed=1/config.flags").write_text(to_flagfile(dataclasses.replace(RECORDED, seed=1, batch_size=64)))
    for name in ("evaluation", "explore", "figures"):
        Path("full", name).write_text("where a directory should be")
    Path("no_run").mkdir()
    Path("no_tfds").mkdir()
    return tmp_path
