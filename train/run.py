"""What a training run is: a recipe on one side of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser_core.errors import SerError
from train import protocols, splits

if TYPE_CHECKING:
    from pathlib import Path

    from train.cache import FeatureCache
    from train.protocols import Splitting
    from train.recipe import Recipe


class RunError(SerError):
    """A run that can't start or go on."""


@dataclass(frozen=True)
class Run:
    """What a recipe becomes on one side of a split: as many networks as it has members, which are asked together.

    Attributes:
        recipe: what to do.
        fold: whose test speakers stay unheard; None for what ships, which hears all.
        left_out: a corpus that stays unheard as a whole, to be tested on; instead of a fold.
        validate: hold out validation speakers as well, and say after every epoch how they are recognised.
        splitting: another way to split than by speaker or corpus; instead of a fold.
        merged: the negative emotions are learnt as one.
    """

    recipe: Recipe
    fold: int | None
    validate: bool = False
    left_out: str | None = None
    splitting: Splitting | None = None
    merged: bool = False

    @property
    def name(self) -> str:
        """What its folder is called."""
        return self._side + ("-validate" if self.validate else "") + ("-merged" if self.merged else "")

    @property
    def _side(self) -> str:
        if self.splitting is not None:
            return self.splitting.name
        if self.left_out is not None:
            return f"without-{self.left_out}"
        return "all" if self.fold is None else f"fold{self.fold}"

    @property
    def option(self) -> str:
        """What `fit` is asked for it by."""
        if self.splitting is not None:
            side = self.splitting.option
        elif self.left_out is not None:
            side = f"--leave-out {self.left_out}"
        else:
            side = "--all" if self.fold is None else f"--fold {self.fold}"
        return side + (" --validate" if self.validate else "") + (" --merged" if self.merged else "")

    @property
    def main(self) -> str:
        """The corpus that makes up half of every epoch: the recipe's first that isn't left out."""
        return next(corpus for corpus in self.recipe.corpora if corpus != self.left_out)

    def folder(self, runs: Path) -> Path:
        """Where the checkpoints and the weights of its members lie."""
        return runs / self.recipe.name / self.name

    def labelled(self, cache: FeatureCache) -> FeatureCache:
        """The features with the labels that it learns."""
        return protocols.merged(cache) if self.merged else cache

    def split(self, cache: FeatureCache) -> splits.Split:
        """Its clips, by index into the cache.

        Raises:
            CacheError: the features lack one of the recipe's corpora.
            RunError: the fold has no speaker to test.
        """
        chosen = cache.of(self.recipe.corpora)
        if self.splitting is not None:
            return self.splitting.split(cache, chosen, self.main)
        clips = [cache.clips[index] for index in chosen]
        if self.left_out is not None:
            split = splits.by_corpus(clips, self.left_out)
        else:
            split = splits.by_speaker(clips, self.recipe.corpora[0], self.fold, validate=self.validate)
        if self.fold is not None and not split.test:
            raise RunError(
                f"Fold {self.fold} has no speaker to test: five folds want at least five speakers of "
                f"{self.recipe.corpora[0]}. Add some, or train with --all."
            )
        sides = (split.train, split.validation, split.test)
        return splits.Split(*(tuple(chosen[index] for index in side) for side in sides))
