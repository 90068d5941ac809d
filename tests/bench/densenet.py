"""DenseNet-121 (Huang et al. 2017, arXiv:1608.06993), which student projects of 2020 put spectrograms into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

INPUT = (1, 3, 224, 224)
SMALLEST = (1, 3, 32, 32)
"""What is one pixel before the pooling."""


class DenseLayer(nn.Module):
    """A bottleneck and a 3x3 convolution whose output is put behind the input.

    Args:
        channels: C of the input.
        growth: channels that are added.
        bottleneck: how many times wider than `growth` the layer in between is.
    """

    def __init__(self, channels: int, growth: int, bottleneck: int) -> None:
        super().__init__()
        between = bottleneck * growth
        self.new = nn.Sequential(
            *(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, between, 1, bias=False)),
            *(nn.BatchNorm2d(between), nn.ReLU(), nn.Conv2d(between, growth, 3, padding=1, bias=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C + growth, H, W)."""
        return torch.cat([x, self.new(x)], dim=1)


def densenet121(
    classes: int = 8, *, depths: Sequence[int] = (6, 12, 24, 16), growth: int = 32, bottleneck: int = 4
) -> nn.Sequential:
    """The network with random weights, in eval mode: float32 (B, 3, 224, 224) -> (B, classes).

    Args:
        classes: width of the head.
        depths: layers in each dense block.
        growth, bottleneck: see `DenseLayer`.
    """
    channels = 2 * growth
    layers: list[nn.Module] = [
        *(nn.Conv2d(3, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
    ]
    for number, depth in enumerate(depths):
        if number:
            layers += _transition(channels)
            channels //= 2
        for _ in range(depth):
            layers.append(DenseLayer(channels, growth, bottleneck))
            channels += growth
    layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    network = nn.Sequential(*layers)
    for module in network.modules():
        # Otherwise the signal fades from layer to layer, at last to denormal numbers, which processors are slow with.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network.eval()


def _transition(channels: int) -> list[nn.Module]:
    """(B, C, H, W) -> (B, C / 2, H / 2, W / 2)."""
    return [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
