"""Pooling over time that says what it listened to."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentiveStatisticsPooling(nn.Module):
    """Mean and standard deviation over time, weighted by a learned attention (Okabe et al. 2018, arXiv:1803.10963).

    Args:
        channels: C of the input.
        hidden: width of the layer that scores each time step.
    """

    def __init__(self, channels: int, hidden: int = 128) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Conv1d(channels, hidden, 1), nn.Tanh(), nn.Conv1d(hidden, 1, 1))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Pool (B, C, T) to (B, 2 C); the attention (B, T) sums to 1 over time."""
        attention = torch.softmax(self.score(hidden), dim=-1)
        mean = (hidden * attention).sum(dim=-1)
        variance = (hidden.square() * attention).sum(dim=-1) - mean.square()
        deviation = variance.clamp_min(1e-5).sqrt()
        return torch.cat([mean, deviation], dim=1), attention.squeeze(1)
