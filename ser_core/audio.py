"""Any file or array -> mono float32 at 16 kHz; bounded before it decodes, and again while it decodes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ser_core import apart, containers
from ser_core.apart import DecoderLost
from ser_core.config import Limits
from ser_core.containers import DecodeError, Source
from ser_core.errors import AudioTooLong, NoAudio, UnreadableAudio, UnsupportedAudio
from ser_core.sound import Sound, check_header, checked_mono, of_source

if TYPE_CHECKING:
    import io
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ser_core.features import Waveform

ACCEPTED = "WAV, FLAC, OGG (Vorbis or Opus), MP3, AIFF, M4A/AAC, WebM, or an MP4 with sound"
"""The formats that `read` answers for, as messages and the page name them."""

SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"),
    *(".m4a", ".aac", ".mp4", ".webm", ".mka"),
)
"""What the names of sound files in a folder end in. A file that is named itself may be called anything."""


def read(
    path: str | os.PathLike[str] | None, *, sample_rate: int | None = 16_000, limits: Limits | None = None
) -> Sound:
    """Decode a file.

    A file that ends early or is damaged midway is answered for with the sound in front of the damage; only where there
    is none is it refused.

    Args:
        path: WAV (8, 16, 24, 32-bit, float), FLAC, OGG Vorbis and Opus, MP3, AIFF, M4A/AAC, WebM/Opus, or MP4 with
            sound, of which the first sound track is read. The content counts, not the name's ending.
        sample_rate: Hz of the result; the file's own where None.
        limits: what is accepted; `Limits()` where None.

    Returns:
        The mean of the channels, resampled (soxr, high quality) where the rate differs.

    Raises:
        NoAudio: no path, no such file, a folder, an empty file, or a file with no samples.
        AudioTooLong: more bytes or seconds than `limits` allow, by the header or by what is decoded.
        UnsupportedAudio: a rate or a count of channels outside `limits`, or samples that are not numbers.
        UnreadableAudio: bytes that no decoder makes sound of, or that break one or keep it busy.
    """
    limits = limits or Limits()
    name, file = _open(path, limits)
    with file:
        reason, empty = "", False
        for opener in apart.openers(file):
            file.seek(0)
            try:
                sound = _decode(opener, file, name, sample_rate, limits)
            except DecodeError as error:
                reason = str(error)
                continue
            except DecoderLost as error:
                raise UnreadableAudio(f"{name} {error}.") from error
            if sound is not None:
                return sound
            empty = True
    if empty:
        raise NoAudio(f"{name} holds no sound, not one sample. Record or export it again.")
    raise UnreadableAudio(f"{name} {reason}. Give a {ACCEPTED}; if it is one, record or export it again.")


def from_array(
    array: npt.ArrayLike, sample_rate: int | None, *, target_rate: int = 16_000, limits: Limits | None = None
) -> Sound:
    """Take samples from memory, on the same way as a file's: an array and the WAV made of it give the same bits.

    Args:
        array: (n,) or (n, channels). Integers of any width are read against their type's full range, unsigned ones
            around its middle (int16: 32768 is full scale; uint8: 128 is silence), as in a WAV. Floats are taken as they
            are, full scale at ±1, neither clipped nor levelled. Is not changed, and shares no memory with the result.
        sample_rate: Hz of the array.
        target_rate: Hz of the result.
        limits: what is accepted; `Limits()` where None.

    Raises:
        NoAudio: None, or no samples.
        AudioTooLong: more seconds than `limits` allow.
        UnsupportedAudio: a type, shape or rate that is not accepted, or samples that are not numbers.
    """
    limits = limits or Limits()
    samples = _checked_array(array, limits)
    if samples.size == 0:
        raise NoAudio("The array holds no samples. Pass the samples of a recording.")
    rate = _checked_rate(sample_rate)
    blocks = (samples[i : i + containers.BLOCK_FRAMES] for i in range(0, len(samples), containers.BLOCK_FRAMES))
    # Without a rate there are no seconds; it is refused with the others that are out of bounds.
    declared_s = len(samples) / rate if rate > 0 else None
    source = Source("array", rate, samples.shape[1], declared_s, blocks)
    sound = of_source(source, "The array", target_rate, limits)
    if sound is None:
        raise NoAudio("The array holds no samples. Pass the samples of a recording.")
    return sound


def from_chunk(array: npt.ArrayLike, sample_rate: int | None, *, limits: Limits | None = None) -> tuple[Waveform, int]:
    """Take a piece of a sound that still goes on, by the rules of `from_array`, but leave it at its own rate.

    Args:
        array: as in `from_array`; may hold no samples.
        sample_rate: Hz of the array.
        limits: which rates and channels are accepted; `Limits()` where None. Of its length nothing is.

    Returns:
        float32 (n,), the mean of the channels, which may share memory with `array`; and the rate in Hz.

    Raises:
        NoAudio: None.
        UnsupportedAudio: a type, shape or rate that is not accepted, or samples that are not numbers.
    """
    limits = limits or Limits()
    samples = _checked_array(array, limits)
    rate = _checked_rate(sample_rate)
    if samples.size == 0:
        return np.empty(0, dtype=np.float32), rate
    check_header(Source("array", rate, samples.shape[1], None, iter(())), "The sound", limits)
    return checked_mono(samples, "The sound"), rate


def _open(path: str | os.PathLike[str] | None, limits: Limits) -> tuple[str, io.FileIO]:
    """The file's name for messages, without its folders, and the file, if it is a plain one of an accepted size."""
    if path is None:
        raise NoAudio("There is no recording yet. Record something or choose a sound file.")
    try:
        source = Path(os.fsdecode(path))
        name = shown(source.name) or "This"
        status = source.stat()
    except FileNotFoundError:
        raise missing(name) from None
    except (OSError, ValueError, TypeError) as error:
        raise NoAudio("No file can be opened under this name. Give the path of a sound file.") from error
    if stat.S_ISDIR(status.st_mode):
        raise NoAudio(f"{name} is a folder. Choose a sound file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise NoAudio(f"{name} is no ordinary file. Choose a sound file.")
    check_size(name, status.st_size, limits)
    try:
        # Unbuffered: libsndfile reads the descriptor itself, so both must mean the same place in the file.
        return name, source.open("rb", buffering=0)
    except OSError as error:
        raise UnreadableAudio(f"{name} can't be opened ({error.strerror}). Check that you may read it.") from error


def missing(name: str) -> NoAudio:
    """What to raise where there is no file of a name."""
    return NoAudio(f"There is no file {name}. Check its name, or record something.")


def check_size(name: str, size: int, limits: Limits) -> None:
    """Refuse a file by its size.

    Args:
        name: for messages.
        size: bytes.
        limits: what is accepted.

    Raises:
        NoAudio: it is empty.
        AudioTooLong: it is too large.
    """
    if size == 0:
        raise NoAudio(f"{name} is empty. Record or export it again.")
    if size > limits.max_bytes:
        raise AudioTooLong(
            f"{name} is {size / 2**20:,.1f} MB large; at most {limits.max_bytes / 2**20:,.1f} MB are read. "
            "Cut it, or save it in a compressed format such as FLAC or MP3."
        )


def shown(name: str) -> str:
    """A stranger's file name, fit to be printed: no control or unencodable characters, not too long."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name if len(name) <= 60 else f"{name[:40]}…{name[-16:]}"


def _decode(
    opener: Callable[[io.FileIO], AbstractContextManager[Source]],
    file: io.FileIO,
    name: str,
    sample_rate: int | None,
    limits: Limits,
) -> Sound | None:
    with opener(file) as source:
        return of_source(source, name, sample_rate, limits)


def _checked_array(array: npt.ArrayLike, limits: Limits) -> npt.NDArray[Any]:
    """(n, channels) of an integer or float dtype."""
    if array is None:
        raise NoAudio("There is no recording yet. Pass the samples of one, or a path.")
    try:
        samples = np.asarray(array)
    # Any class may convert itself to an array, and so raise what it likes.
    except Exception as error:
        raise UnsupportedAudio(
            f"A {type(array).__name__} can't be read as an array of samples. Pass a NumPy array of integers or floats."
        ) from error
    if samples.dtype.kind not in "iuf":
        raise UnsupportedAudio(
            f"An array of {samples.dtype} is no sound. "
            "Pass integers (read against their full range) or floats in [-1, 1]."
        )
    if samples.ndim not in (1, 2):
        raise UnsupportedAudio(
            f"An array of shape {samples.shape} is no sound. Pass shape (samples,) or (samples, channels)."
        )
    if samples.ndim == 2 and samples.shape[1] > limits.max_channels >= samples.shape[0] > 0:
        raise UnsupportedAudio(
            f"An array of shape {samples.shape} has its channels first. Pass array.T: shape (samples, channels)."
        )
    return samples[:, np.newaxis] if samples.ndim == 1 else samples


def _checked_rate(sample_rate: object) -> int:
    if sample_rate is None:
        raise UnsupportedAudio("An array doesn't tell its sample rate. Pass sample_rate, in Hz, with it.")
    if isinstance(sample_rate, (int, float, np.integer, np.floating)) and not isinstance(sample_rate, bool):
        rate = float(sample_rate)
        if rate.is_integer():
            return int(rate)
    raise UnsupportedAudio(f"{sample_rate!r} is no sample rate. Pass a whole number of Hz, such as 16000.")
