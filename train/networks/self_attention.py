"""A residual CNN with a self-attention head (Tarantino et al. 2019, doi:10.21437/Interspeech.2019-2822)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from train.networks.heads import Heads
from train.networks.residual import ResidualBlock

if TYPE_CHECKING:
    from collections.abc import Sequence


class SelfAttention(nn.Module):
    """Self-attention of several heads beside a shortcut, which tells how much each step was attended to (Vaswani et al.
    2017, arXiv:1706.03762).

    Args:
        width: C of input and output.
        heads: by which C is divided.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C) -> the same shape, and how much each step was attended to, (B, T), which sums to 1."""
        query, key, value = self.query_key_value(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (self.scale * query @ key.transpose(2, 3)).softmax(dim=3)
        attended = (weights @ value).transpose(1, 2).flatten(2)
        return x + self.out(attended), weights.mean(dim=(1, 2))


class SelfAttentionCnn(nn.Module):
    """A stem and three residual blocks, then self-attention over time and the mean of what it gives.

    Args:
        n_mels: bands of the input, a multiple of 16.
        channels: of the stem and the three blocks.
        width: of the self-attention.
        heads: of the self-attention.
        dropout: on the mean.
    """

    def __init__(
        self,
        n_mels: int = 80,
        channels: Sequence[int] = (32, 64, 96, 112),
        *,
        width: int = 128,
        heads: int = 4,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        stem, *stages = channels
        self.stem = nn.Sequential(nn.Conv2d(1, stem, 5, 2, padding=2, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        blocks: list[nn.Module] = []
        before = stem
        for after, stride in zip(stages, ((2, 2), (2, 2), (2, 1)), strict=True):
            blocks.append(ResidualBlock(before, after, stride, squeeze=False))
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.narrow = nn.Linear(before * (n_mels // 16), width)
        self.attention = SelfAttention(width, heads)
        self.heads = Heads(width, dropout)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (B, 1, n_mels, T) in [-1, 1] -> logits (B, 8) and attention (B, T / 8).

        While training, in place of the attention the logits of the attributes (B, 3, 2).
        """
        steps = self.narrow(self.blocks(self.stem(log_mel)).flatten(1, 2).transpose(1, 2))
        with torch.autocast(steps.device.type, enabled=False):
            attended, attention = self.attention(steps.float())
            return self.heads(attended.mean(dim=1), attention)  # type: ignore[no-any-return]
