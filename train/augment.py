"""Training-only changes to spectrograms. Batches are float32 (B, n_mels, T) in [-1, 1], 1 the loudest bin."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ser_core.config import FeatureConfig

_STYLE_ALPHA = 0.3
"""Of the Beta distribution of `_style`'s shares, as in Schmid et al. (2022)."""
_LEAST_DEVIATION = 0.02
"""Under a decibel: a band that hardly moves isn't blown up."""
_PER_DB = 2.0 / FeatureConfig().dynamic_range_db
"""Units of a normalised spectrogram per dB."""
_NEPERS = math.log(10.0) / 10.0
"""Natural logarithm of a ratio of powers per dB."""


@dataclass(frozen=True)
class AugmentConfig:
    """How much is changed; 0 switches a change off, where nothing else is said.

    Attributes:
        degraded: share of clips heard as a visitor's device may hand them over (`train.degrade.at_random`).
        warped: share of clips whose tempo and formants are changed. Reading between frames and bands blurs; the others
            are as sharp as what the app hears.
        tempo, formants: largest factors by which a clip is made faster or slower, and by which its frequencies are
            moved up or down (Jaitly & Hinton 2013, vocal tract length perturbation); 1 switches a change off.
        style: share of clips that take over, in part, how loud each band is on average and how much it moves in another
            clip: another voice and microphone, the same melody (MixStyle, Zhou et al. 2021, arXiv:2104.02008; over
            frequencies, Schmid et al. 2022, DCASE workshop).
        babble: share of clips behind which one to three others of the batch are heard.
        babble_db: dB between the clip's power and that of all others together, least and most.
        tilt_db: dB at the edges of the spectrum, the most by which a random straight line tilts it.
        noise_floor_probability: share of clips that get a random noise floor.
        noise_floor_db: dB relative to the loudest bin, lowest and highest floor.
        time_masks, time_mask_frames: SpecAugment (Park et al. 2019, arXiv:1904.08779), how many and how long at most.
        mel_masks, mel_mask_bands: the same over mel bands.
        mixup: alpha of the Beta distribution of Zhang et al. (2018, arXiv:1710.09412).
        label_smoothing: share of the target spread over a corpus's classes.
        ramp: share of the training over which all of this but the smoothing grows from nothing to what is said above
            (progressive learning, Tan & Le 2021, arXiv:2104.00298); 0 starts with all of it.
    """

    degraded: float = 0.4
    warped: float = 1.0
    tempo: float = 1.18
    formants: float = 1.15
    style: float = 0.0
    babble: float = 0.0
    babble_db: tuple[float, float] = (5.0, 25.0)
    tilt_db: float = 6.0
    noise_floor_probability: float = 0.3
    noise_floor_db: tuple[float, float] = (-80.0, -50.0)
    time_masks: int = 2
    time_mask_frames: float = 16
    mel_masks: int = 2
    mel_mask_bands: float = 16
    mixup: float = 0.2
    label_smoothing: float = 0.1
    ramp: float = 0.0

    @property
    def crop_frames(self) -> int:
        """Frames that are cut out of a clip for an example: enough for the fastest tempo, a multiple of 8."""
        return math.ceil(FeatureConfig().min_frames * self.tempo / 8) * 8

    def at(self, progress: float) -> AugmentConfig:
        """How much is changed when `progress`, in [0, 1], of the training is done."""
        share = min(1.0, progress / self.ramp) if self.ramp > 0.0 else 1.0
        return dataclasses.replace(
            self,
            degraded=self.degraded * share,
            warped=self.warped * share,
            tempo=self.tempo**share,
            formants=self.formants**share,
            style=self.style * share,
            babble=self.babble * share,
            tilt_db=self.tilt_db * share,
            noise_floor_probability=self.noise_floor_probability * share,
            time_mask_frames=self.time_mask_frames * share,
            mel_mask_bands=self.mel_mask_bands * share,
            mixup=self.mixup * share,
        )


def augment(
    batch: Tensor, config: AugmentConfig, band_hz: npt.NDArray[np.float64], generator: torch.Generator
) -> Tensor:
    """Warp, babble, style, tilt, noise floor, masks, each spectrogram with its own draws.

    Args:
        batch: float32 (B, n_mels, `crop_frames`).
        config: how much.
        band_hz: float64 (n_mels,), Hz, the bands' centres, for `formants`.
        generator: of the draws.

    Returns:
        float32 (B, n_mels, `FeatureConfig.min_frames`).
    """
    batch = _warp(batch, config, band_hz, generator)
    batch = _babble(batch, config, generator)
    batch = _style(batch, config.style, generator)
    batch = _tilt(batch, config.tilt_db, generator)
    batch = _noise_floor(batch, config, generator)
    batch = _mask(batch, config.time_masks, config.time_mask_frames, 2, generator)
    return _mask(batch, config.mel_masks, config.mel_mask_bands, 1, generator)


