"""Where somebody speaks: a voice is found at any level, what is no voice is not, and the cut leaves a margin."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import librosa
import numpy as np
import pytest

from ser_core import audio, features, voice
from ser_core.config import FeatureConfig
from ser_core.errors import BundleError
from ser_core.prediction import Span
from ser_core.stretch import one_piece
from tests import sounds

if TYPE_CHECKING:
    import numpy.typing as npt

CONFIG = FeatureConfig()
RATE = CONFIG.sample_rate
EXAMPLES = Path(__file__).parent.parent / "assets" / "examples"
FRAME = 512
"""Samples in one of the network's frames."""


class Scripted(voice.VoiceDetector):
    """Finds a voice in the frames that it is told, without a network."""

    def __init__(self, *voiced: slice) -> None:
        self._voiced = voiced

    def probabilities(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        found = np.full(math.ceil(len(waveform) / FRAME), 0.1, np.float32)
        for frames in self._voiced:
            found[frames] = 0.9
        return found


def scripted(monkeypatch: pytest.MonkeyPatch, *voiced: slice) -> None:
    """Let `voice.trim` ask such a detector."""
    monkeypatch.setattr(voice, "detector", lambda: Scripted(*voiced))


def found_s(samples: Any) -> float:
    """Seconds of voice that are found."""
    return voice.detector().find(np.asarray(samples, np.float32), CONFIG).duration_s


# What is a voice.


@pytest.mark.parametrize("pitch", [90.0, 110.0, 140.0, 180.0, 220.0])
@pytest.mark.parametrize("seconds", [1.0, 2.0, 5.0])
def test_a_voice_is_found_where_it_is(pitch: float, seconds: float) -> None:
    found = voice.detector().find(sounds.voice(seconds, pitch=pitch), CONFIG)
    spoken_s = seconds - 0.5
    # A frame at either end may be told differently, and between syllables there are pauses.
    assert 0.85 * spoken_s <= found.duration_s <= spoken_s + 2 * FRAME / RATE
    assert found.start / RATE == pytest.approx(0.25, abs=0.1)
    assert found.end / RATE == pytest.approx(seconds - 0.25, abs=0.1)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_a_voice_is_found_after_resampling(rate: int) -> None:
    assert found_s(audio.from_array(sounds.voice(2.0, rate), rate).samples) > 1.2


SWEEP_S = np.arange(2 * RATE) / RATE
NO_VOICE: dict[str, Any] = {
    "nothing": sounds.silence(0.0),
    "one-zero": sounds.silence(1 / RATE),
    "zeros": sounds.silence(2.0),
    "constant": np.full(2 * RATE, 0.3),
    "faint-constant": np.full(2 * RATE, 1e-5),
    **{f"tone-{hertz}": sounds.tone(2.0, frequency=hertz) for hertz in (60, 110, 220, 440, 1_000, 3_000, 7_000)},
    "tone-and-constant": sounds.tone(2.0) + 0.4,
    "short-tone": sounds.tone(0.4),
    **{f"noise-{seed}": sounds.noise(2.0, seed=seed) for seed in range(4)},
    "long-noise": sounds.noise(6.0, rms=0.3),
    "noise-and-constant": sounds.noise(2.0) - 0.4,
    "brown-noise": np.cumsum(sounds.noise(2.0)) / 10.0,
    "clicks": 0.5 * (np.random.default_rng(0).random(2 * RATE) < 1e-3),
    "buzz": 0.2 * sum((np.sin(2 * np.pi * 120 * k * SWEEP_S) / k for k in range(1, 30)), start=np.zeros(2 * RATE)),
    "sweep": 0.5 * np.sin(2 * np.pi * (100.0 + 500.0 * SWEEP_S) * SWEEP_S),
    "siren": 0.5 * np.sin(2 * np.pi * 600.0 * SWEEP_S + 100.0 * np.sin(2 * np.pi * SWEEP_S)),
}


@pytest.mark.parametrize("name", NO_VOICE)
def test_what_is_no_voice_is_not_found(name: str) -> None:
    found = voice.detector().find(np.asarray(NO_VOICE[name], np.float32), CONFIG)
    assert found == voice.Voiced(0, 0, 0.0)


@pytest.mark.parametrize("gain_db", [-60.0, -20.0, 20.0])
def test_the_microphones_gain_makes_no_difference(gain_db: float) -> None:
    samples = sounds.voice(2.0)
    gain = np.float32(10.0 ** (gain_db / 20.0))
    plain, changed = (voice.detector().probabilities(one) for one in (samples, gain * samples))
    np.testing.assert_allclose(changed, plain, atol=1e-3)
    assert voice.detector().find(gain * samples, CONFIG) == voice.detector().find(samples, CONFIG)


@pytest.mark.parametrize("constant", [0.02, -0.5])
def test_a_constant_hides_no_voice(constant: float) -> None:
    """Half a voice's frames were lost to a constant of its own size, which took its place in the peak."""
    samples = sounds.voice(2.0, level=0.1)
    plain, offset = (voice.detector().probabilities(one) for one in (samples, samples + np.float32(constant)))
    np.testing.assert_allclose(offset, plain, atol=1e-3)


def test_noise_20_db_below_hides_no_voice() -> None:
    samples = sounds.voice(2.0)
    noise = sounds.noise(2.0, rms=0.1 * float(np.sqrt(np.mean(samples**2))))
    assert found_s(samples + noise) > 1.2


# Frames.


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (63, 1), (511, 1), (512, 1), (513, 2), (16_000, 32)])
def test_a_probability_for_each_frame(samples: int, frames: int) -> None:
    found = voice.detector().probabilities(sounds.noise(1.0)[:samples])
    assert found.shape == (frames,)
    assert found.dtype == np.float32
    assert ((found >= 0.0) & (found <= 1.0)).all()


