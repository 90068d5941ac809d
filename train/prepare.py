"""Sound -> features, once: reads, cleans, trims, and writes one cache that `fit` trains from."""

from __future__ import annotations

import dataclasses
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
import numpy.typing as npt

from ser_core import audio, features
from ser_core.config import FeatureConfig
from ser_core.emotions import Emotion
from ser_core.errors import SerError
from train import corpora
from train.corpora import Clip

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

SPEEDS: tuple[float, ...] = (1.0, 0.9, 1.1)
"""Factors of tempo and pitch together at which training hears each clip (Ko et al. 2015); the first is the original."""

NEAR_SILENT_PEAK = 0.015
"""Clips that peak below this share of full scale are levelled; 44 spoken clips of RAVDESS do."""

LEVELLED_PEAK = 0.1


class CacheError(SerError):
    """A feature cache that isn't there or doesn't fit."""


@dataclass(frozen=True)
class FeatureCache:
    """Log-mel spectrograms of every clip at every speed, and what is known of the clips.

    Attributes:
        clips: in the order of `offsets`.
        frames: float16 (n_frames_in_all, n_mels), the spectrograms end to end, memory-mapped.
        offsets: int64 (n_clips, n_speeds, 2), first frame and end of each.
        config: how they were made.
        digest: hex digits that change with the clips, their labels or their sound.
    """

    clips: tuple[Clip, ...]
    frames: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]
    config: FeatureConfig
    digest: str

    def spectrogram(self, clip: int, speed: int = 0) -> npt.NDArray[np.float16]:
        """float16 (n_frames, n_mels), clip number `clip` at `SPEEDS[speed]`."""
        start, end = self.offsets[clip, speed]
        return self.frames[start:end]

    def network_input(self, clip: int) -> features.LogMel:
        """float32 (n_mels, n_frames), clip number `clip` at its own speed, filled up as the app does."""
        frames: npt.NDArray[np.float32] = self.spectrogram(clip).T.astype(np.float32)
        return features.pad(frames, features.padded_frames(frames.shape[1], self.config))

    @classmethod
    def open(cls, folder: Path) -> FeatureCache:
        """Open what `prepare` wrote. Raises CacheError where it isn't there or was made by another feature config."""
        index = folder / "index.json"
        if not index.is_file():
            raise CacheError(f"There are no features in {folder}: run `python -m train prepare --data DIR` first.")
        stored = json.loads(index.read_text(encoding="utf-8"))
        config = FeatureConfig.from_dict(stored["feature_config"])
        if config != FeatureConfig():
            raise CacheError(
                f"The features in {folder} were made with config {config.fingerprint}, this version has "
                f"{FeatureConfig().fingerprint}: run `python -m train prepare` again."
            )
        clips = [Clip(**{**c, "path": Path(c["path"]), "emotion": Emotion(c["emotion"])}) for c in stored["clips"]]
        return cls(
            clips=tuple(clips),
            frames=np.load(folder / "frames.npy", mmap_mode="r"),
            offsets=np.load(folder / "offsets.npy"),
            config=config,
            digest=stored["digest"],
        )


@dataclass(frozen=True)
class _Prepared:
    spectrograms: tuple[npt.NDArray[np.float16], ...]
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


def _prepare(path: Path, config: FeatureConfig) -> _Prepared:
    import librosa

    samples, decisions = load_clip(path, config)
    sound = features.trim(samples, config).samples
    if sound.size < config.min_sound_s * config.sample_rate:
        return _Prepared((), "", (*decisions, "dropped: it holds no sound"))
    spectrograms = []
    for speed in SPEEDS:
        # Taken as if it had been recorded at another rate: tempo and pitch move together.
        faster = librosa.resample(sound, orig_sr=round(config.sample_rate * speed), target_sr=config.sample_rate)
        spectrograms.append(features.log_mel(faster, config).T.astype(np.float16))
    return _Prepared(tuple(spectrograms), hashlib.sha256(samples.tobytes()).hexdigest(), decisions)


def prepare(data: Path, names: Iterable[str], folder: Path, *, workers: int | None = None) -> dict[str, Any]:
    """Read the corpora, compute features at all speeds, write the cache.

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
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        # One worker needs no process of its own.
        mapper = map if workers == 1 else partial(pool.map, chunksize=16)
        work = mapper(partial(_prepare, config=config), [clip.path for clip in clips])
        prepared = list(tqdm(work, total=len(clips), desc="features", unit="clip", mininterval=2.0))
    prepared = _without_leaks(clips, prepared)
    kept = [(clip, one) for clip, one in zip(clips, prepared, strict=True) if one.spectrograms]
    lengths = np.array([[len(spectrogram) for spectrogram in one.spectrograms] for _, one in kept], dtype=np.int64)
    ends = np.cumsum(lengths.ravel()).reshape(lengths.shape)
    digest = hashlib.sha256()
    for clip, one in kept:
        digest.update(f"{clip.key} {clip.emotion} {clip.speaker} {one.sound_hash}\n".encode())
    report = _report(clips, prepared) | {"feature_config": config.to_dict(), "digest": digest.hexdigest()[:16]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").unlink(missing_ok=True)
    np.save(folder / "frames.npy", np.concatenate([s for _, one in kept for s in one.spectrograms]))
    np.save(folder / "offsets.npy", np.stack([ends - lengths, ends], axis=-1))
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    index = {
        "feature_config": config.to_dict(),
        "digest": report["digest"],
        "clips": [dataclasses.asdict(clip) | {"path": str(clip.path.resolve())} for clip, _ in kept],
    }
    # The index comes last: a cache that was broken off has none and is not taken for whole.
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
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
