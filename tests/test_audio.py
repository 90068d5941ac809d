from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf

from ser_core import audio
from ser_core.config import Limits
from ser_core.errors import AudioTooLong, NoAudio, SerError, UnreadableAudio, UnsupportedAudio
from tests import sounds
from tests.fuzz import bombs

RATE = 16_000


def peak_hz(samples: sounds.Floats) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * RATE / len(samples)


def level_db(samples: sounds.Floats) -> float:
    return 20.0 * float(np.log10(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))


# What is decoded is the sound that was encoded.


@pytest.mark.parametrize("name", sounds.FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_survives_every_format(tmp_path: Path, name: str, channels: int) -> None:
    tone = sounds.tone(2.0, 48_000)
    samples = np.tile(tone[:, None], channels) if channels > 1 else tone
    sound = audio.read(sounds.write(tmp_path, samples, 48_000, name))

    assert sound.container == sounds.FORMATS[name].container
    assert (sound.sample_rate, sound.source_rate, sound.source_channels) == (RATE, 48_000, channels)
    assert sound.samples.dtype == np.float32
    assert sound.samples.shape == (len(sound.samples),)
    assert sound.duration_s == pytest.approx(2.0, abs=0.1 if sounds.FORMATS[name].lossy else 1e-9)
    inner = sound.samples[RATE // 2 : 3 * RATE // 2]
    assert peak_hz(inner) == pytest.approx(440.0, abs=1.0)
    assert level_db(inner) == pytest.approx(level_db(tone), abs=1.0)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 96_000, 192_000])
def test_rates_keep_pitch_level_and_length(tmp_path: Path, rate: int) -> None:
    sound = audio.read(sounds.write(tmp_path, sounds.tone(1.0, rate), rate))
    assert sound.source_rate == rate
    assert sound.duration_s == pytest.approx(1.0, abs=1e-4)
    assert peak_hz(sound.samples) == pytest.approx(440.0, abs=1.0)
    assert level_db(sound.samples[1_000:-1_000]) == pytest.approx(level_db(sounds.tone()), abs=0.05)


def test_sound_above_the_new_half_rate_does_not_fold_down(tmp_path: Path) -> None:
    path = sounds.write(tmp_path, sounds.tone(1.0, 48_000, frequency=11_000.0), 48_000)
    assert level_db(audio.read(path).samples[1_000:-1_000]) < -80.0


def test_another_target_rate() -> None:
    sound = audio.from_array(sounds.tone(1.0, 48_000), 48_000, target_rate=8_000)
    assert (sound.sample_rate, len(sound.samples), sound.duration_s) == (8_000, 8_000, 1.0)


def test_a_known_16_bit_wav_gives_known_values(tmp_path: Path) -> None:
    path = tmp_path / "known.wav"
    sf.write(path, np.array([0, 1, 16_384, 32_767, -32_768], dtype=np.int16), RATE, subtype="PCM_16")
    expected = np.array([0, 1 / 32_768, 0.5, 32_767 / 32_768, -1.0], dtype=np.float32)
    assert np.array_equal(audio.read(path).samples, expected)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = sounds.tone(level=0.8), sounds.tone(frequency=1_000.0, level=0.2)
    path = sounds.write(tmp_path, np.column_stack([left, right]), RATE, "wav-float")
    assert np.allclose(audio.read(path).samples, (left + right) / 2, atol=1e-7)
    assert not audio.from_array(np.column_stack([left, -left]), RATE).samples.any()
    eight = np.zeros((100, 8), dtype=np.float32)
    eight[:, 7] = 0.8
    assert np.allclose(audio.from_array(eight, RATE).samples, 0.1)


def test_floats_beyond_full_scale_are_kept(tmp_path: Path) -> None:
    loud = sounds.tone(level=3.0)
    assert np.array_equal(audio.read(sounds.write(tmp_path, loud, RATE, "wav-float")).samples, loud)


# An array is the same as the file made of it.


@pytest.mark.parametrize("rate", [RATE, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("wav-16", "int16"), ("wav-24", "int32"), ("wav-32", "int32"), ("wav-float", "float32"),
        ("wav-double", "float64"), ("flac-16", "int16"), ("aiff-16", "int16"),
    ],
)  # fmt: skip
def test_path_and_array_agree_bitwise(tmp_path: Path, name: str, dtype: str, channels: int, rate: int) -> None:
    voices = [sounds.voice(1.5, rate, seed=i, level=0.9) for i in range(channels)]
    path = sounds.write(tmp_path, np.column_stack(voices), rate, name)
    array, _ = sf.read(path, dtype=dtype)
    assert array.dtype == dtype
    assert np.array_equal(audio.read(path).samples, audio.from_array(array, rate).samples)


