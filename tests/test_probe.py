"""Whether corpora are told apart by how they sound: on made-up ones whose differences are known."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ser_core import features
from ser_core.config import FeatureConfig
from tests.train_data import UNCHANGED, Pipeline, clip, train
from train import probe, recipe
from train.augment import AugmentConfig
from train.cache import CacheError, FeatureCache
from train.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

CONFIG = FeatureConfig()
TILT = np.linspace(-8.0, 8.0, CONFIG.n_mels)
"""Bytes, of which one is 0.31 dB: a straight line of 2.5 dB at either edge of the spectrum."""
NOTHING = np.zeros(CONFIG.n_mels)
FRAMES = AugmentConfig().crop_frames
CHANCE = pytest.approx(0.5, abs=0.12)
"""Half of the 160 clips that are tested, and three standard deviations."""


def cache_of(colour: Callable[[str, int, int], npt.NDArray[np.float64]]) -> FeatureCache:
    """Two corpora of eight speakers with 20 clips each, in a clean and a degraded version: noise, and its colour.

    `colour` says by how many bytes each band is louder, for a corpus, a speaker's number and a version.
    """
    rng = np.random.default_rng(0)
    clips, spectrograms = [], []
    for corpus in ("own", "nemo"):
        for number in range(160):
            speaker = number // 20
            clips.append(clip(number, corpus, speaker=f"{speaker}"))
            for version in range(2):
                noise = rng.normal(128.0, 20.0, (FRAMES, CONFIG.n_mels)) + colour(corpus, speaker, version)
                spectrograms.append(np.rint(noise.clip(0, 255)).astype(np.uint8))
    ends = np.arange(1, len(spectrograms) + 1) * FRAMES
    offsets = np.stack([ends - FRAMES, ends], axis=-1).reshape(len(clips), 2, 2)
    return FeatureCache(
        tuple(clips), np.concatenate(spectrograms), offsets, CONFIG, features.band_hz(CONFIG), digest="0" * 16
    )


def measured(cache: FeatureCache, **changes: Any) -> tuple[float, float]:
    """How well the two are told apart before and after these changes, with all others switched off."""
    chosen = Recipe("two", corpora=("own", "nemo"), augment=dataclasses.replace(UNCHANGED, **changes))
    found = probe.measure(cache, chosen)
    assert (found["corpora"], found["chance"]) == (["own", "nemo"], 0.5)
    return found["before"], found["after"]


@pytest.fixture(scope="module")
def tilted() -> FeatureCache:
    """One corpus has more treble than the other."""
    return cache_of(lambda corpus, _speaker, _version: TILT if corpus == "own" else -TILT)


def test_corpora_that_sound_alike_are_told_apart_no_better_than_by_chance() -> None:
    before, after = measured(cache_of(lambda *_: NOTHING))
    assert before == CHANCE
    assert after == CHANCE


def test_corpora_that_sound_differently_are_told_apart_where_training_hears_them_as_they_are(
    tilted: FeatureCache,
) -> None:
    before, after = measured(tilted)
    assert before == 1.0
    assert after > 0.95


def test_augmentation_hides_what_gives_a_corpus_away(tilted: FeatureCache) -> None:
    before, after = measured(tilted, tilt_db=20.0)
    assert before == 1.0
    # Lines that are drawn eight times as steep as those of the corpora.
    assert after < 0.8
    # A change of another kind hides nothing of it.
    assert measured(tilted, tempo=1.2)[1] > 0.95


def test_clips_are_probed_in_their_degraded_versions_as_often_as_training_hears_those() -> None:
    cache = cache_of(lambda corpus, _, version: TILT * (corpus == "own") * (version == 0))
    before, after = measured(cache)
    assert before == 1.0
    assert after > 0.95
    before, after = measured(cache, degraded=1.0)
    assert before == 1.0
    assert after == CHANCE


def test_corpora_are_not_told_apart_by_their_speakers() -> None:
    """Where every second speaker of a corpus sounds like the other corpus, whoever learns from the ones is wrong about
    the others throughout.
    """

    def every_second(corpus: str, speaker: int, _version: int) -> npt.NDArray[np.float64]:
        return TILT if (corpus == "own") == (speaker % 2 == 0) else -TILT

    before, after = measured(cache_of(every_second))
    assert before == 0.0
    assert after < 0.05


def test_the_command_stores_what_it_measures(
    made: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("probe", "--config", made.recipe, "--cache", made.cache, "--results", tmp_path) == 0
    chosen, cache = recipe.load(str(made.recipe)), FeatureCache.open(made.cache)
    found = json.loads((tmp_path / "synthetic" / "probe.json").read_text(encoding="utf-8"))
    assert found == {
        "command": f"python -m train probe --config {made.recipe}",
        "recipe_hash": chosen.hash,
        "data_digest": cache.digest,
        **probe.measure(cache, chosen),
    }
    assert found["corpora"] == ["own", "nemo"]
    assert capsys.readouterr().out == (
        f"corpora told apart: {found['before']:.1%} of clips as they are, {found['after']:.1%} as training hears them "
        "(chance 50.0%)\n"
    )


def test_a_recipe_of_one_corpus_has_nothing_to_tell_apart() -> None:
    cache = cache_of(lambda *_: NOTHING)
    with pytest.raises(CacheError, match="one has one corpus alone"):
        probe.measure(cache, Recipe("one", corpora=("own",)))


def test_a_corpus_that_the_features_lack_is_named() -> None:
    cache = cache_of(lambda *_: NOTHING)
    with pytest.raises(CacheError, match=r"hold nothing of banglaser: run"):
        probe.measure(cache, Recipe("two", corpora=("own", "banglaser")))
