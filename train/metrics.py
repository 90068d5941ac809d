"""Logits -> figures. Pure functions of arrays; every table of the project derives from these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ser_core import recognizer, windows
from ser_core.emotions import LABELS

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA_VERSION = 1
BOOTSTRAP_DRAWS = 10_000
ECE_BINS = 15
"""Equal-width bins of confidence, as in Guo et al. (2017, arXiv:1706.04599)."""

Probabilities = npt.NDArray[np.float64]
"""float64 (n_clips, 8), rows sum to 1."""


@dataclass(frozen=True)
class Judged:
    """What one fold's network said of its test clips, window by window, in one precision; and what is true.

    Attributes:
        fold: its number.
        keys: of the clips.
        emotions: int64 (n_clips,), index into `LABELS`.
        speakers: str (n_clips,).
        channels: str (n_clips,), "speech" or "song".
        window_clip: int64 (n_windows,), whose window it is, index into the clips; every clip has one.
        sound_s: float64 (n_windows,), seconds of sound in it; 0 where there was too little to judge.
        logits: float32 (n_windows, 8).
    """

    fold: int
    keys: npt.NDArray[np.str_]
    emotions: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.str_]
    channels: npt.NDArray[np.str_]
    window_clip: npt.NDArray[np.int64]
    sound_s: npt.NDArray[np.float64]
    logits: npt.NDArray[np.float32]

    def probabilities(self, temperature: float) -> Probabilities:
        """The clips' answers as the app joins them: (n_clips, 8); uniform for a clip in which no voice was found."""
        rows = recognizer.probabilities(self.logits, temperature)
        answers = np.full((len(self.keys), len(LABELS)), 1.0 / len(LABELS))
        for clip in range(len(self.keys)):
            mine = (self.window_clip == clip) & (self.sound_s > 0.0)
            if mine.any():
                answers[clip] = windows.join(rows[mine], self.sound_s[mine].tolist())
        return answers

    def subset(self, chosen: npt.NDArray[np.bool_]) -> Judged:
        """The clips where `chosen`, bool (n_clips,), is true."""
        number = np.cumsum(chosen) - 1
        kept = chosen[self.window_clip]
        return Judged(
            self.fold,
            self.keys[chosen],
            self.emotions[chosen],
            self.speakers[chosen],
            self.channels[chosen],
            number[self.window_clip[kept]],
            self.sound_s[kept],
            self.logits[kept],
        )


def accuracy(emotions: npt.NDArray[np.int64], answers: Probabilities) -> float:
    """Share of clips whose most probable emotion is the true one."""
    return float((answers.argmax(axis=1) == emotions).mean())


