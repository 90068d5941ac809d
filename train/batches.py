"""Which clips an epoch hears, at which speed and from where: feature cache -> batches of crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ser_core.config import FeatureConfig
from ser_core.emotions import EMOTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from train.prepare import FeatureCache


@dataclass(frozen=True)
class Batch:
    """Crops and what is true of them.

    Attributes:
        spectrograms: float32 (B, n_mels, min_frames) in [-1, 1].
        emotions: int64 (B,), index into `EMOTIONS`.
        classes: bool (B, 8), which emotions the clip's corpus has.
    """

    spectrograms: Tensor
    emotions: Tensor
    classes: Tensor


class Sampler:
    """Draws an epoch: every clip of the main corpus once, and as many of the others, where there are others.

    Args:
        cache: the features.
        indices: clips of the training side.
        main: the corpus that makes up half of every epoch; the other half is drawn from all others alike.
        batch_size: clips in a batch; an incomplete last one is dropped.
        seed: with the epoch's number, all that an epoch's draws depend on, so that a resumed run hears the same.
    """

    def __init__(self, cache: FeatureCache, indices: Sequence[int], main: str, batch_size: int, seed: int) -> None:
        self.cache = cache
        self.batch_size = batch_size
        self.seed = seed
        self.main = np.array([i for i in indices if cache.clips[i].corpus == main], dtype=np.int64)
        self.others = np.array([i for i in indices if cache.clips[i].corpus != main], dtype=np.int64)
        self.emotions = np.array([EMOTIONS.index(clip.emotion) for clip in cache.clips])
        acted = {(clip.corpus, clip.emotion) for clip in cache.clips}
        self.classes = np.array([[(clip.corpus, e) in acted for e in EMOTIONS] for clip in cache.clips])

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return (len(self.main) + min(len(self.main), len(self.others))) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`, from 0."""
        rng = np.random.default_rng([self.seed, number])
        others = rng.permutation(self.others)[: len(self.main)]
        order = rng.permutation(np.concatenate([self.main, others]))
        for start in range(0, self.batches * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            speeds = rng.integers(self.cache.offsets.shape[1], size=len(chosen))
            crops = [self._crop(int(clip), int(speed), rng) for clip, speed in zip(chosen, speeds, strict=True)]
            yield Batch(
                torch.from_numpy(np.stack(crops)),
                torch.from_numpy(self.emotions[chosen]),
                torch.from_numpy(self.classes[chosen]),
            )

    def _crop(
        self, clip: int, speed: int, rng: np.random.Generator
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """float32 (n_mels, min_frames): a random stretch, or the whole at a random place in silence."""
        frames = self.cache.spectrogram(clip, speed)
        length = FeatureConfig().min_frames
        if len(frames) >= length:
            start = int(rng.integers(len(frames) - length + 1))
            return frames[start : start + length].T.astype(np.float32)
        crop = np.full((frames.shape[1], length), -1.0, dtype=np.float32)
        start = int(rng.integers(length - len(frames) + 1))
        crop[:, start : start + len(frames)] = frames.T
        return crop
