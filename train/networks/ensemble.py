"""Several networks asked together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ensemble(nn.Module):
    """Networks that were trained apart, from different seeds, and answer with one voice (Lakshminarayanan et al. 2017,
    arXiv:1612.01474).

    Args:
        members: of any architecture; see `train.networks.build`.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (B, 1, n_mels, T) in [-1, 1] -> logits (B, 8) and attention (B, T / 8), means over the members."""
        logits, attention = zip(*(member(log_mel) for member in self.members), strict=True)
        return torch.stack(logits).mean(dim=0), torch.stack(attention).mean(dim=0)
