"""Decoding in processes of its own: native code that crashes or stalls on a stranger's file costs that one request.

FFmpeg, and libsndfile with the libraries for FLAC, Ogg, Vorbis, Opus and MPEG, are some hundred thousand lines of C
that take a file apart bit by bit. They run in `ser_core.decoder`, a process that holds nothing of value, has bounds of
time and memory, and is replaced when it ends. Only a plain WAV (`containers.is_plain_wav`) is read by libsndfile in
this process: a header and samples as they are, nothing to decode; it is what microphones send, and 4 s of it take 1 ms
here and ten times that there on a busy machine, where two processes must be woken in turn.

A decoder takes 0.3 s to start, which the first request waits for, and is kept for those that follow; there is one for
each request at a time, and no more than cores. It holds 58 MB, 24 MB of them its own (Linux, measured).
"""

from __future__ import annotations

import atexit
import functools
import json
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import weakref
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_core import containers, decoder
from ser_core.containers import DecodeError, Source

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import numpy.typing as npt

log = logging.getLogger(__name__)

COMMAND = [sys.executable, "-m", "ser_core.decoder"]
END_S = 1.0
"""Seconds to wait for the last one, that nobody needs. A new decoder takes a third of it."""
REPLY_S = 20.0
"""Seconds to wait for an answer, the decoder's start included. It ends itself earlier, unless it was stopped."""
MOST_FILES = 1_000
"""Files after which a decoder is replaced, so that what leaks in native code is bounded."""

# What a Python needs to start, and no secret beside it.
_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")

# What one file took is given back before the next, which is bounded by the same memory: glibc would keep more and more
# of what it was once asked for, and an arena for each thread.
_OF_ITS_OWN = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}


class DecoderLost(Exception):
    """The process that decoded crashed, or was ended because of its time or memory. Never leaves `ser_core.audio`.

    Its text completes a sentence that starts with the file's name.
    """


def openers(file: io.FileIO) -> Iterator[Callable[[io.FileIO], AbstractContextManager[Source]]]:
    """The ways to open this file, in the order to try them. Each may raise DecodeError, and the blocks as well.

    Those that run apart may also raise DecoderLost, at any of these places.
    """
    plain = containers.is_plain_wav(file)
    yield containers.open_sndfile if plain else functools.partial(opened, decoder.OPEN_SNDFILE)
    yield functools.partial(opened, decoder.OPEN_AV)


@contextmanager
def opened(how: bytes, file: io.FileIO) -> Iterator[Source]:
    """A file, opened by a decoder of its own for as long as the context lasts.

    Args:
        how: `decoder.OPEN_SNDFILE` or `decoder.OPEN_AV`.
        file: opened for reading, at its start.

    Raises:
        DecodeError: as in `containers`; the blocks raise it too.
        DecoderLost: the decoder ended, or doesn't answer; the blocks raise it too.
    """
    worker = DECODERS.take()
    try:
        yield worker.open(how, file)
    finally:
        DECODERS.give(worker)


