"""Which clips train and which test: actor folds, validation actors, leak checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser_core.emotions import Emotion
from ser_core.errors import SerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from train.corpora import Clip

ACTOR_FOLDS: tuple[frozenset[str], ...] = tuple(
    frozenset(actors.split())
    for actors in ("2 5 14 15 16", "3 6 7 13 18", "10 11 12 19 20", "8 17 21 23 24", "1 4 9 22")
)
"""RAVDESS's actors in the test folds of Luna-Jimenez et al. (2021, doi:10.3390/s21227665), so that figures compare."""


class LeakError(SerError):
    """Something of the test side was found on the training side."""


@dataclass(frozen=True)
class Split:
    """Indices into a list of clips; `test` is empty for the network that ships, `validation` unless asked for."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def test_speakers(clips: Sequence[Clip], corpus: str, fold: int) -> frozenset[str]:
    """The speakers of `corpus` that fold number `fold` tests: RAVDESS's published folds, else every fifth by name."""
    if corpus == "ravdess":
        return ACTOR_FOLDS[fold]
    return frozenset(sorted({clip.speaker for clip in clips if clip.corpus == corpus})[fold :: len(ACTOR_FOLDS)])


def validation_speakers(clips: Sequence[Clip], corpus: str, fold: int) -> frozenset[str]:
    """Up to two women and two men of the next fold, on whom a recipe may be chosen."""
    following = test_speakers(clips, corpus, (fold + 1) % len(ACTOR_FOLDS))
    women = sorted({c.speaker for c in clips if c.corpus == corpus and c.sex == "female"} & following)
    men = sorted({c.speaker for c in clips if c.corpus == corpus and c.sex == "male"} & following)
    return frozenset(women[:2] + men[:2])


def by_speaker(clips: Sequence[Clip], main: str, fold: int | None, *, validate: bool = False) -> Split:
    """Split by the main corpus's speakers; clips of other corpora train.

    Args:
        clips: of any corpora.
        main: the corpus that is tested on.
        fold: 0 to 4; None puts every clip on the training side.
        validate: hold out `validation_speakers` too.

    Returns:
        The split.

    Raises:
        LeakError: see `check_no_leak`.
    """
    tested = test_speakers(clips, main, fold) if fold is not None else frozenset()
    held_out = validation_speakers(clips, main, fold) if validate and fold is not None else frozenset()
    train, validation, test = [], [], []
    for index, clip in enumerate(clips):
        if clip.corpus == main and clip.speaker in tested:
            test.append(index)
        elif clip.corpus == main and clip.speaker in held_out:
            validation.append(index)
        else:
            train.append(index)
    split = Split(tuple(train), tuple(validation), tuple(test))
    check_no_leak(clips, split)
    return split


def by_corpus(clips: Sequence[Clip], left_out: str) -> Split:
    """Test on one corpus, train on all others."""
    train = tuple(index for index, clip in enumerate(clips) if clip.corpus != left_out)
    return Split(train, (), tuple(index for index, clip in enumerate(clips) if clip.corpus == left_out))


def check_no_leak(clips: Sequence[Clip], split: Split) -> None:
    """Hold a split to what makes it honest.

    No speaker and no clip on two sides; RAVDESS's spoken test clips whole actors: a multiple of 60, of 8 per emotion
    (of 4 for neutral).

    Raises:
        LeakError: naming what leaked.
    """
    sides = {"train": split.train, "validation": split.validation, "test": split.test}
    owners: dict[tuple[str, str], str] = {}
    for side, indices in sides.items():
        for index in indices:
            speaker = (clips[index].corpus, clips[index].speaker)
            if owners.setdefault(speaker, side) != side:
                raise LeakError(
                    f"Speaker {speaker[1]} of {speaker[0]} is on the {owners[speaker]} and the {side} side."
                )
    speech = [clips[i] for i in split.test if clips[i].corpus == "ravdess" and clips[i].channel == "speech"]
    if len(speech) % 60:
        raise LeakError(f"The test side has {len(speech)} spoken clips, which is no whole number of actors of 60 each.")
    for emotion in Emotion:
        count = sum(clip.emotion is emotion for clip in speech)
        if count % (4 if emotion is Emotion.NEUTRAL else 8):
            raise LeakError(f"The test side has {count} spoken clips of {emotion}, which is no whole number of actors.")
