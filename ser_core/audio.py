"""Any file or array -> mono float32 at 16 kHz; bounded before it decodes, and again while it decodes."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ser_core import containers
from ser_core.config import Limits
from ser_core.containers import DecodeError, Source
from ser_core.errors import AudioTooLong, NoAudio, UnreadableAudio, UnsupportedAudio

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

RESAMPLING = "soxr_hq"
"""The quality of soxr's resampling, for a recording in one piece and for a stream alike."""

# Full scale of 32-bit integers kept as floats. Beyond it, float32 runs over where the spectrogram sums squares.
_LARGEST_SAMPLE = 2.0**31


@dataclass(frozen=True)
class Sound:
    """A decoded recording.

    Attributes:
        samples: float32 (n,), n > 0, mono, at `sample_rate`, finite, full scale at ±1; may go beyond where the source
            does.
        sample_rate: Hz.
        source_rate: Hz, as recorded.
        source_channels: channels, before they were mixed down.
        container: the file's format, such as "WAV" or "MOV,MP4,M4A,3GP,3G2,MJ2"; "array" for an array.
    """

    samples: Waveform
    sample_rate: int
    source_rate: int
    source_channels: int
    container: str

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return len(self.samples) / self.sample_rate


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
        UnreadableAudio: bytes that no decoder makes sound of.
    """
    limits = limits or Limits()
    name, file = _open(path, limits)
    with file:
        reason, empty = "", False
        for opener in (containers.open_sndfile, containers.open_av):
            file.seek(0)
            try:
                sound = _decode(opener, file, name, sample_rate, limits)
            except DecodeError as error:
                reason = str(error)
                continue
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
    sound = _sound(source, "The array", target_rate, limits)
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
    _check_header(Source("array", rate, samples.shape[1], None, iter(())), "The sound", limits)
    return _checked_mono(samples, "The sound"), rate


def _open(path: str | os.PathLike[str] | None, limits: Limits) -> tuple[str, io.FileIO]:
    """The file's name for messages, without its folders, and the file, if it is a plain one of an accepted size."""
    if path is None:
        raise NoAudio("There is no recording yet. Record something or choose a sound file.")
    try:
        source = Path(os.fsdecode(path))
        name = _shown(source.name) or "This"
        status = source.stat()
    except FileNotFoundError:
        raise NoAudio(f"There is no file {name}. Check its name, or record something.") from None
    except (OSError, ValueError, TypeError) as error:
        raise NoAudio("No file can be opened under this name. Give the path of a sound file.") from error
    if stat.S_ISDIR(status.st_mode):
        raise NoAudio(f"{name} is a folder. Choose a sound file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise NoAudio(f"{name} is no ordinary file. Choose a sound file.")
    if status.st_size == 0:
        raise NoAudio(f"{name} is empty. Record or export it again.")
    if status.st_size > limits.max_bytes:
        raise AudioTooLong(
            f"{name} is {status.st_size / 2**20:,.1f} MB large; at most {limits.max_bytes / 2**20:,.1f} MB are read. "
            "Cut it, or save it in a compressed format such as FLAC or MP3."
        )
    try:
        # Unbuffered: libsndfile reads the descriptor itself, so both must mean the same place in the file.
        return name, source.open("rb", buffering=0)
    except OSError as error:
        raise UnreadableAudio(f"{name} can't be opened ({error.strerror}). Check that you may read it.") from error


def _shown(name: str) -> str:
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
        return _sound(source, name, sample_rate, limits)


def _sound(source: Source, name: str, sample_rate: int | None, limits: Limits) -> Sound | None:
    """Check, mix down and resample; None where the source ends without a sample."""
    sample_rate = sample_rate or source.sample_rate
    _check_header(source, name, limits)
    mono = _mix_down(source, name, limits)
    if len(mono) == 0:
        return None
    samples = _resample(mono, source.sample_rate, sample_rate)
    return Sound(samples, sample_rate, source.sample_rate, source.channels, source.container)


def _check_header(source: Source, name: str, limits: Limits) -> None:
    if not limits.min_rate <= source.sample_rate <= limits.max_rate:
        raise UnsupportedAudio(
            f"{name} has a sample rate of {source.sample_rate:,} Hz; {limits.min_rate:,} to {limits.max_rate:,} Hz are "
            "accepted. Record or export it at 16,000, 44,100 or 48,000 Hz."
        )
    if not 1 <= source.channels <= limits.max_channels:
        raise UnsupportedAudio(
            f"{name} has {source.channels:,} channels; 1 to {limits.max_channels} are accepted. "
            "Export it in mono or stereo."
        )
    if source.declared_s is not None and source.declared_s > limits.max_duration_s:
        raise AudioTooLong(
            f"{name} is {_seconds(source.declared_s)} s long; at most {_seconds(limits.max_duration_s)} s are accepted."
            " Cut out the part with the voice."
        )


def _mix_down(source: Source, name: str, limits: Limits) -> Waveform:
    """The mean of the channels, block by block, so that memory is bounded by the mono sound of the longest duration."""
    most = math.floor(limits.max_duration_s * source.sample_rate)
    parts: list[Waveform] = []
    count = 0
    try:
        for block in source.blocks:
            count += len(block)
            if count > most:
                raise AudioTooLong(
                    f"{name} goes on beyond {_seconds(limits.max_duration_s)} s, the most that is accepted. "
                    "Cut out the part with the voice."
                )
            parts.append(_checked_mono(block, name))
    except DecodeError:
        if count == 0:
            raise
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def _checked_mono(block: npt.NDArray[Any], name: str) -> Waveform:
    """float32 (n,) from (n, channels). Summed in double precision, so that the result doesn't depend on the layout."""
    samples = _to_float32(block)
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float64).astype(np.float32)
    largest = float(np.abs(mono).max(initial=0.0))
    if not math.isfinite(largest):
        raise UnsupportedAudio(
            f"{name} contains samples that are not numbers (NaN or infinity). "
            "Export it again, or repair it with an editor."
        )
    if largest > _LARGEST_SAMPLE:
        raise UnsupportedAudio(
            f"{name} contains samples as large as {largest:.0e}, where full scale is 1. "
            "Divide them by their full scale."
        )
    return mono


def _to_float32(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Integers over their full scale, as libsndfile does it (16 bit: divided by 32768); floats as they are."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused as such
            return samples.astype(np.float32, copy=False)
    bits = 8 * samples.dtype.itemsize
    native = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "u":
        # Flipping the top bit moves the middle of an unsigned range to 0.
        native = (native ^ native.dtype.type(1 << (bits - 1))).view(f"i{samples.dtype.itemsize}")
    return native.astype(np.float32) * np.float32(2.0 ** (1 - bits))


def _resample(mono: Waveform, source_rate: int, target_rate: int) -> Waveform:
    if source_rate == target_rate:
        return mono
    import librosa

    resampled: Waveform = librosa.resample(mono, orig_sr=source_rate, target_sr=target_rate, res_type=RESAMPLING)
    return resampled


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


def _seconds(duration: float) -> str:
    """Rounded up to a tenth, so that what is just too long doesn't read as if it fitted."""
    return f"{math.ceil(duration * 10 - 1e-6) / 10:,.1f}".removesuffix(".0")
