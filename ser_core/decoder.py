"""`python -m ser_core.decoder`: decodes for `ser_core.apart`, in a process that may crash, stall or be ended.

Its standard input is one end of a pair of sockets. What comes over it is a byte each:

- `OPEN_SNDFILE` or `OPEN_AV`, with an open file: by libsndfile or by FFmpeg. Answered by {"container", "sample_rate",
  "channels", "declared_s"} as in `containers.Source`.
- `NEXT`: the next block. Answered by {"shape", "dtype"} and the samples' bytes, or, where there is none, by {}.
- `END`: the file is done with. Not answered.

Each answer is a line of JSON; {"fault": text} stands for a `DecodeError`, and ends the file. When the other end closes,
however its process ended, so does this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_core import containers
from ser_core.containers import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

OPEN_SNDFILE, OPEN_AV, NEXT, END = b"s", b"a", b"n", b"e"

JOINED_FRAMES = 65_536
"""Of one answer, at least, as long as the file goes on: with fewer, most of a short file's time is waiting in turn."""
BLOCK_CPU_S = 3.0
"""Seconds of the processor for one answer. A second of sound takes some milliseconds, so what takes as long goes round
in circles; and ten minutes of Opus, which may take five seconds in all, are not hurt."""
FILE_S = 40
"""Seconds for one file, whatever it does."""
SPARE_BYTES = 256 * 1024 * 1024
"""Of memory, beside what the process holds when it is ready: the largest file that is read is one picture of 128 MB."""


def main() -> None:
    """Answer until the other end closes."""
    import av  # noqa: F401  before the bounds, which are for what a stranger sends
    import soundfile  # noqa: F401

    _bound()
    with socket.socket(fileno=0) as line:
        while True:
            asked, handles, _, _ = socket.recv_fds(line, 1, 1)
            if not asked:
                return
            for handle in handles:
                signal.alarm(FILE_S)
                _decode(line, asked, handle)
                signal.alarm(0)


def joined(blocks: Iterator[npt.NDArray[Any]]) -> Iterator[npt.NDArray[Any]]:
    """The same samples in blocks of `JOINED_FRAMES` or somewhat more; FFmpeg's hold some milliseconds.

    Args:
        blocks: as in `containers.Source`; a DecodeError of theirs comes behind all that came before it.
    """
    parts: list[npt.NDArray[Any]] = []
    fault = None
    try:
        for block in blocks:
            if parts and not _alike(block, parts[0]):
                yield np.concatenate(parts)
                parts = []
            parts.append(block)
            if sum(map(len, parts)) >= JOINED_FRAMES:
                yield np.concatenate(parts)
                parts = []
    except DecodeError as error:
        fault = error
    if parts:
        yield np.concatenate(parts)
    if fault is not None:
        raise fault


def _alike(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return one.shape[1] == other.shape[1] and one.dtype == other.dtype


def _decode(line: socket.socket, asked: bytes, handle: int) -> None:
    opener = containers.open_sndfile if asked == OPEN_SNDFILE else containers.open_av
    # Unbuffered: libsndfile reads the descriptor itself, so both must mean the same place in the file.
    with os.fdopen(handle, "rb", buffering=0) as file:
        try:
            _rearm()
            with opener(file) as source:
                names = ("container", "sample_rate", "channels", "declared_s")
                _tell(line, {name: getattr(source, name) for name in names})
                blocks = joined(source.blocks)
                while line.recv(1) == NEXT:
                    _rearm()
                    _tell_block(line, next(blocks, None))
        except DecodeError as error:
            _tell(line, {"fault": str(error)})


def _tell(line: socket.socket, answer: dict[str, Any]) -> None:
    line.sendall(json.dumps(answer).encode() + b"\n")


def _tell_block(line: socket.socket, block: npt.NDArray[Any] | None) -> None:
    if block is None:
        _tell(line, {})
        return
    _tell(line, {"shape": block.shape, "dtype": block.dtype.str})
    line.sendall(np.ascontiguousarray(block).data)


def _rearm() -> None:
    """Start the processor's clock anew. The signal ends the process, in the midst of native code too."""
    signal.setitimer(signal.ITIMER_PROF, BLOCK_CPU_S)


def _bound() -> None:
    """No more memory than `SPARE_BYTES`; no file is written, nor an image of a stranger's sound left by a crash."""
    import resource

    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)  # who started us may have ignored them
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # Where there is no /proc (macOS), the system doesn't hold to this limit either.
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
