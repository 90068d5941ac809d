"""Each change to a spectrogram does what it says, and nothing else; the same generator gives the same changes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ser_core.config import FeatureConfig
from train.augment import AugmentConfig, augment, mixup, targets

if TYPE_CHECKING:
    from torch import Tensor

OFF = AugmentConfig(tilt_db=0.0, noise_floor_probability=0.0, time_masks=0, mel_masks=0, mixup=0.0, label_smoothing=0.0)
DB = 2.0 / FeatureConfig().dynamic_range_db
"""Units of a spectrogram per dB: 80 dB are the 2 from -1 to 1."""


def only(**changes: Any) -> AugmentConfig:
    return dataclasses.replace(OFF, **changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spectrograms(size: int, low: float = -0.5, high: float = 0.5, frames: int = 96) -> Tensor:
    """Random values within bounds, with one bin at 1 as in every normalised spectrogram."""
    batch = torch.rand((size, 64, frames), generator=generator(99)) * (high - low) + low
    batch[:, 20, 30] = 1.0
    return batch


def runs(hit: Tensor) -> list[int]:
    """Lengths of the stretches of True in bool (n,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hit.int().numpy(), [0]])))
    return [int(length) for length in edges[1::2] - edges[::2]]


def test_with_all_switched_off_nothing_changes() -> None:
    batch = spectrograms(4)
    assert torch.equal(augment(batch, OFF, generator()), batch)


