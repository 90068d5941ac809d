"""One model server: asked, held to what the contract and the bundle say, and left out for a while when it fails."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_core.backends import Output
from ser_core.config import CONTRACT
from ser_core.emotions import LABELS
from ser_core.errors import BundleError
from ser_core.kserve import Failed, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from ser_core.kserve import Address, Answer, Client
    from ser_core.probe import Probe

_NEVER = float("-inf")

log = logging.getLogger("ser.remote")


@dataclass(frozen=True)
class Patience:
    """How long what may take.

    Attributes:
        request_s: one request to one server, the first one's compilation included.
        call_s: one call of `infer`, all its requests and second tries together.
        look_s: finding out whether any server is there.
        left_out_s: a server that failed isn't asked for so long.
        unfit_s: the same of one that runs another model.
        checked_s: for so long a server that answered the probe is believed to be what it was.
        lately_s: a server that answered so recently needs no look.
    """

    request_s: float = 5.0
    call_s: float = 15.0
    look_s: float = 1.0
    left_out_s: float = 3.0
    unfit_s: float = 15.0
    checked_s: float = 30.0
    lately_s: float = 5.0


class Replica:
    """One model server, and what is known of it. Its methods may be called from many threads at once.

    Args:
        address: where it is.
        client: speaks to it.
        probe: what it is held to.
        patience: how long what may take.

    Attributes:
        busy: requests that are on their way.
        answered: when it answered last, as `time.monotonic` counts.
        out_until: until when it isn't asked.
        fault: what went wrong last, for a log; "" since it answered.
        unfit: the error, where it runs another model.
    """

    def __init__(self, address: Address, client: Client, probe: Probe, patience: Patience) -> None:
        self.address, self.client = address, client
        self.busy, self.answered, self.out_until = 0, _NEVER, _NEVER
        self.fault = ""
        self.unfit: BundleError | None = None
        self._probe, self._patience = probe, patience
        self._checked_until, self._version = _NEVER, ""
        self._checking, self._counting = threading.Lock(), threading.Lock()

    def infer(self, batch: npt.NDArray[np.float32], deadline: float) -> Output:
        """Have a batch judged until `deadline`, as `time.monotonic` counts.

        Raises:
            Failed: it doesn't answer, or not what the contract says.
            Refused: it won't take the batch.
            BundleError: it runs another model.
        """
        for _ in range(2):
            version = self._checked(deadline)
            answer = self.client.infer(batch, self._left(deadline))
            # Servers take up new versions while they run, and start anew: an answer that may be of another model than
            # the one that was checked isn't believed.
            if answer.version == self._version == version and self._checked_until > _NEVER:
                return believed(answer, batch)
            self._checked_until = _NEVER
        raise Failed(f"it became another one while it was asked (version {version!r}, then {answer.version!r})")

    def look(self, deadline: float) -> None:
        """Find out whether it is ready, and the model the right one. Raises Failed or BundleError as `infer` does."""
        if time.monotonic() >= self._checked_until:
            self._checked(deadline)
        elif not self._is_ready(deadline):
            raise Failed("it says that the model isn't ready")
        self._answers()

    @contextlib.contextmanager
    def asked(self) -> Iterator[None]:
        """Around whatever is asked of it: keeps account of how that went."""
        with self._counting:
            self.busy += 1
        try:
            yield
        except Failed as error:
            self._leave_out(self._patience.left_out_s, str(error))
            raise
        except BundleError as error:
            self.unfit = error
            self._leave_out(self._patience.unfit_s, str(error))
            raise
        else:
            self._answers()
        finally:
            with self._counting:
                self.busy -= 1

    def _answers(self) -> None:
        self.answered = time.monotonic()
        # Not where another thread has just met with a failure: this answer may be older than that.
        if self.fault and self.out_until <= self.answered:
            log.warning("%s answers again", self.address)
            self.fault, self.unfit = "", None

    def _is_ready(self, deadline: float) -> bool:
        try:
            return self.client.is_ready(self._left(deadline))
        except Refused as error:
            raise Failed(str(error)) from error

    def _leave_out(self, seconds: float, fault: str) -> None:
        # Whatever answers there next may be another server.
        self._checked_until = _NEVER
        self.out_until = time.monotonic() + seconds
        if not self.fault:
            log.warning("%s is left out for now (%s)", self.address, fault)
        self.fault = fault

    def _checked(self, deadline: float) -> str:
        """The version of the model, which has answered the probe lately, or does so now."""
        if not self._checking.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise Failed("no answer to the probe in time")
        try:
            if time.monotonic() >= self._checked_until:
                self._probe.check_metadata(self.client.metadata(self._left(deadline)))
                answer = self.client.infer(self._probe.batch, self._left(deadline))
                self._probe.check(believed(answer, self._probe.batch))
                self._version = answer.version
                self._checked_until = time.monotonic() + self._patience.checked_s
            return self._version
        except Refused as error:
            raise BundleError(f"The model server refuses what this version sends it ({error}).") from error
        finally:
            self._checking.release()

    def _left(self, deadline: float) -> float:
        """Seconds that one request may take now. Raises Failed where there are none."""
        left = min(self._patience.request_s, deadline - time.monotonic())
        if left <= 0.0:
            raise Failed("no answer in time")
        return left


def believed(answer: Answer, batch: npt.NDArray[np.float32]) -> Output:
    """An answer that is what the contract says for a batch: shapes, type, finite numbers. Raises Failed otherwise."""
    steps = batch.shape[3] // CONTRACT.attention_stride
    wanted = {"logits": (len(batch), len(LABELS)), "attention": (len(batch), steps)}
    given: dict[str, npt.NDArray[Any] | None] = {"logits": answer.logits, "attention": answer.attention}
    arrays = {}
    for name, shape in wanted.items():
        array = given[name]
        if array is None or array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            told = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise Failed(f"it answered {told} as {name}, where finite numbers, float32 {shape}, were due")
        arrays[name] = np.array(array)  # of its own: the bytes are the message's
    return Output(**arrays)