def test_8_bit_path_and_array_agree_bitwise(tmp_path: Path) -> None:
    voice = sounds.voice(1.5, 44_100)
    path = sounds.write(tmp_path, voice, 44_100, "wav-8")
    # soundfile has no uint8: the bytes behind the 44 of the header are the samples
    array = np.frombuffer(path.read_bytes()[44 : 44 + len(voice)], dtype=np.uint8)
    assert np.array_equal(audio.read(path).samples, audio.from_array(array, 44_100).samples)


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ">i2", ">u2"]
)
def test_integers_are_read_against_their_full_range(dtype: str) -> None:
    info = np.iinfo(dtype)
    middle = 0 if info.min < 0 else 2 ** (info.bits - 1)
    array = np.array([info.min, middle, middle + 2 ** (info.bits - 2), info.max], dtype=dtype)
    top = np.float32((2 ** (info.bits - 1) - 1) / 2 ** (info.bits - 1))
    assert audio.from_array(array, RATE).samples.tolist() == [-1.0, 0.0, 0.5, top]

    voice = sounds.voice(1.0)
    heard = audio.from_array(
        sounds.as_integers(voice, np.dtype(dtype).newbyteorder("=").name).astype(dtype), RATE
    ).samples
    assert np.abs(heard - voice).max() <= 0.5 ** (info.bits - 1) + 1e-7


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", ">f4"])
def test_floats_are_taken_as_they_are(dtype: str) -> None:
    array = (2.0 * sounds.voice(1.0)).astype(dtype)
    assert np.array_equal(audio.from_array(array, RATE).samples, array.astype(np.float32))


def test_layout_of_an_array_does_not_matter() -> None:
    array = np.column_stack([sounds.voice(1.0, seed=i) for i in range(8)])
    expected = audio.from_array(np.ascontiguousarray(array), RATE).samples
    assert np.array_equal(audio.from_array(np.asfortranarray(array), RATE).samples, expected)
    assert np.array_equal(audio.from_array(array[::-1][::-1], RATE).samples, expected)
    assert np.array_equal(audio.from_array(array[:, 0], RATE).samples, audio.from_array(array[:, :1], RATE).samples)


@pytest.mark.parametrize("shape", [(RATE,), (RATE, 1), (RATE, 2)])
def test_an_array_is_neither_changed_nor_shared(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 0.25, dtype=np.float32)
    array.flags.writeable = False
    samples = audio.from_array(array, RATE).samples
    assert not np.shares_memory(samples, array)
    samples[:] = 1.0
    assert (array == 0.25).all()


@pytest.mark.parametrize("rate", [RATE, 192_000])
def test_one_sample_is_a_sound(rate: int) -> None:
    assert len(audio.from_array(np.array([0.5], dtype=np.float32), rate).samples) == 1


