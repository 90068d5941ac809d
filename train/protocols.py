"""Splits of RAVDESS other than by actor, and the five classes: what older work did, and what a sceptic asks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ser_core.emotions import EMOTIONS, NEGATIVE, Emotion
from ser_core.errors import SerError
from train import splits
from train.splits import LeakError, Split

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ser_core.prediction import Precision
    from train.cache import FeatureCache
    from train.metrics import Judged
    from train.reader import Statistics

MERGED = Emotion.ANGRY
"""Under which of its parts the merged negative emotion is learnt; the others' logits are never trained."""


class Splitting(Protocol):
    """A way to split."""

    @property
    def name(self) -> str:
        """What the run's folder is called."""
        ...

    @property
    def option(self) -> str:
        """What `fit` is asked for it by."""
        ...

    @property
    def fold(self) -> int | None:
        """Whose test speakers stay unheard; None where actors are shared."""
        ...

    def split(self, cache: FeatureCache, chosen: Sequence[int], main: str) -> Split:
        """Clips by index into the cache.

        Args:
            cache: the features.
            chosen: the clips to split.
            main: the corpus that is tested on; clips of others train.
        """
        ...


@dataclass(frozen=True)
class RandomSplit:
    """Clips of all actors, drawn at random and stratified by emotion: the protocol of 2020, which measures how an actor
    is heard who is known.

    Attributes:
        shares: of training, validation and test, in per cent.
        draw: which of the draws, from 0.
    """

    shares: tuple[int, int, int]
    draw: int = 0

    @classmethod
    def parse(cls, text: str, draw: int = 0) -> RandomSplit:
        """Read "60/20/20". Raises SerError for anything that isn't three shares of 100 in all."""
        parts = text.split("/")
        if len(parts) != 3 or not all(part.isdecimal() for part in parts) or sum(map(int, parts)) != 100:
            raise SerError(f"{text!r} is no split: write the shares of training, validation and test, as in 60/20/20.")
        train, validation, test = map(int, parts)
        if not train or not test or draw < 0:
            raise SerError(f"{text!r}, draw {draw}, trains or tests on nothing, or is no draw: these count from 0.")
        return cls((train, validation, test), draw)

    @property
    def name(self) -> str:
        """What the run's folder is called."""
        return f"random-{'-'.join(map(str, self.shares))}-draw{self.draw}"

    @property
    def fold(self) -> None:
        """None: actors are shared."""

    @property
    def option(self) -> str:
        """What `fit` is asked for it by."""
        return f"--random {'/'.join(map(str, self.shares))} --draw {self.draw}"

    def split(self, cache: FeatureCache, chosen: Sequence[int], main: str) -> Split:
        """See `Splitting.split`. Recordings that sound the same lie on one side.

        Raises:
            LeakError: they don't.
        """
        own = [index for index in chosen if cache.clips[index].corpus == main]
        groups = same_sound(cache, own)
        rng = np.random.default_rng([self.draw, *self.shares])
        sides: dict[int, int] = {}
        for emotion in EMOTIONS:
            # A group counts where its first clip does, should the same sound ever bear two names.
            firsts = [group for group in groups if cache.clips[group[0]].emotion is emotion]
            order = [firsts[number] for number in rng.permutation(len(firsts))]
            count = sum(map(len, order))
            edges = np.rint(np.cumsum(self.shares[:2]) * count / 100.0)
            placed = 0
            for group in order:
                sides |= dict.fromkeys(group, int(np.searchsorted(edges, placed, side="right")))
                placed += len(group)
        parts = [tuple(index for index in own if sides[index] == side) for side in range(3)]
        split = Split(tuple(sorted({*chosen} - {*own} | {*parts[0]})), parts[1], parts[2])
        _check_same_sound(groups, split)
        return split


@dataclass(frozen=True)
class StatementHeldOut:
    """One of the two sentences trains, the other tests, and actors are disjoint too; song as well as speech.

    Attributes:
        fold: whose test speakers stay unheard.
        statement: as the corpus numbers them, the one that trains.
    """

    fold: int
    statement: str

    @property
    def name(self) -> str:
        """What the run's folder is called."""
        return f"fold{self.fold}-statement{self.statement}"

    @property
    def option(self) -> str:
        """What `fit` is asked for it by."""
        return f"--fold {self.fold} --statement {self.statement}"

    def split(self, cache: FeatureCache, chosen: Sequence[int], main: str) -> Split:
        """See `Splitting.split`.

        Raises:
            LeakError: the corpus doesn't say what was spoken, or has nothing but this.
        """
        clips = [cache.clips[index] for index in chosen]
        whole = splits.by_speaker(clips, main, self.fold)
        train = [i for i in whole.train if clips[i].corpus != main or clips[i].statement == self.statement]
        test = [i for i in whole.test if clips[i].statement not in (None, self.statement)]
        if not test or not any(clips[i].corpus == main for i in train):
            raise LeakError(f"{main} has no statement {self.statement} beside another one: nothing can be held out.")
        return Split(tuple(chosen[i] for i in train), (), tuple(chosen[i] for i in test))


def same_sound(cache: FeatureCache, clips: Sequence[int]) -> list[list[int]]:
    """These clips in groups whose spectrograms are the same to the last bit; in the order of each group's first."""
    groups: dict[bytes, list[int]] = {}
    for clip in clips:
        start, end = cache.offsets[clip, 0]
        groups.setdefault(np.ascontiguousarray(cache.frames[start:end]).tobytes(), []).append(clip)
    return list(groups.values())


def _check_same_sound(groups: Sequence[Sequence[int]], split: Split) -> None:
    sides = [{*side} for side in (split.train, split.validation, split.test)]
    if torn := [group for group in groups if sum(bool(side & {*group}) for side in sides) != 1]:
        raise LeakError(f"{len(torn)} recordings that sound the same are on two sides of the split, such as {torn[0]}.")


def merged(cache: FeatureCache) -> FeatureCache:
    """The same features with the negative emotions as one, `MERGED`: five classes, since no corpus has the others."""
    return dataclasses.replace(
        cache,
        clips=tuple(
            dataclasses.replace(clip, emotion=MERGED) if clip.emotion in NEGATIVE else clip for clip in cache.clips
        ),
    )


def read_as_learnt(judged: Mapping[Precision, Judged], *, merged: bool) -> dict[Precision, Judged]:
    """What networks said, without the classes that training had none of: their logits mean nothing.

    Args:
        judged: by precision.
        merged: whether the networks learnt the negative emotions as one.
    """
    absent = [merged and emotion in NEGATIVE - {MERGED} for emotion in EMOTIONS]
    return {
        precision: dataclasses.replace(one, logits=np.where(absent, np.float32(-1e4), one.logits))
        for precision, one in judged.items()
    }


def alone(read: Statistics, company: Collection[int], babbled: int) -> Statistics:
    """Without the versions that have others talking behind them: whoever talks there may be tested on.

    Args:
        read: what `train.reader.statistics` gave.
        company: the clips that have such versions.
        babbled: how many each, the last ones.
    """
    if not babbled:
        return read
    ends = np.append(np.flatnonzero(np.diff(read.clips)), len(read.clips) - 1)
    # A clip whose fold has no other speaker has none, and so fewer versions than the others.
    versions = np.bincount(read.clips)[read.clips[ends]]
    ends = ends[np.isin(read.clips[ends], list(company)) & (versions == versions.max())]
    drop = np.concatenate([ends - back for back in range(babbled)])
    kept = np.ones(len(read.clips), dtype=bool)
    kept[drop] = False
    return dataclasses.replace(read, clips=read.clips[kept], rows=read.rows[kept])
