"""A compact DenseNet on log-mel spectrograms: the line of the project of 2020, which took one made for photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.networks.heads import Heads

if TYPE_CHECKING:
    from collections.abc import Sequence

_STRIDES = ((2, 2), (2, 2), (2, 1))
"""Over (mel, time), of the transitions; with the stem's 2, time shrinks by 8."""


class DenseLayer(nn.Module):
    """Batch norm, ReLU and convolution twice, 1x1 and then 3x3, whose output stands beside its input: DenseNet-B (Huang
    et al. 2017, arXiv:1608.06993).

    Args:
        channels: C of the input.
        growth: channels that it adds.
    """

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(4 * growth)
        self.convolution_1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.convolution_2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, M, T) -> (B, C + growth, M, T)."""
        hidden = self.convolution_1(functional.relu(self.norm_1(x)))
        return torch.cat([x, self.convolution_2(functional.relu(self.norm_2(hidden)))], dim=1)


class DenseCnn(nn.Module):
    """A stem, dense blocks with transitions that halve the channels (DenseNet-BC), the mean over mel and time.

    Args:
        n_mels: bands of the input; any number, since the mean is taken over what is left of them.
        growth: channels that each layer adds.
        depths: layers of the four blocks.
        dropout: on the mean.
    """

    def __init__(
        self,
        n_mels: int = 80,  # noqa: ARG002
        growth: int = 16,
        depths: Sequence[int] = (3, 6, 10, 8),
        *,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        channels = 2 * growth
        self.stem = nn.Conv2d(1, channels, 5, 2, padding=2, bias=False)
        blocks: list[nn.Module] = []
        for depth, stride in zip(depths, (*_STRIDES, None), strict=True):
            for _ in range(depth):
                blocks.append(DenseLayer(channels, growth))
                channels += growth
            if stride is not None:
                blocks += [
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                    nn.Conv2d(channels, channels // 2, 1, bias=False),
                    nn.AvgPool2d(stride),
                ]
                channels //= 2
        self.blocks = nn.Sequential(*blocks, nn.BatchNorm2d(channels), nn.ReLU())
        self.heads = Heads(channels, dropout)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (B, 1, n_mels, T) in [-1, 1] -> logits (B, 8) and attention (B, T / 8), all steps alike.

        While training, in place of the attention the logits of the attributes (B, 3, 2).
        """
        hidden = self.blocks(self.stem(log_mel))
        alike = torch.ones_like(hidden[:, 0, 0].float())
        return self.heads(hidden.float().mean(dim=(2, 3)), alike / alike.sum(dim=1, keepdim=True))  # type: ignore[no-any-return]
