"""Native code that crashes, stalls or takes all memory costs one request, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ser_core import apart, audio, containers, decoder, sound
from ser_core.apart import DecoderLost
from ser_core.config import Limits
from ser_core.errors import AudioTooLong, UnreadableAudio
from tests import processes, sounds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ser_core.sound import Sound

RATE = 48_000
CRASH = "import ctypes\ncontainers.open_av = lambda file: ctypes.string_at(0)"
CIRCLE = "def circle(file):\n    while True: pass\ncontainers.open_av, decoder.BLOCK_CPU_S = circle, 0.2"
STALL = "import time\ncontainers.open_av, decoder.FILE_S = lambda file: time.sleep(600), 1"
ONE_BLOCK = """
import time
tell_block = decoder._tell_block
def tell_first(line, block):
    decoder._tell_block = lambda *rest: time.sleep(600)
    tell_block(line, block)
decoder._tell_block = tell_first
"""
GREED = "containers.open_av = lambda file: bytearray(2**30)"
GREED_AT_ONCE = "containers.open_av = lambda file: [bytearray(2**20) for _ in range(1_000)]"


def command(change: str) -> list[str]:
    """A decoder in which something of the native code is another."""
    return [sys.executable, "-c", f"from ser_core import containers, decoder\n{change}\ndecoder.main()"]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return " Z " in Path(f"/proc/{pid}/stat").read_text()  # who ends processes without a parent may be slow
    except ProcessLookupError:
        return True
    except FileNotFoundError:  # gone in between, or a system without /proc
        return Path("/proc/self/stat").exists()


def await_end(pid: int) -> None:
    processes.until(lambda: is_gone(pid), 30.0)


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[apart.Decoders]:
    own = apart.Decoders()
    monkeypatch.setattr(apart, "DECODERS", own)
    yield own
    own.close()


@pytest.fixture
def mp3(tmp_path: Path) -> Path:
    return sounds.write(tmp_path, sounds.tone(10.0, RATE), RATE, "mp3")


# The samples are those that the decoders give.


def in_this_process(path: Path) -> Sound:
    with path.open("rb", buffering=0) as file:
        try:
            with containers.open_sndfile(file) as source:
                found = sound.of_source(source, "it", 16_000, Limits())
        except containers.DecodeError:
            file.seek(0)
            with containers.open_av(file) as source:
                found = sound.of_source(source, "it", 16_000, Limits())
    assert found is not None
    return found


@pytest.mark.parametrize("name", sounds.FORMATS)
def test_the_same_sound_apart_and_here(tmp_path: Path, name: str) -> None:
    noises = np.column_stack([sounds.noise(3.0, RATE, seed=seed) for seed in range(2)])
    path = sounds.write(tmp_path, noises, RATE, name)
    whole, here = audio.read(path), in_this_process(path)
    assert np.array_equal(whole.samples, here.samples)
    assert (whole.container, whole.source_rate, whole.source_channels) == (here.container, RATE, 2)


def test_joined_blocks_hold_the_same_samples_and_the_error_comes_last() -> None:
    parts = [np.full((n, 2), n % 1_000, dtype=np.int16) for n in (1, 70_000, 3, 40_000, 40_000, 5)]

    def blocks() -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.int16]]]:
        yield from parts
        yield np.ones((4, 1), dtype=np.int16)  # another layout midway
        raise containers.DecodeError("is damaged")

    found: list[np.ndarray[tuple[int, ...], np.dtype[np.int16]]] = []
    with pytest.raises(containers.DecodeError, match="is damaged"):
        found.extend(decoder.joined(blocks()))
    assert [len(block) for block in found] == [70_001, 80_003, 5, 4]
    assert np.array_equal(np.concatenate(found[:3]), np.concatenate(parts))


@pytest.mark.parametrize(
    ("head", "plain"),
    [
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0", True),
        (b"RIFF\0\0\0\0WAVEfmt \x28\0\0\0\xfe\xff" + b"\0" * 22 + b"\1\0", True),
        (b"RIFF\0\0\0\0WAVEfmt \x28\0\0\0\xfe\xff" + b"\0" * 22 + b"\2\0", False),  # ADPCM
        (b"RIFF\0\0\0\0WAVEfmt \x28\0\0\0\xfe\xff", False),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x55\0", False),  # MP3
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x11\0", False),  # ADPCM
        (b"RIFF\0\0\0\0WAVELIST\x10\0\0\0\x01\0", False),
        (b"RIFF", False),
        (b"", False),
    ],
)
def test_what_is_read_here(tmp_path: Path, head: bytes, plain: bool) -> None:
    path = tmp_path / "head"
    path.write_bytes(head)
    with path.open("rb", buffering=0) as file:
        assert containers.is_plain_wav(file) is plain
        assert file.tell() == 0


# What breaks a decoder costs its own request.


@pytest.mark.parametrize("change", [CRASH, CIRCLE, STALL, GREED, GREED_AT_ONCE])
def test_a_decoder_that_breaks_costs_one_request(
    decoders: apart.Decoders, mp3: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    good = audio.read(mp3)
    decoders.close()
    with monkeypatch.context() as changed:
        changed.setattr(apart, "COMMAND", command(change))
        with pytest.raises(UnreadableAudio, match=r"^sound\.mp3 can't be decoded within .* as WAV or FLAC.*\.$"):
            audio.read(mp3)
    assert decoders.pids == []
    assert np.array_equal(audio.read(mp3).samples, good.samples)


@contextmanager
def one_block_of(mp3: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[containers.Source]:
    """A file of which the first block was read, and the next, asked for ahead, hasn't come and won't."""
    with monkeypatch.context() as changed, mp3.open("rb", buffering=0) as file:
        changed.setattr(apart, "COMMAND", command(ONE_BLOCK))
        with apart.opened(decoder.OPEN_AV, file) as source:
            changed.setattr(apart, "REPLY_S", 5.0)
            assert len(next(source.blocks)) >= decoder.JOINED_FRAMES
            yield source


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT, signal.SIGSTOP])
def test_a_decoder_that_ends_midway(
    decoders: apart.Decoders, mp3: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    with one_block_of(mp3, monkeypatch) as source:
        os.kill(decoders.pids[0], number)
        with pytest.raises(DecoderLost):
            next(source.blocks)
    assert decoders.pids == []
    assert audio.read(mp3).duration_s == pytest.approx(10.0, abs=0.1)


def test_a_decoder_that_ended_while_nobody_asked_is_replaced(decoders: apart.Decoders, mp3: Path) -> None:
    audio.read(mp3)
    (first,) = decoders.pids
    os.kill(first, signal.SIGKILL)
    await_end(first)
    audio.read(mp3)
    assert first not in decoders.pids


def test_a_decoder_is_kept_also_where_its_file_is_refused(
    tmp_path: Path, decoders: apart.Decoders, mp3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio.read(mp3)
    before = decoders.pids
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk" * 100)
    for _ in range(2):
        with pytest.raises(AudioTooLong):
            audio.read(mp3, limits=Limits(max_duration_s=3.0))
        with pytest.raises(UnreadableAudio):
            audio.read(junk)
        audio.read(mp3)
    assert decoders.pids == before
    monkeypatch.setattr(apart, "MOST_FILES", 1)
    audio.read(mp3)
    assert decoders.pids != before


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_decoder_that_ends_with_a_block_that_nobody_waits_for_is_replaced_at_once(
    decoders: apart.Decoders, mp3: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(apart, "END_S", 0.2)
    began = time.monotonic()
    with one_block_of(mp3, monkeypatch):
        os.kill(decoders.pids[0], number)
    assert time.monotonic() - began < 10.0  # and not `REPLY_S`
    audio.read(mp3)
    assert len(decoders.pids) == 1


def test_a_decoder_that_answers_nonsense_costs_no_place(
    decoders: apart.Decoders, mp3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any) -> None:
        raise MemoryError

    for _ in range((os.cpu_count() or 1) + 1):
        with monkeypatch.context() as patched, mp3.open("rb", buffering=0) as file:
            patched.setattr(apart._Decoder, "end", broken)
            with pytest.raises(MemoryError), apart.opened(decoder.OPEN_AV, file):
                pass
    assert decoders.pids == []
    assert audio.read(mp3).duration_s == pytest.approx(10.0, abs=0.1)


def test_without_a_decoder_a_wav_is_still_read(
    tmp_path: Path, decoders: apart.Decoders, mp3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "COMMAND", [str(tmp_path / "missing")])
    assert audio.read(sounds.write(tmp_path, sounds.tone(), 16_000)).duration_s == 2.0
    with pytest.raises(UnreadableAudio, match="no decoder can be started"):
        audio.read(mp3)
    monkeypatch.setattr(apart, "COMMAND", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(UnreadableAudio, match="can't be decoded"):
        audio.read(mp3)


def test_one_that_breaks_leaves_the_others_alone(
    decoders: apart.Decoders, mp3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    decoders.__init__()  # type: ignore[misc]  # three places
    expected = audio.read(mp3).samples
    done = threading.Event()
    killed: set[int] = set()

    def kill() -> None:
        while not done.wait(0.3):
            for pid in decoders.pids[:1]:
                os.kill(pid, signal.SIGSEGV)
                killed.add(pid)

    def read(_: int) -> bool:
        try:
            return np.array_equal(audio.read(mp3).samples, expected)
        except UnreadableAudio:
            return bool(killed)

    killer = threading.Thread(target=kill)
    killer.start()
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, range(60)))
    done.set()
    killer.join()
    assert killed
    assert len(decoders.pids) <= 3
    assert np.array_equal(audio.read(mp3).samples, expected)


# Nothing is left behind, nor given away.

READ = """
import os, sys, time
from ser_core import apart, audio
audio.read(sys.argv[1])
print(*apart.DECODERS.pids, flush=True)
"""


@pytest.mark.parametrize("number", [0, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_decoder_outlives_its_parent(mp3: Path, number: int) -> None:
    with processes.start(mp3, code=READ + "sys.stdin.read()", stdin=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.1)
        assert not is_gone(pid)
        if number:
            parent.send_signal(number)
        parent.communicate(timeout=30)  # closes what it waits for
    await_end(pid)


def test_a_decoder_that_goes_round_in_circles_ends_without_its_parent_too(mp3: Path) -> None:
    code = f"""
