"""TFDS: names that it doesn't know, sets that can't be had and why, and the real MNIST."""

import gzip
import http.server
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sources import UNPLUGGED, load, refused, rows

from tfvae.config import Config
from tfvae.data import sources, tfds


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(tfds, "why_unreachable", lambda url: UNPLUGGED)


@pytest.mark.parametrize(
    "name", ["no_such_set", "mnist/no_such_config", "mnist:9.9.9", "mnist/x=1", "two words", "MNIST!"]
)
def test_an_unknown_name(tmp_path, offline, name):
    message = refused(name, data_dir=str(tmp_path))
    assert message.startswith(f"dataset={name}: must be ") and "TFDS" in message


def test_mnist_that_can_not_be_had(tmp_path, offline):
    message = refused("mnist", data_dir=str(tmp_path))
    assert message.startswith("dataset=mnist: ") and UNPLUGGED in message
    for way in ("data_dir", "TFDS_DATA_DIR", str(tmp_path / "downloads" / "manual"), "dataset=digits"):
        assert way in message
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_a_reason():
    assert tfds.why_unreachable("http://127.0.0.1:9/mnist.gz").startswith("no network: ")


class Server(http.server.BaseHTTPRequestHandler):
    """Answers HEAD with the status that the path names."""

    def do_HEAD(self):  # noqa: N802
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, None), (405, None), (501, None), (403, "the server answers 403"), (500, "the server answers 500")],
)
def test_a_server_is_reachable_unless_it_refuses_more_than_head(status, reason):
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert tfds.why_unreachable(f"http://127.0.0.1:{server.server_port}/{status}") == reason
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_takes_too_long_is_a_reason(monkeypatch):
    monkeypatch.setattr(tfds, "_NETWORK_SECONDS", 0.05)
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:  # which takes connections, and serves none
        reason = tfds.why_unreachable(f"http://127.0.0.1:{server.server_port}/200")
    assert reason.startswith("no network: ")


def test_files_of_a_manual_download_count_by_their_names_and_sizes(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"12345")
    (tmp_path / "b.gz").write_bytes(b"123")
    urls = {"https://x.org/y/a.gz": SimpleNamespace(size=5), "https://x.org/b.gz": SimpleNamespace(size=3)}
    assert tfds._is_downloaded(urls, tmp_path)
    assert not tfds._is_downloaded({}, tmp_path)  # a set that names no file may be made by a download all the same
    assert not tfds._is_downloaded({**urls, "https://x.org/c.gz": SimpleNamespace(size=3)}, tmp_path)
    assert not tfds._is_downloaded({**urls, "https://x.org/b.gz": SimpleNamespace(size=4)}, tmp_path)


def prepared(name):
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"TFDS_DATA_DIR names no directory that has {name} prepared")


@pytest.mark.slow
def test_real_mnist():
    prepared("mnist")
    assert sources.resolve(Config())[0] == "mnist"  # auto takes what is here
    dataset = load("mnist")
    assert [split.images.shape for split in dataset] == [(n, 28, 28, 1) for n in (55_000, 5_000, 10_000)]
    assert [split.labels.shape for split in dataset] == [(n,) for n in (55_000, 5_000, 10_000)]
    assert dataset.train.images.dtype == np.uint8
    sixty = np.concatenate([dataset.train.images, dataset.validation.images])
    assert sixty.mean(dtype=np.float64) / 255 == pytest.approx(0.1306604762738429, abs=1e-6)
    assert len(load("mnist", validation_examples=0).train.images) == 60_000
    assert not rows(sixty).keys() & rows(dataset.test.images).keys()


@pytest.mark.slow
def test_real_mnist_is_lecuns_image_by_image():
    """TFDS keeps its examples in an order of its own, so the first test image is not LeCun's first, a 7."""
    prepared("mnist")
    test = load("mnist").test
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    folder = Path(__file__).parents[3] / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not hold the original files to compare with")
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(images, np.uint8, offset=16).reshape(10_000, 28, 28, 1)
    labels = np.frombuffer(labels, np.uint8, offset=8)
    assert labels[0] == 7
    assert rows(test.images, test.labels) == rows(images, labels)


@pytest.mark.slow
def test_real_binarized_mnist():
    prepared("binarized_mnist")
    dataset = load("binarized_mnist")
    assert [split.images.shape for split in dataset] == [(n, 28, 28, 1) for n in (50_000, 10_000, 10_000)]
    for split in dataset:
        assert set(np.unique(split.images)) == {0, 255}
        assert split.labels is None
