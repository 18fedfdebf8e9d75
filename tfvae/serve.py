"""Serves exported models over TensorFlow Serving's REST API: python -m tfvae.serve saved_models/NAME --port=8501

The models NAME and, if it lies beside it, NAME-encoder: the newest version of each that loads, followed as new ones
appear, without a request lost. For where there is no docker: docs/serving.md.
"""

import functools
import sys
from pathlib import Path
from typing import Any

from tfvae.config.fields import field, number_above, or_auto, text, whole
from tfvae.errors import InputError
from tfvae.flags import run_command

FLAGS = {
    "host": field("127.0.0.1", text("an address of this machine"), "the address to listen at"),
    "port": field(8501, whole(0, 65535), "the port to listen at; 0: any that is free, which is printed"),
    "max_body_mb": field(8.0, number_above(0), "MB of a request, above which it is refused"),
    "max_rows": field(1024, whole(1), "rows of a request, above which it is refused"),
    "max_concurrency": field(128, whole(1), "predictions at a time, above which one is refused"),
    "timeout": field(10.0, number_above(0), "seconds that a client may take to send a request or read an answer"),
    "allowed_hosts": field(
        None,
        or_auto(text("names separated by commas, or *")),
        "names besides localhost by which clients may call it, in Host; auto: no others where --host is a loopback "
        "address, against DNS rebinding, otherwise any",
    ),
    "poll_seconds": field(1.0, number_above(0), "seconds between looks for new versions"),
}


def require_packages() -> None:
    """Raises InputError: the extra `serve` is not installed."""
    try:
        import fastapi  # noqa: F401
        import orjson  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise InputError("must have fastapi, uvicorn and orjson: pip install 'tfvae[serve]'") from None


def main(given: dict[str, Any], base: str) -> None:
    if not base:
        raise InputError("must be given a directory first: python -m tfvae.serve saved_models/NAME")
    require_packages()
    from tfvae.runtime.versions import require_versions

    require_versions()
    from tfvae.serving.server import serve

    serve(Path(base).expanduser(), **{name: given.get(name, flag.default) for name, flag in FLAGS.items()})


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name, of which the first is the directory."""
    starts_with_base = bool(argv) and not argv[0].startswith("-")
    base, flags = (argv[0], argv[1:]) if starts_with_base else ("", argv)
    run_command(functools.partial(main, base=base), flags, "tfvae.serve", __doc__, FLAGS)


if __name__ == "__main__":
    run(sys.argv[1:])
