"""The first layers of Whisper's encoder (Radford et al. 2022, arXiv:2212.04356), in its shapes: its weights fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, HEADS = 384, 6
"""Of Whisper tiny."""
LEVEL = 0.4
"""Added to log-mel values in [-1, 1]: Whisper's own are (log10 of power + 4) / 4, cut off at 2 under the loudest, and
speech at a usual level peaks near 1.4."""


class SelfAttentionLayer(nn.Module):
    """Self-attention and a feed-forward layer, each behind a layer norm and beside a shortcut (Vaswani et al. 2017,
    arXiv:1706.03762).

    Args:
        width: C of input and output.
        heads: of the attention.
        dropout: behind both.
        last: whether nothing follows but a reading of what the feed-forward layer is widened to.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, *, last: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = None if last else nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C) -> the same shape, and what the feed-forward layer is widened to, (B, T, 4 C)."""
        parts = self.query_key_value(self.norm_1(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        widened = functional.gelu(self.widen(self.norm_2(x)))
        return (x if self.narrow is None else x + self.dropout(self.narrow(widened))), widened


class SpeechEncoder(nn.Module):
    """Two convolutions over time, then layers of self-attention.

    Args:
        n_mels: bands of the input.
        layers: how many.
        dropout: in them.
        read: whether only the activations are wanted, so that the last layer needs no way back to its width.
    """

    frequencies: Tensor

    def __init__(self, n_mels: int, layers: int, dropout: float = 0.0, *, read: bool = False) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv1d(n_mels, WIDTH, 3, padding=1)
        self.convolution_2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(
            SelfAttentionLayer(WIDTH, HEADS, dropout, last=read and number == layers - 1) for number in range(layers)
        )
        # Sines and cosines of the place, computed rather than stored, so that no length is too long.
        scale = math.log(10_000.0) / (WIDTH // 2 - 1)
        self.register_buffer("frequencies", torch.exp(-scale * torch.arange(WIDTH // 2)), persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        """float32 (B, n_mels, T) in [-1, 1] -> (B, T / 2, `WIDTH`)."""
        hidden = self._begin(log_mel)
        for layer in self.layers:
            hidden, _ = layer(hidden)
        return hidden

    def activations(self, log_mel: Tensor) -> Iterator[Tensor]:
        """What the convolutions say, (B, T / 2, `WIDTH`), and what each feed-forward layer is widened to, 4 times as
        wide: neurons of which each answers to something of its own (Geva et al. 2021, arXiv:2012.14913).
        """
        hidden = self._begin(log_mel)
        yield hidden
        for layer in self.layers:
            hidden, widened = layer(hidden)
            yield widened

    def _begin(self, log_mel: Tensor) -> Tensor:
        hidden = functional.gelu(self.convolution_1(log_mel + LEVEL))
        hidden = functional.gelu(self.convolution_2(hidden)).transpose(1, 2)
        steps = torch.arange(hidden.shape[1], device=hidden.device, dtype=torch.float32)
        angles = steps[:, None] * self.frequencies
        return hidden + torch.cat([angles.sin(), angles.cos()], dim=1)
