"""Sound -> features, once: reads, cleans, trims, and writes one cache that `fit` trains from."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_core import audio, features, voice
from ser_core.config import FeatureConfig
from train import cache, corpora, degrade

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from train.corpora import Clip

DEGRADED_VERSIONS = 2
"""How often each clip is also kept as a visitor's device may hand it over, see `train.degrade.at_random`."""

NEAR_SILENT_PEAK = 0.015
"""Clips that peak below this share of full scale are levelled; 44 spoken clips of RAVDESS do."""

LEVELLED_PEAK = 0.1


@dataclass(frozen=True)
class _Prepared:
    spectrograms: tuple[cache.Quantised, ...]
    sound_hash: str
    decisions: tuple[str, ...]


def load_clip(path: Path, config: FeatureConfig) -> tuple[features.Waveform, tuple[str, ...]]:
    """A clip as training hears it: mono at the config's rate, levelled where it is near silent.

    Returns:
        float32 (n,), and what was done to it in words.
    """
    sound = audio.read(path, sample_rate=config.sample_rate)
    samples, decisions = sound.samples, []
    if sound.source_channels > 1:
        decisions.append(f"mixed down from {sound.source_channels} channels")
    peak = float(np.abs(samples).max())
    if 0.0 < peak < NEAR_SILENT_PEAK:
        samples = samples * np.float32(LEVELLED_PEAK / peak)
        decisions.append(f"levelled from a peak of {100 * peak:.2f} % of full scale")
    return samples, tuple(decisions)


def _prepare(clip: Clip, config: FeatureConfig, noises: Sequence[features.Waveform]) -> _Prepared:
    samples, decisions = load_clip(clip.path, config)
    sound, _ = voice.trim(samples, config)
    if sound.samples.size < config.min_sound_s * config.sample_rate:
        return _Prepared((), "", (*decisions, "dropped: it holds no sound"))
    spectrograms = [cache.quantise(features.log_mel(sound.samples, config))]
    # The draws hang on the clip's name alone: they stay the same whatever else is prepared.
    rng = np.random.default_rng(list(clip.key.encode()))
    for _ in range(DEGRADED_VERSIONS):
        degraded, _ = voice.trim(degrade.at_random(samples, config.sample_rate, noises, rng), config)
        kept = degraded if degraded.samples.size >= config.min_sound_s * config.sample_rate else sound
        spectrograms.append(cache.quantise(features.log_mel(kept.samples, config)))
    return _Prepared(tuple(spectrograms), hashlib.sha256(samples.tobytes()).hexdigest(), decisions)


def prepare(data: Path, names: Iterable[str], folder: Path, *, workers: int | None = None) -> dict[str, Any]:
    """Read the corpora, compute features of all versions, write the cache.

    Args:
        data: see `corpora.read`.
        names: which corpora.
        folder: where the cache goes; written whole or not at all.
        workers: processes; as many as there are cores if None.

    Returns:
        The report, also written as `report.json`: counts, and each decision with the clips it concerns.

    Raises:
        CorpusError, AudioError: something is missing or can't be read.
    """
    from tqdm import tqdm

    config = FeatureConfig()
    clips = corpora.read(data, names)
    noises = [load_clip(path, config)[0] for path in corpora.noise(data, "train")]
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        # One worker needs no process of its own.
        mapper = map if workers == 1 else partial(pool.map, chunksize=16)
        work = mapper(partial(_prepare, config=config, noises=noises), clips)
        prepared = list(tqdm(work, total=len(clips), desc="features", unit="clip", mininterval=2.0))
    prepared = _without_leaks(clips, prepared)
    kept = [(clip, one) for clip, one in zip(clips, prepared, strict=True) if one.spectrograms]
    digest = hashlib.sha256()
    for clip, one in kept:
        digest.update(f"{clip.key} {clip.emotion} {clip.speaker} {one.sound_hash}\n".encode())
    report = _report(clips, prepared) | {"feature_config": config.to_dict(), "digest": digest.hexdigest()[:16]}
    report["noises"] = len(noises)
    cache.write(folder, [clip for clip, _ in kept], [one.spectrograms for _, one in kept], report["digest"])
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report


def _without_leaks(clips: Sequence[Clip], prepared: Sequence[_Prepared]) -> list[_Prepared]:
    """Drop a sound that an earlier clip of another speaker has too: a split by speakers would put it on both sides."""
    owners: dict[str, Clip] = {}
    checked = []
    for clip, one in zip(clips, prepared, strict=True):
        owner = owners.setdefault(one.sound_hash, clip) if one.sound_hash else clip
        if (owner.corpus, owner.speaker) == (clip.corpus, clip.speaker):
            checked.append(one)
        else:
            checked.append(_Prepared((), "", (*one.decisions, f"dropped: another speaker's sound ({owner.key})")))
    return checked


def _report(clips: Sequence[Clip], prepared: Sequence[_Prepared]) -> dict[str, Any]:
    decisions: dict[str, list[str]] = {}
    same: dict[str, list[str]] = {}
    for clip, one in zip(clips, prepared, strict=True):
        for decision in one.decisions:
            kind = decision.partition(" from")[0].partition(" (")[0]
            decisions.setdefault(kind, []).append(f"{clip.key}: {decision}")
        if one.sound_hash:
            same.setdefault(one.sound_hash, []).append(clip.key)
    return {
        "clips": dict(Counter(clip.corpus for clip in clips)),
        "clips_per_speaker": dict(Counter(f"{clip.corpus}/{clip.speaker}" for clip in clips)),
        "decisions": decisions,
        "same_sound": [keys for keys in same.values() if len(keys) > 1],
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train prepare`."""
    parser.add_argument("--data", type=Path, required=True, help="folder that holds a folder for each corpus")
    parser.add_argument("--corpora", nargs="+", default=["ravdess"], choices=list(corpora.CORPORA), metavar="NAME")
    parser.add_argument("--cache", type=Path, default=Path(".cache/features"), help="where the features go")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")


def run(args: argparse.Namespace) -> int:
    """Prepare, and print what was found and what was done about it."""
    report = prepare(args.data, args.corpora, args.cache, workers=args.workers)
    for corpus, count in report["clips"].items():
        print(f"{corpus}: {count} clips")
    for keys in report["same_sound"]:
        print(f"same sound, kept on one side of a split: {', '.join(keys)}")
    for decision, lines in report["decisions"].items():
        print(f"{decision}: {len(lines)} clips")
    print(f"features in {args.cache}, details in {args.cache / 'report.json'}")
    return 0
