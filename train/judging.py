"""Clips from their files through the app's path -> every window's logits; and those on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ser_core import audio, recognizer, windows
from ser_core.config import FeatureConfig
from ser_core.emotions import EMOTIONS, LABELS
from ser_core.errors import SerError
from ser_core.prediction import Precision
from train.metrics import Judged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from ser_core.backends import Backend
    from ser_core.features import Waveform
    from train.corpora import Clip

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_OF_CLIPS = ("keys", "emotions", "speakers", "channels")
_OF_WINDOWS = {"window_clip": np.int32, "sound_s": np.float32, "logits": np.float32}
"""Fields of `metrics.Judged`."""


class ResultsError(SerError):
    """Stored results that are missing, incomplete or stale."""


def judge(
    clips: Sequence[Clip],
    backends: Mapping[Precision, Backend],
    fold: int,
    change: Callable[[Waveform, Clip], Waveform] | None = None,
    *,
    what: str = "clips",
) -> dict[Precision, Judged]:
    """Send clips from their files through the app's path, judged in each precision.

    Args:
        clips: what to judge.
        backends: a network in each precision.
        fold: its number, for the record.
        change: done to every waveform, float32 (n,) at the config's rate, before anything else.
        what: for the progress line.

    Raises:
        AudioError: a clip can't be read.
    """
    from tqdm import tqdm

    def waveform(clip: Clip) -> Waveform:
        samples = audio.read(clip.path, sample_rate=FeatureConfig().sample_rate).samples
        return change(samples, clip) if change else samples

    progress = tqdm(clips, desc=f"fold {fold}, {what}", unit="clip", mininterval=2.0)
    fields_of = _windows(map(waveform, progress), backends)
    of_clips = {
        "keys": np.array([clip.key for clip in clips]),
        "emotions": np.array([EMOTIONS.index(clip.emotion) for clip in clips]),
        "speakers": np.array([clip.speaker for clip in clips]),
        "channels": np.array([clip.channel for clip in clips]),
    }
    return {precision: Judged(fold=fold, **of_clips, **fields) for precision, fields in fields_of.items()}


def judge_sounds(
    sounds: Sequence[tuple[str, Waveform]], backends: Mapping[Precision, Backend], fold: int
) -> dict[Precision, Judged]:
    """Like `judge` for sounds of which nothing is true but their name: emotion -1, and no speaker."""
    nothing = np.full(len(sounds), "")
    of_sounds = {
        "keys": np.array([name for name, _ in sounds]),
        "emotions": np.full(len(sounds), -1),
        "speakers": nothing,
        "channels": nothing,
    }
    fields_of = _windows([sound for _, sound in sounds], backends)
    return {precision: Judged(fold=fold, **of_sounds, **fields) for precision, fields in fields_of.items()}


def _windows(
    waveforms: Iterable[Waveform], backends: Mapping[Precision, Backend]
) -> dict[Precision, dict[str, npt.NDArray[Any]]]:
    """The fields of `metrics.Judged` that go by window, for each precision."""
    config = FeatureConfig()
    owner: list[int] = []
    sound_s: list[float] = []
    logits: dict[Precision, list[np.ndarray]] = {precision: [] for precision in backends}
    for number, waveform in enumerate(waveforms):
        parts = windows.stretches(waveform, config)
        owner += [number] * len(parts)
        sound_s += [part.sound.duration_s if part.sound else 0.0 for part in parts]
        for precision, backend in backends.items():
            voiced = [part.spectrogram for part in parts if part.spectrogram is not None]
            outputs = iter(recognizer.infer(backend, voiced))
            silent = np.zeros((1, len(LABELS)), dtype=np.float32)
            logits[precision] += [silent if p.spectrogram is None else next(outputs).logits for p in parts]
    return {
        precision: {"window_clip": np.array(owner), "sound_s": np.array(sound_s), "logits": np.concatenate(rows)}
        for precision, rows in logits.items()
    }


def save(path: Path, judged: Mapping[Any, Judged], origin: dict[str, Any]) -> None:
    """Write what several precisions, or one under several conditions, said of the same clips, and what it comes from.

    Args:
        path: an .npz file.
        judged: by the name of the precision or condition; windows may differ, clips may not.
        origin: JSON-ready.
    """
    one = next(iter(judged.values()))
    if any(values.keys.tolist() != one.keys.tolist() for values in judged.values()):
        raise ValueError(f"{path.name} can't hold different clips under {', '.join(judged)}")
    of_windows = {
        f"{name}/{field}": getattr(values, field).astype(kind)
        for name, values in judged.items()
        for field, kind in _OF_WINDOWS.items()
    }
    clips = {field: getattr(one, field) for field in _OF_CLIPS}
    path.parent.mkdir(parents=True, exist_ok=True)
    names = np.array(list(judged))
    np.savez_compressed(
        path, allow_pickle=False, fold=one.fold, names=names, origin=np.array(json.dumps(origin)), **clips, **of_windows
    )


def load(path: Path) -> tuple[dict[str, Judged], dict[str, Any]]:
    """What `save` wrote. Raises ResultsError where the file isn't there."""
    if not path.is_file():
        raise ResultsError(f"{path} is missing: run `python -m train evaluate --data DIR` with its network.")
    with np.load(path, allow_pickle=False) as stored:
        clips = {field: stored[field] for field in _OF_CLIPS}
        judged = {
            name: Judged(
                fold=int(stored["fold"]),
                **clips,
                **{field: stored[f"{name}/{field}"] for field in _OF_WINDOWS},
            )
            for name in stored["names"].tolist()
        }
        return judged, json.loads(str(stored["origin"]))
