"""Files that are small and ask for hours or hundreds of megabytes, or as large as is accepted and hold next to nothing.

Each is made when it is asked for; `BOMBS` gives them by name.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import soundfile as sf

from tests import sounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MEGABYTE = 2**20
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def silent_flac(sample_rate: int, channels: int, seconds: int) -> bytes:
    """Digital silence: 17 kB for each minute of 8 channels at 48 kHz."""
    target = io.BytesIO()
    second = np.zeros((sample_rate, channels), dtype=np.int16)
    with sf.SoundFile(
        target, "w", sample_rate, channels, format="FLAC", subtype="PCM_16", compression_level=0.0
    ) as file:
        for _ in range(seconds):
            file.write(second)
    return target.getvalue()


def repeated(name: str, hours: float) -> bytes:
    """Frames that stand for themselves (MP3, AAC), a second of silence over and over."""
    second = sounds.encode(sounds.silence(1.0, 8_000), 8_000, name)
    return second * round(hours * 3_600)


def id3(picture: bytes, tags: int = 1) -> bytes:
    """`tags` tags of ID3v2.3, as stand before the sound of an MP3, each with a cover picture."""
    body = b"\0image/png\0\x03\0" + picture
    frame = b"APIC" + struct.pack(">IH", len(body), 0) + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return (b"ID3\x03\0\0" + size + frame) * tags


def flac_pictures(megabytes: int) -> bytes:
    """A FLAC with as many pictures of nearly 16 MB, the most that a block may hold."""
    whole = sounds.encode(sounds.tone(0.5), 16_000, "flac-16")
    size = 2**24 - 1
    body = struct.pack(">II", 3, 9) + b"image/png" + struct.pack(">I", 0) + bytes(16) + struct.pack(">I", size - 41)
    picture = b"\x06\xff\xff\xff" + body.ljust(size, b"\0")
    return whole[:42] + picture * (megabytes // 16) + whole[42:]


def mp4_cover(megabytes: int) -> bytes:
    """An M4A with a cover picture, where iTunes keeps it."""

    def atom(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + name + content

    data = atom(b"data", struct.pack(">II", 14, 0) + b"\x89PNG\r\n\x1a\n" + bytes(megabytes * MEGABYTE))
    handler = atom(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    cover = atom(b"udta", atom(b"meta", bytes(4) + handler + atom(b"ilst", atom(b"covr", data))))
    whole = bytearray(sounds.encode(sounds.tone(0.5, 48_000), 48_000, "m4a-aac"))
    # The table stands at the end, so that nothing moves when it grows.
    start = whole.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", whole, start)
    assert start + size == len(whole)
    struct.pack_into(">I", whole, start, size + len(cover))
    return bytes(whole) + cover


def wav_with_chunk(megabytes: int) -> bytes:
    """A WAV with a chunk of notes before its sound."""
    whole = sounds.encode(sounds.tone(0.5), 16_000, "wav-16")
    notes = b"INFOICMT" + struct.pack("<I", megabytes * MEGABYTE) + bytes(megabytes * MEGABYTE)
    return whole[:36] + b"LIST" + struct.pack("<I", len(notes)) + notes + whole[36:]


def opus(packets: Iterable[bytes], frames: int, comment: int = 0) -> bytes:
    """An Ogg with these packets of Opus, `frames` at 48 kHz each, and a comment of as many bytes."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<III", 0, 1, comment) + b"A" * comment
    pages = [_page(0, 0, 2, [head]), *_pages_of(tags, 1)]
    sound = list(packets)
    for start in range(0, len(sound), 255):
        part = sound[start : start + 255]
        pages.append(_page(len(pages), (start + len(part)) * frames, 4 * (start + 255 >= len(sound)), part))
    return b"".join(pages)


