"""A plain residual CNN on log-mel spectrograms with attentive statistics pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser_core.emotions import EMOTIONS
from train.networks.pooling import AttentiveStatisticsPooling

if TYPE_CHECKING:
    from collections.abc import Sequence


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2016, arXiv:1512.03385).

    Args:
        channels_in: C of the input.
        channels: C of the output.
        stride: over (mel, time).
    """

    def __init__(self, channels_in: int, channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(channels)
        self.convolution_2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if channels_in != channels or stride != (1, 1):
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, M, T) -> (B, channels, M / stride, T / stride)."""
        hidden = functional.relu(self.norm_1(self.convolution_1(x)))
        hidden = self.norm_2(self.convolution_2(hidden))
        return functional.relu(hidden + self.shortcut(x))


class ResidualCnn(nn.Module):
    """Stem 5x5 with stride 2, four residual blocks, attentive statistics pooling over time, one linear layer.

    Time shrinks by 8 (`CONTRACT.attention_stride`), the mel axis by 16; what is left of it counts as channels.

    Args:
        n_mels: bands of the input, a multiple of 16.
        channels: of the four blocks; the stem has as many as the first.
        dropout: on the pooled statistics.
    """

    def __init__(self, n_mels: int = 64, channels: Sequence[int] = (32, 64, 128, 192), dropout: float = 0.3) -> None:
        super().__init__()
        first, second, third, fourth = channels
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(first), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            ResidualBlock(first, first, (1, 1)),
            ResidualBlock(first, second, (2, 2)),
            ResidualBlock(second, third, (2, 2)),
            ResidualBlock(third, fourth, (2, 1)),
        )
        features = fourth * (n_mels // 16)
        self.pooling = AttentiveStatisticsPooling(features)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * features, len(EMOTIONS))

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (B, 1, n_mels, T) in [-1, 1] -> logits (B, 8) and attention (B, T / 8)."""
        hidden = self.blocks(self.stem(log_mel))
        # Pooling squares and sums: in bfloat16 the difference of two large numbers would be noise.
        with torch.autocast(hidden.device.type, enabled=False):
            pooled, attention = self.pooling(hidden.float().flatten(1, 2))
            return self.classifier(self.dropout(pooled)), attention