def recalls(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Recall of each class that occurs, from a confusion matrix (true, told); NaN for the others."""
    counts = matrix.sum(axis=1)
    shares: npt.NDArray[np.float64] = np.full(len(matrix), np.nan)
    np.divide(np.diag(matrix), counts, out=shares, where=counts > 0)
    return shares


def confusion(emotions: npt.NDArray[np.int64], answers: Probabilities) -> npt.NDArray[np.int64]:
    """int64 (8, 8): how many clips of each true emotion (row) were told as each (column)."""
    from sklearn.metrics import confusion_matrix

    matrix: npt.NDArray[np.int64] = confusion_matrix(emotions, answers.argmax(axis=1), labels=range(len(LABELS)))
    return matrix


def uar(emotions: npt.NDArray[np.int64], answers: Probabilities) -> float:
    """Unweighted average recall: the mean of the recalls of the classes that occur."""
    return float(np.nanmean(recalls(confusion(emotions, answers))))


def expected_calibration_error(emotions: npt.NDArray[np.int64], answers: Probabilities) -> float:
    """Mean distance between confidence and accuracy over `ECE_BINS` bins, weighted by their clips."""
    bins = reliability(emotions, answers)
    return sum(one["n"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / len(emotions)


def reliability(emotions: npt.NDArray[np.int64], answers: Probabilities) -> list[dict[str, float]]:
    """The reliability diagram: for each of `ECE_BINS` bins that holds clips, `n`, mean `confidence` and `accuracy`."""
    confidence = answers.max(axis=1)
    right = answers.argmax(axis=1) == emotions
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    return [
        {
            "n": int((bins == b).sum()),
            "confidence": float(confidence[bins == b].mean()),
            "accuracy": float(right[bins == b].mean()),
        }
        for b in np.unique(bins)
    ]


def coverage_curve(emotions: npt.NDArray[np.int64], answers: Probabilities, steps: int = 20) -> list[dict[str, float]]:
    """Accuracy where only the surest clips are answered: for each `coverage`, the `threshold` and the `accuracy`."""
    confidence = answers.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (answers.argmax(axis=1) == emotions)[order]
    counts = np.ceil(np.linspace(1.0 / steps, 1.0, steps) * len(order)).astype(int)
    return [
        {
            "coverage": count / len(order),
            "threshold": float(confidence[order[count - 1]]),
            "accuracy": float(right[:count].mean()),
        }
        for count in counts.tolist()
    ]


def threshold_for(emotions: npt.NDArray[np.int64], answers: Probabilities, accuracy_wanted: float) -> float:
    """The lowest confidence at which the clips that are answered are right as often as wanted.

    Args:
        emotions: int64 (n,), the true classes.
        answers: calibrated.
        accuracy_wanted: of the answered clips, in [0, 1].

    Returns:
        A threshold in [0, 1]; 0 where all may be answered, the highest confidence where hardly any may.
    """
    confidence = answers.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (answers.argmax(axis=1) == emotions)[order]
    running = np.cumsum(right) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(running >= accuracy_wanted)
    if len(enough) == 0:
        return float(confidence[order[0]])
    return 0.0 if enough[-1] == len(order) - 1 else float(confidence[order[enough[-1]]])


def between_corpora(
    emotions: npt.NDArray[np.int64], answers: Probabilities, tested: Sequence[str], trained: Sequence[str]
) -> tuple[npt.NDArray[np.int64], Probabilities]:
    """Read answers on one corpus from a network trained on others: over the emotions that both sides have.

    Where the tested corpus lacks `calm`, its probability counts as `neutral`; clips of emotions that training lacked
    are left out.

    Args:
        emotions: int64 (n,), the true classes.
        answers: of the same clips.
        tested: the emotions that the corpus has.
        trained: the emotions that training had.

    Returns:
        The clips that stay, and their probabilities, 0 for the emotions that aren't shared.
    """
    answers = answers.copy()
    neutral, calm = LABELS.index("neutral"), LABELS.index("calm")
    if "calm" not in tested:
        answers[:, neutral] += answers[:, calm]
    shared = np.array([label in tested and label in trained for label in LABELS])
    kept = shared[emotions]
    return emotions[kept], np.where(shared, answers, 0.0)[kept]


def fit_temperature(judged: Sequence[Judged]) -> float:
    """The temperature in [0.05, 10] under which the joined answers' mean log-likelihood is best."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        picked = [one.probabilities(temperature)[np.arange(len(one.keys)), one.emotions] for one in judged]
        return -float(np.log(np.concatenate(picked).clip(1e-12)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(10.0)), method="bounded")
    return float(np.exp(found.x))


def bootstrap(
    emotions: npt.NDArray[np.int64], answers: Probabilities, speakers: npt.NDArray[np.str_], *, seed: int = 0
) -> dict[str, list[float]]:
    """95 % intervals of accuracy and UAR from drawing speakers, not clips, with replacement.

    An actor's clips resemble each other, so that intervals over clips would be too narrow.

    Returns:
        `accuracy` and `uar`, each [low, high].
    """
    rng = np.random.default_rng(seed)
    names = np.unique(speakers)
    matrices = np.stack([confusion(emotions[speakers == name], answers[speakers == name]) for name in names])
    draws = rng.integers(len(names), size=(BOOTSTRAP_DRAWS, len(names)))
    counts = np.stack([np.bincount(draw, minlength=len(names)) for draw in draws])
    pooled = np.tensordot(counts, matrices, axes=1)
    hits = np.trace(pooled, axis1=1, axis2=2) / pooled.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        means = np.nanmean(np.diagonal(pooled, axis1=1, axis2=2) / pooled.sum(axis=2), axis=1)
    return {
        name: [float(edge) for edge in np.percentile(values, [2.5, 97.5])]
        for name, values in (("accuracy", hits), ("uar", means))
    }


def pool(judged: Sequence[Judged], temperatures: Sequence[float]) -> tuple[npt.NDArray[np.int64], Probabilities]:
    """Emotions and answers of all folds, one behind the other, each at its own temperature."""
    return (
        np.concatenate([one.emotions for one in judged]),
        np.concatenate([one.probabilities(t) for one, t in zip(judged, temperatures, strict=True)]),
    )


def paired_bootstrap(
    emotions: npt.NDArray[np.int64],
    ours: Probabilities,
    theirs: Probabilities,
    speakers: npt.NDArray[np.str_],
    *,
    seed: int = 0,
) -> list[float]:
    """The 95 % interval, [low, high], of how much more accurate one answer is than another on the same clips.

    Speakers are drawn, as in `bootstrap`, and both answers are judged on the same draw.
    """
    rng = np.random.default_rng(seed)
    names, numbers = np.unique(speakers, return_inverse=True)
    gained = (ours.argmax(axis=1) == emotions).astype(int) - (theirs.argmax(axis=1) == emotions).astype(int)
    by_speaker, clips = np.bincount(numbers, weights=gained), np.bincount(numbers)
    draws = rng.integers(len(names), size=(BOOTSTRAP_DRAWS, len(names)))
    differences = by_speaker[draws].sum(axis=1) / clips[draws].sum(axis=1)
    return [float(edge) for edge in np.percentile(differences, [2.5, 97.5])]


def summary(judged: Sequence[Judged], temperatures: Sequence[float]) -> dict[str, Any]:
    """The figures of one channel or condition over all folds.

    Args:
        judged: one a fold, already reduced to the channel.
        temperatures: one a fold, fitted without the speakers that it tests.

    Returns:
        JSON-ready: `n`, pooled `accuracy` and `uar`, `interval_95` over speakers, `folds` with each fold's figures,
        their `mean` and `std` (over folds, ddof 1), `folds_1_to_4` pooled, `recall` per emotion, `confusion`, `ece`,
        and `accuracy_surer_half`.
    """
    answers = [one.probabilities(t) for one, t in zip(judged, temperatures, strict=True)]
    emotions = np.concatenate([one.emotions for one in judged])
    speakers = np.concatenate([one.speakers for one in judged])
    pooled = np.concatenate(answers)
    folds: list[dict[str, Any]] = [
        {
            "fold": one.fold,
            "speakers": sorted(set(one.speakers.tolist()), key=lambda s: (len(s), s)),
            "n": len(one.keys),
            "accuracy": accuracy(one.emotions, rows),
            "uar": uar(one.emotions, rows),
        }
        for one, rows in zip(judged, answers, strict=True)
    ]
    matrix = confusion(emotions, pooled)
    later = np.concatenate([np.full(len(one.keys), one.fold != 0) for one in judged])
    confidence = pooled.max(axis=1)
    surer = np.argsort(-confidence, kind="stable")[: (len(confidence) + 1) // 2]
    return {
        "n": len(emotions),
        "accuracy": accuracy(emotions, pooled),
        "uar": uar(emotions, pooled),
        "interval_95": bootstrap(emotions, pooled, speakers),
        "folds": folds,
        "mean": {key: float(np.mean([fold[key] for fold in folds])) for key in ("accuracy", "uar")},
        "std": {key: float(np.std([fold[key] for fold in folds], ddof=1)) for key in ("accuracy", "uar")},
        "folds_1_to_4": {
            "accuracy": accuracy(emotions[later], pooled[later]),
            "uar": uar(emotions[later], pooled[later]),
        },
        "recall": {
            name: None if np.isnan(value) else float(value) for name, value in zip(LABELS, recalls(matrix), strict=True)
        },
        "confusion": matrix.tolist(),
        "ece": expected_calibration_error(emotions, pooled),
        "reliability": reliability(emotions, pooled),
        "coverage": coverage_curve(emotions, pooled),
        "accuracy_surer_half": accuracy(emotions[surer], pooled[surer]),
    }


def cross_fitted_temperatures(judged: Sequence[Judged]) -> list[float]:
    """For each fold the temperature fitted on the other folds' test clips, whose speakers it never tests."""
    return [fit_temperature([other for other in judged if other.fold != one.fold]) for one in judged]