def _pages_of(packet: bytes, number: int) -> Iterator[bytes]:
    """A packet of any length, over several pages."""
    room = 255 * 255
    for start in range(0, len(packet), room):
        part = packet[start : start + room]
        laces = [255] * (len(part) // 255) + ([len(part) % 255] if start + room > len(packet) else [])
        yield _raw_page(number + start // room, 0, int(start > 0), bytes(laces), part)


def _page(number: int, position: int, flags: int, packets: list[bytes]) -> bytes:
    return _raw_page(number, position, flags, bytes(map(len, packets)), b"".join(packets))


def _raw_page(number: int, position: int, flags: int, laces: bytes, content: bytes) -> bytes:
    head = b"OggS\0" + struct.pack("<BqIII", flags, position, 7, number, 0) + bytes([len(laces)]) + laces
    page = head + content
    # Ogg's checksum is zlib's with all bits the other way round, from 0 and not inverted.
    value = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return page[:22] + struct.pack("<I", int(f"{value:032b}"[::-1], 2)) + page[26:]


def _mp3_covered(megabytes: int, tags: int = 1) -> bytes:
    return id3(bytes(megabytes * MEGABYTE), tags) + sounds.encode(sounds.tone(1.0), 16_000, "mp3")


BOMBS: dict[str, Callable[[], bytes]] = {
    "flac-10-minutes-8-channels-192-kHz": lambda: silent_flac(192_000, 8, 600),
    "flac-10-minutes-2-channels-192-kHz": lambda: silent_flac(192_000, 2, 600),
    "flac-10-minutes-8-channels-48-kHz": lambda: silent_flac(48_000, 8, 600),
    "flac-10-hours": sounds.silent_flac,
    "flac-10-hours-no-length": lambda: sounds.flac_of_length(sounds.silent_flac(), 0),
    "mp3-10-hours": lambda: repeated("mp3", 10.0),
    "mp3-10-minutes": lambda: repeated("mp3", 0.12),
    "aac-10-hours": lambda: repeated("aac", 10.0),
    "aac-10-minutes": lambda: repeated("aac", 0.12),
    "ogg-chained-hour": lambda: sounds.encode(sounds.silence(1.0, 48_000), 48_000, "ogg-opus") * 3_600,
    # Two frames of 60 ms, both empty; and the shortest there are, 2.5 ms.
    "opus-10-hours": lambda: opus([b"\x1b\x02"] * 300_000, 5_760),
    "opus-10-minutes": lambda: opus([b"\x1b\x02"] * 4_990, 5_760),
    "opus-10-minutes-smallest-packets": lambda: opus([b"\x80"] * 239_000, 120),
    "opus-comment-100-MB": lambda: opus([b"\x1b\x02"] * 100, 5_760, comment=100 * MEGABYTE),
    "mp3-cover-100-MB": lambda: _mp3_covered(100),
    "mp3-cover-30-MB": lambda: _mp3_covered(30),
    "mp3-covers-4-of-30-MB": lambda: _mp3_covered(30, 4),
    "m4a-cover-100-MB": lambda: mp4_cover(100),
    "flac-pictures-112-MB": lambda: flac_pictures(112),
    "wav-chunk-120-MB": lambda: wav_with_chunk(120),
    "zeros-120-MB": lambda: bytes(120 * MEGABYTE),
    "junk-64-MB": lambda: np.random.default_rng(3).bytes(64 * MEGABYTE),
    "mp3-heads-64-MB": lambda: b"\xff\xfb\x90\0" * (16 * MEGABYTE),
    "matroska-ids-64-MB": lambda: (
        sounds.encode(sounds.tone(0.5, 48_000), 48_000, "webm-opus")[:400] + b"\xec\x81\0" * (21 * MEGABYTE)
    ),
    "ogg-heads-32-MB": lambda: (b"OggS\0" + bytes(22)) * (MEGABYTE),
    "mp4-atoms-64-MB": lambda: b"\0\0\0\x18ftypM4A \0\0\2\0isomiso2" + b"\0\0\0\x08free" * (8 * MEGABYTE),
    "mp4-tracks": lambda: b"\0\0\0\x18ftypM4A \0\0\2\0isomiso2\0\0\0\0moov" + b"\0\0\0\x08trak" * MEGABYTE,
}


@functools.lru_cache(maxsize=2)
def make(name: str) -> bytes:
    """The file of `BOMBS[name]`."""
    return BOMBS[name]()
