"""The network on one or more model servers: a `Backend` that asks whichever of them answers, and says when none does.

What goes over the wire are features, never sound. A server is believed only once it has answered a probe as the
bundle's own weights do (see `ser_core.probe`), and again each time that it may have become another one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ser_core import kserve
from ser_core.backends import Output
from ser_core.errors import BackendError, BundleError, ModelUnavailable
from ser_core.kserve import Address, Failed, Refused
from ser_core.replica import Patience, Replica

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ser_core.backends import Backend
    from ser_core.bundle import Bundle
    from ser_core.prediction import Precision
    from ser_core.probe import Probe

VARIABLE = "SER_BACKEND"
"""Of the environment: the model servers, where a command line is silent; empty runs the network here."""
FALLBACK = "SER_BACKEND_FALLBACK"
"""Of the environment: "local" has the network run here while no model server answers."""
LOCAL = "local"
"""The only value of `FALLBACK` that there is."""

AT_ONCE = 16
"""Windows in one request: of those of 3 s it holds 1.6 MB, of the longest 3.1 MB, below the 4 MB that a gRPC server
takes unless it is told otherwise."""

State = Literal["up", "standing_in", "down"]
"""`up`: a server answers; `standing_in`: none does, and the network runs here meanwhile; `down`: nothing runs it."""

log = logging.getLogger("ser.remote")


class RemoteBackend:
    """Judges on model servers; safe to call from many threads at once.

    Args:
        addresses: of the servers, all of one model.
        probe: what each is held to, before it is believed.
        fallback: judges while no server answers; without, nothing does.
        patience: how long what may take.

    Raises:
        BackendError: `tritonclient` isn't installed.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        probe: Probe,
        fallback: Backend | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.fallback, self._patience = fallback, patience or Patience()
        self.replicas = [Replica(one, kserve.connect(one), probe, self._patience) for one in addresses]
        self._turn = 0
        self._looking, self._seen_down_until = threading.Lock(), float("-inf")

    def __repr__(self) -> str:
        return f"RemoteBackend({', '.join(str(one.address) for one in self.replicas)})"

    def infer(self, batch: npt.NDArray[np.float32]) -> Output:
        """See `Backend.infer`.

        Raises:
            ModelUnavailable: no server answered in time, and there is no fallback.
            BackendError: a server refuses the batch.
        """
        deadline = time.monotonic() + self._patience.call_s
        parts = [batch[first : first + AT_ONCE] for first in range(0, len(batch), AT_ONCE)]
        try:
            found = [self._ask(part, deadline) for part in parts]
        except ModelUnavailable:
            if self.fallback is None:
                raise
            return self.fallback.infer(batch)
        return Output(np.concatenate([one.logits for one in found]), np.concatenate([one.attention for one in found]))

    def state(self) -> State:
        """Whether a server answers. Looks where none has lately, for about a second at most."""
        if self._is_up():
            return "up"
        return "down" if self.fallback is None else "standing_in"

    def contact(self) -> None:
        """Look at all servers at once, for as long as one request may take.

        Raises:
            BundleError: all are there and run another model, and there is no fallback.
        """
        deadline = time.monotonic() + self._patience.request_s
        with ThreadPoolExecutor(len(self.replicas)) as pool:
            up = list(pool.map(lambda one: _met(one, deadline), self.replicas))
        unfit = [one.unfit for one in self.replicas if one.unfit is not None]
        if len(unfit) == len(self.replicas) and self.fallback is None:
            raise unfit[0]
        if not any(up):
            log.warning("No model server answers; %s", "this process judges" if self.fallback else "nothing is judged")

    def faults(self) -> str:
        """What is wrong with each server that can't be asked, for who runs them; "" where nothing is."""
        return "; ".join(f"{one.address}: {one.fault}" for one in self.replicas if one.fault)

    def close(self) -> None:
        """Close all connections."""
        for one in self.replicas:
            one.client.close()

    def _ask(self, part: npt.NDArray[np.float32], deadline: float) -> Output:
        tried: list[Replica] = []
        while time.monotonic() < deadline and (replica := self._next(tried)) is not None:
            tried.append(replica)
            try:
                with replica.asked():
                    return replica.infer(part, deadline)
            except Refused as error:
                log.warning("%s refuses a batch of %s: %s", replica.address, part.shape, error)
                raise BackendError("The model server refuses what it was sent, so there is no answer.") from error
            except (Failed, BundleError):
                continue  # it is left out now; another may do
        raise ModelUnavailable

    def _next(self, tried: Sequence[Replica]) -> Replica | None:
        """Who is to be asked: the least busy one, in turn, of those that aren't left out."""
        self._turn += 1
        first = self._turn % len(self.replicas)
        now = time.monotonic()
        usable = [
            one for one in (*self.replicas[first:], *self.replicas[:first]) if one not in tried and one.out_until <= now
        ]
        return min(usable, key=lambda one: one.busy, default=None)

    def _is_up(self) -> bool:
        if self._answered_lately():
            return True
        # One thread looks; whoever else asks meanwhile waits for what it finds.
        if not self._looking.acquire(timeout=self._patience.look_s):
            return False
        try:
            if self._answered_lately():
                return True
            if time.monotonic() < self._seen_down_until:
                return False
            if self._one_answers(time.monotonic() + self._patience.look_s):
                return True
            self._seen_down_until = time.monotonic() + self._patience.left_out_s
            return False
        finally:
            self._looking.release()

    def _answered_lately(self) -> bool:
        now = time.monotonic()
        return any(one.out_until <= now < one.answered + self._patience.lately_s for one in self.replicas)

    def _one_answers(self, deadline: float) -> bool:
        usable = sorted(
            (one for one in self.replicas if one.out_until <= time.monotonic()), key=lambda one: -one.answered
        )
        for count, one in enumerate(usable):
            now = time.monotonic()
            # Nobody is left out for being slow here: a recording waits longer than this look. And what is left of the
            # time is shared out, so that a server that doesn't answer hides none that would.
            with contextlib.suppress(Failed, BundleError):
                one.look(now + (deadline - now) / (len(usable) - count))
                return True
        return False