def targets(emotions: Tensor, classes: Tensor, smoothing: float) -> Tensor:
    """Smoothed one-hot targets over the classes that each clip's corpus has.

    Args:
        emotions: int64 (B,), the true class.
        classes: bool (B, 8), which classes the corpus has.
        smoothing: share spread evenly over those.

    Returns:
        float32 (B, 8), rows sum to 1, 0 for classes that the corpus lacks.
    """
    spread = classes.float() / classes.sum(dim=1, keepdim=True)
    return (1.0 - smoothing) * functional.one_hot(emotions, classes.shape[1]) + smoothing * spread


def mixup(
    batch: Tensor, target: Tensor, attributes: Tensor, classes: Tensor, alpha: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mix each clip with another of the batch: spectrograms, targets, attributes, and the union of their classes.

    Args:
        batch: float32 (B, n_mels, T).
        target: float32 (B, 8).
        attributes: float32 (B, 3, 2), see `train.batches.Batch`.
        classes: bool (B, 8).
        alpha: of the Beta distribution; 0 leaves all as it is.
        rng: of the draws.

    Returns:
        The four, mixed, in the same shapes.
    """
    if alpha <= 0.0:
        return batch, target, attributes, classes
    size = len(batch)
    draws = rng.beta(alpha, alpha, size).astype(np.float32)
    weight = _send(torch.from_numpy(np.maximum(draws, 1.0 - draws)), batch)
    partner = _send(torch.from_numpy(rng.permutation(size)), batch)
    return (
        torch.lerp(batch[partner], batch, weight[:, None, None]),
        torch.lerp(target[partner], target, weight[:, None]),
        torch.lerp(attributes[partner], attributes, weight[:, None, None]),
        classes | classes[partner],
    )


def _uniform(size: tuple[int, ...], low: float, high: float, like: Tensor, generator: torch.Generator) -> Tensor:
    return _send(torch.rand(size, generator=generator) * (high - low) + low, like)


def _send(drawn: Tensor, like: Tensor) -> Tensor:
    """To the device of `like`, which isn't waited for; draws are made on the CPU, the same wherever a run computes."""
    return drawn.to(like.device, non_blocking=True)


def _warp(batch: Tensor, config: AugmentConfig, band_hz: npt.NDArray[np.float64], generator: torch.Generator) -> Tensor:
    """Read each spectrogram at another tempo from a random place on, and at frequencies times a random factor."""
    size, n_mels, n_frames = batch.shape
    frames = FeatureConfig().min_frames
    chosen = torch.rand((size, 1), generator=generator) < config.warped
    tempo = torch.where(chosen, _factors(size, config.tempo, generator), 1.0)
    formants = torch.where(chosen, _factors(size, config.formants, generator), 1.0)
    # Whole frames, so that what isn't warped isn't read between them.
    room = (n_frames - frames * tempo).clamp_min(0.0).floor()
    start = (torch.rand((size, 1), generator=generator) * (room + 1.0)).floor()
    time = _send(start + tempo * torch.arange(frames), batch)
    bands = _send(_bands_of(formants, band_hz), batch)
    # grid_sample wants places in [-1, 1], its corners the centres of the first and last cell.
    across = (2.0 * time / (n_frames - 1) - 1.0)[:, None, :].expand(-1, n_mels, -1)
    along = (2.0 * bands / (n_mels - 1) - 1.0)[:, :, None].expand(-1, -1, frames)
    grid = torch.stack([across, along], dim=-1)
    warped = functional.grid_sample(batch[:, None], grid, padding_mode="border", align_corners=True)[:, 0]
    # The weights of four neighbours add up to 1 only nearly; silence between silence is silence.
    return torch.where(warped < -1.0 + 1e-4, -1.0, warped)


def _factors(size: int, largest: float, generator: torch.Generator) -> Tensor:
    """(B, 1) factors between 1 / largest and largest, evenly on a logarithmic scale."""
    return torch.exp((torch.rand((size, 1), generator=generator) * 2.0 - 1.0) * math.log(largest))


def _bands_of(factors: Tensor, band_hz: npt.NDArray[np.float64]) -> Tensor:
    """(B, 1) -> (B, n_mels): at which band, as a fraction, each band's frequency times the factor lies."""
    bands = np.interp(factors.numpy() * band_hz, band_hz, np.arange(len(band_hz)))
    return torch.from_numpy(bands.astype(np.float32))


def _renormalise(batch: Tensor) -> Tensor:
    return (batch - batch.amax(dim=(1, 2), keepdim=True) + 1.0).clamp_(-1.0, 1.0)


def _babble(batch: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Add the power of one to three other clips of the batch, so that nobody is heard who isn't trained on."""
    if config.babble <= 0.0:
        return batch
    size = len(batch)
    power = torch.exp((batch - 1.0) / _PER_DB * _NEPERS).masked_fill(batch <= -1.0, 0.0)
    # Any three shifts but 0: nobody talks over themselves.
    shifts = 1 + torch.rand((3, size), generator=generator).mul(size - 1).long()
    talking = torch.rand((3, size), generator=generator) < torch.tensor([[1.0], [0.6], [0.3]])
    partners = _send((torch.arange(size) + shifts) % size, batch)
    others = (power[partners] * _send(talking.float(), batch)[:, :, None, None]).sum(dim=0)
    below = _uniform((size, 1, 1), *config.babble_db, batch, generator)
    scale = power.mean(dim=(1, 2), keepdim=True) / others.mean(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    mixed = power + others * scale * torch.exp(-below * _NEPERS)
    heard = _renormalise(torch.log(mixed.clamp_min(1e-12)) / _NEPERS * _PER_DB + 1.0)
    chosen = _uniform((size, 1, 1), 0.0, 1.0, batch, generator) < config.babble
    filled_up = batch.amax(dim=1, keepdim=True) <= -1.0
    return torch.where(chosen & ~filled_up, heard, batch)


def _style(batch: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Each band's mean and deviation over time moved towards those of another clip; silence takes no part."""
    if probability <= 0.0:
        return batch
    size = len(batch)
    silent = batch <= -1.0
    sounding = (~silent).sum(dim=2, keepdim=True)
    count = sounding.clamp_min(1)
    mean = batch.masked_fill(silent, 0.0).sum(dim=2, keepdim=True) / count
    # A band in which a telephone lets nothing through is as quiet as can be.
    mean = mean.masked_fill(sounding == 0, -1.0)
    variance = (batch - mean).square().masked_fill(silent, 0.0).sum(dim=2, keepdim=True) / count
    deviation = variance.sqrt().clamp_min(_LEAST_DEVIATION)
    partner = _send(torch.randperm(size, generator=generator), batch)
    # A share of Beta(a, a), from two of Gamma(a, 1).
    gammas = torch._standard_gamma(torch.full((2, size, 1, 1), _STYLE_ALPHA), generator=generator).clamp_min(1e-12)
    own = _send(gammas[0] / gammas.sum(dim=0), batch)
    moved = (batch - mean) / deviation * torch.lerp(deviation[partner], deviation, own)
    moved = _renormalise(moved + torch.lerp(mean[partner], mean, own))
    chosen = _uniform((size, 1, 1), 0.0, 1.0, batch, generator) < probability
    return torch.where(chosen & ~silent, moved, batch)


def _tilt(batch: Tensor, tilt_db: float, generator: torch.Generator) -> Tensor:
    if tilt_db <= 0.0:
        return batch
    size, n_mels, _ = batch.shape
    slope = _uniform((size, 1, 1), -tilt_db * _PER_DB, tilt_db * _PER_DB, batch, generator)
    line = torch.linspace(-1.0, 1.0, n_mels, device=batch.device)[None, :, None]
    silent = batch <= -1.0
    # What was clamped stays at the floor: nothing is known of what lay below.
    return _renormalise(batch + slope * line).masked_fill_(silent, -1.0)


def _noise_floor(batch: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Add the power of stationary noise with a random level and slope to the sound; what was filled up stays silent."""
    if config.noise_floor_probability <= 0.0:
        return batch
    size, n_mels, n_frames = batch.shape
    level = _uniform((size, 1, 1), *config.noise_floor_db, batch, generator)
    slope = _uniform((size, 1, 1), -5.0, 5.0, batch, generator)
    line = torch.linspace(-1.0, 1.0, n_mels, device=batch.device)[None, :, None]
    ripple = _send(torch.randn((size, n_mels, n_frames), generator=generator), batch) * 2.0
    noise_db = level + slope * line + ripple
    signal_db = (batch - 1.0) / _PER_DB
    noisy = torch.logaddexp(signal_db * _NEPERS, noise_db * _NEPERS) / _NEPERS * _PER_DB + 1.0
    chosen = _uniform((size, 1, 1), 0.0, 1.0, batch, generator) < config.noise_floor_probability
    filled_up = batch.amax(dim=1, keepdim=True) <= -1.0
    return torch.where(chosen & ~filled_up, _renormalise(noisy), batch)


def _mask(batch: Tensor, count: int, longest: float, dim: int, generator: torch.Generator) -> Tensor:
    """Replace `count` random stretches along `dim` by the spectrogram's mean."""
    size, length = len(batch), batch.shape[dim]
    mean = batch.mean(dim=(1, 2), keepdim=True)
    place = torch.arange(length, device=batch.device)
    for _ in range(count):
        width = _uniform((size, 1), 0.0, longest, batch, generator)
        start = _uniform((size, 1), 0.0, 1.0, batch, generator) * (length - width)
        hit = (place >= start) & (place < start + width)
        batch = torch.where(hit[:, None, :] if dim == 2 else hit[:, :, None], mean, batch)
    return batch
