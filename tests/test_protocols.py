"""Splits at random, by sentence and in five classes: what each promises, on RAVDESS's real list of clips."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ser_core.emotions import EMOTIONS, NEGATIVE, Emotion
from ser_core.errors import SerError
from tests.train_data import cache_of, clip, one_frame_each, ravdess_clips
from train import asked, protocols
from train.batches import Sampler
from train.metrics import Judged
from train.protocols import RandomSplit, StatementHeldOut
from train.reader import Statistics
from train.recipe import Recipe
from train.run import Run, RunError
from train.splits import ACTOR_FOLDS, LeakError

if TYPE_CHECKING:
    from train.cache import FeatureCache
    from train.splits import Split

OTHERS = 3
"""Clips of another corpus, behind RAVDESS's."""
TWINS = ((100, 700), (4, 5), (2_000, 1_999))
"""Clips of RAVDESS that sound the same."""
VOICES = Recipe("voices", corpora=("ravdess", "nemo"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    clips = ravdess_clips(tmp_path_factory.mktemp("ravdess"))
    return one_frame_each([*clips, *(clip(number, "nemo") for number in range(OTHERS))], TWINS)


def split_of(cache: FeatureCache, shares: str, draw: int = 0) -> Split:
    return Run(VOICES, None, splitting=RandomSplit.parse(shares, draw)).split(cache)


@pytest.mark.parametrize("shares", ["80/10/10", "60/20/20", "50/20/30"])
def test_a_random_split_is_stratified_by_emotion(cache: FeatureCache, shares: str) -> None:
    split = split_of(cache, shares)
    count = len(cache.clips) - OTHERS
    assert sorted((*split.train, *split.validation, *split.test)) == list(range(len(cache.clips)))
    # Nobody tests on another corpus.
    assert {*range(count, count + OTHERS)} <= {*split.train}
    wanted = [int(part) / 100 for part in shares.split("/")]
    of_all = Counter(one.emotion for one in cache.clips[:count])
    for side, share in zip((split.train, split.validation, split.test), wanted, strict=True):
        found = Counter(cache.clips[index].emotion for index in side if index < count)
        for emotion, total in of_all.items():
            # Within a clip, or two where a pair that sounds the same lies on the border.
            assert abs(found[emotion] - share * total) <= 2.5
    # It is what it says: actors are on both sides.
    assert {cache.clips[i].speaker for i in split.train} >= {cache.clips[i].speaker for i in split.test}


def test_a_random_split_is_drawn_anew_and_comes_out_again(cache: FeatureCache) -> None:
    first, again, other = split_of(cache, "60/20/20"), split_of(cache, "60/20/20"), split_of(cache, "60/20/20", 1)
    assert first == again
    assert len({*first.test} & {*other.test}) < len(first.test) / 2
    assert len({*split_of(cache, "50/20/30").test} & {*first.test}) < len(first.test) / 2


@pytest.mark.parametrize("draw", range(20))
def test_what_sounds_the_same_lies_on_one_side(cache: FeatureCache, draw: int) -> None:
    split = split_of(cache, "50/20/30", draw)
    sides = [{*split.train}, {*split.validation}, {*split.test}]
    for first, second in TWINS:
        assert [first in side for side in sides] == [second in side for side in sides]


def test_what_sounds_the_same_is_found(cache: FeatureCache) -> None:
    groups = protocols.same_sound(cache, range(len(cache.clips)))
    assert sorted(tuple(group) for group in groups if len(group) > 1) == sorted(tuple(sorted(pair)) for pair in TWINS)
    assert sum(map(len, groups)) == len(cache.clips)


def test_a_torn_pair_is_told(cache: FeatureCache) -> None:
    split = split_of(cache, "60/20/20")
    with pytest.raises(LeakError, match=r"1 recordings that sound the same are on two sides"):
        protocols._check_same_sound([[split.train[0], split.test[0]]], split)


@pytest.mark.parametrize("text", ["60/20", "60/20/30", "a/b/c", "60-20-20", "-60/80/80"])
def test_shares_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SerError, match=r"is no split: write the shares .* as in 60/20/20"):
        RandomSplit.parse(text)


@pytest.mark.parametrize(("text", "draw"), [("100/0/0", 0), ("0/50/50", 0), ("60/20/20", -1)])
def test_a_split_that_trains_or_tests_on_nothing_is_refused(text: str, draw: int) -> None:
    with pytest.raises(SerError, match="trains or tests on nothing, or is no draw"):
        RandomSplit.parse(text, draw)


@pytest.mark.parametrize("statement", ["1", "2"])
@pytest.mark.parametrize("fold", range(5))
def test_neither_actor_nor_sentence_is_heard(cache: FeatureCache, fold: int, statement: str) -> None:
    split = Run(VOICES, None, splitting=StatementHeldOut(fold, statement)).split(cache)
    train = [cache.clips[i] for i in split.train if cache.clips[i].corpus == "ravdess"]
    test = [cache.clips[i] for i in split.test]
    assert {one.statement for one in train} == {statement}
    assert {one.statement for one in test} == {"1", "2"} - {statement}
    assert {one.speaker for one in test} == ACTOR_FOLDS[fold]
    assert not {one.speaker for one in train} & ACTOR_FOLDS[fold]
    assert len(split.train) - len(train) == OTHERS
    assert split.validation == ()


def test_a_corpus_without_sentences_holds_none_out() -> None:
    cache = cache_of([clip(number, speaker=name) for number, name in enumerate("abcdef")], [20] * 6)
    with pytest.raises(LeakError, match=r"own has no statement 1 beside another one"):
        Run(Recipe("few", corpora=("own",)), None, splitting=StatementHeldOut(0, "1")).split(cache)


def test_five_classes_are_what_training_hears(cache: FeatureCache) -> None:
    merged = Run(VOICES, 0, merged=True).labelled(cache)
    assert [one.emotion for one in merged.clips] == [
        Emotion.ANGRY if one.emotion in NEGATIVE else one.emotion for one in cache.clips
    ]
    assert Run(VOICES, 0).labelled(cache) is cache
    sampler = Sampler(merged, range(100), "ravdess", batch_size=4, crop_frames=64, seed=0)
    # A class that no corpus has takes no part in any loss.
    known = {emotion for emotion, heard in zip(EMOTIONS, sampler.classes[0], strict=True) if heard}
    assert known == set(EMOTIONS) - {Emotion.SAD, Emotion.FEARFUL, Emotion.DISGUST}


def test_classes_that_were_never_trained_are_never_told() -> None:
    logits = np.zeros((3, 8), dtype=np.float32)
    logits[:, EMOTIONS.index(Emotion.SAD)] = 50.0
    text = np.array(["a", "b", "c"])
    one = Judged(0, text, np.zeros(3, dtype=np.int64), text, text, np.arange(3), np.ones(3), logits)
    (merged,) = protocols.read_as_learnt({"int8": one}, merged=True).values()
    answers = merged.probabilities(1.0)
    assert answers[:, [EMOTIONS.index(e) for e in (Emotion.SAD, Emotion.FEARFUL, Emotion.DISGUST)]].max() == 0.0
    assert answers.sum(axis=1) == pytest.approx(np.ones(3))
    (plain,) = protocols.read_as_learnt({"int8": one}, merged=False).values()
    assert np.array_equal(plain.logits, logits)


def test_nobody_who_may_be_tested_talks_behind_a_clip() -> None:
    """Clips 0 and 2 are of the main corpus, in three versions, of which the last is babbled; clip 1 is of another."""
    read = Statistics(np.array([0, 0, 0, 1, 2, 2, 2]), np.arange(7, dtype=np.float16)[:, None])
    assert protocols.alone(read, [0, 2], 1).rows[:, 0].tolist() == [0.0, 1.0, 3.0, 4.0, 5.0]
    assert protocols.alone(read, [0, 2], 2).clips.tolist() == [0, 1, 2]
    assert protocols.alone(read, [0, 2], 0) is read
    # Clip 2 has nobody to talk behind it, and so a version less.
    few = Statistics(read.clips[:-1], read.rows[:-1])
    assert protocols.alone(few, [0, 2], 1).rows[:, 0].tolist() == [0.0, 1.0, 3.0, 4.0, 5.0]


# What the command line asks for.


def arguments(**changes: Any) -> argparse.Namespace:
    nothing: dict[str, Any] = {
        "fold": None,
        "leave_out": None,
        "all": False,
        "random": None,
        "draw": [0],
        "statement": None,
        "validate": False,
        "merged": False,
    }
    return argparse.Namespace(**nothing | changes)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"all": True}, ["all"]),
        ({"fold": [1, 2], "validate": True}, ["fold1-validate", "fold2-validate"]),
        ({"fold": [3], "merged": True}, ["fold3-merged"]),
        ({"fold": [0, 1], "statement": ["2"]}, ["fold0-statement2", "fold1-statement2"]),
        ({"random": ["60/20/20"], "draw": [0, 2]}, ["random-60-20-20-draw0", "random-60-20-20-draw2"]),
        ({"random": ["50/20/30"], "merged": True}, ["random-50-20-30-draw0-merged"]),
        ({"leave_out": ["nemo"]}, ["without-nemo"]),
        # `evaluate` takes both.
        ({"fold": [4], "leave_out": ["nemo"]}, ["fold4", "without-nemo"]),
    ],
)
def test_runs_are_what_was_asked_for(changes: dict[str, Any], names: list[str]) -> None:
    runs = asked.runs(VOICES, arguments(**changes))
    assert [run.name for run in runs] == names
    assert len({run.option for run in runs}) == len(runs)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"leave_out": ["nemo"], "validate": True}, "name one with --fold"),
        ({"random": ["60/20/20"], "statement": ["1"]}, "name one with --fold"),
        ({"fold": [0], "validate": True, "statement": ["1"]}, "has no validation speakers"),
        ({"random": ["60/20/20"], "fold": [0]}, "splits as a whole: leave --fold"),
        ({"random": ["60/20/20"], "leave_out": ["nemo"]}, "splits as a whole: leave --fold"),
        ({"fold": [0], "draw": [1]}, "name their shares with --random"),
        ({"fold": [0], "statement": ["1"], "leave_out": ["nemo"]}, "ask for one at a time"),
        ({"leave_out": ["esc10"]}, r"esc10 can't be left out: voices has ravdess, nemo"),
    ],
)
def test_what_can_not_be_asked_is_told(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(RunError, match=expected):
        asked.runs(VOICES, arguments(**changes))


def test_a_run_names_the_option_that_trains_it() -> None:
    def option(**values: Any) -> str:
        return dataclasses.replace(Run(VOICES, None), **values).option

    assert option(fold=2, merged=True) == "--fold 2 --merged"
    assert option(splitting=RandomSplit((60, 20, 20), 2)) == "--random 60/20/20 --draw 2"
    assert option(splitting=StatementHeldOut(3, "1")) == "--fold 3 --statement 1"
