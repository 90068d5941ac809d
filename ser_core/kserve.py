"""A model server, spoken to by the KServe v2 protocol (github.com/kserve/open-inference-protocol) over gRPC or HTTP.

OpenVINO Model Server speaks it, and so do Triton and others. The words themselves are `tritonclient`'s, which is
imported when a server is first named: what judges here needs none of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from ser_core.config import CONTRACT
from ser_core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

Told = TypeVar("Told")

REQUIREMENTS = "requirements-remote.txt"

_SCHEMES = ("grpc", "grpcs", "http", "https")
_NAME = re.compile(r"[\w.-]{1,128}", re.ASCII)
_REFUSALS = {"StatusCode.INVALID_ARGUMENT", "400", "413", "422"}
"""The statuses that are about what was sent; every other server would say the same."""

_GRPC_OPTIONS = [
    # Without, a channel waits up to two minutes before it looks for a server that was away.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A new channel shall have a new connection: the old one may lead to a machine that is gone.
    ("grpc.use_local_subchannel_pool", 1),
    # A model server is a neighbour; what is meant for the outside stands in the environment's proxy.
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True)
class Address:
    """Where a model is served.

    Attributes:
        scheme: "grpc", "http", or over TLS "grpcs", "https".
        place: HOST:PORT.
        model: its name on the server.
        version: a number as text; "" lets the server choose, which takes the newest.
    """

    scheme: str
    place: str
    model: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read SCHEME://HOST:PORT/MODEL or SCHEME://HOST:PORT/MODEL/VERSION. Raises BackendError for anything else."""
        with contextlib.suppress(ValueError):  # of a port that is none
            parts = urlsplit(text.strip())
            model, _, version = parts.path.strip("/").partition("/")
            plain = not (parts.query or parts.fragment or parts.username or parts.password)
            named = _NAME.fullmatch(model) and (version.isascii() and version.isdecimal() if version else True)
            if parts.scheme in _SCHEMES and parts.hostname and parts.port and named and plain:
                return cls(parts.scheme, parts.netloc, model, version)
        raise BackendError(
            f"{text.strip()!r} is no address of a model server: give grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL "
            "(grpcs:// and https:// over TLS), with /VERSION behind it if you like, and commas between several."
        )

    @property
    def secure(self) -> bool:
        """Whether it is reached over TLS."""
        return self.scheme.endswith("s")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}/{self.model}" + (f"/{self.version}" if self.version else "")


class Failed(Exception):
    """A server that didn't do what it was asked; another may. Its text says what happened, for a log."""


class Refused(Exception):
    """A server that won't take what it was sent; no other would. Its text is the server's."""


@dataclass(frozen=True)
class Tensor:
    """What a server says of an input or output: KServe's name of its type, and its sizes, -1 where any will do."""

    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Metadata:
    """What a server says of a model: its tensors by their names."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        version: of the model that answered, as the server calls it; "" where it doesn't say.
        logits, attention: as they came, not checked yet; None where there was none.
    """

    version: str
    logits: npt.NDArray[Any] | None
    attention: npt.NDArray[Any] | None


class Client(Protocol):
    """One model on one server; safe to call from many threads at once. All methods raise Failed or Refused."""

    def is_ready(self, timeout_s: float) -> bool:
        """Whether the server says that the model is ready."""
        ...

    def metadata(self, timeout_s: float) -> Metadata:
        """What the server says of the model."""
        ...

    def infer(self, batch: Floats, timeout_s: float) -> Answer:
        """Have float32 (B, 1, n_mels, T) judged."""
        ...

    def close(self) -> None:
        """Close connections; what is on its way may fail."""
        ...


def connect(address: Address) -> Client:
    """A client for an address; nothing is sent yet. Raises BackendError where `tritonclient` isn't installed."""
    return _Grpc(address) if address.scheme.startswith("grpc") else _Http(address)


