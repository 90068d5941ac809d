"""What rooms, microphones, telephones and codecs do to a voice: waveform in, waveform out.

Training hears clips changed by `at_random`; `evaluate --robustness` measures with the same functions, one at a time, at
stated levels. All waveforms are float32 (n,), mono, full scale at ±1.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ser_core.features import Waveform

Codec = Literal["opus", "mp3"]
_CONTAINERS: dict[Codec, tuple[str, str, int]] = {
    "opus": ("ogg", "libopus", 48_000),
    "mp3": ("mp3", "libmp3lame", 16_000),
}
"""Container, encoder and the rate that it takes."""

TELEPHONE_HZ = (300.0, 3_400.0)
"""The band of analogue telephony (ITU-T G.712)."""


def level(waveform: Waveform) -> float:
    """RMS of the louder half of the frames of 32 ms, so that pauses don't count: the voice's own level."""
    frames = waveform[: len(waveform) // 512 * 512].reshape(-1, 512)
    energies = np.sort(np.einsum("ij,ij->i", frames, frames) / 512.0)
    return math.sqrt(float(energies[len(energies) // 2 :].mean())) if len(energies) else 0.0


def gain(waveform: Waveform, decibels: float) -> Waveform:
    """Louder or quieter, cut off at full scale as a 16-bit file would be."""
    changed: Waveform = np.clip(waveform * np.float32(10.0 ** (decibels / 20.0)), -1.0, 1.0)
    return changed


def clip(waveform: Waveform, decibels: float) -> Waveform:
    """Drive a recording so many dB over full scale, which cuts its peaks off."""
    peak = float(np.abs(waveform).max())
    return gain(waveform / peak, decibels) if peak > 0.0 else waveform


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Add a noise of the same length, `snr_db` below the voice's level (`level`)."""
    power = math.sqrt(float(np.square(noise, dtype=np.float64).mean()))
    if power == 0.0:
        return waveform
    mixed = waveform + noise * np.float32(level(waveform) / power * 10.0 ** (-snr_db / 20.0))
    # Levelled down rather than clipped: clipping is a change of its own.
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max())), dtype=np.float32)


