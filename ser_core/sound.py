"""Blocks of samples -> a `Sound`: checked against the limits, mixed down and resampled while they come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_core.containers import DecodeError, Source
from ser_core.errors import AudioTooLong, UnsupportedAudio
from ser_core.resampling import Resampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from ser_core.config import Limits
    from ser_core.features import Waveform

# Full scale of 32-bit integers kept as floats. Beyond it, float32 runs over where the spectrogram sums squares.
_LARGEST_SAMPLE = 2.0**31
_MOST_HERTZ = 10**12


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


def of_source(source: Source, name: str, sample_rate: int | None, limits: Limits) -> Sound | None:
    """Check, mix down and resample, block by block, so that memory is bounded by the result, whatever the source.

    Args:
        source: its blocks may end in a DecodeError, which is left out where a sample came before it.
        name: of the source, for messages.
        sample_rate: Hz of the result; the source's own where None.
        limits: what is accepted.

    Returns:
        None where the source ends without a sample.

    Raises:
        AudioTooLong: more seconds or samples than `limits` allow, by the header or by what comes.
        UnsupportedAudio: a rate or a count of channels outside `limits`, or samples that are not numbers.
        DecodeError: the source's, where no sample came before it.
    """
    check_header(source, name, limits)
    resampler = Resampler(source.sample_rate, sample_rate or source.sample_rate)
    parts = [resampler.push(mono) for mono in _mono_blocks(source, name, limits)]
    if resampler.taken == 0:
        return None
    samples = np.concatenate([*parts, resampler.end()])
    return Sound(samples, sample_rate or source.sample_rate, source.sample_rate, source.channels, source.container)


def check_header(source: Source, name: str, limits: Limits) -> None:
    """Raise UnsupportedAudio or AudioTooLong for what a source says of itself before its blocks are asked for."""
    if not limits.min_rate <= source.sample_rate <= limits.max_rate:
        raise UnsupportedAudio(
            f"{name} has a sample rate of {_hertz(source.sample_rate)} Hz; {limits.min_rate:,} to "
            f"{limits.max_rate:,} Hz are accepted. Record or export it at 16,000, 44,100 or 48,000 Hz."
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
    if source.declared_s is not None:
        _check_values(source.declared_s * source.sample_rate * source.channels, name, limits)


def _hertz(rate: int) -> str:
    """A rate for a message, which the three hundred digits of a large float would fill."""
    if abs(rate) <= _MOST_HERTZ:
        return f"{rate:,}"
    return f"less than -{_MOST_HERTZ:,}" if rate < 0 else f"more than {_MOST_HERTZ:,}"


def _check_values(values: float, name: str, limits: Limits) -> None:
    if values > limits.max_values:
        raise AudioTooLong(
            f"{name} holds more than {limits.max_values:,} samples, all channels together, which is the most that is "
            "accepted. Cut out the part with the voice, or export it in mono at up to 48,000 Hz."
        )


def _mono_blocks(source: Source, name: str, limits: Limits) -> Iterator[Waveform]:
    most = math.floor(limits.max_duration_s * source.sample_rate)
    count = 0
    try:
        for block in source.blocks:
            count += len(block)
            if count > most:
                raise AudioTooLong(
                    f"{name} goes on beyond {_seconds(limits.max_duration_s)} s, the most that is accepted. "
                    "Cut out the part with the voice."
                )
            _check_values(count * source.channels, name, limits)
            yield checked_mono(block, name)
    except DecodeError:
        if count == 0:
            raise


def checked_mono(block: npt.NDArray[Any], name: str) -> Waveform:
    """float32 (n,) from (n, channels). Summed in double precision, so that the result doesn't depend on the layout."""
    samples = _to_float32(block)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities of both signs have no mean; refused below
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


def _seconds(duration: float) -> str:
    """Rounded up to a tenth, so that what is just too long doesn't read as if it fitted."""
    return f"{math.ceil(duration * 10 - 1e-6) / 10:,.1f}".removesuffix(".0")
