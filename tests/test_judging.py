"""Clips through the app's path, window by window, with a network whose answers tell what it was given."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ser_core import windows
from ser_core.backends import Output
from ser_core.config import CONTRACT, FeatureConfig
from ser_core.emotions import Emotion
from ser_core.errors import NoAudio
from tests import sounds
from train import degrade, judging
from train.corpora import Clip
from train.judging import ResultsError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from ser_core.features import Waveform
    from ser_core.prediction import Precision
    from train.corpora import Channel

CONFIG = FeatureConfig()


class Echo:
    """Answers what it hears: eight means over neighbouring mel bands, times `factor`."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def infer(self, batch: npt.NDArray[np.float32]) -> Output:
        size, _, _, frames = batch.shape
        logits = self.factor * batch.reshape(size, 8, -1).mean(axis=2)
        steps = frames // CONTRACT.attention_stride
        return Output(logits.astype(np.float32), np.full((size, steps), 1.0 / steps, dtype=np.float32))


BACKENDS: dict[Precision, Echo] = {"fp32": Echo(), "int8": Echo(2.0)}


@pytest.fixture(scope="module")
def spoken() -> dict[str, Waveform]:
    return {"short": sounds.voice(1.0), "silent": sounds.silence(1.0), "long": sounds.voice(7.0, pitch=180.0)}


@pytest.fixture(scope="module")
def clips(spoken: dict[str, Waveform], tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    known: dict[str, tuple[Emotion, str, Channel]] = {
        "short": (Emotion.SAD, "ana", "speech"),
        "silent": (Emotion.CALM, "ben", "speech"),
        "long": (Emotion.HAPPY, "ana", "song"),
    }
    return [
        Clip(
            key=name,
            path=sounds.write(folder, spoken[name], 16_000, "wav-float", stem=name),
            corpus="own",
            emotion=emotion,
            speaker=who,
            sex="female",
            channel=channel,
        )
        for name, (emotion, who, channel) in known.items()
    ]


def heard(waveform: Waveform) -> list[npt.NDArray[np.float32]]:
    """What `Echo` answers to each window of a waveform; zeros where nobody speaks in it."""
    return [
        np.zeros(8, dtype=np.float32)
        if stretch.spectrogram is None
        else Echo().infer(stretch.spectrogram[np.newaxis, np.newaxis]).logits[0]
        for stretch in windows.stretches(waveform, CONFIG)
    ]


def test_clips_are_judged_window_by_window(clips: list[Clip], spoken: dict[str, Waveform]) -> None:
    found = judging.judge(clips, BACKENDS, 3)
    assert list(found) == ["fp32", "int8"]
    exact = found["fp32"]
    assert exact.fold == 3
    assert exact.keys.tolist() == ["short", "silent", "long"]
    assert exact.emotions.tolist() == [3, 1, 2]
    assert exact.speakers.tolist() == ["ana", "ben", "ana"]
    assert exact.channels.tolist() == ["speech", "speech", "song"]
    # 7 s are five windows of 3 s, a second apart.
    assert exact.window_clip.tolist() == [0, 1, 2, 2, 2, 2, 2]
    expected = [row for name in ("short", "silent", "long") for row in heard(spoken[name])]
    assert exact.logits == pytest.approx(np.stack(expected), abs=1e-6)
    assert exact.logits[0].any()
    assert exact.sound_s[1] == 0.0
    assert 0.3 < exact.sound_s[0] < 1.0
    assert (exact.sound_s[2:] > 1.5).all()
    # The other network heard the same windows.
    assert found["int8"].logits == pytest.approx(2.0 * exact.logits, abs=1e-6)
    assert found["int8"].sound_s.tolist() == exact.sound_s.tolist()
    # Nothing was heard in the silence, so nothing is told.
    assert exact.probabilities(1.0)[1].tolist() == [0.125] * 8


def test_a_change_comes_before_anything_else(clips: list[Clip], spoken: dict[str, Waveform]) -> None:
    met = []

    def change(waveform: Waveform, clip: Clip) -> Waveform:
        met.append((clip.key, np.array_equal(waveform, spoken[clip.key])))
        return degrade.band_limit(waveform, 300.0, 3_400.0, CONFIG.sample_rate)

    found = judging.judge(clips[:1], BACKENDS, 0, change)["fp32"]
    assert met == [("short", True)]
    assert found.logits == pytest.approx(np.stack(heard(change(spoken["short"], clips[0]))), abs=1e-6)
    assert not np.allclose(found.logits, np.stack(heard(spoken["short"])), atol=0.05)


def test_sounds_have_a_name_and_nothing_that_is_true(spoken: dict[str, Waveform]) -> None:
    found = judging.judge_sounds(
        [("rain/0", sounds.noise(1.0)), ("voice/1", spoken["short"]), ("silence/2", spoken["silent"])], BACKENDS, 1
    )["int8"]
    assert found.keys.tolist() == ["rain/0", "voice/1", "silence/2"]
    assert found.emotions.tolist() == [-1, -1, -1]
    assert found.speakers.tolist() == found.channels.tolist() == ["", "", ""]
    assert (found.sound_s > 0.0).tolist() == [False, True, False]
    assert found.logits == pytest.approx(2.0 * np.stack([np.zeros(8), *heard(spoken["short"]), np.zeros(8)]), abs=1e-6)


def test_a_clip_that_is_not_there_is_told(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(NoAudio, match=r"no file gone\.wav"):
        judging.judge([dataclasses.replace(clips[0], path=tmp_path / "gone.wav")], BACKENDS, 0)


def test_what_is_saved_is_what_is_loaded(clips: list[Clip], tmp_path: Path) -> None:
    whole = judging.judge(clips, BACKENDS, 4)["fp32"]
    # Under another condition a clip may fall into other windows.
    cut = judging.judge(clips, BACKENDS, 4, lambda waveform, _: waveform[:16_000])["fp32"]
    assert len(cut.window_clip) == 3
    path = tmp_path / "new" / "fold4.npz"
    judging.save(path, {"whole, 0 dB": whole, "cut": cut}, {"recipe_hash": "a", "more": ["ä", 1]})
    loaded, origin = judging.load(path)
    assert origin == {"recipe_hash": "a", "more": ["ä", 1]}
    assert list(loaded) == ["whole, 0 dB", "cut"]
    for before, after in ((whole, loaded["whole, 0 dB"]), (cut, loaded["cut"])):
        assert after.fold == 4
        assert after.logits.dtype == np.float32
        for field in ("keys", "emotions", "speakers", "channels", "window_clip", "logits"):
            assert np.array_equal(getattr(after, field), getattr(before, field)), field
        assert after.sound_s == pytest.approx(before.sound_s, rel=1e-6)


def test_different_clips_are_not_saved_as_the_same(clips: list[Clip], tmp_path: Path) -> None:
    whole = judging.judge(clips, BACKENDS, 0)["fp32"]
    part = whole.subset(np.array([True, True, False]))
    with pytest.raises(ValueError, match=r"fold0\.npz can't hold different clips under whole, part"):
        judging.save(tmp_path / "fold0.npz", {"whole": whole, "part": part}, {})
    assert not (tmp_path / "fold0.npz").exists()


def test_results_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"fold1\.npz is missing: run `python -m train evaluate --data DIR`"):
        judging.load(tmp_path / "fold1.npz")