import sys, threading, time
from ser_core import apart, audio
apart.COMMAND = {command(CIRCLE.replace("0.2", "2.0"))!r}
threading.Thread(target=audio.read, args=(sys.argv[1],), daemon=True).start()
while not apart.DECODERS.pids: time.sleep(0.01)
time.sleep(1)
print(*apart.DECODERS.pids, flush=True)
time.sleep(60)
"""
    with processes.start(mp3, code=code) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    await_end(pid)


def test_a_fork_takes_a_decoder_of_its_own(mp3: Path) -> None:
    code = READ + (
        "child = os.fork()\n"
        "assert child or not apart.DECODERS.pids\n"
        "if child: os.kill(os.getpid(), 9)\n"
        "audio.read(sys.argv[1])\n"
        "print(*apart.DECODERS.pids, flush=True)\n"
        "time.sleep(1)\n"
        "audio.read(sys.argv[1])\n"
        "print('read again', flush=True)\n"
    )
    with processes.start(mp3, code=code) as parent:
        assert parent.stdout is not None
        first, second = int(parent.stdout.readline()), int(parent.stdout.readline())
        await_end(first)  # its parent is gone, though the fork lives
        assert parent.stdout.readline() == "read again\n"
    assert second != first
    await_end(second)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into Linux's /proc")
def test_no_secret_reaches_a_decoder(decoders: apart.Decoders, mp3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    audio.read(mp3)
    (pid,) = decoders.pids
    assert b"hf_secret" not in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_decoder_is_small(decoders: apart.Decoders, mp3: Path) -> None:
    for _ in range(20):
        audio.read(mp3)
    (pid,) = decoders.pids
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kept = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
    assert int(kept["VmHWM"]) < 100_000
    assert int(kept["RssAnon"]) < 50_000
