"""What of a spectrogram is kept on disk, and how far that is from what was computed."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ser_core import features
from ser_core.config import FeatureConfig
from ser_core.emotions import Emotion
from tests.train_data import cache_of, clip
from train import cache
from train.cache import CacheError, FeatureCache

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = FeatureConfig()
STEP = 2.0 / 255
"""Between two neighbouring bytes, in units of a spectrogram."""


def spectrogram(frames: int = 50, seed: int = 0) -> features.LogMel:
    """float32 (n_mels, frames), evenly over [-1, 1]."""
    values = np.random.default_rng(seed).uniform(-1.0, 1.0, (CONFIG.n_mels, frames))
    return values.astype(np.float32)


def written(folder: Path, *, versions: int = 3) -> tuple[FeatureCache, list[list[cache.Quantised]]]:
    """A cache of two clips of different lengths, on disk, and what was put in."""
    clips = [clip(0, emotion=Emotion.SAD), dataclasses.replace(clip(1, speaker="ben"), strong=True, statement="2")]
    frames = [
        [
            cache.quantise(spectrogram(30 + 20 * number + version, seed=3 * number + version))
            for version in range(versions)
        ]
        for number in range(2)
    ]
    cache.write(folder, clips, frames, "d" * 16)
    return FeatureCache.open(folder), frames


def test_a_byte_holds_a_level_to_half_a_step() -> None:
    exact = spectrogram()
    frames = cache.quantise(exact)
    assert frames.dtype == np.uint8
    assert frames.shape == (50, CONFIG.n_mels)
    restored = cache.restore(frames)
    assert restored.dtype == np.float32
    assert np.abs(restored - exact).max() <= STEP / 2 + 1e-6
    # 0.16 dB of the 80 that are kept.
    assert np.abs(restored - exact).max() * CONFIG.dynamic_range_db / 2 < 0.16


def test_the_ends_of_the_scale_are_exact() -> None:
    # Silence and the loudest bin are what augmentation asks for by equality.
    ends = np.array([[-1.0, 1.0]] * CONFIG.n_mels, dtype=np.float32)
    assert np.array_equal(cache.restore(cache.quantise(ends)), ends)
    assert cache.quantise(ends)[:, 0].tolist() == [0, 255]


def test_what_is_written_is_what_is_opened(tmp_path: Path) -> None:
    opened, frames = written(tmp_path)
    assert opened.digest == "d" * 16
    assert opened.config == CONFIG
    assert np.array_equal(opened.band_hz, features.band_hz(CONFIG))
    assert opened.offsets.shape == (2, 3, 2)
    assert opened.clips[0] == dataclasses.replace(clip(0, emotion=Emotion.SAD), path=opened.clips[0].path)
    assert opened.clips[0].path.is_absolute()
    assert (opened.clips[1].strong, opened.clips[1].statement, opened.clips[1].speaker) == (True, "2", "ben")
    for number in range(2):
        assert np.array_equal(opened.spectrogram(number), cache.restore(frames[number][0]))
        for version in range(3):
            assert np.array_equal(opened.spectrogram(number, version), cache.restore(frames[number][version]))


def test_a_network_hears_the_clip_as_it_is_filled_up_with_silence(tmp_path: Path) -> None:
    opened, _ = written(tmp_path)
    heard = opened.network_input(1)
    assert heard.shape == (CONFIG.n_mels, CONFIG.min_frames)
    assert np.array_equal(heard[:, :50], opened.spectrogram(1))
    assert (heard[:, 50:] == -1.0).all()


def test_a_long_clip_is_filled_up_to_whole_steps() -> None:
    long_clip = cache_of([clip(0)], [CONFIG.min_frames + 1])
    assert long_clip.network_input(0).shape == (CONFIG.n_mels, CONFIG.min_frames + CONFIG.frame_step)


def test_a_cache_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        CacheError, match=r"There are no features in .*: run `python -m train prepare --data DIR` first"
    ):
        FeatureCache.open(tmp_path)


def test_a_cache_of_other_features_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    other = dataclasses.replace(CONFIG, trim_top_db=30.0)
    index["feature_config"] = other.to_dict()
    (tmp_path / "index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CacheError, match=rf"made with config {other.fingerprint}, .* has {CONFIG.fingerprint}: run "):
        FeatureCache.open(tmp_path)


def test_a_cache_that_was_broken_off_is_not_taken_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space left"):
        written(tmp_path)
    with pytest.raises(CacheError, match="There are no features"):
        FeatureCache.open(tmp_path)
