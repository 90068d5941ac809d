"""What every network for the comparison ends in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ser_core.emotions import EMOTIONS


class Heads(nn.Module):
    """One linear layer for the emotion and one for the attributes that `train.batches.Batch` names.

    Args:
        features: C of the pooled clip.
        dropout: on it.
    """

    def __init__(self, features: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(features, len(EMOTIONS))
        self.attributes = nn.Linear(features, 6)

    def forward(self, pooled: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C) and (B, T / 8) -> logits (B, 8) and the attention; while training the attributes' logits (B, 3, 2)."""
        # A pooled clip in bfloat16 would be told apart by eight bits.
        with torch.autocast(pooled.device.type, enabled=False):
            pooled = self.dropout(pooled.float())
            told = self.attributes(pooled).unflatten(1, (3, 2)) if self.training else attention.float()
            return self.classifier(pooled), told
