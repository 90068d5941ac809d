"""A linear reading of an encoder: what it reads, how it is fitted, and how it is asked beside convolutions."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ser_core import features
from ser_core.config import CONTRACT, FeatureConfig
from ser_core.emotions import EMOTIONS
from tests.train_data import cache_of, clip
from train import reader, regression, splits
from train.networks.encoder import SpeechEncoder
from train.networks.ensemble import Ensemble
from train.networks.reader import Reader, Together, pooled
from train.networks.residual import ResidualCnn
from train.pretrained import FILES, PretrainedError
from train.reader import ReaderConfig, Statistics

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from train.cache import FeatureCache

CONFIG = FeatureConfig()
N_MELS = CONFIG.n_mels
SHORT = ReaderConfig(layers=1, warped=1, iterations=40)


def inputs(size: int, frames: int = 192) -> Tensor:
    return torch.rand((size, 1, N_MELS, frames), generator=torch.Generator().manual_seed(1)) * 1.9 - 0.9


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with an encoder's weights, drawn by chance."""
    torch.manual_seed(3)
    save_file(SpeechEncoder(N_MELS, 2).state_dict(), tmp_path / FILES["whisper-tiny-en"])
    return tmp_path


# What it reads.


def test_pooling_by_hand() -> None:
    activations = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [50.0, 9.0]]])
    share = torch.tensor([[0.5, 0.5, 0.0]])
    # Means 2 and 0, deviations 1 and the floor; the third step doesn't count.
    assert pooled([activations], share)[0].tolist() == pytest.approx([2.0, 0.0, 1.0, 1e-3])


@torch.no_grad()
def test_what_was_filled_up_is_neither_read_nor_attended_to() -> None:
    network = Reader(N_MELS, 1).eval()
    batch = inputs(2)
    batch[1, :, :, 96:] = -1.0
    read, share = network.statistics(batch)
    assert read.shape == (2, network.classifier.in_features)
    assert torch.allclose(share[0], torch.full((96,), 1 / 96))
    assert torch.allclose(share[1], torch.cat([torch.full((48,), 1 / 48), torch.zeros(48)]))
    _, attention, _ = network(batch)
    assert attention.shape == (2, 192 // CONTRACT.attention_stride)
    assert torch.allclose(attention.sum(dim=1), torch.ones(2))
    assert attention[1, 12:].abs().max() == 0.0


@torch.no_grad()
def test_silence_is_answered_too() -> None:
    logits, attention, _ = Reader(N_MELS, 1).eval()(torch.full((1, 1, N_MELS, 192), -1.0))
    assert torch.isfinite(logits).all()
    assert torch.allclose(attention.sum(dim=1), torch.ones(1))


def test_every_version_of_the_main_corpus_is_read_and_others_as_they_are(weights: Path, tmp_path: Path) -> None:
    clips = [clip(0), clip(1, corpus="nemo"), clip(2)]
    cache = cache_of(clips, [200, 220, 240])
    found = reader.statistics(cache, "own", SHORT, weights, tmp_path)
    # As they are, two degraded versions and a warped one.
    assert found.clips.tolist() == [0, 0, 0, 0, 1, 2, 2, 2, 2]
    assert found.rows.dtype == np.float16
    alone, _ = reader.build(SHORT, weights).statistics(torch.from_numpy(cache.network_input(2))[None, None])
    np.testing.assert_allclose(found.rows[5], alone[0].detach().numpy(), atol=2e-3)
    # What was read is kept, and read no second time.
    (kept,) = tmp_path.glob("statistics-*.npz")
    np.savez(kept, clips=found.clips[:1], rows=found.rows[:1])
    assert len(reader.statistics(cache, "own", SHORT, weights, tmp_path).clips) == 1
    assert len(reader.statistics(cache, "own", dataclasses.replace(SHORT, tempo=1.1), weights, tmp_path).clips) == 9


def test_nobody_talks_behind_a_clip_who_might_be_tested_on(weights: Path) -> None:
    speakers = ("ana", "ben", "cem", "dua", "eva", "fay", "gil")
    cache = cache_of([clip(n, speaker=speaker) for n, speaker in enumerate(speakers)], [200] * 7)
    company = reader._company(cache, "own")
    for fold in range(5):
        tested = splits.test_speakers(cache.clips, "own", fold)
        inside = {n for n, one in enumerate(cache.clips) if one.speaker in tested}
        assert all(set(company[n]) == inside for n in inside)
    found = reader.statistics(cache, "own", dataclasses.replace(SHORT, babbled=2), weights, None)
    # With two speakers in a fold each has another behind it; alone in a fold, nobody.
    rows = np.bincount(found.clips)
    assert [int(rows[n]) for n in range(7)] == [6, 6, 4, 4, 4, 6, 6]


def test_without_an_encoder_the_command_is_told(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=r"run `python -m train pretrained` first"):
        reader.build(SHORT, tmp_path)


# Warped versions.


def test_a_warped_clip_keeps_its_melody_and_its_silence() -> None:
    rng = np.random.default_rng(0)
    spectrogram = np.full((N_MELS, 300), -1.0, dtype=np.float32)
    spectrogram[30, 50:250] = 1.0
    lengths, bands = [], []
    for _ in range(100):
        moved = reader.warped(spectrogram, features.band_hz(CONFIG), ReaderConfig(), rng)
        assert moved.dtype == np.float32
        assert moved.max() == pytest.approx(1.0, abs=1e-6)
        assert moved.min() == -1.0
        lengths.append(moved.shape[1])
        bands.append(int(moved.max(axis=1).argmax()))
        sounding = (moved.max(axis=0) > -1.0).mean()
        assert sounding == pytest.approx(200 / 300, abs=0.02)
    assert 300 / 1.15 - 1 <= min(lengths) < 275
    assert 330 < max(lengths) <= 300 * 1.15 + 1
    assert min(bands) < 30 < max(bands)


def test_nothing_is_warped_where_no_factor_is_allowed() -> None:
    still = ReaderConfig(tempo=1.0, formants=1.0, tilt_db=0.0)
    spectrogram = inputs(1)[0, 0].numpy()
    spectrogram[5, 5] = 1.0
    moved = reader.warped(spectrogram, features.band_hz(CONFIG), still, np.random.default_rng(0))
    np.testing.assert_allclose(moved, spectrogram, atol=1e-4)


def test_babble_is_the_others_so_many_decibels_below() -> None:
    config = ReaderConfig(babble_db=(10.0, 10.0))
    own, other = (np.full((N_MELS, 300), -1.0, dtype=np.float32) for _ in range(2))
    own[30], other[50, :90] = 1.0, 0.4
    heard = reader.babbled(own, [other[:, :90]], config, np.random.default_rng(0))
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard[30], 1.0)
    # 80 dB are the 2 from -1 to 1: 10 dB below the loudest, however quiet the other was recorded.
    np.testing.assert_allclose(heard[50], 1.0 - 10.0 * 2.0 / 80.0, atol=1e-5)
    assert (np.delete(heard, [30, 50], axis=0) == -1.0).all()


