"""The models that are served: their versions, followed as they appear, and the REST API apart from HTTP."""

import sys
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.json_format import MessageToDict

from tfvae.runtime.files import numbered_directories
from tfvae.serving import contract
from tfvae.serving.contract import Refused
from tfvae.serving.session import DTYPES, Session

_ERROR_NAMES = (  # by TensorFlow's error code
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
    "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
    "UNAUTHENTICATED"
).split()
_HTTP_STATUS = {  # by TensorFlow's error code
    1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 14: 503, 16: 401
}  # fmt: skip
_UNKNOWN = 2

_Files = frozenset[tuple[str, int, int]]  # (path, mtime_ns, size) of each


class VersionState(NamedTuple):
    """A version's state as TensorFlow Serving names it, and why it is in it: TensorFlow's error code and a message."""

    state: str
    error_code: int = 0
    error_message: str = ""


class ServedModel:
    """A model's versions, which are the numbered directories of `base`.

    `serving` is (version, its Session), or None as long as no version loads; `states` is {version: VersionState}.
    One thread polls, others may call `session` meanwhile.
    """

    def __init__(self, base: Path) -> None:
        self.base, self.name = base, base.name
        self.serving: tuple[int, Session] | None = None
        self.states: dict[int, VersionState] = {}
        self._broken: set[tuple[int, _Files]] = set()  # not tried again until their files change

    def poll(self) -> None:
        """Loads the newest version that isn't broken beside the one that serves, and switches to it."""
        folders = numbered_directories(self.base)  # none if it is gone: the version in memory goes on
        for version in sorted(folders, reverse=True):
            if self.serving and self.serving[0] == version:
                return
            session = self._load(version, folders[version])
            if session:
                self._switch_to(version, session)
                print(f"tfvae.serve: {self.name}: version {version} serves", flush=True)
                return

    def session(self, version: int | None) -> tuple[int, Session]:
        """The version that serves, and its session; `version` None takes any.

        Raises:
            Refused: that version doesn't serve.
        """
        serving = self.serving  # read once: a poll may change it
        if serving is None or version not in (None, serving[0]):
            raise _not_found(self.name, version)
        return serving

    def _load(self, version: int, folder: Path) -> Session | None:
        """A version's session, called once; None where it is not whole yet, or broken."""
        try:
            files = _files_of(folder)
        except OSError:
            return None  # it is being written, or removed
        if (version, files) in self._broken or not (folder / "saved_model.pb").is_file():
            return None
        self.states[version] = VersionState("LOADING")
        try:
            session = Session(folder)
            _warm_up(session)
        except Exception as error:  # whatever is wrong with it: the version that serves goes on
            code, reason = _failure(error)
            self.states[version] = VersionState("END", code, reason)
            self._broken.add((version, files))
            print(f"tfvae.serve: {folder}: is not served: {reason}", file=sys.stderr)
            return None
        return session

    def _switch_to(self, version: int, session: Session) -> None:
        """Requests that run keep the old session until they have answered; then it is freed."""
        self.states[version] = VersionState("AVAILABLE")
        if self.serving:
            old_version, old_session = self.serving
            self.states[old_version] = VersionState("UNLOADING")
            ended = weakref.finalize(old_session, self.states.__setitem__, old_version, VersionState("END"))
            ended.atexit = False
        self.serving = version, session


def _files_of(folder: Path) -> _Files:
    """What changes when a file of the folder does."""
    stats = [(str(path), path.stat()) for path in folder.rglob("*")]
    return frozenset((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats)


def _warm_up(session: Session) -> None:
    """Calls each signature with zeros: the first call of a graph is slow, and shows whether it works."""
    for name, signature in session.signatures.items():
        zeros: dict[str, np.ndarray] = {}
        for input_name, info in signature.inputs.items():
            shape = [max(dim.size, 1) for dim in info.tensor_shape.dim]  # -1 is any size
            zeros[input_name] = np.zeros(shape, DTYPES[info.dtype])
        session.call(name, zeros)


def _failure(error: Exception) -> tuple[int, str]:
    """TensorFlow's error code, and the reason, of a version that doesn't load."""
    if isinstance(error, OSError) and error.errno in _HTTP_STATUS:
        return error.errno, str(error.strerror)
    return _UNKNOWN, str(error)


def _not_found(name: str, version: int | None) -> Refused:
    servable = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return Refused(404, f"Servable not found for request: {servable}")


class RestApi:
    """TensorFlow Serving's REST API apart from HTTP: what is asked of a model, and the answer's content."""

    def __init__(self, models: list[ServedModel], max_rows: int) -> None:
        self.models = {model.name: model for model in models}
        self.max_rows = max_rows

    def predict(self, name: str, version: int | None, body: bytes) -> bytes:
        """The JSON that answers a request's JSON.

        Raises:
            Refused: the request is wrong, or too large, or its model is not there.
        """
        request, signature = contract.parse_request(body)
        _, session = self._session(name, version)
        if signature not in session.signatures:
            raise Refused(400, f'Serving signature name: "{signature}" not found in signature def')
        inputs = session.signatures[signature].inputs
        arrays = contract.input_arrays(request, {k: inputs[k].dtype for k in sorted(inputs)})
        rows = max((len(array) for array in arrays.values() if array.ndim), default=0)
        if rows > self.max_rows:
            raise Refused(400, f"{rows} rows: must be at most {self.max_rows}, see --max_rows")
        try:
            outputs = session.call(signature, arrays)
        except OSError as error:
            raise Refused(_HTTP_STATUS.get(error.errno or 0, 500), str(error.strerror)) from None
        return contract.response_body(outputs, by_rows="instances" in request)

    def status(self, name: str, version: int | None) -> dict[str, Any]:
        """The states of a model's versions, the newest first, or of one of them.

        Raises:
            Refused: there is no such version.
        """
        states = dict(self.models[name].states) if name in self.models else {}
        if version is not None and version not in states:
            raise Refused(404, f"Could not find version {version} of model {name}")
        if not states:
            raise Refused(404, f"Could not find any versions of model {name}")
        versions = sorted(states, reverse=True) if version is None else [version]
        return {"model_version_status": [_status(number, states[number]) for number in versions]}

    def metadata(self, name: str, version: int | None) -> dict[str, Any]:
        """The signatures of the version that serves.

        Raises:
            Refused: that version doesn't serve.
        """
        number, session = self._session(name, version)
        options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
        signatures = {key: MessageToDict(value, **options) for key, value in session.all_signatures.items()}
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(number)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }

    def _session(self, name: str, version: int | None) -> tuple[int, Session]:
        if name not in self.models:
            raise _not_found(name, version)
        return self.models[name].session(version)


def _status(version: int, state: VersionState) -> dict[str, Any]:
    status = {"error_code": _ERROR_NAMES[state.error_code], "error_message": state.error_message}
    return {"version": str(version), "state": state.state, "status": status}
