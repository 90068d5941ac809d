"""Linear readings of an encoder's statistics: logistic regressions, which give the same weights each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ser_core.emotions import EMOTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from train.cache import FeatureCache
    from train.corpora import Clip
    from train.reader import ReaderConfig, Statistics

_PARTS = ("weight", "bias")


@dataclass(frozen=True)
class _Examples:
    """What a regression learns from: a row for each version of each clip.

    Attributes:
        rows: float32 (R, C), standardised.
        mean, deviation: float32 (C,), by which they were.
        clips: the R clips.
        weights: float32 (R,), how much each row counts.
    """

    rows: Tensor
    mean: Tensor
    deviation: Tensor
    clips: list[Clip]
    weights: Tensor

    @classmethod
    def of(
        cls, cache: FeatureCache, train: Sequence[int], main: str, read: Statistics, config: ReaderConfig
    ) -> _Examples:
        """See `fit`."""
        chosen = np.flatnonzero(np.isin(read.clips, np.asarray(train)))
        clips = [cache.clips[number] for number in read.clips[chosen]]
        # A clip counts once, in however many versions it is read.
        versions = np.bincount(read.clips)[read.clips[chosen]]
        by_clip = np.array([1.0 if clip.corpus == main else config.others for clip in clips])
        weights = torch.from_numpy((by_clip / versions).astype(np.float32))
        rows = torch.from_numpy(read.rows[chosen].astype(np.float32))
        mean, deviation = rows.mean(dim=0), rows.std(dim=0).clamp_min(1e-6)
        return cls(rows.sub_(mean).div_(deviation), mean, deviation, clips, weights)

    def regress(
        self, outputs: int, log_loss: Callable[[Tensor], Tensor], config: ReaderConfig
    ) -> tuple[Tensor, Tensor]:
        """Weight (outputs, C) and bias (outputs,), for statistics as they are.

        Args:
            outputs: how many scores each row gets.
            log_loss: takes scores (R, outputs) to losses (R,).
            config: how.
        """
        weight = torch.zeros(self.rows.shape[1], outputs, requires_grad=True)
        bias = torch.zeros(outputs, requires_grad=True)
        optimiser = torch.optim.LBFGS([weight, bias], max_iter=config.iterations, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            told = (self.weights * log_loss(self.rows @ weight + bias)).sum() / self.weights.sum()
            total = told + config.penalty * weight.square().sum()
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        plain = (weight.detach() / self.deviation[:, None]).T.contiguous()
        return plain, bias.detach() - plain @ self.mean


def fit(
    cache: FeatureCache, train: Sequence[int], main: str, read: Statistics, config: ReaderConfig
) -> dict[str, Tensor]:
    """Logistic regressions on standardised statistics: which emotion it is, and whether it is sung.

    Args:
        cache: the features' clips.
        train: the clips to train on.
        main: the corpus that is tested on.
        read: of all clips.
        config: how.

    Returns:
        The parameters of `Reader.classifier` and `Reader.sung`, by their names, float32, for statistics as they are. A
        clip's loss leaves out the emotions that its corpus lacks.
    """
    examples = _Examples.of(cache, train, main, read, config)
    acted = {(clip.corpus, clip.emotion) for clip in cache.clips}
    emotions = torch.tensor([EMOTIONS.index(clip.emotion) for clip in examples.clips])
    classes = torch.tensor([[(clip.corpus, emotion) in acted for emotion in EMOTIONS] for clip in examples.clips])
    sung = torch.tensor([float(clip.channel == "song") for clip in examples.clips])

    def of_emotions(scores: Tensor) -> Tensor:
        told = scores.masked_fill(~classes, -1e4).log_softmax(dim=1)
        return -told[torch.arange(len(emotions)), emotions]

    def of_sung(scores: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(scores[:, 0], sung, reduction="none")

    found = {
        "classifier": examples.regress(len(EMOTIONS), of_emotions, config),
        "sung": examples.regress(1, of_sung, config),
    }
    return {f"{name}.{kind}": part for name, parts in found.items() for kind, part in zip(_PARTS, parts, strict=True)}