def _met(one: Replica, deadline: float) -> bool:
    """Whether a server answers, and as it should; it is left out for a while where not."""
    with contextlib.suppress(Failed, BundleError), one.asked():
        one.look(deadline)
        return True
    return False


def addresses(text: str) -> list[Address]:
    """The servers that a text with commas names. Raises BackendError where it names none, or one is no address."""
    found = [Address.parse(one) for one in text.split(",") if one.strip()]
    if not found:
        raise BackendError("No model server is named: give grpc://HOST:PORT/MODEL, with commas between several.")
    return found


def asked_for(text: str | None, instead: str | None) -> dict[str, Any]:
    """What `load` is to be given.

    Args:
        text: the servers, see `addresses`; the network runs here where there is none.
        instead: what judges while no server answers, `LOCAL` or nothing.

    Returns:
        `backend` and `fallback`; nothing without a `text`.

    Raises:
        BackendError: one of them can't be.
    """
    if not text:
        return {}
    if instead and instead != LOCAL:
        raise BackendError(f"{instead!r} can't stand in for model servers: say {LOCAL!r}, or nothing.")
    return {"backend": ",".join(map(str, addresses(text))), "fallback": bool(instead)}


def connected(
    text: str,
    local: Backend,
    opened: Bundle,
    precision: Precision,
    *,
    fallback: bool,
    patience: Patience | None = None,
) -> RemoteBackend:
    """The servers that a text names, looked at once; those that can't be reached yet are tried again later.

    Args:
        text: their addresses, with commas between them.
        local: the bundle's own network; it is kept only as a fallback.
        opened: the bundle.
        precision: of its weights.
        fallback: whether `local` judges while no server answers.
        patience: how long what may take.

    Raises:
        BackendError: it names no server, or `tritonclient` isn't installed.
        BundleError: the servers run another model, and there is no fallback.
    """
    from ser_core.probe import Probe

    named = f"{opened.name} {opened.version}"
    probe = Probe(local, opened.features, opened.calibration.temperature, precision, named)
    backend = RemoteBackend(addresses(text), probe, local if fallback else None, patience)
    backend.contact()
    return backend
