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


class SqueezeExcitation(nn.Module):
    """Weigh each channel by what the whole clip holds (Hu et al. 2018, arXiv:1709.01507).

    Args:
        channels: C of the input.
        reduction: how many times narrower the layer in between is.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels // reduction), nn.ReLU(), nn.Linear(channels // reduction, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, M, T) -> the same shape."""
        return x * torch.sigmoid(self.weigh(x.mean(dim=(2, 3))))[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2016, arXiv:1512.03385).

    Args:
        channels_in: C of the input.
        channels: C of the output.
        stride: over (mel, time).
        squeeze: weigh the channels before the shortcut is added.
    """

    def __init__(self, channels_in: int, channels: int, stride: tuple[int, int], *, squeeze: bool) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(channels)
        self.convolution_2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(channels)
        self.squeeze: nn.Module = SqueezeExcitation(channels) if squeeze else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if channels_in != channels or stride != (1, 1):
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, M, T) -> (B, channels, M / stride, T / stride)."""
        hidden = functional.relu(self.norm_1(self.convolution_1(x)))
        hidden = self.squeeze(self.norm_2(self.convolution_2(hidden)))
        return functional.relu(hidden + self.shortcut(x))


class ResidualCnn(nn.Module):
    """A stem, four stages of residual blocks, attentive statistics pooling over time, one linear layer.

    Time shrinks by 8 (`CONTRACT.attention_stride`), the mel axis to four or five bands; what is left of it counts as
    channels.

    Args:
        n_mels: bands of the input, a multiple of 16.
        channels: of the four stages; the stem has as many as the first.
        depths: residual blocks in each stage; 0 leaves out the first, which sees all that the stem gives.
        squeeze: squeeze-and-excitation in every block.
        dropout: on the pooled statistics.
    """

    def __init__(
        self,
        n_mels: int = 80,
        channels: Sequence[int] = (32, 64, 128, 256),
        depths: Sequence[int] = (0, 1, 2, 1),
        *,
        squeeze: bool = True,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        stem = channels[0]
        # Everything behind the stem sees 32 to 40 bands, so that more bands cost next to nothing.
        stride = n_mels // 32
        self.stem = nn.Sequential(
            nn.Conv2d(1, stem, (2 * stride + 1, 5), (stride, 2), padding=(stride, 2), bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
        )
        blocks: list[nn.Module] = []
        before = stem
        for after, depth, first in zip(channels, depths, ((1, 1), (2, 2), (2, 2), (2, 1)), strict=True):
            for number in range(depth):
                blocks.append(ResidualBlock(before, after, (1, 1) if number else first, squeeze=squeeze))
                before = after
        self.blocks = nn.Sequential(*blocks)
        features = channels[3] * (n_mels // stride // 8)
        self.pooling = AttentiveStatisticsPooling(features)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * features, len(EMOTIONS))
        self.attributes = nn.Linear(2 * features, 6)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (B, 1, n_mels, T) in [-1, 1] -> logits (B, 8) and attention (B, T / 8).

        While training, in place of the attention the logits of the attributes that `train.batches.Batch` names
        (B, 3, 2).
        """
        hidden = self.blocks(self.stem(log_mel))
        # Pooling squares and sums: in bfloat16 the difference of two large numbers would be noise.
        with torch.autocast(hidden.device.type, enabled=False):
            pooled, attention = self.pooling(hidden.float().flatten(1, 2))
            pooled = self.dropout(pooled)
            told = self.attributes(pooled).unflatten(1, (3, 2)) if self.training else attention
            return self.classifier(pooled), told