def test_a_frame_depends_on_nothing_behind_it() -> None:
    samples = sounds.voice(3.0)
    # The same peak and mean, or the level would change with what is left out.
    other = np.concatenate([samples[: 50 * FRAME], samples[50 * FRAME :][::-1]])
    before, after = (voice.detector().probabilities(one) for one in (samples, other))
    np.testing.assert_allclose(after[:50], before[:50], atol=1e-5)
    assert np.abs(after[50:] - before[50:]).max() > 0.1


def test_a_frame_depends_on_what_lies_before_it() -> None:
    """Its 64 samples of context, and what the network remembers: all frames go through it as one sequence."""
    samples = sounds.voice(3.0)
    middle = slice(40 * FRAME, 60 * FRAME)
    whole, alone = voice.detector().probabilities(samples)[40:60], voice.detector().probabilities(samples[middle])
    assert np.abs(whole - alone).max() > 0.05


def test_the_recording_is_left_as_it_was() -> None:
    samples = sounds.voice(1.0)
    samples.flags.writeable = False
    before = samples.copy()
    voice.trim(samples, CONFIG)
    np.testing.assert_array_equal(samples, before)


def test_find_measures_from_the_first_to_the_last_frame() -> None:
    found = Scripted(slice(20, 23), slice(40, 45)).find(sounds.silence(3.0), CONFIG)
    assert found == voice.Voiced(20 * FRAME, 45 * FRAME, 8 * FRAME / RATE)


def test_the_last_frame_ends_with_the_recording() -> None:
    assert Scripted(slice(2, 32)).find(sounds.silence(1.0), CONFIG).end == RATE < 32 * FRAME


def test_the_margin_stays_within_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, slice(2, 30))
    trimmed, _ = voice.trim(sounds.noise(1.0), CONFIG)
    assert (trimmed.start, trimmed.end) == (0, RATE)


@pytest.mark.parametrize(("threshold", "frames"), [(0.05, 32), (0.5, 10), (0.95, 0)])
def test_the_threshold_comes_from_the_config(threshold: float, frames: int) -> None:
    config = replace(CONFIG, voice_probability=threshold)
    found = Scripted(slice(5, 15)).find(sounds.silence(32 * FRAME / RATE), config)
    assert found.duration_s == pytest.approx(frames * FRAME / RATE)


