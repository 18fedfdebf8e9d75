"""A REST client of an exported VAE, for tfvae.serve and TensorFlow Serving alike; needs Python alone.

python serving/client.py http://127.0.0.1:8501 NAME writes 64 samples of the model to samples.pgm, of
colours to samples.ppm. Of a conditional model (`--condition=label`) the place of a class among its classes comes third.
"""

import http.client
import json
import sys
import time
from typing import Any
from urllib.parse import quote, urlsplit


class ServingError(Exception):
    """What the server refused: `status` is the HTTP code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Client:
    """One model, and its encoder NAME-encoder, over one connection; not for several threads at once.

    `labels` [N] are for a conditional model: places among the classes, which the export's tfvae.json names.
    """

    def __init__(self, url: str, model: str, timeout: float = 30.0) -> None:
        self.model = model
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)

    def decode(self, z: list[list[float]], labels: list[int] | None = None) -> list[Any]:
        """The images [N, H, W, C] of the latents [N, L]."""
        return self._predict(self.model, "serving_default", {"z": z}, labels)

    def sample(self, seeds: list[int], labels: list[int] | None = None) -> list[Any]:
        """An image for each seed, the same for the same one."""
        return self._predict(self.model, "sample", {"seed": seeds}, labels)["image"]

    def encode(self, x: list[Any], labels: list[int] | None = None) -> dict[str, list[list[float]]]:
        """`mean` and `log_variance` [N, L] of the images [N, H, W, C]."""
        return self._predict(f"{self.model}-encoder", "serving_default", {"x": x}, labels)

    def wait(self, seconds: float = 60.0) -> str:
        """Waits until a version is served, and returns it."""
        end = time.monotonic() + seconds
        while True:
            try:
                for version in self._ask("GET", f"/v1/models/{quote(self.model)}")["model_version_status"]:
                    if version["state"] == "AVAILABLE":
                        return version["version"]
                problem = "no version is available"
            except (OSError, ServingError, http.client.HTTPException) as error:
                problem = str(error)
            if time.monotonic() > end:
                raise TimeoutError(f"{self.model}: {problem}")
            time.sleep(0.2)

    def close(self) -> None:
        self._connection.close()

    def _predict(self, model: str, signature: str, inputs: dict[str, Any], labels: list[int] | None) -> Any:
        """The outputs of a signature: {name: rows}, or of a single one its rows."""
        if labels is not None:
            inputs = {**inputs, "label": labels}
        request = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
        return self._ask("POST", f"/v1/models/{quote(model)}:predict", request)["outputs"]

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        for attempt in (1, 2):  # a kept connection may have been closed meanwhile; these requests may be repeated
            try:
                self._connection.request(method, path, body, {"Content-Type": "application/json"})
                response = self._connection.getresponse()
                answer = json.loads(response.read())
                break
            except (ConnectionError, http.client.HTTPException):
                self._connection.close()
                if attempt == 2:
                    raise
        if response.status != 200:
            raise ServingError(response.status, answer["error"])
        return answer


def main(url: str, model: str, label: str | None = None) -> None:
    client = Client(url, model)
    print(f"{model}: version {client.wait()}")
    images = client.sample(list(range(64)), None if label is None else 64 * [int(label)])
    height, width = len(images[0]), len(images[0][0])
    in_colour = len(images[0][0][0]) == 3
    path = "samples.ppm" if in_colour else "samples.pgm"
    with open(path, "wb") as file:  # 8 by 8
        file.write(b"%s %d %d 255\n" % (b"P6" if in_colour else b"P5", 8 * width, 8 * height))
        for row in range(8):
            for y in range(height):
                for image in images[8 * row : 8 * row + 8]:
                    pixels = image[y] if in_colour else ([sum(pixel) / len(pixel)] for pixel in image[y])
                    file.write(bytes(round(255 * min(max(value, 0), 1)) for pixel in pixels for value in pixel))
    client.close()
    print(f"{path}: 64 samples")


if __name__ == "__main__":
    main(*sys.argv[1:4])
