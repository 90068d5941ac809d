"""The part of the Xet storage that a Hub client uploads to, as https://huggingface.co/docs/xet describes it.

Uploads alone: `hub_server` tells no file's Xet hash, and the client then downloads over plain HTTP, where a test
can cut, slow and falsify what it's given.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LZ4_MAGIC = 0x184D2204
_STORED_BLOCK = 1 << 31
_RECORD = 48
"""Bytes of everything in a shard: its header, and each entry after it."""
_END_OF_FILES = b"\xff" * 32
_WITH_VERIFICATION, _WITH_SHA256 = 1 << 31, 1 << 30


class XetError(ValueError):
    """What was sent is not what the protocol says."""


class XetStorage:
    """Chunks, and the files that are made of them.

    Attributes:
        chunks: xorb's hash, as 64 digits in Xet's order -> the content of its chunks.
    """

    def __init__(self) -> None:
        self.chunks: dict[str, list[bytes]] = {}

    def add_xorb(self, name: str, body: bytes) -> bool:
        """Keep a xorb; False where it was here already. Raises XetError."""
        is_new = name not in self.chunks
        try:
            self.chunks[name] = list(_chunks(body))
        except (IndexError, struct.error) as error:
            raise XetError(f"xorb {name} is broken: {error}") from error
        return is_new

    def add_shard(self, body: bytes) -> dict[str, bytes]:
        """The files that a shard describes, by their SHA-256. Raises XetError where one isn't what the shard says."""
        files = {}
        at = _RECORD
        while (name := body[at : at + 32]) != _END_OF_FILES:
            if len(name) < 32:
                raise XetError("the shard ends too early")
            flags, entries = struct.unpack_from("<II", body, at + 32)
            at += _RECORD
            parts = [self._segment(body[at + i * _RECORD :]) for i in range(entries)]
            at += entries * _RECORD * (2 if flags & _WITH_VERIFICATION else 1)
            content = b"".join(parts)
            if not flags & _WITH_SHA256 or _name(body[at : at + 32]) != hashlib.sha256(content).hexdigest():
                raise XetError(f"the file of {len(content)} bytes has another SHA-256, or none")
            at += _RECORD
            files[hashlib.sha256(content).hexdigest()] = content
        return files

    def _segment(self, entry: bytes) -> bytes:
        xorb, (_, size, first, end) = _name(entry[:32]), struct.unpack_from("<IIII", entry, 32)
        content = b"".join(self.chunks.get(xorb, [])[first:end])
        if len(content) != size:
            raise XetError(f"{len(content)} of {size} bytes are known of chunks {first} to {end} in xorb {xorb}")
        return content


def _name(raw: bytes) -> str:
    """A hash as digits: Xet writes it as four little-endian numbers."""
    return "".join(raw[i : i + 8][::-1].hex() for i in range(0, 32, 8))


def _chunks(xorb: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(xorb):
        if xorb[at] != 0:
            raise XetError(f"a chunk of version {xorb[at]}")
        stored, scheme = int.from_bytes(xorb[at + 1 : at + 4], "little"), xorb[at + 4]
        size = int.from_bytes(xorb[at + 5 : at + 8], "little")
        content = xorb[at + 8 : at + 8 + stored]
        if scheme:
            content = _lz4(content)
        if scheme == 2:
            content = _ungrouped(content)
        if len(content) != size or scheme > 2:
            raise XetError(f"a chunk of {len(content)} bytes where {size} are announced, in scheme {scheme}")
        yield content
        at += 8 + stored


def _ungrouped(content: bytes) -> bytes:
    """Undo the sorting of every fourth byte, which floats compress better in."""
    out, at = bytearray(len(content)), 0
    for i in range(4):
        count = len(range(i, len(content), 4))
        out[i::4] = content[at : at + count]
        at += count
    return bytes(out)


def _lz4(frame: bytes) -> bytes:
    """The content of an LZ4 frame. Checksums aren't checked: the file's SHA-256 is."""
    magic, flags = struct.unpack_from("<IB", frame)
    if magic != _LZ4_MAGIC:
        raise XetError("not an LZ4 frame")
    at = 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
    out = bytearray()
    while size := struct.unpack_from("<I", frame, at)[0]:
        block = frame[at + 4 : at + 4 + (size & ~_STORED_BLOCK)]
        if size & _STORED_BLOCK:
            out += block
        else:
            _lz4_block(block, out)
        at += 4 + len(block) + (4 if flags & 0x10 else 0)
    return bytes(out)


def _lz4_block(block: bytes, out: bytearray) -> None:
    at = 0

    def length(nibble: int) -> int:
        nonlocal at
        total = nibble
        while nibble == 15:
            total += block[at]
            at += 1
            if block[at - 1] < 255:
                break
        return total

    while at < len(block):
        token = block[at]
        at += 1
        literals = length(token >> 4)
        out += block[at : at + literals]
        at += literals
        if at >= len(block):  # the last sequence has literals alone
            return
        back = block[at] | block[at + 1] << 8
        at += 2
        count = length(token & 15) + 4
        start = len(out) - back
        if not 0 <= start < len(out):
            raise XetError("LZ4 refers to what is not there")
        # A match may reach into what it writes itself: then it repeats.
        piece = out[start : start + count]
        out += (piece * (count // len(piece) + 1))[:count]