class _Decoder:
    """One process. Not to be used by two threads at once."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                COMMAND,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # FFmpeg and mpg123 tell there what they think of each file
                cwd=Path(__file__).resolve().parent.parent,
                env={name: os.environ[name] for name in _VARIABLES if name in os.environ} | _OF_ITS_OWN,
                start_new_session=True,  # an interrupt from the keyboard is for us
            )
        self._line, self._replies = ours, ours.makefile("rb")
        self._whole = True  # between an answer and the next question
        self._files = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def fit(self) -> bool:
        """Whether another file may be asked for."""
        return self._whole and self._files < MOST_FILES and self._process.poll() is None

    def open(self, how: bytes, file: io.FileIO) -> Source:
        self._files += 1
        self._send(how, file)
        told = self._answer()
        return Source(blocks=self._blocks(), **told)

    def end(self) -> None:
        """Let it close its file, if it has one; it is not fit for another where it doesn't within `END_S`."""
        try:
            self._line.settimeout(END_S)
            if not self._whole and self._process.poll() is None:
                self._answer()  # with a block that nobody wants any more
            self._line.sendall(decoder.END)
        except (DecoderLost, OSError):
            self._whole = False
        except DecodeError:
            return  # and has closed it

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self.let_go()

    def let_go(self) -> None:
        """Close our end, which ends the process if no other has it."""
        self._replies.close()
        self._line.close()

    def _blocks(self) -> Iterator[npt.NDArray[Any]]:
        self._send(decoder.NEXT)
        while told := self._answer():
            # Made while the caller is busy with this one.
            self._send(decoder.NEXT)
            yield told["block"]

    def _send(self, what: bytes, file: io.FileIO | None = None) -> None:
        self._whole = False
        with self._or_lost():
            self._line.settimeout(REPLY_S)
            if file is None:
                self._line.sendall(what)
            else:
                socket.send_fds(self._line, [what], [file.fileno()])

    def _answer(self) -> dict[str, Any]:
        """What it says to what was sent; `block` holds the samples, if there are any."""
        with self._or_lost():
            told: dict[str, Any] = json.loads(self._replies.readline())
            if "shape" in told:
                told["block"] = self._samples(**told)
        self._whole = True
        if "fault" in told:
            raise DecodeError(told["fault"])
        return told

    @contextmanager
    def _or_lost(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, ValueError, TypeError, MemoryError) as error:
            self._process.kill()
            log.warning("A decoder was lost (%d): %s", self._process.wait(), error or type(error).__name__)
            raise DecoderLost(
                "can't be decoded within the time and memory that a recording takes, or it breaks the decoder. Export "
                "it again as WAV or FLAC, without pictures"
            ) from error

    def _samples(self, shape: list[int], dtype: str) -> npt.NDArray[Any]:
        bytes_ = np.empty(math.prod(shape) * np.dtype(dtype).itemsize, dtype=np.uint8)
        if self._replies.readinto(bytes_.data) < bytes_.nbytes:
            raise EOFError
        return bytes_.view(dtype).reshape(shape)


class Decoders:
    """Those of this process: the only state beside a recogniser's, because a process takes time to start."""

    def __init__(self) -> None:
        self._reset()
        atexit.register(self.close)
        # A fork's copies of our ends would be mistaken for its own, and keep decoders alive when we are gone.
        os.register_at_fork(after_in_child=self._forget)

    def take(self) -> _Decoder:
        """One that nobody else uses; waits where there are as many as cores."""
        self._places.acquire()
        try:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is not None and worker.fit:
                return worker
            if worker is not None:
                self._drop(worker)
            return self._start()
        except BaseException:
            self._places.release()
            raise

    def give(self, worker: _Decoder) -> None:
        """Take one back: to be kept, if it can be asked again."""
        try:
            worker.end()
        except BaseException:
            self._drop(worker)
            raise
        else:
            if not worker.fit:
                self._drop(worker)
                return
            with self._lock:
                self._idle.append(worker)
        finally:
            self._places.release()

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        with self._lock:
            return [worker.pid for worker in self._all]

    def close(self) -> None:
        """End them all, also those that are at work."""
        for worker in list(self._all):
            worker.close()

    def _start(self) -> _Decoder:
        try:
            worker = _Decoder()
        except OSError as error:
            raise DecoderLost("can't be decoded now, as no decoder can be started. Try again later") from error
        with self._lock:
            self._all.add(worker)
        return worker

    def _drop(self, worker: _Decoder) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.close()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._idle: list[_Decoder] = []
        self._all: weakref.WeakSet[_Decoder] = weakref.WeakSet()

    def _forget(self) -> None:
        for worker in list(self._all):
            worker.let_go()
        self._reset()


DECODERS = Decoders()


def warm_up() -> None:
    """Have a decoder ready for the first file that wants one; where none can be had, that file is told so."""
    with suppress(DecoderLost, OSError):
        DECODERS.give(DECODERS.take())
