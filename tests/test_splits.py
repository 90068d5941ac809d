"""The leak checks: nobody who is tested is ever trained on. On the real list of clips, by name; no sound is needed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ser_core.emotions import Emotion
from tests.train_data import clip, ravdess_clips
from train import splits
from train.splits import ACTOR_FOLDS, LeakError, Split, by_speaker, check_no_leak

if TYPE_CHECKING:
    from train.corpora import Clip

FOLDS = range(5)
ACTORS = {str(number) for number in range(1, 25)}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return ravdess_clips(tmp_path_factory.mktemp("ravdess"))


def speakers(clips: list[Clip], indices: tuple[int, ...]) -> set[tuple[str, str]]:
    return {(clips[index].corpus, clips[index].speaker) for index in indices}


def test_the_folds_are_the_published_ones() -> None:
    assert [sorted(map(int, fold)) for fold in ACTOR_FOLDS] == [
        [2, 5, 14, 15, 16],
        [3, 6, 7, 13, 18],
        [10, 11, 12, 19, 20],
        [8, 17, 21, 23, 24],
        [1, 4, 9, 22],
    ]


def test_every_actor_is_tested_in_exactly_one_fold() -> None:
    assert set.union(*map(set, ACTOR_FOLDS)) == ACTORS
    assert sum(len(fold) for fold in ACTOR_FOLDS) == 24


def test_every_clip_is_tested_exactly_once(clips: list[Clip]) -> None:
    tested = Counter(index for fold in FOLDS for index in by_speaker(clips, "ravdess", fold).test)
    assert tested == dict.fromkeys(range(2_452), 1)


@pytest.mark.parametrize("validate", [False, True])
@pytest.mark.parametrize("fold", FOLDS)
def test_no_actor_is_on_two_sides(clips: list[Clip], fold: int, validate: bool) -> None:
    split = by_speaker(clips, "ravdess", fold, validate=validate)
    train, validation, test = (speakers(clips, side) for side in (split.train, split.validation, split.test))
    assert test == {("ravdess", actor) for actor in ACTOR_FOLDS[fold]}
    assert not train & test
    assert not train & validation
    assert not validation & test
    assert train | validation | test == {("ravdess", actor) for actor in ACTORS}
    assert sorted(split.train + split.validation + split.test) == list(range(2_452))


@pytest.mark.parametrize("fold", FOLDS)
def test_a_fold_tests_whole_actors(clips: list[Clip], fold: int) -> None:
    test = [clips[index] for index in by_speaker(clips, "ravdess", fold).test]
    spoken = Counter(clip.emotion for clip in test if clip.channel == "speech")
    actors = len(ACTOR_FOLDS[fold])
    assert spoken.total() == 60 * actors
    assert spoken == {emotion: (4 if emotion is Emotion.NEUTRAL else 8) * actors for emotion in Emotion}
    singers = actors - ("18" in ACTOR_FOLDS[fold])
    assert sum(clip.channel == "song" for clip in test) == 44 * singers


@pytest.mark.parametrize("fold", FOLDS)
def test_validation_actors_come_from_the_training_side(clips: list[Clip], fold: int) -> None:
    plain = by_speaker(clips, "ravdess", fold)
    split = by_speaker(clips, "ravdess", fold, validate=True)
    assert plain.validation == ()
    assert split.test == plain.test
    assert set(split.validation) < set(plain.train)
    held_out = {clips[index].speaker for index in split.validation}
    assert held_out <= ACTOR_FOLDS[(fold + 1) % 5]
    assert sorted(Counter(int(actor) % 2 for actor in held_out).values()) == [2, 2]


def test_the_network_that_ships_hears_all(clips: list[Clip]) -> None:
    for validate in (False, True):
        assert by_speaker(clips, "ravdess", None, validate=validate) == Split(tuple(range(2_452)), (), ())


def test_other_corpora_train_and_are_never_tested(clips: list[Clip]) -> None:
    mixed = [*clips, *(clip(number, corpus="nemo", speaker=actor) for number, actor in enumerate(sorted(ACTORS)))]
    for fold in FOLDS:
        split = by_speaker(mixed, "ravdess", fold, validate=True)
        assert set(range(2_452, 2_476)) < set(split.train)


def test_a_corpus_that_is_left_out_is_tested_whole_and_trains_nowhere(clips: list[Clip]) -> None:
    others = [clip(number, corpus="nemo" if number % 2 else "own") for number in range(6)]
    mixed = [*others[:4], *clips, *others[4:]]
    split = splits.by_corpus(mixed, "nemo")
    # The same speaker's name in two corpora means two people.
    assert split == Split((0, 2, *range(4, 2_457)), (), (1, 3, 2_457))
    assert splits.by_corpus(mixed, "ravdess") == Split((0, 1, 2, 3, 2_456, 2_457), (), tuple(range(4, 2_456)))


def test_speakers_of_a_corpus_without_published_folds_go_round() -> None:
    own = [clip(number, speaker=name) for number, name in enumerate(("eva", "ben", "ana", "fay", "dag", "cho", "ana"))]
    tested = [sorted(splits.test_speakers(own, "own", fold)) for fold in FOLDS]
    assert tested == [["ana", "fay"], ["ben"], ["cho"], ["dag"], ["eva"]]
    assert by_speaker(own, "own", 0).test == (2, 3, 6)


@pytest.mark.parametrize(
    ("source", "target"),
    [("test", "train"), ("train", "test"), ("test", "validation"), ("validation", "test"), ("train", "validation")],
)
def test_a_speaker_planted_on_another_side_is_found(clips: list[Clip], source: str, target: str) -> None:
    split = by_speaker(clips, "ravdess", 2, validate=True)
    check_no_leak(clips, split)
    sides = {"train": split.train, "validation": split.validation, "test": split.test}
    planted = sides[source][0]
    sides[target] = (*sides[target], planted)
    with pytest.raises(
        LeakError, match=rf"^Speaker {clips[planted].speaker} of ravdess is on the \w+ and the \w+ side"
    ):
        check_no_leak(clips, Split(**sides))


def test_half_an_actor_on_the_test_side_is_found(clips: list[Clip]) -> None:
    split = by_speaker(clips, "ravdess", 4)
    assert clips[split.test[0]].channel == "speech"
    with pytest.raises(LeakError, match=r"has 239 spoken clips, which is no whole number of actors of 60 each"):
        check_no_leak(clips, Split(split.train, (), split.test[1:]))


def test_a_whole_number_of_clips_with_uneven_emotions_is_found(clips: list[Clip]) -> None:
    def spoken(actor: str, emotion: Emotion) -> list[int]:
        wanted = (actor, emotion, "speech")
        return [index for index, c in enumerate(clips) if (c.speaker, c.emotion, c.channel) == wanted]

    one = [index for index, c in enumerate(clips) if (c.speaker, c.channel) == ("1", "speech")]
    test = [*one, spoken("4", Emotion.HAPPY)[0]]
    test.remove(spoken("1", Emotion.SAD)[0])
    assert len(test) == 60
    with pytest.raises(LeakError, match=r"The test side has 9 spoken clips of happy"):
        check_no_leak(clips, Split((), (), tuple(test)))