# Cutting.


@pytest.mark.parametrize("margin_s", [0.0, 0.1, 0.25])
def test_trim_cuts_loud_sound_to_the_voice_and_its_margin(monkeypatch: pytest.MonkeyPatch, margin_s: float) -> None:
    scripted(monkeypatch, slice(20, 40))
    samples = sounds.noise(2.0)
    trimmed, voice_s = voice.trim(samples, replace(CONFIG, voice_margin_s=margin_s))
    margin = round(margin_s * RATE)
    assert (trimmed.start, trimmed.end) == (20 * FRAME - margin, 40 * FRAME + margin)
    assert voice_s == 20 * FRAME / RATE
    np.testing.assert_array_equal(trimmed.samples, samples[trimmed.start : trimmed.end])
    assert trimmed.peak_dbfs == features.trim(samples, CONFIG).peak_dbfs


def test_trim_takes_no_silence_into_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is silence beside the voice, the cut is the one that its level gives."""
    scripted(monkeypatch, slice(24, 40))
    samples = np.concatenate([sounds.silence(0.75), sounds.noise(0.5), sounds.silence(0.75)])
    by_level = features.trim(samples, CONFIG)
    trimmed, voice_s = voice.trim(samples, CONFIG)
    assert 0.6 < by_level.start / RATE < by_level.end / RATE < 1.4
    assert (trimmed.start, trimmed.end) == (by_level.start, by_level.end)
    assert voice_s == 16 * FRAME / RATE


def test_trim_is_cut_by_both_where_they_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, slice(25, 31))
    samples = np.concatenate([sounds.silence(0.7), sounds.noise(1.3)])
    trimmed, _ = voice.trim(samples, CONFIG)
    assert trimmed.start == features.trim(samples, CONFIG).start > 25 * FRAME - round(CONFIG.voice_margin_s * RATE)
    assert trimmed.end == 31 * FRAME + round(CONFIG.voice_margin_s * RATE) < len(samples)


def test_a_voice_outside_the_sound_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that the detector takes for a voice where, beside a loud sound, there is next to nothing."""
    scripted(monkeypatch, slice(0, 10))
    samples = np.concatenate([1e-4 * sounds.noise(1.0), sounds.noise(1.0)])
    trimmed, voice_s = voice.trim(samples, CONFIG)
    by_level = features.trim(samples, CONFIG)
    assert (trimmed.start, trimmed.end, voice_s) == (by_level.start, by_level.end, 0.0)
    # Even where its margin reaches into the sound.
    assert 10 * FRAME < by_level.start < 10 * FRAME + round(CONFIG.voice_margin_s * RATE)


@pytest.mark.parametrize(("frames", "cut"), [(0, False), (4, False), (5, True)])
def test_too_little_voice_cuts_nothing(monkeypatch: pytest.MonkeyPatch, frames: int, cut: bool) -> None:
    """0.15 s are needed: 4 frames are 0.128 s, 5 are 0.16 s."""
    scripted(monkeypatch, slice(60, 60 + frames))
    trimmed, voice_s = voice.trim(sounds.noise(4.0), CONFIG)
    assert voice_s == frames * FRAME / RATE
    assert (trimmed.start, trimmed.end) == ((60 * FRAME - 12_000, 65 * FRAME + 12_000) if cut else (0, 4 * RATE))


@pytest.mark.parametrize(
    "samples", [sounds.silence(0.0), sounds.silence(2.0), 1e-5 * sounds.voice(2.0)], ids=["empty", "zeros", "faint"]
)
def test_silence_is_left_to_its_level(monkeypatch: pytest.MonkeyPatch, samples: sounds.Floats) -> None:
    """The detector, which would hear even a faint voice, is not asked."""
    scripted(monkeypatch, slice(None))
    trimmed, voice_s = voice.trim(samples, CONFIG)
    assert (len(trimmed.samples), trimmed.start, trimmed.end, voice_s) == (0, 0, 0, 0.0)


