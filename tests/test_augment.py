"""Each change to a spectrogram does what it says, and nothing else; the same generator gives the same changes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ser_core import features
from ser_core.config import FeatureConfig
from tests.train_data import UNCHANGED as OFF
from train.augment import AugmentConfig, augment, mixup, targets

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

CONFIG = FeatureConfig()
MIN_FRAMES, N_MELS = CONFIG.min_frames, CONFIG.n_mels
BAND_HZ = features.band_hz(CONFIG)
DB = 2.0 / CONFIG.dynamic_range_db
"""Units of a spectrogram per dB: 80 dB are the 2 from -1 to 1."""
READ_AGAIN = 0.001 * DB
"""How far off what isn't changed may be: it is read at places that are computed in float32."""


def only(**changes: Any) -> AugmentConfig:
    return dataclasses.replace(OFF, **changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spectrograms(size: int, low: float = -0.5, high: float = 0.5, frames: int = MIN_FRAMES) -> Tensor:
    """Random values within bounds, with one bin at 1 as in every normalised spectrogram."""
    batch = torch.rand((size, N_MELS, frames), generator=generator(99)) * (high - low) + low
    batch[:, 20, 30] = 1.0
    return batch


def heard(
    batch: Tensor, config: AugmentConfig = OFF, seed: int = 0, band_hz: npt.NDArray[np.float64] = BAND_HZ
) -> Tensor:
    """What training hears of a batch; with all switched off, what it would hear if nothing else were changed.

    The stretch that is heard is drawn first, so that under one seed all configs without another tempo hear the same.
    """
    return augment(batch, config, band_hz, generator(seed))


def runs(hit: Tensor) -> list[int]:
    """Lengths of the stretches of True in bool (n,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hit.int().numpy(), [0]])))
    return [int(length) for length in edges[1::2] - edges[::2]]


def test_with_all_switched_off_nothing_changes() -> None:
    batch = spectrograms(4)
    assert torch.allclose(heard(batch), batch, rtol=0.0, atol=READ_AGAIN)


@pytest.mark.parametrize("config", [AugmentConfig(), AugmentConfig(noise_floor_probability=1.0)])
def test_the_generator_alone_decides(config: AugmentConfig) -> None:
    batch = spectrograms(8, frames=config.crop_frames)
    before, state = batch.clone(), torch.get_rng_state()
    first, again, other = (heard(batch, config, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(batch, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == (8, N_MELS, MIN_FRAMES)
    assert first.dtype == torch.float32
    assert first.min() >= -1.0
    assert first.max() <= 1.0


@pytest.mark.parametrize(("tempo", "frames"), [(1.0, 192), (1.125, 216), (1.18, 232), (1.5, 288)])
def test_a_crop_is_long_enough_for_the_fastest_tempo(tempo: float, frames: int) -> None:
    assert only(tempo=tempo).crop_frames == frames


def clock(size: int, frames: int) -> Tensor:
    """Spectrograms whose every value says, in 1 / 1024, at which frame it stands."""
    return (torch.arange(float(frames)) / 1024.0).expand(size, N_MELS, frames)


def test_a_tempo_is_drawn_within_its_bounds_and_the_place_with_it() -> None:
    config = only(tempo=1.25)
    read_at = 1024.0 * heard(clock(500, config.crop_frames), config)
    assert config.crop_frames == 240
    # One tempo for a clip, in all its bands; the last step may be cut short by the crop's end.
    tempo = read_at.diff(dim=2)[:, :, :-1]
    assert torch.allclose(tempo, tempo[:, :1, :1].expand_as(tempo), atol=2e-3)
    logarithms = tempo.mean(dim=(1, 2)).log() / np.log(1.25)
    assert -1.001 < logarithms.min() < -0.98
    assert 0.98 < logarithms.max() < 1.001
    # As often slower as faster: 0.09 are three standard deviations of the mean of 500 such draws.
    assert abs(float(logarithms.mean())) < 0.09
    first, last = read_at[:, 0, 0], read_at[:, 0, -1]
    assert first.min() >= 0.0
    assert last.max() <= 239.0
    # A slow clip, which takes up 154 to 157 of the 240 frames, may be heard from late on, a fast one from its beginning
    # alone.
    slow = logarithms < -0.9
    assert first[slow].max() > 60.0
    assert first[slow].min() < 10.0
    assert first[logarithms > 0.98].max() < 1.5


def test_formants_are_moved_by_a_factor_in_hertz() -> None:
    """Each value says in which band it stood, from which the frequency follows at which it was read."""
    config = only(formants=1.2)
    bands = (torch.arange(float(N_MELS)) / 1024.0)[None, :, None].expand(300, N_MELS, MIN_FRAMES)
    read_at = 1024.0 * heard(bands, config)
    assert torch.allclose(read_at, read_at[:, :, :1].expand_as(read_at), atol=2e-3)
    hertz = np.interp(read_at[:, :, 0].numpy(), np.arange(N_MELS), BAND_HZ)
    # Away from the edges of the spectrum, beyond which nothing is known.
    inside = (BAND_HZ > 100.0) & (BAND_HZ < 6_000.0)
    factors = hertz[:, inside] / BAND_HZ[inside]
    assert factors == pytest.approx(np.repeat(factors[:, :1], inside.sum(), axis=1), rel=2e-3)
    logarithms = np.log(factors.mean(axis=1)) / np.log(1.2)
    assert logarithms.min() == pytest.approx(-1.0, abs=0.02)
    assert logarithms.max() == pytest.approx(1.0, abs=0.02)
    # Beyond the edges the outermost band is read again.
    assert read_at.min() >= -1e-3
    assert read_at.max() <= N_MELS - 1 + 1e-3
    assert read_at[:, 0].min() == pytest.approx(0.0, abs=1e-3)


def test_a_tilt_is_a_straight_line_over_the_bands() -> None:
    batch = spectrograms(64, -0.4, 0.4)
    changed = heard(batch, only(tilt_db=6.0))
    difference = changed - heard(batch)
    line = difference[:, :, 0]
    assert torch.allclose(difference, line[:, :, None].expand_as(difference), atol=1e-6)
    assert torch.allclose(line.diff(n=2, dim=1), torch.zeros(64, N_MELS - 2), atol=1e-6)
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
    changed = heard(batch, only(tilt_db=6.0))
    assert torch.equal(changed <= -1.0, heard(batch) <= -1.0)
    assert (changed[:, 41:, 61:] == -1.0).all()


def test_a_noise_floor_raises_what_is_quiet_and_leaves_what_is_loud() -> None:
    batch = torch.full((8, N_MELS, MIN_FRAMES), 1.0 - 10.0 * DB)
    batch[:, N_MELS // 2 :, :] = -1.0
    batch[:, 20, 30] = 1.0
    config = only(noise_floor_probability=1.0, noise_floor_db=(-50.0, -50.0))
    changed = heard(batch, config)
    # At -10 dB a floor near -50 dB adds well under a tenth of a dB.
    assert ((changed - heard(batch))[:, : N_MELS // 2].abs() / DB).max() < 0.1
    quiet_db = (changed[:, N_MELS // 2 :] - 1.0) / DB
    assert quiet_db.min() > -70.0
    assert quiet_db.max() < -30.0
    assert quiet_db.mean().item() == pytest.approx(-50.0, abs=3.0)
    assert torch.allclose(changed.amax(dim=(1, 2)), torch.ones(8))


def test_a_noise_floor_lies_within_its_bounds() -> None:
    batch = torch.full((400, N_MELS, MIN_FRAMES), -1.0)
    batch[:, 0, :] = 1.0
    changed = heard(batch, only(noise_floor_probability=1.0, noise_floor_db=(-70.0, -40.0)))
    levels = (changed[:, 1:].mean(dim=(1, 2)) - 1.0) / DB
    assert levels.min() > -72.0
    assert levels.max() < -38.0
    assert levels.min() < -66.0
    assert levels.max() > -44.0


def test_a_noise_floor_keeps_what_was_filled_up_silent() -> None:
    batch = spectrograms(16)
    batch[:, :, 60:] = -1.0
    changed = heard(batch, only(noise_floor_probability=1.0, noise_floor_db=(-20.0, -20.0)))
    assert torch.equal(changed[:, :, 60:], batch[:, :, 60:])
    assert (changed[:, :, :60] != batch[:, :, :60]).float().mean() > 0.9


@pytest.mark.parametrize("change", [{"tilt_db": 6.0}, {"noise_floor_probability": 1.0}])
def test_what_was_filled_up_stays_silent_at_another_tempo_and_other_formants(change: dict[str, float]) -> None:
    config = only(tempo=1.18, formants=1.15, **change)
    batch = spectrograms(64, frames=config.crop_frames)
    batch[:, :, 60:] = -1.0
    # At the slowest tempo, the 60 frames are 71.
    assert (heard(batch, config)[:, :, 72:] == -1.0).all()


def test_a_noise_floor_comes_as_often_as_it_says() -> None:
    batch = torch.zeros(2_000, 16, MIN_FRAMES)
    batch[:, 0, 0] = 1.0
    changed = heard(batch, only(noise_floor_probability=0.3, noise_floor_db=(-30.0, -30.0)), band_hz=BAND_HZ[:16])
    share = (changed != heard(batch, band_hz=BAND_HZ[:16])).any(dim=2).any(dim=1).float().mean().item()
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
    batch = heard(spectrograms(200))
    changed = heard(spectrograms(200), config)
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
    told = torch.arange(48.0).view(8, 3, 2)
    mixed, target, attributes, union = mixup(batch, torch.eye(8), told, classes, 0.3, np.random.default_rng(5))
    assert mixed.shape == batch.shape
    own = target.diagonal()
    # The clip's own half is the heavier one, and the weights sum to 1.
    assert own.min() >= 0.5
    assert torch.allclose(target.sum(dim=1), torch.ones(8))
    assert (own < 1.0).any()
    # Every bin is the same weighted mean of the two clips as the target is of their classes.
    values = target @ (torch.arange(8.0) / 8)
    assert torch.allclose(mixed, values[:, None, None].expand_as(mixed), atol=1e-6)
    # And so are its attributes.
    assert torch.allclose(attributes, (target @ told.flatten(1)).view(8, 3, 2), atol=1e-5)
    # A mixture's classes are those of both its clips, which are those of its target.
    assert torch.equal(union | torch.eye(8, dtype=torch.bool), union)
    assert torch.equal(target > 0.0, union & (target > 0.0))
    partners = union.sum(dim=1)
    assert set(partners.tolist()) <= {1, 2}
    assert (partners == 2).sum() >= 4


def test_mixup_is_decided_by_its_generator_and_can_be_off() -> None:
    clips = spectrograms(8), torch.eye(8), torch.rand((8, 3, 2), generator=generator()), torch.ones(8, 8).bool()
    first, again, other = (mixup(*clips, 0.3, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    off = mixup(*clips, 0.0, np.random.default_rng(1))
    assert all(a is b for a, b in zip(off, clips, strict=True))


# How much of it, as training goes on.

RAMPED = dataclasses.replace(AugmentConfig(), ramp=0.5, style=0.4, babble=0.2)
GROWING = (
    "degraded",
    "warped",
    "tempo",
    "formants",
    "style",
    "babble",
    "tilt_db",
    "noise_floor_probability",
    "time_mask_frames",
    "mel_mask_bands",
    "mixup",
)


def test_a_ramp_begins_with_nothing() -> None:
    start = RAMPED.at(0.0)
    assert start.degraded == 0.0
    batch = spectrograms(8)
    assert torch.allclose(heard(batch, start), batch, rtol=0.0, atol=READ_AGAIN)
    clips = batch, torch.eye(8), torch.zeros(8, 3, 2), torch.eye(8).bool()
    assert mixup(*clips, start.mixup, np.random.default_rng(0))[0] is batch
    # Smoothing has nothing to do with how hard the sounds are.
    assert start.label_smoothing == RAMPED.label_smoothing == 0.1


def test_a_ramp_ends_with_all_that_the_config_says() -> None:
    assert [RAMPED.at(progress) for progress in (0.5, 0.75, 1.0)] == [RAMPED] * 3
    assert RAMPED.at(0.499) != RAMPED
    whole = dataclasses.replace(RAMPED, ramp=1.0)
    assert whole.at(1.0) == whole
    assert whole.at(0.75) != whole


def test_without_a_ramp_there_is_all_of_it_from_the_start() -> None:
    config = AugmentConfig()
    assert config.ramp == 0.0
    assert [config.at(progress) for progress in (0.0, 0.01, 1.0)] == [config] * 3


def test_between_the_ends_of_a_ramp_all_grows_and_nothing_else_changes() -> None:
    steps = [dataclasses.asdict(RAMPED.at(progress)) for progress in np.linspace(0.0, 0.5, 11)]
    for name, value in dataclasses.asdict(RAMPED).items():
        values = [step[name] for step in steps]
        if name in GROWING:
            assert values == sorted(set(values)), name
            assert values[-1] == value
        else:
            assert values == [value] * 11, name
    half = RAMPED.at(0.25)
    assert (half.degraded, half.tilt_db, half.time_mask_frames) == pytest.approx((0.2, 3.0, 8.0))
    # Factors grow evenly on the scale on which they are drawn.
    assert half.tempo**2 == pytest.approx(1.18)
    assert half.formants**2 == pytest.approx(1.15)


def test_crops_of_the_full_length_are_heard_at_any_point_of_a_ramp() -> None:
    """What is cut out of clips doesn't grow with the ramp; the slower tempi at its start leave room around them."""
    assert RAMPED.crop_frames == 232
    read_at = 1024.0 * heard(clock(300, RAMPED.crop_frames), RAMPED.at(0.0))
    assert read_at.shape == (300, N_MELS, MIN_FRAMES)
    assert torch.allclose(read_at.diff(dim=2), torch.ones(300, N_MELS, MIN_FRAMES - 1), atol=2e-3)
    # Whole frames, from the first to the last that leaves enough behind it.
    starts = read_at[:, 0, 0]
    assert torch.allclose(starts, starts.round(), atol=2e-3)
    assert sorted(set(starts.round().tolist())) == list(range(232 - 192 + 1))


def test_what_is_not_warped_is_as_sharp_as_the_clip() -> None:
    config = only(tempo=1.18, formants=1.15, warped=0.5)
    batch = spectrograms(200, frames=config.crop_frames)
    found = heard(batch, config)
    slices = batch.unfold(2, MIN_FRAMES, 1).transpose(1, 2)
    sharp = (found[:, None] - slices).abs().amax(dim=(2, 3)).amin(dim=1) < 1e-4
    assert 0.35 < sharp.float().mean() < 0.65
    # Reading between bins smooths the rest.
    assert found[~sharp].std() < 0.9 * found[sharp].std()


def test_a_style_moves_each_band_towards_another_clip() -> None:
    """Two clips, each band of one loud and lively, of the other quiet and still: what comes out lies between."""
    steps = torch.linspace(-1.0, 1.0, MIN_FRAMES)
    batch = torch.stack([(0.6 + 0.3 * steps).expand(N_MELS, -1), (-0.4 + 0.1 * steps).expand(N_MELS, -1)])
    # Both have the loudest bin, so that nothing is levelled afterwards.
    batch[:, 0] = 0.9
    batch[:, 0, -1] = 1.0
    found = torch.stack([heard(batch, only(style=1.0), seed) for seed in range(200)])
    loud, quiet = found[:, 0, 1:], found[:, 1, 1:]
    # The melody stays: within a band, all is moved and stretched alike.
    for one in (loud, quiet):
        assert torch.allclose(one.diff(dim=2).diff(dim=2), torch.zeros(()), atol=1e-4)
        assert (one.diff(dim=2) > 0.0).all()
    slopes = loud[:, 0].diff(dim=1).mean(dim=1) / (0.3 * steps.diff().mean())
    assert 1 / 3 - 0.02 < slopes.min() < 0.4
    assert 0.95 < slopes.max() < 1.02


def test_a_style_is_taken_over_by_some_clips_alone() -> None:
    batch = spectrograms(400)
    changed = (heard(batch, only(style=0.4)) - heard(batch)).abs().amax(dim=(1, 2)) > 1e-4
    # One in 400 is its own partner, and a share near 1 changes hardly anything.
    assert 0.25 < changed.float().mean() < 0.45


def test_silence_has_no_style() -> None:
    batch = spectrograms(64)
    high = 3 * N_MELS // 4
    batch[:, :, 60:] = -1.0
    batch[::2, high:] = -1.0
    found = heard(batch, only(style=1.0))
    assert (found[:, :, 60:] == -1.0).all()
    assert (found[::2, high:] == -1.0).all()
    assert found.amax(dim=(1, 2)) == pytest.approx(1.0, abs=1e-5)
    # What takes over the style of a clip without these bands has less in them, never more, but for the levelling, of
    # which the other bands tell: all clips have them, of one style but for chance.
    levelled = (found - batch)[1::2, :high, :60].mean(dim=(1, 2))
    before, after = batch[1::2, high:, :60].mean(dim=(1, 2)), found[1::2, high:, :60].mean(dim=(1, 2))
    assert (after - levelled < before + 0.05).all()
    assert (after - levelled < before - 0.8).any()


def test_babble_is_the_others_so_many_decibels_below() -> None:
    """Each of two clips fills one band; behind it the other is heard, in its own."""
    batch = torch.full((2, N_MELS, MIN_FRAMES), -1.0)
    batch[0, 10], batch[1, 60] = 1.0, 0.5
    found = heard(batch, only(babble=1.0, babble_db=(12.0, 12.0)))
    # Powers count, not levels: the quieter clip is heard as far below as the louder one.
    for number, own, other in ((0, 10, 60), (1, 60, 10)):
        assert torch.allclose(found[number, own], torch.ones(()), atol=1e-4)
        assert torch.allclose(found[number, other], torch.tensor(1.0 - 12.0 * DB), atol=1e-4)
        rest = [band for band in range(N_MELS) if band not in (own, other)]
        assert (found[number, rest] == -1.0).all()


def test_babble_keeps_to_its_bounds_and_its_share() -> None:
    batch = torch.full((400, N_MELS, MIN_FRAMES), -1.0)
    batch[0::2, 10], batch[1::2, 60] = 1.0, 1.0
    found = heard(batch, only(babble=0.4, babble_db=(5.0, 25.0)))
    behind = torch.cat([found[0::2, 60, 0], found[1::2, 10, 0]])
    # Half of a clip's partners fill its own band, and are not told from it.
    below = (1.0 - behind[behind > -0.9]) / DB
    assert 0.15 < len(below) / 400 < 0.4
    assert below.min() > 5.0 - 0.1
    assert below.median() < 25.0


def test_nobody_babbles_where_a_clip_was_filled_up() -> None:
    batch = spectrograms(64)
    batch[::2, :, 60:] = -1.0
    found = heard(batch, only(babble=1.0))
    assert (found[::2, :, 60:] == -1.0).all()
    assert (found[1::2] != batch[1::2]).any(dim=2).any(dim=1).all()
    assert found.amax(dim=(1, 2)) == pytest.approx(1.0, abs=1e-5)