@pytest.mark.parametrize(
    ("array", "rate", "error", "says"),
    [
        (None, RATE, NoAudio, "no recording yet"),
        (np.zeros(0, np.float32), RATE, NoAudio, "no samples"),
        (np.zeros((0, 2), np.float32), RATE, NoAudio, "no samples"),
        (np.zeros((100, 0), np.float32), RATE, NoAudio, "no samples"),
        (np.zeros(100, bool), RATE, UnsupportedAudio, "bool"),
        (np.zeros(100, complex), RATE, UnsupportedAudio, "complex128"),
        (np.array([{}, 1], object), RATE, UnsupportedAudio, "object"),
        ("speech.wav", RATE, UnsupportedAudio, "Pass integers"),
        ([[1.0, 2.0], [3.0]], RATE, UnsupportedAudio, "list"),
        (np.float32(0.5), RATE, UnsupportedAudio, "shape ()"),
        (np.zeros((2, 3, 4), np.float32), RATE, UnsupportedAudio, "shape (2, 3, 4)"),
        (np.zeros((2, 9_000), np.float32), RATE, UnsupportedAudio, "array.T"),
        (np.zeros((9_000, 9), np.float32), RATE, UnsupportedAudio, "9 channels; 1 to 8"),
        (np.zeros(100, np.float32), None, UnsupportedAudio, "Pass sample_rate"),
        (np.zeros(100, np.float32), "16000", UnsupportedAudio, "'16000' is no sample rate"),
        (np.zeros(100, np.float32), True, UnsupportedAudio, "True is no sample rate"),
        (np.zeros(100, np.float32), float("nan"), UnsupportedAudio, "nan is no sample rate"),
        (np.zeros(100, np.float32), 0, UnsupportedAudio, "sample rate of 0 Hz"),
        (np.zeros(100, np.float32), -16_000, UnsupportedAudio, "sample rate of -16,000 Hz"),
        (np.zeros(100, np.float32), 1e300, UnsupportedAudio, "rate of more than 1,000,000,000,000 Hz; 8,000"),
        (np.zeros(100, np.float32), -1e300, UnsupportedAudio, "rate of less than -1,000,000,000,000 Hz; 8,000"),
        (np.zeros(100, np.float32), 7_999, UnsupportedAudio, "7,999 Hz; 8,000 to 192,000 Hz"),
        (np.array([0.0, np.nan]), RATE, UnsupportedAudio, "not numbers"),
        (np.array([[0.0, np.inf], [0.0, -np.inf]]), RATE, UnsupportedAudio, "not numbers"),
        (np.array([0.0, 1e300]), RATE, UnsupportedAudio, "not numbers"),
        (np.array([0.0, -1e10]), RATE, UnsupportedAudio, "as large as 1e+10"),
        (np.zeros(600 * RATE + 1, np.int8), RATE, AudioTooLong, "600.1 s long; at most 600 s"),
    ],
)  # fmt: skip
def test_arrays_that_are_refused(array: Any, rate: Any, error: type[SerError], says: str) -> None:
    with pytest.raises(error) as caught:
        audio.from_array(array, rate)
    assert type(caught.value) is error
    assert says in str(caught.value)


def test_whole_numbers_of_any_kind_are_rates() -> None:
    for rate in (16_000, 16_000.0, np.int64(16_000), np.float32(16_000)):
        assert audio.from_array(sounds.tone(), rate).source_rate == 16_000  # type: ignore[arg-type]


# What a stranger might send.


@pytest.mark.parametrize("name", sounds.HOSTILE)
def test_hostile_files_end_in_a_clear_message(tmp_path: Path, name: str) -> None:
    hostile = sounds.HOSTILE[name]
    with pytest.raises(SerError) as caught:
        audio.read(hostile.make(tmp_path))
    message = str(caught.value)
    assert type(caught.value) is hostile.error, message
    assert hostile.says in message
    assert str(tmp_path) not in message
    assert message.endswith(".")


@pytest.mark.parametrize("path", [None, 0, 3.5, "a\0b", "", "x" * 5_000, os.devnull, [], b"missing"])
def test_what_is_no_path_is_no_audio(path: Any) -> None:
    with pytest.raises(NoAudio):
        audio.read(path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sounds.write(tmp_path, sounds.tone(), RATE)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableAudio, match="Permission denied"):
        audio.read(path)


@pytest.mark.parametrize("name", ["wav-16", "m4a-aac", "webm-opus"])
def test_strange_names_neither_hinder_reading_nor_reach_the_terminal(tmp_path: Path, name: str) -> None:
    strange = tmp_path / f"\udcffé\n\x1b[31m{'long' * 30}"
    strange.write_bytes(sounds.encode(sounds.tone(1.0, 48_000), 48_000, name))
    assert audio.read(strange).duration_s == pytest.approx(1.0, abs=0.1)
    strange.write_bytes(b"junk" * 100)
    with pytest.raises(UnreadableAudio) as caught:
        audio.read(strange)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("ending", ["raw", "sd2", "mp3", "m3u8", "txt"])