class _Grpc:
    """Over gRPC. Many threads use one channel; one that has failed is let go of, and the next call makes another."""

    def __init__(self, address: Address) -> None:
        self._address, self._library = address, _imported("tritonclient.grpc")
        self._lock = threading.Lock()
        self._channel: Any = None

    def is_ready(self, timeout_s: float) -> bool:
        with self._asking() as client:
            return bool(client.is_model_ready(*self._model, client_timeout=timeout_s))

    def metadata(self, timeout_s: float) -> Metadata:
        with self._asking() as client:
            told = client.get_model_metadata(*self._model, client_timeout=timeout_s)
            return Metadata(
                *(
                    {one.name: Tensor(one.datatype, tuple(one.shape)) for one in tensors}
                    for tensors in (told.inputs, told.outputs)
                )
            )

    def infer(self, batch: Floats, timeout_s: float) -> Answer:
        inputs, outputs = _request(self._library, batch)
        with self._asking() as client:
            model, version = self._model
            result = client.infer(model, inputs, version, outputs, client_timeout=timeout_s)
            return _answer(result, result.get_response().model_version)

    def close(self) -> None:
        with self._lock:
            self._channel = None  # it closes itself when nobody uses it any more

    @property
    def _model(self) -> tuple[str, str]:
        return self._address.model, self._address.version

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Any]:
        with self._lock:
            if self._channel is None:
                self._channel = self._library.InferenceServerClient(
                    self._address.place,
                    ssl=self._address.secure,
                    channel_args=_GRPC_OPTIONS,
                )
            channel = self._channel
        try:
            with _told():
                yield channel
        except Failed:
            with self._lock:
                if self._channel is channel:
                    self._channel = None
            raise


class _Http:
    """Over HTTP, with tensors as bytes. The client is for one thread and its event loop alone, so it has these."""

    def __init__(self, address: Address) -> None:
        self._address, self._library = address, _imported("tritonclient.http.aio")
        self._wire = _imported("aiohttp")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kserve-http", daemon=True)
        self._thread.start()
        self._client: Any = self._call(self._make, 10.0)

    def is_ready(self, timeout_s: float) -> bool:
        return bool(self._call(lambda: self._client.is_model_ready(*self._model), timeout_s))

    def metadata(self, timeout_s: float) -> Metadata:
        told = self._call(lambda: self._client.get_model_metadata(*self._model), timeout_s)
        with _told():
            return Metadata(
                *(
                    {one["name"]: Tensor(one["datatype"], tuple(map(int, one["shape"]))) for one in told[side]}
                    for side in ("inputs", "outputs")
                )
            )

    def infer(self, batch: Floats, timeout_s: float) -> Answer:
        inputs, outputs = _request(self._library, batch)
        model, version = self._model
        result = self._call(lambda: self._client.infer(model, inputs, version, outputs), timeout_s)
        with _told():
            return _answer(result, str(result.get_response().get("model_version", "")))

    def close(self) -> None:
        with contextlib.suppress(Failed):
            self._call(self._client.close, 1.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)

    @property
    def _model(self) -> tuple[str, str]:
        return self._address.model, self._address.version

    async def _make(self) -> Any:
        return self._library.InferenceServerClient(self._address.place, ssl=self._address.secure)

    def _call(self, ask: Callable[[], Awaitable[Told]], timeout_s: float) -> Told:
        """Await what `ask` gives, in the loop's thread, for at most so long."""

        async def awaited() -> Told:
            async with asyncio.timeout(timeout_s):
                # A connection that was kept, and that the server has closed meanwhile, says nothing of the server.
                with contextlib.suppress(self._wire.ServerDisconnectedError):
                    return await ask()
                return await ask()

        with _told(self._wire.ClientError):
            return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()


def _imported(module: str) -> Any:
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # what happens to connections is told by who asks
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # tritonclient's own, where a part of it is missing
        raise BackendError(
            f"A model server is asked through tritonclient, which isn't installed here ({error}). Install it: "
            f"pip install -r {REQUIREMENTS}"
        ) from error


def _request(library: Any, batch: Floats) -> tuple[list[Any], list[Any]]:
    from tritonclient.utils import InferenceServerException

    tensor = library.InferInput(CONTRACT.input, list(batch.shape), "FP32")
    try:
        tensor.set_data_from_numpy(batch)
    except InferenceServerException as error:
        raise Refused(str(error)) from error
    return [tensor], [library.InferRequestedOutput(name) for name in (CONTRACT.logits, CONTRACT.attention)]


def _answer(result: Any, version: str) -> Answer:
    return Answer(version, result.as_numpy(CONTRACT.logits), result.as_numpy(CONTRACT.attention))


@contextlib.contextmanager
def _told(*faults: type[Exception]) -> Iterator[None]:
    """Whatever goes wrong between a server and its client, as Failed or Refused; `faults` are the connection's own."""
    from tritonclient.utils import InferenceServerException

    # Of the connection; of a body that is no answer; of a channel that another thread has closed.
    broken: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)
    try:
        yield
    except InferenceServerException as error:
        status = error.status()
        message = f"{status or 'no status'}: {(error.message() or '').strip()[:300]}"
        raise (Refused if status in _REFUSALS else Failed)(message) from error
    except TimeoutError as error:
        raise Failed("no answer in time") from error
    except broken + faults as error:
        raise Failed(f"{type(error).__name__}: {str(error)[:300]}") from error
