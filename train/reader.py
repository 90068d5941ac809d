"""What a pretrained encoder says of every clip, once, in statistics; `train.regression` learns from these.

Nothing of the encoder is trained, so a fold takes a minute on a CPU, and gives the same weights each time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from ser_core import features
from ser_core.config import FeatureConfig
from train import pretrained, splits
from train.networks.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from train.cache import FeatureCache

_BATCH = 16
_OF_THE_REGRESSION = ("others", "penalty", "iterations", "temperature", "shares")
"""Fields of `ReaderConfig` that what the encoder says doesn't depend on."""
_PER_DB = 2.0 / FeatureConfig().dynamic_range_db


@dataclass(frozen=True)
class ReaderConfig:
    """What is read, and how the reading is fitted.

    Attributes:
        pretrained: the encoder's weights, a key of `train.pretrained.FILES`.
        layers: of the encoder.
        warped: how often each clip of the main corpus is read at another tempo, with other formants and another tilt,
            beside what it is and its degraded versions.
        babbled: how often with others talking behind it, one to three speakers of the same test fold: nobody is heard
            in training who is tested on.
        babble_db: dB between the clip's level and theirs, least and most.
        tempo, formants: largest factors, see `train.augment.AugmentConfig`.
        tilt_db: dB at the edges of the spectrum, the most by which a line tilts it.
        others: weight of a clip of another corpus beside one of the main corpus.
        penalty: of the squared weights, on standardised statistics, beside the mean log loss.
        iterations: of L-BFGS (Liu & Nocedal 1989) at most.
        temperature: of what is asked together with it, see `train.networks.reader.Together`.
        shares: how much that counts, in [0, 1], where it is spoken and where it is sung.
    """

    pretrained: str = "whisper-tiny-en"
    layers: int = 2
    warped: int = 2
    babbled: int = 2
    babble_db: tuple[float, float] = (5.0, 25.0)
    tempo: float = 1.15
    formants: float = 1.15
    tilt_db: float = 4.0
    others: float = 0.05
    penalty: float = 0.02
    iterations: int = 60
    temperature: float = 0.7
    shares: tuple[float, float] = (0.4, 0.6)


@dataclass(frozen=True)
class Statistics:
    """What the linear layer reads of every clip, in every version.

    Attributes:
        clips: int64 (R,), which clip of the cache each row is of.
        rows: float16 (R, C), see `Reader.statistics`.
    """

    clips: npt.NDArray[np.int64]
    rows: npt.NDArray[np.float16]


def build(config: ReaderConfig, folder: Path) -> Reader:
    """The reader with its encoder's weights, and linear layers that say nothing yet.

    Raises:
        PretrainedError: the weights aren't in `folder`.
    """
    reader = Reader(FeatureConfig().n_mels, config.layers)
    pretrained.load(reader, config.pretrained, folder)
    for values in (*reader.classifier.parameters(), *reader.sung.parameters()):
        nn.init.zeros_(values)
    return reader.eval()


def statistics(cache: FeatureCache, main: str, config: ReaderConfig, folder: Path, kept: Path | None) -> Statistics:
    """Read every clip: those of the main corpus in all versions, those of others as they are.

    Args:
        cache: the features.
        main: the corpus that is tested on.
        config: what is read.
        folder: of the pretrained weights.
        kept: where what was read is kept for the next time; nowhere if None.
    """
    from train.recipe import STATISTICS, code_hash

    said = {
        "config": {key: value for key, value in dataclasses.asdict(config).items() if key not in _OF_THE_REGRESSION},
        "main": main,
        "digest": cache.digest,
        "packed": cache.packed,
        "features": cache.config.fingerprint,
        "code": code_hash(*STATISTICS),
    }
    name = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
    path = None if kept is None else kept / f"statistics-{name}.npz"
    if path is not None and path.is_file():
        with np.load(path) as stored:
            return Statistics(stored["clips"], stored["rows"])
    reader = build(config, folder)
    found = _read(reader, list(_versions(cache, main, config)))
    if path is not None:
        part = path.with_suffix(".part.npz")
        np.savez(part, clips=found.clips, rows=found.rows)
        part.replace(path)
    return found


@torch.no_grad()
def _read(reader: Reader, versions: Sequence[tuple[int, features.LogMel]]) -> Statistics:
    from tqdm import tqdm

    config = FeatureConfig()
    lengths = np.array([features.padded_frames(one.shape[1], config) for _, one in versions])
    rows = np.empty((len(versions), reader.classifier.in_features), dtype=np.float16)
    progress = tqdm(total=len(versions), desc="reading", unit="clip", mininterval=2.0)
    for length in np.unique(lengths):
        alike = np.flatnonzero(lengths == length)
        for start in range(0, len(alike), _BATCH):
            chosen = alike[start : start + _BATCH]
            batch = np.stack([features.pad(versions[number][1], int(length)) for number in chosen])
            rows[chosen] = reader.statistics(torch.from_numpy(batch)[:, None])[0].half().numpy()
            progress.update(len(chosen))
    progress.close()
    return Statistics(np.array([clip for clip, _ in versions], dtype=np.int64), rows)