def stretch_of(recording: Waveform, length: int, rng: np.random.Generator) -> Waveform:
    """A random stretch of `length` samples; a recording that is too short is repeated."""
    if len(recording) < length:
        recording = np.tile(recording, -(-length // len(recording)))
    start = int(rng.integers(len(recording) - length + 1))
    return recording[start : start + length]


def coloured_noise(length: int, exponent: float, rng: np.random.Generator) -> Waveform:
    """Gaussian noise whose power falls as 1 / f^exponent: 0 white, 1 pink, 2 brown."""
    spectrum = rng.standard_normal(length // 2 + 1) + 1j * rng.standard_normal(length // 2 + 1)
    spectrum /= np.maximum(np.arange(length // 2 + 1), 1.0) ** (exponent / 2.0)
    noise = np.fft.irfft(spectrum, n=length)
    return np.asarray(noise / np.abs(noise).max(), dtype=np.float32)


def babble(voices: Sequence[Waveform], length: int, rng: np.random.Generator) -> Waveform:
    """Several people at once: each voice at the same level, from a random place on."""
    mixed = np.zeros(length, dtype=np.float32)
    for voice in voices:
        if (own := level(voice)) > 0.0:
            mixed += np.roll(stretch_of(voice, length, rng), int(rng.integers(length))) / np.float32(own)
    return mixed


def band_limit(waveform: Waveform, low_hz: float, high_hz: float, sample_rate: int, *, order: int = 4) -> Waveform:
    """Keep what lies between two frequencies (Butterworth); 0 and half the rate switch an edge off."""
    from scipy.signal import butter, sosfilt

    if high_hz < sample_rate / 2:
        waveform = sosfilt(butter(order, high_hz, "lowpass", fs=sample_rate, output="sos"), waveform)
    if low_hz > 0.0:
        waveform = sosfilt(butter(order, low_hz, "highpass", fs=sample_rate, output="sos"), waveform)
    return np.asarray(waveform, dtype=np.float32)


def telephone(waveform: Waveform, sample_rate: int) -> Waveform:
    """The telephone's band at its rate of 8 kHz, coded by G.711's mu law and decoded."""
    import librosa

    narrow = librosa.resample(band_limit(waveform, *TELEPHONE_HZ, sample_rate), orig_sr=sample_rate, target_sr=8_000)
    peak = max(float(np.abs(narrow).max()), 1e-9)
    coded = librosa.mu_compress(np.clip(narrow / peak, -1.0, 1.0), mu=255, quantize=True)
    heard = librosa.mu_expand(coded, mu=255, quantize=True) * peak
    return _fit(librosa.resample(heard.astype(np.float32), orig_sr=8_000, target_sr=sample_rate), len(waveform))


def codec(waveform: Waveform, sample_rate: int, name: Codec, bit_rate: int) -> Waveform:
    """Code and decode through FFmpeg's libraries.

    Args:
        waveform: float32 (n,).
        sample_rate: Hz.
        name: "opus" or "mp3".
        bit_rate: bits per second.

    Returns:
        float32 (n,), at the same rate.
    """
    import av
    import librosa

    container, encoder, coded_rate = _CONTAINERS[name]
    sound = librosa.resample(waveform, orig_sr=sample_rate, target_sr=coded_rate)
    memory = io.BytesIO()
    with av.open(memory, "w", format=container) as out:
        stream = cast("av.AudioStream", out.add_stream(encoder, rate=coded_rate, layout="mono"))
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(_int16(sound)[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = coded_rate
        for resampled in av.AudioResampler(stream.format.name, "mono", coded_rate, stream.frame_size).resample(frame):
            out.mux(stream.encode(resampled))
        out.mux(stream.encode(None))
    memory.seek(0)
    with av.open(memory, "r") as source:
        planes = [frame.to_ndarray() for frame in source.decode(audio=0)]
        heard_rate = source.streams.audio[0].rate
        scale = 32768.0 if planes[0].dtype == np.int16 else 1.0
    heard = np.concatenate([plane.reshape(-1) for plane in planes]).astype(np.float32) / np.float32(scale)
    return _fit(librosa.resample(heard, orig_sr=heard_rate, target_sr=sample_rate), len(waveform))


def reverberate(
    waveform: Waveform, sample_rate: int, decay_s: float, direct_db: float, rng: np.random.Generator
) -> Waveform:
    """A small room: an exponentially decaying noise tail behind the direct sound (Moorer 1979).

    Args:
        waveform: float32 (n,).
        sample_rate: Hz.
        decay_s: seconds in which the tail falls by 60 dB (RT60).
        direct_db: energy of the direct sound over that of the tail, in dB.
        rng: of the tail.

    Returns:
        float32 (n,), at the level of the input.
    """
    from scipy.signal import fftconvolve

    length = max(1, round(decay_s * sample_rate))
    time_s = np.arange(length) / sample_rate
    tail = rng.standard_normal(length) * 10.0 ** (-3.0 * time_s / decay_s)
    # First reflections come a few milliseconds after the direct sound.
    tail[: round(0.002 * sample_rate)] = 0.0
    response = tail * 10.0 ** (-direct_db / 20.0) / math.sqrt(float(np.square(tail).sum()))
    response[0] = 1.0
    heard = fftconvolve(waveform, response)[: len(waveform)].astype(np.float32)
    before, after = level(waveform), level(heard)
    scaled: Waveform = heard * np.float32(before / after if after > 0.0 else 1.0)
    return (scaled / max(1.0, float(np.abs(scaled).max()))).astype(np.float32)


def at_random(waveform: Waveform, sample_rate: int, noises: Sequence[Waveform], rng: np.random.Generator) -> Waveform:
    """A voice as a visitor's device may hand it over: room, noise, microphone, overload, codec, each by chance.

    Args:
        waveform: float32 (n,).
        sample_rate: Hz.
        noises: recordings to draw from; noise is synthetic only where there are none.
        rng: of all draws.

    Returns:
        float32 (n,).
    """
    if rng.random() < 0.4:
        waveform = reverberate(waveform, sample_rate, rng.uniform(0.15, 0.7), rng.uniform(-3.0, 10.0), rng)
    if rng.random() < 0.6:
        waveform = add_noise(waveform, _any_noise(len(waveform), noises, rng), rng.uniform(3.0, 30.0))
    if rng.random() < 0.4:
        low, high = rng.choice([0.0, 80.0, 150.0, 300.0]), rng.choice([3_400.0, 4_000.0, 5_500.0, 7_000.0])
        waveform = band_limit(waveform, low, high, sample_rate, order=int(rng.integers(1, 5)))
    if rng.random() < 0.15:
        waveform = clip(waveform, rng.uniform(3.0, 15.0))
    kind = rng.random()
    if kind < 0.15:
        return telephone(waveform, sample_rate)
    if kind < 0.4:
        return codec(waveform, sample_rate, "opus", int(rng.choice([12_000, 16_000, 24_000, 32_000])))
    if kind < 0.6:
        return codec(waveform, sample_rate, "mp3", int(rng.choice([24_000, 32_000, 48_000, 64_000])))
    return waveform


def _any_noise(length: int, noises: Sequence[Waveform], rng: np.random.Generator) -> Waveform:
    if len(noises) and rng.random() < 0.6:
        return stretch_of(noises[int(rng.integers(len(noises)))], length, rng)
    return coloured_noise(length, rng.uniform(0.0, 2.0), rng)


def _int16(waveform: Waveform) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return (np.clip(waveform, -1.0, 1.0) * 32767.0).astype(np.int16)


def _fit(waveform: Waveform, length: int) -> Waveform:
    """Cut or fill up to `length`: codecs add a few milliseconds."""
    return np.pad(waveform[:length], (0, max(0, length - len(waveform)))).astype(np.float32)
