"""The models that are served: their versions, followed as they appear, and what they answer, apart from HTTP."""

import re
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict

from tfvae.serving import contract as rest
from tfvae.serving.session import DTYPES, Session

_CODES = (  # by TensorFlow's error code
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
    "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
    "UNAUTHENTICATED"
).split()
_HTTP = {1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 14: 503, 16: 401}


class Model:
    """A model's versions: `serving` is (version, its Session) or None; `states` {version: (state, code, why)}."""

    def __init__(self, base: Path) -> None:
        self.base, self.name = base, base.name
        self.serving: tuple[int, Session] | None = None
        self.states: dict[int, tuple[str, int, str]] = {}
        self._broken: set[tuple[int, Any]] = set()  # (version, its files): not tried again until they change

    def poll(self) -> None:
        """Loads the newest version that isn't broken beside the one that serves, and switches to it."""
        try:
            found = {int(p.name): p for p in self.base.iterdir() if re.fullmatch("[0-9]{1,18}", p.name)}
        except OSError:
            return  # gone, for now: what is loaded goes on
        for version in sorted(found, reverse=True):
            if self.serving and self.serving[0] == version:
                return
            try:
                files = [(str(path), path.stat()) for path in found[version].rglob("*")]
            except OSError:
                continue  # it is being written, or removed
            tried = version, frozenset((path, stat.st_mtime_ns, stat.st_size) for path, stat in files)
            if tried in self._broken or not (found[version] / "saved_model.pb").is_file():
                continue
            self.states[version] = ("LOADING", 0, "")
            try:
                session = Session(found[version])
                for name, told in session.signatures.items():  # the first call of a graph is slow
                    shapes = {k: [max(d.size, 1) for d in v.tensor_shape.dim] for k, v in told.inputs.items()}
                    session.call(name, {k: np.zeros(s, DTYPES[told.inputs[k].dtype]) for k, s in shapes.items()})
            except Exception as error:  # whatever is wrong with it, the other goes on
                code, why = (*error.args, "")[:2] if isinstance(error, OSError) and error.errno in _HTTP else (2, error)
                self.states[version] = ("END", code, str(why))
                self._broken.add(tried)
                print(f"tfvae.serve: {found[version]}: is not served: {why}", file=sys.stderr)
                continue
            self.states[version] = ("AVAILABLE", 0, "")
            if self.serving:
                old, before = self.serving
                self.states[old] = ("UNLOADING", 0, "")
                weakref.finalize(before, self.states.__setitem__, old, ("END", 0, "")).atexit = False
                del before
            self.serving = version, session  # requests that run keep the old one until they have answered
            print(f"tfvae.serve: {self.name}: version {version} serves", flush=True)
            return

    def session(self, version: int | None) -> tuple[int, Session]:
        """Raises Refused: that version doesn't serve."""
        serving = self.serving
        if serving is None or version not in (None, serving[0]):
            raise _unknown(self.name, version)
        return serving


def _unknown(name: str, version: int | None) -> rest.Refused:
    which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return rest.Refused(404, f"Servable not found for request: {which}")


class Api:
    """The contract, apart from HTTP: bytes in, bytes out; raises Refused."""

    def __init__(self, models: list[Model], max_rows: int) -> None:
        self.models, self.max_rows = {model.name: model for model in models}, max_rows

    def predict(self, name: str, version: int | None, body: bytes) -> bytes:
        asked, signature = rest.parse(body)
        session = self._session(name, version)[1]
        if signature not in session.signatures:
            raise rest.Refused(400, f'Serving signature name: "{signature}" not found in signature def')
        inputs = session.signatures[signature].inputs
        arrays = rest.arrays(asked, {k: inputs[k].dtype for k in sorted(inputs)})
        if (rows := max((len(value) for value in arrays.values() if value.ndim), default=0)) > self.max_rows:
            raise rest.Refused(400, f"{rows} rows: must be at most {self.max_rows}, see --max_rows")
        try:
            outputs = session.call(signature, arrays)
        except OSError as error:
            raise rest.Refused(_HTTP.get(error.errno, 500), error.strerror) from None
        return rest.answer(outputs, "instances" in asked)

    def status(self, name: str, version: int | None) -> dict[str, Any]:
        states = dict(self.models[name].states) if name in self.models else {}
        if version is not None and version not in states:
            raise rest.Refused(404, f"Could not find version {version} of model {name}")
        if not states:
            raise rest.Refused(404, f"Could not find any versions of model {name}")
        return {"model_version_status": [
            {"version": str(v), "state": state, "status": {"error_code": _CODES[code], "error_message": why}}
            for v, (state, code, why) in sorted(states.items(), reverse=True) if version in (None, v)
        ]}  # fmt: skip

    def metadata(self, name: str, version: int | None) -> dict[str, Any]:
        number, session = self._session(name, version)
        options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
        told = {key: MessageToDict(value, **options) for key, value in session.all_signatures.items()}
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(number)},
            "metadata": {"signature_def": {"signature_def": told}},
        }

    def _session(self, name: str, version: int | None) -> tuple[int, Session]:
        if name not in self.models:
            raise _unknown(name, version)
        return self.models[name].session(version)
