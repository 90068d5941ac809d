"""A network as large as wav2vec2-large (Baevski et al. 2020, arXiv:2006.11477), which most published systems fine-tune.

Its weights are random: they cost as much as trained ones, and nothing is downloaded. Only the bench needs transformers
(requirements-bench.txt).
"""

from __future__ import annotations

import importlib.util
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

SAMPLES = 48_000
"""3 s at 16 kHz."""
LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}
"""What of its configuration isn't that of wav2vec2-base."""
WHAT = "a network of wav2vec2-large's size, PyTorch"
SKIPPED = "transformers isn't installed: `make setup-bench`"


def is_installed() -> bool:
    """Whether transformers is there."""
    return importlib.util.find_spec("transformers") is not None


class Wav2Vec2Large(nn.Module):
    """The encoder with a linear classifier on its mean over time.

    Args:
        classes: width of the classifier.
    """

    def __init__(self, classes: int = 8) -> None:
        super().__init__()
        from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

        self.network: Any = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**{**LARGE, "num_labels": classes}))
        # Weight normalisation is for training; left in, it would make the same weights anew at every call.
        parametrize.remove_parametrizations(self.network.wav2vec2.encoder.pos_conv_embed.conv, "weight")

    def forward(self, samples: Tensor) -> Tensor:
        """float32 (B, n) at 16 kHz -> logits (B, classes)."""
        logits: Tensor = self.network(samples).logits
        return logits
