"""Which clips an epoch hears, in which version and from where: read off a cache whose values say what they are."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from ser_core.config import FeatureConfig
from ser_core.emotions import EMOTIONS, Emotion
from tests.train_data import VERSIONS, cache_of, clip, mark
from train import cache as feature_cache
from train.augment import AugmentConfig
from train.batches import Batch, Sampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from train.cache import FeatureCache
    from train.corpora import Channel, Sex

MAIN, OTHERS = range(16), range(16, 56)
N_MELS = FeatureConfig().n_mels
CROP = AugmentConfig().crop_frames
SHORT, LONG = CROP // 2, 2 * CROP
DEGRADED = 0.5
MARKS = {mark(number, version): (number, version) for number in range(56) for version in range(VERSIONS)}


@pytest.fixture(scope="module")
def cache() -> FeatureCache:
    """16 clips of RAVDESS with all eight emotions, 40 of nEMO with three; every other one shorter than a crop."""
    nemo = (Emotion.NEUTRAL, Emotion.ANGRY, Emotion.SURPRISED)
    clips = [clip(number, "ravdess", EMOTIONS[number % 8]) for number in MAIN]
    clips += [clip(number, "nemo", nemo[number % 3]) for number in OTHERS]
    return cache_of(clips, [SHORT if number % 2 else LONG for number in range(56)])


def sampler(cache: FeatureCache, indices: Sequence[int] = range(56), batch_size: int = 8, seed: int = 0) -> Sampler:
    return Sampler(cache, indices, "ravdess", batch_size=batch_size, crop_frames=CROP, seed=seed)


def heard(batches: list[Batch]) -> list[tuple[int, int]]:
    """Clip and version of every crop, in order."""
    return [MARKS[float(crop.max())] for batch in batches for crop in batch.spectrograms]


def test_an_epoch_is_the_main_corpus_once_and_as_many_others(cache: FeatureCache) -> None:
    batches = list(sampler(cache).epoch(0, DEGRADED))
    assert len(batches) == sampler(cache).batches == 4
    counts = Counter(number for number, _ in heard(batches))
    assert {number: counts[number] for number in MAIN} == dict.fromkeys(MAIN, 1)
    others = {number: count for number, count in counts.items() if number in OTHERS}
    assert len(others) == 16
    assert set(others.values()) == {1}


def test_corpora_are_mixed_within_a_batch_and_others_change(cache: FeatureCache) -> None:
    epochs = [list(sampler(cache).epoch(number, DEGRADED)) for number in range(4)]
    assert any(0 < sum(number in MAIN for number, _ in heard([batch])) < 8 for batch in epochs[0])
    others = [{number for number, _ in heard(epoch) if number in OTHERS} for epoch in epochs]
    assert len(set.union(*others)) > 30


def test_an_incomplete_last_batch_is_dropped(cache: FeatureCache) -> None:
    alone = sampler(cache, MAIN, batch_size=5)
    batches = list(alone.epoch(0, DEGRADED))
    assert alone.batches == len(batches) == 3
    assert len({number for number, _ in heard(batches)}) == 15


def test_only_the_training_side_is_heard(cache: FeatureCache) -> None:
    half = sampler(cache, range(0, 56, 2), batch_size=4)
    assert {number % 2 for epoch in range(3) for number, _ in heard(list(half.epoch(epoch, DEGRADED)))} == {0}


def test_seed_and_number_alone_decide_an_epoch(cache: FeatureCache) -> None:
    first = list(sampler(cache).epoch(3, DEGRADED))
    resumed = sampler(cache)
    assert all(
        torch.equal(a.spectrograms, b.spectrograms) and torch.equal(a.emotions, b.emotions)
        for a, b in zip(first, resumed.epoch(3, DEGRADED), strict=True)
    )
    assert heard(first) != heard(list(resumed.epoch(4, DEGRADED)))
    assert heard(first) != heard(list(sampler(cache, seed=1).epoch(3, DEGRADED)))


def versions_heard(sampler: Sampler, degraded: float) -> Counter[int]:
    """How often each version is heard in ten epochs."""
    return Counter(version for epoch in range(10) for _, version in heard(list(sampler.epoch(epoch, degraded))))


def test_degraded_versions_are_heard_as_often_as_they_shall(cache: FeatureCache) -> None:
    versions = versions_heard(sampler(cache), 0.4)
    assert set(versions) == {0, 1, 2}
    # Of 320: three standard deviations around 192, and around 64 for each degraded version.
    assert 166 <= versions[0] <= 218
    assert min(versions[1], versions[2]) >= 43
    assert max(versions[1], versions[2]) <= 85


def test_either_all_or_none_may_be_degraded(cache: FeatureCache) -> None:
    assert set(versions_heard(sampler(cache), 0.0)) == {0}
    assert set(versions_heard(sampler(cache), 1.0)) == {1, 2}


def test_where_no_degraded_versions_are_kept_clips_are_heard_as_they_are() -> None:
    plain = cache_of([clip(number, "ravdess") for number in range(8)], [SHORT] * 8, versions=1)
    assert versions_heard(sampler(plain, range(8)), 1.0) == {0: 80}


@pytest.mark.parametrize("size", [2, 4])
def test_processes_share_every_batch(cache: FeatureCache, size: int) -> None:
    alone = list(sampler(cache).epoch(1, DEGRADED))
    shared = [list(sampler(cache).epoch(1, DEGRADED, rank, size)) for rank in range(size)]
    for whole, *parts in zip(alone, *shared, strict=True):
        assert [len(part.emotions) for part in parts] == [8 // size] * size
        # Clips in turn: together they are those that one process alone would hear.
        for rank, part in enumerate(parts):
            assert [number for number, _ in heard([part])] == [number for number, _ in heard([whole])][rank::size]
            assert torch.equal(part.emotions, whole.emotions[rank::size])
            assert torch.equal(part.classes, whole.classes[rank::size])
            assert torch.equal(part.attributes, whole.attributes[rank::size])


def test_what_is_true_of_a_clip_comes_with_it(cache: FeatureCache) -> None:
    [*batches] = sampler(cache).epoch(0, DEGRADED)
    emotions = torch.cat([batch.emotions for batch in batches]).tolist()
    classes = torch.cat([batch.classes for batch in batches])
    assert emotions == [EMOTIONS.index(cache.clips[number].emotion) for number, _ in heard(batches)]
    for (number, _), row in zip(heard(batches), classes, strict=True):
        assert row.nonzero().flatten().tolist() == (list(range(8)) if number in MAIN else [0, 4, 7])


def test_intensity_channel_and_sex_come_with_a_clip_where_they_are_known() -> None:
    one_hot = {True: [1.0, 0.0], False: [0.0, 1.0], None: [0.0, 0.0]}
    strong: tuple[bool | None, ...] = (True, False, None)
    channels: tuple[Channel, ...] = ("song", "speech")
    sexes: tuple[Sex, ...] = ("female", "male")
    said = list(itertools.product(strong, channels, sexes))
    clips = [
        dataclasses.replace(clip(number, "ravdess"), strong=intensity, channel=channel, sex=sex)
        for number, (intensity, channel, sex) in enumerate(said)
    ]
    [batch] = sampler(cache_of(clips, [SHORT] * 12), range(12), batch_size=12).epoch(0, DEGRADED)
    assert batch.attributes.dtype == torch.float32
    numbers = [number for number, _ in heard([batch])]
    assert sorted(numbers) == list(range(12))
    assert batch.attributes.tolist() == [
        [one_hot[intensity], one_hot[channel == "song"], one_hot[sex == "female"]]
        for intensity, channel, sex in (said[number] for number in numbers)
    ]


def test_a_short_clip_lies_whole_at_a_random_place_in_silence(cache: FeatureCache) -> None:
    starts = set()
    for epoch in range(8):
        for batch in sampler(cache).epoch(epoch, DEGRADED):
            for (number, version), crop in zip(heard([batch]), batch.spectrograms, strict=True):
                assert crop.shape == (N_MELS, CROP)
                sound = (crop > -1.0).all(dim=0)
                assert torch.equal(crop[:, ~sound], torch.full((N_MELS, int((~sound).sum())), -1.0))
                if number % 2 == 0:
                    assert sound.all()
                    continue
                places = sound.nonzero().flatten().tolist()
                assert places == list(range(places[0], places[0] + SHORT + version))
                starts.add(places[0])
    room = CROP - SHORT
    assert len(starts) > room / 2
    assert min(starts) < room / 4
    assert max(starts) > 3 * room / 4


def test_a_long_clip_gives_a_random_stretch() -> None:
    cache = cache_of([clip(0, "ravdess")], [LONG])
    # A byte tells 256 frames apart, so two bands together say where a frame stands.
    places = np.arange(len(cache.frames))
    cache.frames[:, 0], cache.frames[:, 1] = places % 256, places // 256
    firsts, versions = set(), set()
    for epoch in range(40):
        [batch] = sampler(cache, [0], batch_size=1).epoch(epoch, DEGRADED)
        low, high = feature_cache.quantise(batch.spectrograms[0].numpy())[:, :2].astype(int).T
        read = low + 256 * high
        assert read.tolist() == list(range(read[0], read[0] + CROP))
        (version,) = [v for v in range(VERSIONS) if cache.offsets[0, v, 0] <= read[0] < cache.offsets[0, v, 1]]
        assert read[-1] < cache.offsets[0, version, 1]
        firsts.add(int(read[0]))
        versions.add(version)
    assert len(firsts) > 30
    assert versions == {0, 1, 2}
