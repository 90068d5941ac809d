"""What can go wrong with the pretended Hub of `hub_server`, and what that does to its answers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from tests.hub_api import refusal

if TYPE_CHECKING:
    from tests.hub_api import Answer, Request

Play = Literal["status", "hang", "slow", "cut", "cut-request", "lose-answer", "truncate", "flip", "swell"]


@dataclass
class Fault:
    """Something to go wrong.

    Attributes:
        play: "status" refuses with `status`; "hang" never answers; "slow" sends `block` bytes every `pause_s`; "cut"
            closes the connection after half of the answer's body, and where it has none without an answer;
            "cut-request" closes it when half of the request's body has been read, so that nothing is done;
            "lose-answer" does what was asked and closes it without an answer; "truncate" gives half of a file as if
            it were the whole; "flip" gives a file with one bit of its middle byte changed;
            "swell" gives `block` bytes in its place.
        path: pattern, as in fnmatch, for the unquoted path. A file in LFS is downloaded from `/cdn/...`, and both
            paths end with the file's name.
        method: of the requests that are meant, or None for all.
        times: how often it is yet to happen, or None for always.
        status: of the answer.
        retry_after: in seconds, for the header of that name.
        code: X-Error-Code, from which the client picks its exception.
        block: in bytes.
        pause_s: between two blocks.
        played: how often it has happened.
    """

    play: Play
    path: str = "*"
    method: str | None = None
    times: int | None = None
    status: int = 500
    retry_after: int | None = None
    code: str | None = None
    block: int = 1024
    pause_s: float = 0.05
    played: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def takes(self, request: Request) -> bool:
        """Whether this request goes wrong by it; counts it if so."""
        if (
            self.times == 0
            or self.method not in {None, request.method}
            or not fnmatchcase(request.plain_path, self.path)
        ):
            return False
        self.times = None if self.times is None else self.times - 1
        self.played += 1
        return True

    def refused(self) -> Answer:
        """The refusal of "status"."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return refusal(self.status, "refused by a fault", self.code, headers)

    def spoilt(self, answer: Answer) -> Answer:
        """What "truncate", "flip" and "swell" make of a file."""
        if self.play == "swell":
            return replace(answer, body=bytes(self.block))
        middle = len(answer.body) // 2
        if self.play == "truncate":
            return replace(answer, body=answer.body[:middle])
        changed = bytearray(answer.body)
        changed[middle] ^= 1
        return replace(answer, body=bytes(changed))


class Faults:
    """The faults that are to come, of which the first that fits a request happens to it."""

    def __init__(self) -> None:
        self._all: list[Fault] = []
        self._lock = threading.Lock()

    def play(self, play: Play, path: str = "*", **options: Any) -> Fault:
        """Let something go wrong from now on. `options`: the other fields of `Fault`."""
        fault = Fault(play, path, **options)
        with self._lock:
            self._all.append(fault)
        return fault

    def clear(self) -> None:
        """Let all go well again; what hangs is closed without an answer, and what is slow is sent at once."""
        with self._lock:
            for fault in self._all:
                fault.over.set()
            self._all.clear()

    def take(self, request: Request, *plays: Play) -> Fault | None:
        """The first fault of these plays that is due for this request."""
        with self._lock:
            return next((fault for fault in self._all if fault.play in plays and fault.takes(request)), None)
