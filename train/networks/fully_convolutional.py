"""A fully convolutional network with attention over time and frequency (Zhang et al. 2018, arXiv:1806.01506)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from train.networks.heads import Heads

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHARPNESS = 0.3
"""Lambda of the paper: below 1, the attention spreads over more places."""


class FullyConvolutional(nn.Module):
    """AlexNet's convolutions, narrower and with batch norm, and attention over every place of what they give.

    The paper's are pretrained on photographs and 256 to 384 channels wide; these are as wide as the comparison allows.

    Args:
        n_mels: bands of the input; any number from 32 on.
        channels: of the five convolutions.
        dropout: on what is pooled.
    """

    def __init__(
        self,
        n_mels: int = 80,  # noqa: ARG002
        channels: Sequence[int] = (32, 96, 128, 128, 128),
        *,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for after, kernel, stride, pool in zip(
            channels, (7, 5, 3, 3, 3), (2, 1, 1, 1, 1), (True, True, False, False, False), strict=True
        ):
            layers += [
                nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            if pool:
                layers.append(nn.MaxPool2d(2))
            before = after
        self.convolutions = nn.Sequential(*layers)
        self.score = nn.Sequential(nn.Linear(before, before), nn.Tanh(), nn.Linear(before, 1, bias=False))
        self.heads = Heads(before, dropout)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (B, 1, n_mels, T) in [-1, 1] -> logits (B, 8) and attention (B, T / 8), summed over frequency.

        While training, in place of the attention the logits of the attributes (B, 3, 2).
        """
        hidden = self.convolutions(log_mel)
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.float()
            scores = _SHARPNESS * self.score(hidden.permute(0, 2, 3, 1))[..., 0]
            attention = scores.flatten(1).softmax(dim=1).unflatten(1, (scores.shape[1], -1))
            pooled = (hidden * attention[:, None]).sum(dim=(2, 3))
            return self.heads(pooled, attention.sum(dim=1))  # type: ignore[no-any-return]