def _versions(cache: FeatureCache, main: str, config: ReaderConfig) -> Iterator[tuple[int, features.LogMel]]:
    company = _company(cache, main)
    for number, clip in enumerate(cache.clips):
        whole = cache.spectrogram(number)
        yield number, whole
        if clip.corpus != main:
            continue
        for version in range(1, cache.offsets.shape[1]):
            yield number, cache.spectrogram(number, version)
        # The draws hang on the clip's name alone.
        rng = np.random.default_rng(list(clip.key.encode()))
        for _ in range(config.warped):
            yield number, warped(whole, cache.band_hz, config, rng)
        others = [other for other in company[number] if cache.clips[other].speaker != clip.speaker]
        for _ in range(config.babbled if others else 0):
            voices = rng.choice(others, size=min(len(others), int(rng.integers(1, 4))), replace=False)
            yield number, babbled(whole, [cache.spectrogram(int(voice)) for voice in voices], config, rng)


def _company(cache: FeatureCache, main: str) -> dict[int, list[int]]:
    """For each clip of the main corpus all those of its test fold."""
    numbers = [number for number, clip in enumerate(cache.clips) if clip.corpus == main]
    clips = [cache.clips[number] for number in numbers]
    folds = [splits.test_speakers(clips, main, fold) for fold in range(len(splits.ACTOR_FOLDS))]
    fold_of = {speaker: fold for fold, speakers in enumerate(folds) for speaker in speakers}
    members: dict[int, list[int]] = {}
    for number, clip in zip(numbers, clips, strict=True):
        members.setdefault(fold_of[clip.speaker], []).append(number)
    return {number: members[fold_of[clip.speaker]] for number, clip in zip(numbers, clips, strict=True)}


def warped(
    spectrogram: features.LogMel, band_hz: npt.NDArray[np.float64], config: ReaderConfig, rng: np.random.Generator
) -> features.LogMel:
    """A clip at another tempo, with other formants and another tilt.

    Args:
        spectrogram: float32 (n_mels, n_frames) in [-1, 1].
        band_hz: float64 (n_mels,), the bands' centres.
        config: how much.
        rng: of the draws.

    Returns:
        float32 (n_mels, n_frames / the tempo's factor) in [-1, 1].
    """
    tempo, formants = (math.exp(rng.uniform(-1.0, 1.0) * math.log(most)) for most in (config.tempo, config.formants))
    n_mels, n_frames = spectrogram.shape
    bands = np.interp(formants * band_hz, band_hz, np.arange(n_mels))
    times = np.linspace(0.0, n_frames - 1.0, max(8, round(n_frames / tempo)))
    # grid_sample wants places in [-1, 1], its corners the centres of the first and last cell.
    across, along = np.meshgrid(2.0 * times / (n_frames - 1) - 1.0, 2.0 * bands / (n_mels - 1) - 1.0)
    grid = torch.from_numpy(np.stack([across, along], axis=-1).astype(np.float32))[None]
    source = torch.from_numpy(np.array(spectrogram))[None, None]
    moved = functional.grid_sample(source, grid, padding_mode="border", align_corners=True)[0, 0]
    line = torch.linspace(-1.0, 1.0, n_mels)[:, None] * (rng.uniform(-config.tilt_db, config.tilt_db) * _PER_DB)
    silent = moved <= -1.0 + 1e-4
    tilted = moved + line
    tilted = (tilted - tilted[~silent].max() + 1.0 if bool((~silent).any()) else tilted).clamp(-1.0, 1.0)
    return np.asarray(tilted.masked_fill(silent, -1.0).numpy(), dtype=np.float32)


def babbled(
    spectrogram: features.LogMel, voices: Sequence[features.LogMel], config: ReaderConfig, rng: np.random.Generator
) -> features.LogMel:
    """A clip with others talking behind it: powers add up, each voice from a random place on.

    Args:
        spectrogram: float32 (n_mels, n_frames) in [-1, 1].
        voices: the same of others, at least one, of any length.
        config: for `babble_db`.
        rng: of the draws.

    Returns:
        float32 (n_mels, n_frames) in [-1, 1].
    """
    own = _power(spectrogram)
    behind = np.zeros_like(own)
    for voice in voices:
        power = _power(voice)
        repeated = np.tile(power, (1, -(-own.shape[1] // power.shape[1])))
        behind += np.roll(repeated, int(rng.integers(repeated.shape[1])), axis=1)[:, : own.shape[1]] / _level(power)
    mixed = own + behind * (_level(own) / _level(behind) * 10.0 ** (-rng.uniform(*config.babble_db) / 10.0))
    decibels = 10.0 * np.log10(np.maximum(mixed / mixed.max(), 1e-20))
    heard: features.LogMel = np.clip(decibels * _PER_DB + 1.0, -1.0, 1.0).astype(np.float32)
    return heard


def _power(spectrogram: features.LogMel) -> npt.NDArray[np.float64]:
    """Of each bin, relative to the loudest; none where it lies at the floor."""
    return np.where(spectrogram > -1.0, 10.0 ** ((spectrogram.astype(np.float64) - 1.0) / (10.0 * _PER_DB)), 0.0)


def _level(power: npt.NDArray[np.float64]) -> float:
    """Mean power of the louder half of the frames, see `train.degrade.level`; above 0."""
    frames = np.sort(power.sum(axis=0))
    return max(float(frames[len(frames) // 2 :].mean()), 1e-12)