# How it is fitted.


def fitted(cache: FeatureCache, train: range, said: Statistics) -> tuple[Tensor, Tensor]:
    """Weight (8, C) and bias (8,) of the emotions."""
    found = regression.fit(cache, train, "own", said, SHORT)
    return found["classifier.weight"], found["classifier.bias"]


def told_apart(size: int) -> Statistics:
    """Statistics of `size` clips whose first numbers tell the emotion, the clip's number modulo 8."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(size, 24)).astype(np.float16)
    rows[np.arange(size), np.arange(size) % 8] += 5.0
    return Statistics(np.arange(size), rows)


def test_it_learns_what_can_be_told() -> None:
    cache = cache_of([clip(n, emotion=EMOTIONS[n % 8]) for n in range(80)], [8] * 80)
    said = told_apart(80)
    weight, bias = fitted(cache, range(60), said)
    scores = torch.from_numpy(said.rows[60:].astype(np.float32)) @ weight.T + bias
    assert (scores.argmax(dim=1).numpy() == np.arange(60, 80) % 8).mean() > 0.9
    again, _ = fitted(cache, range(60), said)
    assert torch.equal(weight, again)


def test_clips_that_are_held_out_teach_nothing() -> None:
    cache = cache_of([clip(n, emotion=EMOTIONS[n % 8]) for n in range(80)], [8] * 80)
    said = told_apart(80)
    weight, _ = fitted(cache, range(60), said)
    said.rows[60:] = 100.0
    other, _ = fitted(cache, range(60), said)
    assert torch.equal(weight, other)


def test_a_corpus_teaches_nothing_of_a_class_that_it_lacks() -> None:
    """Another corpus of angry clips alone, that sound calm: they say nothing, as there is nothing to choose between."""
    own = [clip(n, emotion=EMOTIONS[n % 8]) for n in range(80)]
    cache = cache_of(own, [8] * 80)
    more = cache_of([*own, *(clip(n, corpus="nemo", emotion=EMOTIONS[4]) for n in range(80, 84))], [8] * 84)
    said = told_apart(80)
    rows = np.concatenate([said.rows, said.rows[1:2].repeat(4, axis=0)])
    weight, bias = fitted(cache, range(80), said)
    with_more, bias_more = fitted(more, range(84), Statistics(np.arange(84), rows))
    probe = torch.from_numpy(said.rows[:8].astype(np.float32))
    assert torch.equal((probe @ weight.T + bias).argmax(dim=1), (probe @ with_more.T + bias_more).argmax(dim=1))


def test_a_clip_counts_once_in_however_many_versions() -> None:
    cache = cache_of([clip(n, emotion=EMOTIONS[n % 8]) for n in range(80)], [8] * 80)
    said = told_apart(80)
    weight, _ = fitted(cache, range(80), said)
    twice = Statistics(np.repeat(said.clips, 2), np.repeat(said.rows, 2, axis=0))
    doubled, _ = fitted(cache, range(80), twice)
    assert torch.allclose(weight, doubled, atol=0.02 * float(weight.abs().max()))


def test_it_learns_what_is_sung() -> None:
    """From the last of the numbers; both weigh as much as in the classifier, and a clip that is held out not at all."""
    clips = [clip(n, emotion=EMOTIONS[n % 8], channel="song" if n % 3 else "speech") for n in range(80)]
    said = told_apart(80)
    said.rows[:, -1] += [4.0 if n % 3 else -4.0 for n in range(80)]
    found = regression.fit(cache_of(clips, [8] * 80), range(60), "own", said, SHORT)
    scores = torch.from_numpy(said.rows.astype(np.float32)) @ found["sung.weight"].T + found["sung.bias"]
    assert scores.shape == (80, 1)
    assert ((scores[:, 0].numpy() > 0.0) == (np.arange(80) % 3 > 0)).mean() > 0.95
    said.rows[60:] = 100.0
    again = regression.fit(cache_of(clips, [8] * 80), range(60), "own", said, SHORT)
    assert all(torch.equal(again[name], values) for name, values in found.items())


def test_nothing_sung_is_no_trouble() -> None:
    cache = cache_of([clip(n, emotion=EMOTIONS[n % 8]) for n in range(80)], [8] * 80)
    found = regression.fit(cache, range(80), "own", told_apart(80), SHORT)
    assert all(values.isfinite().all() for values in found.values())
    assert (
        torch.from_numpy(told_apart(80).rows.astype(np.float32)) @ found["sung.weight"].T + found["sung.bias"] < 0
    ).all()


@pytest.mark.parametrize("field", reader._OF_THE_REGRESSION)
def test_what_the_encoder_says_is_kept_for_other_regressions(weights: Path, tmp_path: Path, field: str) -> None:
    cache = cache_of([clip(n) for n in range(2)], [40] * 2)
    reader.statistics(cache, "own", SHORT, weights, tmp_path)
    value = getattr(SHORT, field)
    other: dict[str, Any] = {field: (0.1, 0.2) if isinstance(value, tuple) else value * 2}
    changed = dataclasses.replace(SHORT, **other)
    reader.statistics(cache, "own", changed, tmp_path / "no weights here", tmp_path)
    with pytest.raises(PretrainedError):
        reader.statistics(cache, "own", dataclasses.replace(SHORT, warped=2), tmp_path / "no weights here", tmp_path)


# Beside convolutions.


@pytest.mark.parametrize(("sung", "share"), [(-50.0, 0.25), (0.0, 0.5), (50.0, 0.75)])
@torch.no_grad()
def test_both_are_asked_together(sung: float, share: float) -> None:
    torch.manual_seed(0)
    seeing = Ensemble([ResidualCnn(N_MELS, channels=(16, 16, 16, 16))]).eval()
    reading = Reader(N_MELS, 1).eval()
    reading.sung.weight.zero_()
    reading.sung.bias.fill_(sung)
    logits, attention = Together(seeing, reading, 0.5, (0.25, 0.75)).eval()(inputs(3))
    (seen, seen_attention), (read, read_attention, told) = seeing(inputs(3)), reading(inputs(3))
    assert told.shape == (3, 1)
    assert torch.allclose(logits, share * 2.0 * seen + (1.0 - share) * read, atol=1e-5)
    assert torch.allclose(attention, share * seen_attention + (1.0 - share) * read_attention, atol=1e-6)
    assert torch.allclose(attention.sum(dim=1), torch.ones(3), atol=1e-5)
