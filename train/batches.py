"""Which clips an epoch hears, in which version and from where: feature cache -> batches of crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ser_core.emotions import EMOTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from train.cache import FeatureCache
    from train.corpora import Clip


@dataclass(frozen=True)
class Batch:
    """Crops and what is true of them.

    Attributes:
        spectrograms: float32 (B, n_mels, crop_frames) in [-1, 1].
        emotions: int64 (B,), index into `EMOTIONS`.
        classes: bool (B, 8), which emotions the clip's corpus has.
        attributes: float32 (B, 3, 2), one-hot: intensity (strong, normal), channel (sung, spoken), sex (female, male);
            both 0 where the corpus doesn't say.
    """

    spectrograms: Tensor
    emotions: Tensor
    classes: Tensor
    attributes: Tensor


class Sampler:
    """Draws an epoch: every clip of the main corpus once, and as many of the others, where there are others.

    Args:
        cache: the features.
        indices: clips of the training side.
        main: the corpus that makes up half of every epoch; the other half is drawn from all others alike.
        batch_size: clips in a batch, over all processes; an incomplete last one is dropped.
        crop_frames: frames of a crop, see `AugmentConfig`.
        seed: with the epoch's number, all that an epoch's draws depend on, so that a resumed run hears the same.
    """

    def __init__(
        self,
        cache: FeatureCache,
        indices: Sequence[int],
        main: str,
        *,
        batch_size: int,
        crop_frames: int,
        seed: int,
    ) -> None:
        self.cache = cache
        self.crop_frames = crop_frames
        self.batch_size = batch_size
        self.seed = seed
        self.main = np.array([i for i in indices if cache.clips[i].corpus == main], dtype=np.int64)
        self.others = np.array([i for i in indices if cache.clips[i].corpus != main], dtype=np.int64)
        self.emotions = np.array([EMOTIONS.index(clip.emotion) for clip in cache.clips])
        self.attributes = np.array([_attributes(clip) for clip in cache.clips], dtype=np.float32)
        acted = {(clip.corpus, clip.emotion) for clip in cache.clips}
        self.classes = np.array([[(clip.corpus, e) in acted for e in EMOTIONS] for clip in cache.clips])

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return (len(self.main) + min(len(self.main), len(self.others))) // self.batch_size

    def epoch(self, number: int, degraded: float, rank: int = 0, size: int = 1) -> Iterator[Batch]:
        """The batches of epoch `number`, from 0; of each the share of process `rank` among `size`.

        `degraded` is the share of clips, in [0, 1], that are heard in one of their degraded versions.
        """
        rng = np.random.default_rng([self.seed, number])
        others = rng.permutation(self.others)[: len(self.main)]
        order = rng.permutation(np.concatenate([self.main, others]))
        for start in range(0, self.batches * self.batch_size, self.batch_size):
            chosen = order[start + rank : start + self.batch_size : size]
            crops = [self.crop(int(clip), degraded, rng) for clip in chosen]
            yield Batch(
                torch.from_numpy(np.stack(crops)),
                torch.from_numpy(self.emotions[chosen]),
                torch.from_numpy(self.classes[chosen]),
                torch.from_numpy(self.attributes[chosen]),
            )

    def crop(
        self, clip: int, degraded: float, rng: np.random.Generator
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """float32 (n_mels, crop_frames): a random stretch of clip number `clip`, which is, with the probability
        `degraded`, one of its degraded versions; a shorter one lies at a random place in silence.
        """
        length = self.crop_frames
        whole = self.cache.spectrogram(clip, self._version(degraded, rng))
        if whole.shape[1] >= length:
            start = int(rng.integers(whole.shape[1] - length + 1))
            return whole[:, start : start + length]
        crop = np.full((len(whole), length), -1.0, dtype=np.float32)
        start = int(rng.integers(length - whole.shape[1] + 1))
        crop[:, start : start + whole.shape[1]] = whole
        return crop

    def _version(self, degraded: float, rng: np.random.Generator) -> int:
        """0 for a clip as it is, or the number of one of its degraded versions."""
        versions = self.cache.offsets.shape[1]
        if versions == 1 or rng.random() >= degraded:
            return 0
        return int(rng.integers(1, versions))


def _attributes(clip: Clip) -> list[tuple[float, float]]:
    strong = (0.0, 0.0) if clip.strong is None else _one_hot(clip.strong)
    return [strong, _one_hot(clip.channel == "song"), _one_hot(clip.sex == "female")]


def _one_hot(first: bool) -> tuple[float, float]:
    return float(first), float(not first)