def test_the_content_counts_not_the_ending(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"voice.{ending}"
    path.write_bytes(sounds.encode(sounds.tone(), RATE, "wav-float"))
    assert np.array_equal(audio.read(path).samples, sounds.tone())


@pytest.mark.parametrize("name", ["playlist-hls", "playlist-concat"])
def test_a_playlist_would_be_followed_if_it_were_let(tmp_path: Path, name: str) -> None:
    """The refusal of `HOSTILE[name]` is worth something: without our lists the same file plays the other one."""
    path = sounds.HOSTILE[name].make(tmp_path)
    with path.open("rb") as file, av.open(file, "r") as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > RATE


@pytest.mark.parametrize("name", ["wav-8", "wav-16", "wav-24", "wav-float", "aiff-16", "mp3", "webm-opus", "aac"])
def test_half_a_file_is_half_the_sound(tmp_path: Path, name: str) -> None:
    path = tmp_path / "cut"
    path.write_bytes(sounds.truncated(name, seconds=4.0, kept=0.5))
    whole = audio.from_array(sounds.voice(4.0, 48_000), 48_000).samples
    sound = audio.read(path)
    assert sound.duration_s == pytest.approx(2.0, abs=0.15)
    n = len(sound.samples)
    if not sounds.FORMATS[name].lossy:
        assert np.abs(sound.samples[100 : n - 100] - whole[100 : n - 100]).max() < 0.02


@pytest.mark.parametrize("name", ["flac-16", "ogg-vorbis", "ogg-opus"])
def test_half_a_compressed_file_is_its_beginning(tmp_path: Path, name: str) -> None:
    path = tmp_path / "cut"
    path.write_bytes(sounds.truncated(name, seconds=4.0, kept=0.5))
    assert 0.8 < audio.read(path).duration_s < 2.5


@pytest.mark.parametrize("name", ["m4a-aac", "mp4-video-aac"])
def test_half_an_mp4_is_refused_because_its_table_stands_at_the_end(tmp_path: Path, name: str) -> None:
    path = tmp_path / "cut.m4a"
    path.write_bytes(sounds.truncated(name))
    with pytest.raises(UnreadableAudio, match="damaged"):
        audio.read(path)


@pytest.mark.parametrize("name", sounds.FORMATS)
def test_damaged_bytes_raise_nothing_but_our_errors(tmp_path: Path, name: str) -> None:
    whole = sounds.encode(sounds.voice(0.5, 48_000), 48_000, name)
    rng = np.random.default_rng(len(whole))
    path = tmp_path / "damaged"
    for _ in range(15):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        # headers first: that is where the numbers that size buffers stand
        for reach in (64, 400, len(damaged)):
            damaged[rng.integers(min(reach, len(damaged)))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            sound = audio.read(path)
        except SerError:
            continue
        assert np.isfinite(sound.samples).all()
        assert 0 < sound.duration_s <= 600.0


# Headers that lie.


@pytest.mark.parametrize("length", [0, 2**32 - 1])
def test_a_streamed_wav_is_read_to_its_end(tmp_path: Path, length: int) -> None:
    path = tmp_path / "streamed.wav"
    voice = sounds.as_integers(sounds.voice(2.0), "int16")
    path.write_bytes(sounds.streamed_wav(voice, RATE, length))
    assert np.array_equal(audio.read(path).samples, audio.from_array(voice, RATE).samples)


def test_a_flac_without_a_length_is_read_to_its_end(tmp_path: Path) -> None:
    voice = sounds.as_integers(sounds.voice(2.0), "int16")
    path = tmp_path / "streamed.flac"
    path.write_bytes(sounds.flac_of_length(sounds.encode(voice, RATE, "flac-16"), 0))
    assert np.array_equal(audio.read(path).samples, audio.from_array(voice, RATE).samples)


@pytest.mark.parametrize("loud_first", [True, False])
def test_an_mp3_of_variable_rate_without_its_index_is_read_whole(tmp_path: Path, loud_first: bool) -> None:
    """Its length can only be guessed from the first frame's bit rate, which is off by half to three times here."""
    loud, quiet = sounds.noise(3.0, 44_100, rms=0.2), 1e-4 * sounds.noise(17.0, 44_100)
    path = tmp_path / "vbr.mp3"
    both = [loud, quiet] if loud_first else [quiet, loud]
    sf.write(path, np.concatenate(both), 44_100, bitrate_mode="VARIABLE", compression_level=0.2)
    content = path.read_bytes()
    assert b"Xing" in content[:200]
    path.write_bytes(content[content.index(content[:2], 4) :])
    assert b"Xing" not in path.read_bytes()[:2_000]
    assert abs(sf.info(path).duration - 20.0) > 2.0
    assert audio.read(path).duration_s == pytest.approx(20.0, abs=0.1)


def test_the_longest_sound_is_accepted_and_one_sample_more_is_not(tmp_path: Path) -> None:
    limits = Limits(max_duration_s=1.0)
    assert audio.from_array(np.zeros(RATE), RATE, limits=limits).duration_s == 1.0
    with pytest.raises(AudioTooLong, match=r"1\.1 s long; at most 1 s"):
        audio.from_array(np.zeros(RATE + 1), RATE, limits=limits)
    path = sounds.write(tmp_path, sounds.tone(1.0), RATE)
    assert audio.read(path, limits=limits).duration_s == 1.0


@pytest.mark.parametrize("length", [None, 0])
def test_many_channels_at_a_high_rate_are_bounded_together(tmp_path: Path, length: int | None) -> None:
    """Ten minutes of 8 channels at 192 kHz are 1 MB of FLAC where they are silent, and took 8 s."""
    limits = Limits(max_values=2 * RATE)
    content = sounds.encode(np.zeros((RATE + 1, 2), dtype=np.int16), RATE, "flac-16")
    path = tmp_path / "many.flac"
    path.write_bytes(content if length is None else sounds.flac_of_length(content, length))
    with pytest.raises(AudioTooLong, match=r"more than 32,000 samples, all channels together.*in mono"):
        audio.read(path, limits=limits)
    assert audio.from_array(np.zeros((RATE, 2)), RATE, limits=limits).duration_s == 1.0


@pytest.mark.parametrize("name", ["mp3", "aac", "webm-opus", "m4a-aac", "ogg-opus", "flac-16"])
def test_every_way_of_decoding_is_bounded(tmp_path: Path, name: str) -> None:
    path = sounds.write(tmp_path, sounds.voice(3.0, 48_000), 48_000, name)
    with pytest.raises(AudioTooLong, match="1 s"):
        audio.read(path, limits=Limits(max_duration_s=1.0))


MEASURE = """
import sys
from pathlib import Path
from ser_core import audio
from ser_core.errors import AudioTooLong

def most():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:")) / 1024

audio.read(sys.argv[1])  # the imports and what the decoder needs once
before = most()
try:
    audio.read(sys.argv[2])
except AudioTooLong as error:
    print(most() - before, error)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from Linux's /proc")
def test_ten_minutes_at_192_khz_take_the_memory_of_their_result(tmp_path: Path) -> None:
    """They took 1,300 MB when they were resampled in one piece; the result has 38 MB."""
    long = tmp_path / "long.flac"
    long.write_bytes(bombs.silent_flac(192_000, 1, 600))
    code = MEASURE.replace("except AudioTooLong as error:", "finally:").replace(", error)", ")")
    arguments = [sys.executable, "-c", code, str(sounds.write(tmp_path, sounds.tone(), RATE)), str(long)]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert float(run.stdout) < 150.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from Linux's /proc")
@pytest.mark.parametrize("name", ["ten-silent-hours", "ten-hours-no-length"])
def test_memory_stays_bounded_whatever_the_length(tmp_path: Path, name: str) -> None:
    """Ten hours at 8 kHz would be 1,100 MB; the ten minutes that may be kept are 18 MB."""
    warm_up = tmp_path / "short.flac"
    warm_up.write_bytes(sounds.flac_of_length(sounds.encode(sounds.tone(), RATE, "flac-16"), 0))
    arguments = [sys.executable, "-c", MEASURE, str(warm_up), str(sounds.HOSTILE[name].make(tmp_path))]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    megabytes, _, message = run.stdout.partition(" ")
    assert sounds.HOSTILE[name].says in message
    assert float(megabytes) < 60.0


def test_many_threads_read_the_same(tmp_path: Path) -> None:
    paths = [sounds.write(tmp_path, sounds.voice(0.5, 48_000), 48_000, name, stem=name) for name in sounds.FORMATS]
    expected = [audio.read(path).samples for path in paths]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda path: audio.read(path).samples, paths * 8))
    assert all(np.array_equal(f, expected[i % len(paths)]) for i, f in enumerate(found))


def test_importing_brings_no_decoder() -> None:
    code = "import sys, ser_core.audio; print(*{'av', 'soundfile', 'librosa', 'torch'} & set(sys.modules))"
    arguments = [sys.executable, "-c", code]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert run.stdout.strip() == ""
