"""Linear readings of a speech encoder, and the network that asks them together with convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ser_core.config import CONTRACT
from ser_core.emotions import EMOTIONS
from train.networks.encoder import WIDTH, SpeechEncoder

if TYPE_CHECKING:
    from collections.abc import Iterable

_LEAST_VARIANCE = 1e-6


def pooled(activations: Iterable[Tensor], share: Tensor) -> Tensor:
    """Mean and standard deviation over time of each activation.

    Args:
        activations: (B, T, C) each.
        share: (B, T), how much each step counts; rows sum to 1.

    Returns:
        (B, 2 times the sum of all C).
    """
    statistics = []
    for one in activations:
        mean = (one * share[:, :, None]).sum(dim=1)
        variance = ((one - mean[:, None]).square() * share[:, :, None]).sum(dim=1)
        statistics += [mean, variance.clamp_min(_LEAST_VARIANCE).sqrt()]
    return torch.cat(statistics, dim=1)


class Reader(nn.Module):
    """An encoder that stays as it came, and linear layers on the mean and deviation of its activations over time: for
    the emotion, and for whether it is sung.

    Args:
        n_mels: bands of the input.
        layers: of the encoder, at least 1.
    """

    def __init__(self, n_mels: int, layers: int) -> None:
        super().__init__()
        self.encoder = SpeechEncoder(n_mels, layers, read=True)
        features = 2 * (1 + 4 * layers) * WIDTH
        self.classifier, self.sung = nn.Linear(features, len(EMOTIONS)), nn.Linear(features, 1)

    def statistics(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (B, 1, n_mels, T) in [-1, 1] -> what the linear layers read, (B, C), and how much each step of two
        frames counts in it, (B, T / 2): all alike but those that were filled up with silence.
        """
        # Not len(): an export would take it for a number that never changes.
        sounding = (log_mel[:, 0].amax(dim=1) > -1.0).float().reshape(log_mel.shape[0], -1, 2).amax(dim=2)
        # A spectrogram that is silence alone counts as a whole.
        sounding = torch.where(sounding.amax(dim=1, keepdim=True) > 0.0, sounding, torch.ones_like(sounding))
        share = sounding / sounding.sum(dim=1, keepdim=True)
        return pooled(self.encoder.activations(log_mel[:, 0]), share), share

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """float32 (B, 1, n_mels, T) in [-1, 1] -> logits (B, 8), attention (B, T / 8), and the probability that it is
        sung, (B, 1).
        """
        read, share = self.statistics(log_mel)
        steps = CONTRACT.attention_stride // 2
        attention = share.reshape(share.shape[0], -1, steps).sum(dim=2)
        return self.classifier(read), attention, torch.sigmoid(self.sung(read))


class Together(nn.Module):
    """Convolutional networks and a reader, asked together: a weighted mean of what both say, each on its own scale.

    An encoder that learnt from speech knows less of song, so the convolutions count for more where it is sung.

    Args:
        convolutions: see `train.networks.ensemble`.
        reader: the other.
        temperature: of the convolutions' logits, which smoothing leaves too small.
        shares: of the convolutions, in [0, 1], where it is spoken and where it is sung.
    """

    def __init__(
        self, convolutions: nn.Module, reader: nn.Module, temperature: float, shares: tuple[float, float]
    ) -> None:
        super().__init__()
        self.convolutions, self.reader, self.temperature, self.shares = convolutions, reader, temperature, shares

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (B, 1, n_mels, T) in [-1, 1] -> logits (B, 8) and attention (B, T / 8)."""
        (seen, seen_attention), (read, read_attention, sung) = self.convolutions(log_mel), self.reader(log_mel)
        spoken_share, sung_share = self.shares
        share = spoken_share + (sung_share - spoken_share) * sung
        logits = share * seen / self.temperature + (1.0 - share) * read
        return logits, share * seen_attention + (1.0 - share) * read_attention