@pytest.mark.parametrize("config", [AugmentConfig(), AugmentConfig(noise_floor_probability=1.0)])
def test_the_generator_alone_decides(config: AugmentConfig) -> None:
    batch = spectrograms(8)
    before, state = batch.clone(), torch.get_rng_state()
    first, again, other = (augment(batch, config, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(batch, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == batch.shape
    assert first.dtype == torch.float32
    assert first.min() >= -1.0
    assert first.max() <= 1.0


def test_a_tilt_is_a_straight_line_over_the_bands() -> None:
    batch = spectrograms(64, -0.4, 0.4)
    changed = augment(batch, only(tilt_db=6.0), generator())
    difference = changed - batch
    line = difference[:, :, 0]
    assert torch.allclose(difference, line[:, :, None].expand_as(difference), atol=1e-6)
    assert torch.allclose(line.diff(n=2, dim=1), torch.zeros(64, 62), atol=1e-6)
    # From the lowest to the highest band a line of at most 6 dB at either edge rises by at most 12 dB.
    rise_db = (line[:, -1] - line[:, 0]) / DB
    assert rise_db.abs().max() <= 12.0 + 1e-4
    assert rise_db.min() < -8.0
    assert rise_db.max() > 8.0
    assert len(set(rise_db.flatten().tolist())) == 64
    assert torch.allclose(changed.amax(dim=(1, 2)), torch.ones(64))


def test_a_tilt_leaves_silence_silent() -> None:
    batch = spectrograms(16)
    batch[:, :, 60:] = -1.0
    batch[:, 40:, :] = -1.0
    changed = augment(batch, only(tilt_db=6.0), generator())
    assert torch.equal(changed <= -1.0, batch <= -1.0)


def test_a_noise_floor_raises_what_is_quiet_and_leaves_what_is_loud() -> None:
    batch = torch.full((8, 64, 96), 1.0 - 10.0 * DB)
    batch[:, 32:, :] = -1.0
    batch[:, 20, 30] = 1.0
    config = only(noise_floor_probability=1.0, noise_floor_db=(-50.0, -50.0))
    changed = augment(batch, config, generator())
    # At -10 dB a floor near -50 dB adds well under a tenth of a dB.
    assert ((changed - batch)[:, :32].abs() / DB).max() < 0.1
    quiet_db = (changed[:, 32:] - 1.0) / DB
    assert quiet_db.min() > -70.0
    assert quiet_db.max() < -30.0
    assert quiet_db.mean().item() == pytest.approx(-50.0, abs=3.0)
    assert torch.allclose(changed.amax(dim=(1, 2)), torch.ones(8))


def test_a_noise_floor_lies_within_its_bounds() -> None:
    batch = torch.full((400, 64, 8), -1.0)
    batch[:, 0, :] = 1.0
    changed = augment(batch, only(noise_floor_probability=1.0, noise_floor_db=(-70.0, -40.0)), generator())
    levels = (changed[:, 1:].mean(dim=(1, 2)) - 1.0) / DB
    assert levels.min() > -72.0
    assert levels.max() < -38.0
    assert levels.min() < -66.0
    assert levels.max() > -44.0


def test_a_noise_floor_keeps_what_was_filled_up_silent() -> None:
    batch = spectrograms(16)
    batch[:, :, 60:] = -1.0
    changed = augment(batch, only(noise_floor_probability=1.0, noise_floor_db=(-20.0, -20.0)), generator())
    assert torch.equal(changed[:, :, 60:], batch[:, :, 60:])
    assert (changed[:, :, :60] != batch[:, :, :60]).float().mean() > 0.9


def test_a_noise_floor_comes_as_often_as_it_says() -> None:
    batch = torch.zeros(2_000, 16, 4)
    batch[:, 0, 0] = 1.0
    changed = augment(batch, only(noise_floor_probability=0.3, noise_floor_db=(-30.0, -30.0)), generator())
    share = (changed != batch).any(dim=2).any(dim=1).float().mean().item()
    # Three standard deviations of a share of 0.3 among 2,000.
    assert share == pytest.approx(0.3, abs=0.031)


@pytest.mark.parametrize(
    ("config", "dim", "longest"),
    [
        (only(time_masks=2, time_mask_frames=20), 2, 20),
        (only(mel_masks=2, mel_mask_bands=8), 1, 8),
    ],
)
def test_masks_are_as_many_and_as_long_as_they_say(config: AugmentConfig, dim: int, longest: int) -> None:
    batch = spectrograms(200)
    changed = augment(batch, config, generator())
    mean = batch.mean(dim=(1, 2), keepdim=True)
    masked = (changed == mean).all(dim=3 - dim)
    # What isn't masked is untouched, what is masked holds the spectrogram's mean in every bin.
    inside = masked[:, None, :] if dim == 2 else masked[:, :, None]
    assert torch.equal(changed, torch.where(inside, mean, batch))
    lengths = [runs(row) for row in masked]
    assert max(map(len, lengths)) == 2
    assert max(sum(one) for one in lengths) <= 2 * longest
    assert max(one[0] for one in lengths if len(one) == 2) in range(longest - 2, longest + 1)
    # Every place but the very first, where a mask would have to start at exactly 0, is reached by some.
    assert masked[:, 1:].any(dim=0).all()


def test_targets_leave_out_what_a_corpus_lacks() -> None:
    classes = torch.ones(2, 8, dtype=torch.bool)
    classes[1, [1, 6]] = False
    target = targets(torch.tensor([1, 4]), classes, 0.1)
    spread = 0.1 / 6
    assert target.dtype == torch.float32
    assert target[0].tolist() == pytest.approx([0.0125, 0.9125, *[0.0125] * 6])
    assert target[1].tolist() == pytest.approx([spread, 0.0, spread, spread, 0.9 + spread, spread, 0.0, spread])
    assert target.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])


def test_targets_without_smoothing_are_one_hot() -> None:
    target = targets(torch.tensor([3]), torch.ones(1, 8, dtype=torch.bool), 0.0)
    assert target.tolist() == [[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]]


def test_mixup_mixes_sound_and_target_alike() -> None:
    batch = torch.arange(8.0)[:, None, None].expand(8, 4, 6) / 8
    classes = torch.eye(8, dtype=torch.bool)
    mixed, target, union = mixup(batch, torch.eye(8), classes, 0.3, np.random.default_rng(5))
    assert mixed.shape == batch.shape
    own = target.diagonal()
    # The clip's own half is the heavier one, and the weights sum to 1.
    assert own.min() >= 0.5
    assert torch.allclose(target.sum(dim=1), torch.ones(8))
    assert (own < 1.0).any()
    # Every bin is the same weighted mean of the two clips as the target is of their classes.
    values = target @ (torch.arange(8.0) / 8)
    assert torch.allclose(mixed, values[:, None, None].expand_as(mixed), atol=1e-6)
    # A mixture's classes are those of both its clips, which are those of its target.
    assert torch.equal(union | torch.eye(8, dtype=torch.bool), union)
    assert torch.equal(target > 0.0, union & (target > 0.0))
    partners = union.sum(dim=1)
    assert set(partners.tolist()) <= {1, 2}
    assert (partners == 2).sum() >= 4


def test_mixup_is_decided_by_its_generator_and_can_be_off() -> None:
    batch, target, classes = spectrograms(8), torch.eye(8), torch.ones(8, 8, dtype=torch.bool)
    first, again, other = (mixup(batch, target, classes, 0.3, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    off = mixup(batch, target, classes, 0.0, np.random.default_rng(1))
    assert all(a is b for a, b in zip(off, (batch, target, classes), strict=True))
