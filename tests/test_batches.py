"""Which clips an epoch hears, from where and how fast: read off a cache whose values say which clip they are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch

from ser_core.config import FeatureConfig
from ser_core.emotions import EMOTIONS, Emotion
from tests.train_data import cache_of, clip, mark
from train.batches import Batch, Sampler

if TYPE_CHECKING:
    from train.prepare import FeatureCache

MAIN, OTHERS = range(16), range(16, 56)
MIN_FRAMES = FeatureConfig().min_frames
SHORT = MIN_FRAMES // 2
MARKS = {mark(number, speed): (number, speed) for number in range(56) for speed in range(3)}


@pytest.fixture(scope="module")
def cache() -> FeatureCache:
    """16 clips of RAVDESS with all eight emotions, 40 of nEMO with three; every other one shorter than a crop."""
    nemo = (Emotion.NEUTRAL, Emotion.ANGRY, Emotion.SURPRISED)
    clips = [clip(number, "ravdess", EMOTIONS[number % 8]) for number in MAIN]
    clips += [clip(number, "nemo", nemo[number % 3]) for number in OTHERS]
    return cache_of(clips, [SHORT if number % 2 else 2 * MIN_FRAMES for number in range(56)])


def sampler(cache: FeatureCache, indices: range = range(56), batch_size: int = 8, seed: int = 0) -> Sampler:
    return Sampler(cache, indices, "ravdess", batch_size, seed)


def heard(batches: list[Batch]) -> list[tuple[int, int]]:
    """Clip and speed of every crop, in order."""
    return [MARKS[float(crop.max())] for batch in batches for crop in batch.spectrograms]


def test_an_epoch_is_the_main_corpus_once_and_as_many_others(cache: FeatureCache) -> None:
    batches = list(sampler(cache).epoch(0))
    assert len(batches) == sampler(cache).batches == 4
    counts = Counter(number for number, _ in heard(batches))
    assert {number: counts[number] for number in MAIN} == dict.fromkeys(MAIN, 1)
    others = {number: count for number, count in counts.items() if number in OTHERS}
    assert len(others) == 16
    assert set(others.values()) == {1}


def test_corpora_are_mixed_within_a_batch_and_others_change(cache: FeatureCache) -> None:
    epochs = [list(sampler(cache).epoch(number)) for number in range(4)]
    assert any(0 < sum(number in MAIN for number, _ in heard([batch])) < 8 for batch in epochs[0])
    others = [{number for number, _ in heard(epoch) if number in OTHERS} for epoch in epochs]
    assert len(set.union(*others)) > 30


def test_an_incomplete_last_batch_is_dropped(cache: FeatureCache) -> None:
    alone = sampler(cache, MAIN, batch_size=5)
    batches = list(alone.epoch(0))
    assert alone.batches == len(batches) == 3
    assert len({number for number, _ in heard(batches)}) == 15


def test_only_the_training_side_is_heard(cache: FeatureCache) -> None:
    half = Sampler(cache, range(0, 56, 2), "ravdess", 4, 0)
    assert {number % 2 for epoch in range(3) for number, _ in heard(list(half.epoch(epoch)))} == {0}


def test_seed_and_number_alone_decide_an_epoch(cache: FeatureCache) -> None:
    first = list(sampler(cache).epoch(3))
    resumed = sampler(cache)
    assert all(
        torch.equal(a.spectrograms, b.spectrograms) and torch.equal(a.emotions, b.emotions)
        for a, b in zip(first, resumed.epoch(3), strict=True)
    )
    assert heard(first) != heard(list(resumed.epoch(4)))
    assert heard(first) != heard(list(sampler(cache, seed=1).epoch(3)))


def test_all_speeds_are_heard(cache: FeatureCache) -> None:
    speeds = Counter(speed for epoch in range(10) for _, speed in heard(list(sampler(cache).epoch(epoch))))
    assert set(speeds) == {0, 1, 2}
    assert min(speeds.values()) > 70  # of 320, a third each expected


def test_what_is_true_of_a_clip_comes_with_it(cache: FeatureCache) -> None:
    [*batches] = sampler(cache).epoch(0)
    emotions = torch.cat([batch.emotions for batch in batches]).tolist()
    classes = torch.cat([batch.classes for batch in batches])
    assert emotions == [EMOTIONS.index(cache.clips[number].emotion) for number, _ in heard(batches)]
    for (number, _), row in zip(heard(batches), classes, strict=True):
        assert row.nonzero().flatten().tolist() == (list(range(8)) if number in MAIN else [0, 4, 7])


def test_a_short_clip_lies_whole_at_a_random_place_in_silence(cache: FeatureCache) -> None:
    starts = set()
    for epoch in range(4):
        for batch in sampler(cache).epoch(epoch):
            for (number, speed), crop in zip(heard([batch]), batch.spectrograms, strict=True):
                assert crop.shape == (64, MIN_FRAMES)
                sound = (crop > -1.0).all(dim=0)
                assert torch.equal(crop[:, ~sound], torch.full((64, int((~sound).sum())), -1.0))
                if number % 2 == 0:
                    assert sound.all()
                    continue
                places = sound.nonzero().flatten().tolist()
                assert places == list(range(places[0], places[0] + SHORT + speed))
                starts.add(places[0])
    room = MIN_FRAMES - 100
    assert len(starts) > room / 2
    assert min(starts) < room / 4
    assert max(starts) > 3 * room / 4


def test_a_long_clip_gives_a_random_stretch() -> None:
    cache = cache_of([clip(0, "ravdess")], [2 * MIN_FRAMES])
    ramp = torch.arange(cache.frames.shape[0], dtype=torch.float16).numpy()[:, None] / 1024
    cache.frames[:] = ramp
    firsts = set()
    for epoch in range(40):
        [batch] = Sampler(cache, [0], "ravdess", 1, 0).epoch(epoch)
        row = batch.spectrograms[0, 0] * 1024
        assert torch.equal(row.diff(), torch.ones(MIN_FRAMES - 1))
        start = int(row[0])
        (speed,) = [s for s in range(3) if cache.offsets[0, s, 0] <= start < cache.offsets[0, s, 1]]
        assert start + MIN_FRAMES <= cache.offsets[0, speed, 1]
        firsts.add(start)
    assert len(firsts) > 30
