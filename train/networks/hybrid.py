"""A residual CNN beside the first layers of a speech encoder, pooled together: what is heard, and how it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser_core.config import CONTRACT
from ser_core.emotions import EMOTIONS
from train.networks.encoder import WIDTH, SpeechEncoder
from train.networks.pooling import AttentiveStatisticsPooling
from train.networks.residual import ResidualBlock

if TYPE_CHECKING:
    from collections.abc import Sequence


class HybridCnn(nn.Module):
    """Convolutions over time and frequency beside a speech encoder; attentive statistics pooling over both.

    Args:
        n_mels: bands of the input, a multiple of 16.
        channels: of the stem with the first stage, and of the three others, each one residual block; none at all
            leaves the convolutions out.
        layers: of the encoder; its convolutions stay where there are none.
        dropout: on the pooled statistics.
        encoder_dropout: in the encoder's layers.
    """

    def __init__(
        self,
        n_mels: int = 80,
        channels: Sequence[int] = (24, 48, 96, 160),
        *,
        layers: int = 2,
        dropout: float = 0.3,
        encoder_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = SpeechEncoder(n_mels, layers, encoder_dropout)
        self.norm = nn.LayerNorm(WIDTH)
        features = WIDTH
        if channels:
            blocks: list[nn.Module] = [
                nn.Conv2d(1, channels[0], 5, 2, padding=2, bias=False),
                nn.BatchNorm2d(channels[0]),
                nn.ReLU(),
            ]
            before = channels[0]
            for after, stride in zip(channels, ((1, 1), (2, 2), (2, 2), (2, 1)), strict=True):
                blocks.append(ResidualBlock(before, after, stride, squeeze=False))
                before = after
            self.blocks = nn.Sequential(*blocks)
            features += before * (n_mels // 16)
        self.convolves = bool(channels)
        self.pooling = AttentiveStatisticsPooling(features)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * features, len(EMOTIONS))
        self.attributes = nn.Linear(2 * features, 6)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (B, 1, n_mels, T) in [-1, 1] -> logits (B, 8) and attention (B, T / 8).

        While training, in place of the attention the logits of the attributes that `train.batches.Batch` names
        (B, 3, 2).
        """
        encoded = self.norm(self.encoder(log_mel[:, 0])).transpose(1, 2)
        both = [functional.avg_pool1d(encoded, CONTRACT.attention_stride // 2)]
        if self.convolves:
            both.append(self.blocks(log_mel).flatten(1, 2))
        # Pooling squares and sums: in bfloat16 the difference of two large numbers would be noise.
        with torch.autocast(log_mel.device.type, enabled=False):
            pooled, attention = self.pooling(torch.cat([part.float() for part in both], dim=1))
            pooled = self.dropout(pooled)
            told = self.attributes(pooled).unflatten(1, (3, 2)) if self.training else attention
            return self.classifier(pooled), told
