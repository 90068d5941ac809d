"""Files -> blocks of samples, through two decoders of one shape: libsndfile (soundfile) and FFmpeg (PyAV).

Nothing here judges what is read; `ser_core.audio` holds the limits and mixes down.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    import av
    import numpy.typing as npt
    import soundfile

# Small, so that little is lost in front of a damaged place, and memory follows the sound that is kept.
BLOCK_FRAMES = 16_384

# MP3 is left to PyAV: without a Xing header libsndfile guesses the length from the first frame's bit rate and reads no
# further, which cuts 60 s of variable bit rate to 16 s. The rare formats that libsndfile guesses at without a real
# signature (HTK, PAF, SDS ...) are left out, because junk may pass for them.
_SNDFILE_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "AIFF", "AU", "CAF"})
# libsndfile's SF_COUNT_MAX: the header gives no length.
_UNKNOWN_FRAMES = 2**63 - 1

# PCM, float, A-law, mu-law: codings that hold a number for each sample. The longer header tells its coding further on.
_PLAIN_TAGS = frozenset({1, 3, 6, 7})
_LONGER_TAG = 0xFFFE

# Demuxers of single files. Playlists (hls, concat, dash), scripts and image sequences, which name other files or
# addresses to open, are left out.
_AV_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,aac,mp3,wav,flac,aiff,caf,amr"
# No video decoder among them: FFmpeg would run it on a stranger's picture while it looks for a stream's properties.
_AV_CODECS = (
    "aac,aac_latm,alac,flac,opus,libopus,vorbis,libvorbis,mp2,mp2float,mp3,mp3float,ac3,eac3,amrnb,amrwb,"
    "pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,"
    "pcm_mulaw,pcm_alaw"
)
# Formats without a stated length, where FFmpeg's is a guess from the bit rate, wrong by any factor.
_AV_GUESSED_LENGTH = frozenset({"aac", "mp3", "amr"})


class DecodeError(Exception):
    """A decoder makes no sound of the bytes, or no more. Never leaves `ser_core.audio`.

    Its text completes a sentence that starts with the file's name.
    """


@dataclass(frozen=True)
class Source:
    """An opened file.

    Attributes:
        container: the format's name, in capitals.
        sample_rate: Hz, of the blocks.
        channels: of the source.
        declared_s: seconds according to the header, which may lie; None where it doesn't say.
        blocks: (n, channels) arrays of any integer or float dtype, in order of time. Raises DecodeError at a damaged
            place, and where the rate changes midway.
    """

    container: str
    sample_rate: int
    channels: int
    declared_s: float | None
    blocks: Iterator[npt.NDArray[Any]]


def is_plain_wav(file: io.FileIO) -> bool:
    """Whether a file says in its first bytes that it is a WAV of samples as they are; leaves it at its start."""
    file.seek(0)
    head = file.read(46) or b""
    file.seek(0)
    names = head[:4], head[8:16]
    tag, coding = (int.from_bytes(head[at : at + 2], "little") for at in (20, 44))
    return names == (b"RIFF", b"WAVEfmt ") and (coding if tag == _LONGER_TAG else tag) in _PLAIN_TAGS


@contextmanager
def open_sndfile(file: io.FileIO) -> Iterator[Source]:
    """WAV, FLAC, OGG (Vorbis, Opus) and AIFF.

    Args:
        file: opened for reading, at its start. By its descriptor, because soundfile takes a name's ending for a format
            (`.raw`) and libsndfile may look for a file beside it (`.sd2`).

    Raises:
        DecodeError: another format, or one whose length libsndfile needs and can't find.
    """
    import soundfile

    try:
        sound = soundfile.SoundFile(file.fileno(), closefd=False)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as error:
        raise DecodeError("is no sound file that can be read, or it is damaged") from error
    with sound:
        # A stream saved without going back to fill in its length: 0 in WAV, nothing in FLAC. PyAV reads on to the end.
        if sound.format not in _SNDFILE_FORMATS or sound.frames == _UNKNOWN_FRAMES:
            raise DecodeError("is no sound file that can be read")
        rate = int(sound.samplerate)
        declared_s = sound.frames / rate if rate > 0 else None
        yield Source(sound.format, rate, int(sound.channels), declared_s, _sndfile_blocks(sound))


def _sndfile_blocks(sound: soundfile.SoundFile) -> Iterator[npt.NDArray[Any]]:
    import soundfile

    while True:
        try:
            block = sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
            raise DecodeError("is damaged") from error
        if len(block) == 0:
            return
        yield block


@contextmanager
def open_av(file: io.FileIO) -> Iterator[Source]:
    """M4A/AAC, WebM/Opus, MP3, the first sound track of an MP4, and what libsndfile leaves.

    FFmpeg gets an open file and a short list of formats, so that no playlist can make it open another file or address.

    Args:
        file: opened for reading, at its start.

    Raises:
        DecodeError: another format, no sound track, or a coding of sound that is not in the list.
    """
    import av

    try:
        container = av.open(
            file,
            "r",
            metadata_errors="replace",
            container_options={
                "format_whitelist": _AV_FORMATS,
                "codec_whitelist": _AV_CODECS,
                "protocol_whitelist": "none",
            },
        )
    # FFmpegError's children are ValueError, EOFError, OSError and others at once; a stranger's bytes may bring any.
    except (av.FFmpegError, ValueError, OSError, RuntimeError, MemoryError) as error:
        raise DecodeError("is no sound file that can be read, or it is damaged") from error
    with container:
        if not container.streams.audio:
            raise DecodeError("has no sound track")
        stream = container.streams.audio[0]
        for other in container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
        if stream.codec_context is None or stream.codec_context.name not in _AV_CODECS.split(","):
            raise DecodeError("holds sound in a coding that is not read here")
        frames = _av_frames(container, stream)
        # Some headers give half the rate or fewer channels than come out (HE-AAC), so the first frame is asked.
        first = next(frames, None)
        if first is None:
            raise DecodeError("holds no sound that can be read")
        yield Source(
            container.format.name.upper(),
            first.sample_rate,
            first.layout.nb_channels,
            _av_declared_s(container, stream),
            _av_blocks(first, frames),
        )


def _av_declared_s(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    import av

    if container.format.name in _AV_GUESSED_LENGTH:
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _av_frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    import av

    try:
        yield from container.decode(stream)
    except (av.FFmpegError, ValueError, OSError, RuntimeError, MemoryError) as error:
        raise DecodeError("is damaged") from error


def _av_blocks(first: av.AudioFrame, others: Iterator[av.AudioFrame]) -> Iterator[npt.NDArray[Any]]:
    yield _samples(first)
    for frame in others:
        if frame.sample_rate != first.sample_rate:
            # Two rates in one waveform would put what follows at a wrong pitch.
            raise DecodeError("changes its sample rate midway")
        yield _samples(frame)


def _samples(frame: av.AudioFrame) -> npt.NDArray[Any]:
    """A frame as (n, channels); FFmpeg keeps the channels one after the other (planar) or interleaved."""
    samples = frame.to_ndarray()
    return samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)
