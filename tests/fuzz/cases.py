"""What a stranger may send: Hypothesis draws small numbers, the bytes are made of them here."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile as sf
from hypothesis import strategies as st

from tests import sounds
from tests.fuzz import bombs
from tests.fuzz.judge import Door, Question

if TYPE_CHECKING:
    from collections.abc import Callable

    Draw = Callable[[st.SearchStrategy[Any]], Any]

INTERESTING = (0, 1, 2, 7, 8, 127, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1)
RATES = (1, 7, 100, 7_999, 8_000, 11_025, 16_000, 44_100, 48_000, 192_000, 192_001, 384_000, 1_000_000, 10_000_000)
ENDINGS = (
    "",
    ".wav",
    ".mp3",
    ".flac",
    ".raw",
    ".sd2",
    ".m3u8",
    ".txt",
    ".tar.gz",
    ".WAV",
    ".exe",
    ".",
    ".aiff",
    ".mid",
)


@dataclass(frozen=True)
class Case:
    """Something to read.

    Attributes:
        kind: what was drawn, a few words.
        put: makes it in a folder and gives what to ask.
    """

    kind: str
    put: Callable[[Path], Question]


def file_case(kind: str, content: bytes, name: str = "sound") -> Case:
    """A file in the folder, to be read."""

    def put(folder: Path) -> Question:
        path = folder / name
        path.write_bytes(content)
        return Question("read", (str(path),))

    return Case(kind, put)


@functools.cache
def seed_file(name: str, channels: int = 1) -> bytes:
    """A third of a second in a format of `sounds.FORMATS`."""
    return sounds.encode(np.tile(sounds.noise(0.3, 48_000)[:, None], channels), 48_000, name)


def _seeds() -> st.SearchStrategy[bytes]:
    return st.builds(seed_file, st.sampled_from(sorted(sounds.FORMATS)), st.sampled_from((1, 2)))


# Files that are not what their headers say.


CHANCE = st.randoms(use_true_random=True)
"""Draws evenly, from the seed of the run: Hypothesis prefers what is small, and would change little but first bytes."""


@st.composite
def damaged(draw: Draw) -> Case:
    """A good file with some of its bytes changed, moved, doubled or missing; mostly near its start."""
    content, chance = bytearray(draw(_seeds())), draw(CHANCE)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        at = chance.randrange(1 + min(len(content), chance.choice((16, 64, 64, 400, 400, 10**9))))
        length, value = chance.choice((1, 2, 4, 8, 100, 4_000)), chance.choice(INTERESTING)
        part = content[at : at + length]
        match chance.choice(
            ("flip", "flip", "u16", "u32", "u32", "u64", "cut", "double", "junk", "zero", "end", "move")
        ):
            case "flip":
                content[at : at + 1] = bytes(byte ^ 1 << chance.randrange(8) for byte in part[:1])
            case "u16":
                content[at : at + 2] = struct.pack(chance.choice("<>") + "H", value % 2**16)
            case "u32":
                content[at : at + 4] = struct.pack(chance.choice("<>") + "I", value)
            case "u64":
                content[at : at + 8] = struct.pack(chance.choice("<>") + "Q", value << 31)
            case "cut":
                del content[at : at + length]
            case "double":
                content[at:at] = part * chance.choice((1, 3, 50))
            case "junk":
                content[at : at + length] = chance.randbytes(length)
            case "zero":
                content[at : at + length] = bytes(len(part))
            case "end":
                del content[at:]
            case "move":
                del content[at : at + length]
                to = chance.randrange(1 + len(content))
                content[to:to] = part
    return file_case("damaged", bytes(content))


@st.composite
def truncated(draw: Draw) -> Case:
    """A good file that ends anywhere."""
    content = draw(_seeds())
    return file_case("truncated", content[: draw(CHANCE).randrange(1 + len(content))])


@st.composite
def spliced(draw: Draw) -> Case:
    """The start of one file and the end of another."""
    one, other, chance = draw(_seeds()), draw(_seeds()), draw(CHANCE)
    return file_case("spliced", one[: chance.randrange(1 + len(one))] + other[chance.randrange(1 + len(other)) :])


@st.composite
def wav(draw: Draw) -> Case:
    """A WAV whose header may say anything, before samples of any kind."""
    chance = draw(CHANCE)

    def said(truth: int, *lies: int) -> int:
        return chance.choice(lies or INTERESTING) if chance.random() < 0.1 else truth

    tag, bits = chance.choice(((1, 8), (1, 16), (1, 16), (1, 24), (1, 32), (3, 32), (3, 32), (3, 64), (6, 8), (7, 8)))
    channels = said(chance.choice((1, 2, chance.randint(1, 8), chance.randint(1, 64))), 0, 1_024, 65_535)
    rate = said(chance.choice((16_000, 48_000, *RATES, chance.randint(1, 10_000_000))), 0, 2**32 - 1)
    block = said(channels * bits // 8, 0, 1, 65_535) % 2**16
    data = _samples_of(chance.choice(KINDS), bits if tag == 3 else 16, channels * chance.randrange(4_000))
    bits, tag = said(bits, 0, 1, 7, 12, 20, 65_535), said(tag, 0, 2, 0x11, 0x31, 0x45, 0x50, 0x55)
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block % 2**32, block, bits)
    if chance.random() < 0.2:
        longer = struct.pack("<HHIH14s", 22, bits, 0, tag, sounds.GUID_TAIL)
        form = struct.pack("<H", 0xFFFE) + form[2:] + longer
    chunks = [(b"fmt ", form), (b"data", data)]
    for _ in range(chance.choice((0, 0, 1, 3))):
        name = chance.choice((b"LIST", b"JUNK", b"fact", b"cue ", b"bext", b"smpl", b"PEAK", b"id3 ", b"cart"))
        chunks.insert(chance.randrange(len(chunks) + 1), (name, chance.randbytes(chance.randrange(700))))
    body = b"WAVE" + b"".join(name + struct.pack("<I", said(len(part))) + part for name, part in chunks)
    head = b"RIFF" if chance.random() < 0.9 else chance.choice((b"RIFX", b"RF64"))
    return file_case("wav", head + struct.pack("<I", said(len(body))) + body)


KINDS = ("noise", "nan", "infinite", "denormal", "dc", "silence", "huge", "full")


def _values(kind: str, count: int) -> sounds.Floats:
    values = sounds.noise(1.0, count) if count else sounds.silence(0.0)
    constants = {"denormal": 1e-40, "dc": 0.7, "silence": 0.0, "huge": 1e38, "full": -1.0}
    if kind in constants:
        values[:] = constants[kind]
    elif kind in ("nan", "infinite") and count:
        values[count // 2] = np.nan if kind == "nan" else -np.inf
    return values


def _samples_of(kind: str, bits: int, count: int) -> bytes:
    with np.errstate(all="ignore"):
        return _values(kind, count).astype({32: "<f4", 64: "<f8"}.get(bits, "<i2")).tobytes()


@st.composite
def strange_formats(draw: Draw) -> Case:
    """What libsndfile writes with many channels and any rate, also in formats that nobody sends."""
    form = draw(st.sampled_from(("WAV", "AU", "AIFF", "CAF", "W64", "RF64", "FLAC")))
    # No others, and nothing beyond full scale: what libsndfile 1.2.2 writes may crash it.
    plain = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")
    coding = draw(st.sampled_from([one for one in sorted(sf.available_subtypes(form)) if one.startswith(plain)]))
    chance = draw(CHANCE)
    channels = chance.choice((1, 2, chance.randint(1, 8), chance.randint(1, 64)))
    rate = chance.choice((16_000, 48_000, *RATES, chance.randint(1, 10_000_000)))
    values = np.tile(_values(chance.choice(KINDS), chance.randrange(2_000))[:, None], channels)
    if coding not in {"FLOAT", "DOUBLE"}:
        values = np.clip(np.nan_to_num(values), -1.0, 1.0)
    target = BytesIO()
    # It refuses to write some; what it has written by then is a case as well.
    with contextlib.suppress(sf.LibsndfileError, ValueError, RuntimeError, TypeError, AssertionError):
        sf.write(target, values, rate, format=form, subtype=coding)
    return file_case(f"{form} {coding}", target.getvalue())


@st.composite
def polyglot(draw: Draw) -> Case:
    """Something else before, behind or around a sound."""
    others = (
        _zipped, lambda: b"<!DOCTYPE html><html><body>sound</body></html>" * 20, lambda: b"%PDF-1.7\n" + bytes(500),
        lambda: b"\x89PNG\r\n\x1a\n" + bytes(900), lambda: bombs.id3(bytes(300_000)), lambda: bombs.id3(b"", 30),
        lambda: b"TAG" + bytes(125), lambda: b"APETAGEX" + b"\xff" * 24, lambda: b"\xef\xbb\xbf#!/bin/sh\n" * 9,
        lambda: bytes(5_000), lambda: b"#EXTM3U\nfile:///etc/passwd\n", lambda: b"ffconcat version 1.0\nfile a\n",
    )  # fmt: skip
    before, behind = (draw(st.sampled_from((*others, lambda: b"")))() for _ in range(2))
    return file_case("polyglot", before + draw(_seeds()) + behind, "both" + draw(st.sampled_from(ENDINGS)))


@functools.cache
def _zipped() -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("sound.wav", seed_file("wav-16"))
    return target.getvalue()


@st.composite
def junk(draw: Draw) -> Case:
    """Random bytes behind the first ones of a format."""
    content = draw(_seeds())
    chance = draw(CHANCE)
    return file_case(
        "junk", content[: chance.choice((0, 4, 8, 12, 40, 400))] + chance.randbytes(chance.randrange(20_000))
    )


# Places that are no good file.


@st.composite
def named(draw: Draw) -> Case:
    """A name of any characters that a file system takes."""
    letters = st.characters(exclude_characters="/\0")
    name = draw(st.text(letters, min_size=1, max_size=60)) + draw(st.sampled_from(ENDINGS))
    name = os.fsdecode(os.fsencode(name.encode("utf-8", "surrogatepass")[:250]))
    content = draw(st.sampled_from((seed_file("wav-16"), seed_file("mp3"), b"junk", b"")))
    return file_case("named", content, "_" if name in {".", ".."} else name)


def _no_path(value: Any) -> Callable[[Path], Question]:
    return lambda _: Question("read", (value,))


def _in(folder: Path, act: Callable[[Path], object]) -> Question:
    path = folder / "thing.wav"
    act(path)
    return Question("read", (str(path),))


def _linked(path: Path, content: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(content)
    path.symlink_to(other)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))


NO_PATHS: tuple[Any, ...] = (None, 0, -1, 3.5, "", "a\0b", "x" * 5_000, b"", b"\xff", [], {})

THINGS: dict[str, Callable[[Path], Question]] = {
    "folder": lambda folder: _in(folder, Path.mkdir),
    "missing": lambda folder: _in(folder, lambda _: None),
    "link": lambda folder: _in(folder, lambda path: _linked(path, seed_file("flac-16"))),
    "link to nothing": lambda folder: _in(folder, lambda path: path.symlink_to("nothing")),
    "link to itself": lambda folder: _in(folder, lambda path: path.symlink_to(path.name)),
    "link to its folder": lambda folder: _in(folder, lambda path: path.symlink_to(".")),
    "link to a device": lambda folder: _in(folder, lambda path: path.symlink_to("/dev/zero")),
    "link to /proc": lambda folder: _in(folder, lambda path: path.symlink_to("/proc/self/mem")),
    "fifo": lambda folder: _in(folder, os.mkfifo),
    "socket": lambda folder: _in(folder, _socket),
    "not to be read": lambda folder: _in(folder, lambda path: path.touch(0)),
    "file as a folder": lambda folder: Question("read", (f"{_in(folder, Path.touch).arguments[0]}/sound.wav",)),
    **{f"{value!r:.20}": _no_path(value) for value in NO_PATHS},
}


def things() -> st.SearchStrategy[Case]:
    """What can lie under a name, and what is no name."""
    return st.sampled_from(sorted(THINGS)).map(lambda name: Case(name, THINGS[name]))


# Samples in memory.

DTYPES = (
    *("i1", "u1", "i2", "u2", ">i2", ">u4", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">f4", "longdouble"),
    *("?", "c8", "O", "U3", "S2", "M8[s]", "V4"),
)
SHAPES = ((), (0,), (1,), (2,), (999,), (999, 1), (999, 2), (2, 999), (999, 9), (64, 64), (0, 2), (5, 0), (3, 3, 3))


@st.composite
def arrays(draw: Draw) -> Case:
    """An array of any type, shape, values and rate, for either door."""
    door: Door = draw(st.sampled_from(("from_array", "from_chunk")))
    shape, dtype = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(DTYPES))
    values = _values(draw(st.sampled_from(KINDS)), int(np.prod(shape))).reshape(shape)
    with np.errstate(all="ignore"):
        try:
            array = values.astype(dtype)
        except (TypeError, ValueError):
            array = np.zeros(shape, dtype)
    layout = draw(
        st.sampled_from((lambda a: a, np.asfortranarray, lambda a: a[::-1] if a.ndim else a, np.ndarray.tolist))
    )
    rate = draw(
        st.one_of(
            st.sampled_from((16_000, 48_000, *RATES)),
            st.integers(-(2**70), 2**70),
            st.floats(),
            st.sampled_from((None, True, "16000", 16_000.5, np.int16(16_000), np.float64(8e3), np.nan, [], 1j)),
        )
    )
    return Case(f"{door} {dtype} {shape}", lambda _: Question(door, (layout(array), rate)))


WEIGHTS: tuple[tuple[Callable[[], st.SearchStrategy[Case]], int], ...] = (
    (damaged, 40), (truncated, 8), (spliced, 6), (wav, 14), (strange_formats, 8), (polyglot, 6), (junk, 4), (named, 4),
    (things, 2), (arrays, 8),
)  # fmt: skip
"""What a hundred cases are."""


def cases() -> st.SearchStrategy[Case]:
    """Any of the above but bombs, which are few and are all tried."""
    kinds = [make() for make, weight in WEIGHTS for _ in range(weight)]
    return st.integers(0, len(kinds) - 1).flatmap(lambda number: kinds[number])