def test_the_real_detector_cuts_a_voice_out_of_noise() -> None:
    noise = 0.02 * sounds.noise(1.5, rms=1.0)
    samples = np.concatenate([noise, sounds.voice(2.0) + 0.002 * sounds.noise(2.0, rms=1.0), noise])
    trimmed, voice_s = voice.trim(samples, CONFIG)
    assert features.trim(samples, CONFIG).start == 0
    assert trimmed.start / RATE == pytest.approx(1.75 - CONFIG.voice_margin_s, abs=0.1)
    assert trimmed.end / RATE == pytest.approx(3.25 + CONFIG.voice_margin_s, abs=0.1)
    assert voice_s == pytest.approx(1.5, abs=0.1)


# The network.


def test_many_threads_hear_what_one_hears() -> None:
    made = [sounds.voice(0.8 + 0.3 * i, pitch=100.0 + 15.0 * i, seed=i) for i in range(6)]
    made += [sounds.noise(1.0), sounds.tone(1.5), sounds.silence(0.0)]
    alone = [voice.detector().probabilities(one) for one in made]
    order = np.random.default_rng(0).integers(len(made), size=120).tolist()
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda index: voice.detector().probabilities(made[index]), order))
    for index, found in zip(order, together, strict=True):
        np.testing.assert_array_equal(found, alone[index])


def test_the_network_meets_few_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO keeps memory for each one that it met."""
    detector, met = voice.VoiceDetector(), set()
    asked = detector.requests.infer

    def infer(inputs: dict[str, npt.NDArray[np.float32]], names: list[str]) -> list[npt.NDArray[np.float32]]:
        met.add(len(inputs["input"]))
        return asked(inputs, names)

    monkeypatch.setattr(detector.requests, "infer", infer)
    for frames in range(1, 158, 4):  # up to 5 s
        assert len(detector.probabilities(sounds.noise(5.1)[: frames * FRAME])) == frames
    assert len(met) <= 10


def test_silence_behind_the_end_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What weights were trained by had none: `train.recipe` takes both for the same."""
    samples = sounds.voice(3.0)
    for length in (5 * FRAME + 100, 16 * FRAME, 50 * FRAME + 1, len(samples)):
        filled = voice.detector().probabilities(samples[:length])
        with monkeypatch.context() as patched:
            patched.setattr(voice, "_STEP", 1)
            exact = voice.detector().probabilities(samples[:length])
        np.testing.assert_allclose(filled, exact, atol=1e-6)
        assert np.array_equal(filled >= 0.5, exact >= 0.5)


def test_it_is_loaded_once() -> None:
    assert voice.detector() is voice.detector()


def test_a_detector_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "MODEL", tmp_path / "gone.onnx")
    with pytest.raises(BundleError, match=r"can't load gone\.onnx"):
        voice.VoiceDetector()


def test_it_comes_with_its_licence() -> None:
    assert "MIT License" in (voice.MODEL.parent / "LICENSE").read_text(encoding="utf-8")
    assert "Silero" in (voice.MODEL.parent / "LICENSE").read_text(encoding="utf-8")


def test_a_voice_that_lies_too_high_for_the_detector_is_heard_slower() -> None:
    spoken = audio.read(EXAMPLES / "synthetic-fast-and-high.wav").samples
    shrieked = librosa.resample(spoken, orig_sr=23, target_sr=10, res_type="soxr_hq")
    assert voice.detector().find(shrieked, CONFIG).duration_s < CONFIG.min_voice_s
    heard = one_piece(shrieked, CONFIG)
    assert heard.voice_s > 0.4
    assert heard.spectrogram is not None
    # It is cut by its level alone, as training hears such clips.
    trimmed = features.trim(shrieked, CONFIG)
    assert heard.sound == Span(trimmed.start / 16_000, trimmed.end / 16_000)


def test_what_is_no_voice_is_none_when_it_is_heard_slower() -> None:
    noise = sounds.tone(2.0) + 0.1 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    heard = one_piece(noise, CONFIG)
    assert heard.spectrogram is None
    assert heard.voice_s < CONFIG.min_voice_s
