"""The networks, one architecture a file, and their registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ser_core.errors import SerError
from train.networks.dense import DenseCnn
from train.networks.fully_convolutional import FullyConvolutional
from train.networks.hybrid import HybridCnn
from train.networks.residual import ResidualCnn
from train.networks.self_attention import SelfAttentionCnn

if TYPE_CHECKING:
    from torch import nn

NETWORKS: dict[str, type[nn.Module]] = {
    "dense": DenseCnn,
    "fully_convolutional": FullyConvolutional,
    "hybrid": HybridCnn,
    "residual": ResidualCnn,
    "self_attention": SelfAttentionCnn,
}
"""By the name of the file that each stands in."""


def build(name: str, options: dict[str, Any]) -> nn.Module:
    """A network by its name in `NETWORKS`, with the options of its constructor.

    Every network takes float32 (B, 1, n_mels, n_frames) and answers logits (B, 8) and attention
    (B, n_frames / `CONTRACT.attention_stride`), see `ser_core.config.ModelContract`; while training, logits and those
    of the attributes (B, 3, 2), see `train.batches.Batch`.

    Raises:
        SerError: no network has this name.
    """
    if name not in NETWORKS:
        raise SerError(f"No network is called {name!r}; there are {', '.join(NETWORKS)}.")
    return NETWORKS[name](**options)
