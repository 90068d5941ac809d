"""Sounds that the tests make themselves, the formats they come in, and the files that a stranger might send."""

from __future__ import annotations

import functools
import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import soundfile as sf

from ser_core.errors import AudioTooLong, NoAudio, SerError, UnreadableAudio, UnsupportedAudio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Samples = npt.NDArray[Any]
    Floats = npt.NDArray[np.float32]


# Sounds: float32 (n,) or (n, channels), full scale at 1.


def tone(seconds: float = 2.0, sample_rate: int = 16_000, frequency: float = 440.0, level: float = 0.5) -> Floats:
    """A sine of amplitude `level`."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    wave: Floats = (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)
    return wave


_VOWELS_HZ = ((730.0, 1090.0, 2440.0), (270.0, 2290.0, 3010.0), (300.0, 870.0, 2240.0), (530.0, 1840.0, 2480.0))
"""The first three formants of four vowels as men speak them (Peterson and Barney 1952)."""


def voice(
    seconds: float = 2.0, sample_rate: int = 16_000, pitch: float = 140.0, level: float = 0.5, seed: int = 0
) -> Floats:
    """What a voice detector takes for one: a wandering pitch, syllables of changing vowels with a hiss between them.

    A quarter of a second at each end holds the noise alone. The loudest sample lies at `level`. Nine
    tenths of what is spoken are recognised, from 1 s on and up to a `pitch` of 230 Hz.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    hertz = pitch * (1 + 0.1 * np.sin(2 * np.pi * 1.3 * time + rng.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(hertz) / sample_rate
    formants = _formants(time, sample_rate, int(rng.integers(len(_VOWELS_HZ))))
    sound = np.zeros_like(time)
    for k in range(1, int(min(3_800.0, 0.45 * sample_rate) / (1.1 * pitch)) + 1):
        resonances = zip((1.0, 0.5, 0.25), (60.0, 100.0, 140.0), formants, strict=True)
        strength = sum((gain / (1 + ((k * hertz - f) / width) ** 2) for gain, width, f in resonances), start=0.005)
        sound += strength * np.sin(k * phase + rng.uniform(0, 6)) / k**0.6
    syllables = np.abs(np.sin(np.pi * 3.5 * time))
    sound *= syllables / np.abs(sound).max()
    # As loud at any rate in the band that is left at 16 kHz.
    hiss = 0.04 * np.sqrt(sample_rate / 16_000) * rng.standard_normal(len(time))
    sound += np.clip(1.0 - 3.0 * syllables, 0.0, None) * hiss
    sound *= (time >= 0.25) & (time < seconds - 0.25)
    sound = sound / max(float(np.abs(sound).max()), 1e-9) + 1e-3 * rng.standard_normal(len(time))
    samples: Floats = (level * sound / np.abs(sound).max()).astype(np.float32)
    return samples


def _formants(time: npt.NDArray[np.float64], sample_rate: int, first: int) -> list[npt.NDArray[np.float64]]:
    """Three tracks in Hz, (n,) each: a vowel a syllable, from vowel `first` on, one gliding into the next in 80 ms."""
    vowels = np.array(_VOWELS_HZ)[(np.floor(3.5 * time).astype(int) + first) % len(_VOWELS_HZ)]
    glide = np.hanning(round(0.08 * sample_rate) | 1)
    padded = np.pad(vowels, ((len(glide) // 2, len(glide) // 2), (0, 0)), mode="edge")
    return [np.convolve(track, glide / glide.sum(), "valid") for track in padded.T]


def noise(seconds: float = 2.0, sample_rate: int = 16_000, rms: float = 0.05, seed: int = 0) -> Floats:
    """White noise."""
    rng = np.random.default_rng(seed)
    samples: Floats = (rms * rng.standard_normal(round(seconds * sample_rate))).astype(np.float32)
    return samples


def silence(seconds: float = 2.0, sample_rate: int = 16_000) -> Floats:
    """Zeros."""
    return np.zeros(round(seconds * sample_rate), dtype=np.float32)


def as_integers(samples: Floats, dtype: str) -> Samples:
    """The same sound over the full range of an integer type; unsigned ones have their silence in the middle."""
    info = np.iinfo(dtype)
    half = 2.0 ** (info.bits - 1)
    middle = half if info.min == 0 else 0.0
    # The largest float64 below 2**63, where the type's own maximum would round up and run over.
    largest = min(float(info.max), np.nextafter(half + middle, 0.0))
    return np.clip(np.round(samples.astype(np.float64) * half) + middle, info.min, largest).astype(dtype)


# Formats.


@dataclass(frozen=True)
class Format:
    """A way to keep sound in a file.

    Attributes:
        suffix: the file's ending.
        container: what `ser_core.sound.Sound.container` calls it.
        muxer, coding: the format's and the coding's name, libsndfile's or, where `av`, FFmpeg's.
        av: made by PyAV, not soundfile.
        video: a picture track lies before the sound.
        lossy: the samples come back changed.
    """

    suffix: str
    container: str
    muxer: str
    coding: str
    av: bool = False
    video: bool = False
    lossy: bool = True


_MOV, _MKV = "MOV,MP4,M4A,3GP,3G2,MJ2", "MATROSKA,WEBM"
FORMATS: dict[str, Format] = {
    "wav-8": Format(".wav", "WAV", "WAV", "PCM_U8", lossy=False),
    "wav-16": Format(".wav", "WAV", "WAV", "PCM_16", lossy=False),
    "wav-24": Format(".wav", "WAV", "WAV", "PCM_24", lossy=False),
    "wav-32": Format(".wav", "WAV", "WAV", "PCM_32", lossy=False),
    "wav-float": Format(".wav", "WAV", "WAV", "FLOAT", lossy=False),
    "wav-double": Format(".wav", "WAV", "WAV", "DOUBLE", lossy=False),
    "wav-mulaw": Format(".wav", "WAV", "WAV", "ULAW"),
    "flac-16": Format(".flac", "FLAC", "FLAC", "PCM_16", lossy=False),
    "flac-24": Format(".flac", "FLAC", "FLAC", "PCM_24", lossy=False),
    "aiff-16": Format(".aiff", "AIFF", "AIFF", "PCM_16", lossy=False),
    "ogg-vorbis": Format(".ogg", "OGG", "OGG", "VORBIS"),
    "ogg-opus": Format(".opus", "OGG", "OGG", "OPUS"),
    "mp3": Format(".mp3", "MP3", "MP3", "MPEG_LAYER_III"),
    "m4a-aac": Format(".m4a", _MOV, "ipod", "aac", av=True),
    "m4a-alac": Format(".m4a", _MOV, "ipod", "alac", av=True, lossy=False),
    "webm-opus": Format(".webm", _MKV, "webm", "libopus", av=True),
    "mp4-video-aac": Format(".mp4", _MOV, "mp4", "aac", av=True, video=True),
    "aac": Format(".aac", "AAC", "adts", "aac", av=True),
}


def encode(samples: Samples, sample_rate: int, name: str) -> bytes:
    """A file of the format `FORMATS[name]`, from float32 (n,) or (n, channels)."""
    form = FORMATS[name]
    target = io.BytesIO()
    if form.av:
        _encode_av(target, samples, sample_rate, form)
    else:
        sf.write(target, samples, sample_rate, format=form.muxer, subtype=form.coding)
    return target.getvalue()


def write(folder: Path, samples: Samples, sample_rate: int, name: str = "wav-16", stem: str = "sound") -> Path:
    """`encode` into a file of that folder."""
    path = folder / f"{stem}{FORMATS[name].suffix}"
    path.write_bytes(encode(samples, sample_rate, name))
    return path


def _encode_av(target: io.BytesIO, samples: Samples, sample_rate: int, form: Format) -> None:
    channels = samples.reshape(len(samples), -1)
    layout = {1: "mono", 2: "stereo"}[channels.shape[1]]
    with av.open(target, "w", format=form.muxer) as container:
        video = _add_video(container) if form.video else None
        stream = container.add_stream(form.coding, rate=sample_rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        if video:
            _encode_video(container, video, round(10 * len(samples) / sample_rate))
        packed = np.ascontiguousarray(channels, dtype=np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = sample_rate
        frame.pts = 0
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=sample_rate)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))


def _add_video(container: av.container.OutputContainer) -> av.VideoStream:
    stream = container.add_stream("mpeg4", rate=10)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    return stream


def _encode_video(container: av.container.OutputContainer, stream: av.VideoStream, frames: int) -> None:
    for i in range(frames):
        picture = np.full((48, 64, 3), i % 256, dtype=np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode(None))


# What a stranger might send. Each maker puts one file into a folder and gives its path.


@dataclass(frozen=True)
class Hostile:
    """A file that has to end in its own clear message.

    Attributes:
        make: puts it into a folder.
        error: what reading it raises.
        says: a piece of the message.
    """

    make: Callable[[Path], Path]
    error: type[SerError]
    says: str


def _put(name: str, content: Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content())
        return path

    return make


def _wav(samples: Samples, sample_rate: int = 16_000, coding: str = "PCM_16") -> bytes:
    target = io.BytesIO()
    sf.write(target, samples, sample_rate, format="WAV", subtype=coding)
    return target.getvalue()


def _with_one(value: float) -> Floats:
    samples = tone()
    samples[len(samples) // 2] = value
    return samples


def truncated(name: str = "wav-16", seconds: float = 4.0, kept: float = 0.5) -> bytes:
    """The first part of a file, as a broken upload leaves it."""
    whole = encode(voice(seconds, 48_000), 48_000, name)
    return whole[: round(len(whole) * kept)]


GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the tag of a coding in the longer header of a WAV."""


def streamed_wav(samples: Samples, sample_rate: int, length: int) -> bytes:
    """A 16-bit WAV written to a pipe, which could not go back to fill in its length: 0 or 2**32 - 1 stands there."""
    content = bytearray(_wav(samples, sample_rate))
    struct.pack_into("<I", content, 4, length)
    struct.pack_into("<I", content, content.index(b"data") + 4, length)
    return bytes(content)


def flac_of_length(content: bytes, frames: int) -> bytes:
    """A FLAC whose header claims `frames` samples (36 bits; 0 stands for unknown), whatever it holds."""
    changed = bytearray(content)
    # STREAMINFO starts at byte 8; its bytes 10 to 17 hold rate (20 bits), channels (3), bits (5) and samples (36).
    (word,) = struct.unpack_from(">Q", changed, 18)
    struct.pack_into(">Q", changed, 18, word >> 36 << 36 | frames)
    return bytes(changed)


@functools.cache
def silent_flac(hours: float = 10.0) -> bytes:
    """Hours of digital silence at 8 kHz in a few megabytes."""
    target = io.BytesIO()
    block = np.zeros(8_000 * 360, dtype=np.int16)
    with sf.SoundFile(target, "w", 8_000, 1, format="FLAC", subtype="PCM_16", compression_level=0.0) as file:
        for _ in range(round(hours * 10)):
            file.write(block)
    return target.getvalue()


def _wav_header_of(channels: int, sample_rate: int, size: int) -> bytes:
    """A WAV header of any claims before 1,000 bytes of sound."""
    form = struct.pack(
        "<HHIIHH", 1, channels, sample_rate, min(sample_rate * channels * 2, 2**32 - 1), channels * 2 % 2**16, 16
    )
    data = struct.pack("<4sI", b"data", size) + bytes(1000)
    body = b"WAVE" + struct.pack("<4sI", b"fmt ", len(form)) + form + data
    return struct.pack("<4sI", b"RIFF", size) + body


def _large(folder: Path) -> Path:
    path = folder / "large.wav"
    path.write_bytes(_wav(tone()))
    with path.open("r+b") as file:
        file.truncate(129 * 2**20)  # sparse: takes no room on the disk
    return path


def _folder(folder: Path) -> Path:
    path = folder / "folder.wav"
    path.mkdir()
    return path


def _silent_video() -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        _encode_video(container, _add_video(container), 10)
    return target.getvalue()


def _playlist(ending: str, text: str) -> Callable[[Path], Path]:
    """A text that names a good recording beside it, which FFmpeg would open if it were let."""

    def make(folder: Path) -> Path:
        good = write(folder, tone(), 16_000, "aac", stem="good")
        path = folder / f"list{ending}"
        path.write_text(text.format(name=good.name, uri=good.as_uri()), encoding="utf-8")
        return path

    return make


_HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\n{uri}\n#EXT-X-ENDLIST\n"
_JUNK = np.random.default_rng(7).bytes(20_000)

HOSTILE: dict[str, Hostile] = {
    "missing": Hostile(lambda folder: folder / "missing.wav", NoAudio, "no file missing.wav"),
    "folder": Hostile(_folder, NoAudio, "is a folder"),
    "empty": Hostile(_put("empty.wav", lambda: b""), NoAudio, "is empty"),
    "no-samples": Hostile(_put("none.wav", lambda: _wav(silence(0.0))), NoAudio, "not one sample"),
    "nan": Hostile(_put("nan.wav", lambda: _wav(_with_one(np.nan), coding="FLOAT")), UnsupportedAudio, "not numbers"),
    "infinite": Hostile(
        _put("inf.wav", lambda: _wav(_with_one(-np.inf), coding="FLOAT")), UnsupportedAudio, "not numbers"
    ),
    "beyond-all-scale": Hostile(
        _put("1e30.wav", lambda: _wav(_with_one(1e30), coding="FLOAT")), UnsupportedAudio, "full scale is 1"
    ),
    "junk": Hostile(_put("junk.wav", lambda: _JUNK), UnreadableAudio, "Give a WAV, FLAC"),
    "junk-mp3": Hostile(_put("junk.mp3", lambda: _JUNK), UnreadableAudio, "Give a WAV, FLAC"),
    "junk-without-ending": Hostile(_put("junk", lambda: _JUNK), UnreadableAudio, "Give a WAV, FLAC"),
    "text": Hostile(_put("text.wav", lambda: b"This is no sound.\n" * 99), UnreadableAudio, "Give a WAV, FLAC"),
    "header-alone": Hostile(_put("head.wav", lambda: _wav(tone())[:20]), UnreadableAudio, "Give a WAV, FLAC"),
    "truncated-m4a": Hostile(_put("cut.m4a", lambda: truncated("m4a-aac")), UnreadableAudio, "damaged"),
    "silent-video": Hostile(_put("video.mp4", _silent_video), UnreadableAudio, "no sound track"),
    "playlist-hls": Hostile(_playlist(".m3u8", _HLS), UnreadableAudio, "Give a WAV, FLAC"),
    "playlist-named-wav": Hostile(_playlist(".wav", _HLS), UnreadableAudio, "Give a WAV, FLAC"),
    "playlist-concat": Hostile(_playlist(".txt", "ffconcat version 1.0\nfile {name}\n"), UnreadableAudio, "Give a WAV"),
    "too-long": Hostile(
        _put("long.wav", lambda: _wav(silence(600.5, 8_000), 8_000, "PCM_U8")),
        AudioTooLong,
        "600.5 s long; at most 600 s",
    ),
    "ten-silent-hours": Hostile(_put("hours.flac", silent_flac), AudioTooLong, "36,000 s long; at most 600 s"),
    "ten-hours-no-length": Hostile(
        _put("endless.flac", lambda: flac_of_length(silent_flac(), 0)), AudioTooLong, "beyond 600 s"
    ),
    "huge-length": Hostile(
        _put("huge.flac", lambda: flac_of_length(encode(tone(), 16_000, "flac-16"), 2**36 - 1)), AudioTooLong, "s long"
    ),
    "huge-channels": Hostile(
        _put("channels.wav", lambda: _wav_header_of(65_535, 16_000, 2**32 - 1)), UnreadableAudio, "Give a WAV"
    ),
    "huge-rate": Hostile(
        _put("rate.wav", lambda: _wav_header_of(1, 2**31 - 1, 1000)), UnsupportedAudio, "2,147,483,647 Hz"
    ),
    "large": Hostile(_large, AudioTooLong, "129.0 MB large; at most 128.0 MB"),
    "low-rate": Hostile(_put("low.wav", lambda: _wav(tone(1, 4_000), 4_000)), UnsupportedAudio, "4,000 Hz"),
    "high-rate": Hostile(_put("high.wav", lambda: _wav(tone(1, 384_000), 384_000)), UnsupportedAudio, "384,000 Hz"),
    "nine-channels": Hostile(
        _put("nine.wav", lambda: _wav(np.tile(tone()[:, None], 9))), UnsupportedAudio, "9 channels; 1 to 8"
    ),
}
"""Every kind of file that is refused, by a short name."""
