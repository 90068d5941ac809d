"""Stored logits -> what else is told of a recipe: random splits, five classes, held-out sentences, who is heard.

Nothing here ships; `docs/results.md` is made of it.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ser_core.emotions import EMOTIONS, LABELS, NEGATIVE, NEGATIVE_LABEL, Emotion
from train import judging, metrics
from train.corpora import Channel, Ravdess
from train.judging import ResultsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from ser_core.prediction import Precision
    from train.corpora import Clip
    from train.metrics import Judged, Probabilities
    from train.recipe import Recipe

FIVE = ("calm", "happy", NEGATIVE_LABEL, "neutral", "surprised")
"""The classes once the negative emotions are one, as the project of 2020 lists them."""
_FIVE_OF = np.array([FIVE.index(NEGATIVE_LABEL if emotion in NEGATIVE else emotion.value) for emotion in EMOTIONS])
PRECISION: Precision = "int8"
"""The one that the app asks is enough here."""


def of(folder: Path, chosen: Recipe) -> dict[str, Any]:
    """All further figures of a recipe, JSON-ready; a part of which nothing is stored is left out.

    Args:
        folder: of its results.
        chosen: the recipe.

    Raises:
        ResultsError: logits come from another state of the recipe or the code.
    """
    folds = _load(folder, chosen, "fold?.npz")
    found: dict[str, Any] = {"recipe": chosen.name, "recipe_hash": chosen.hash}
    temperatures = metrics.cross_fitted_temperatures(folds) if len(folds) > 1 else [1.0] * len(folds)
    if folds:
        found["groups"] = _groups(folds, temperatures)
    if random := {path.stem: _load(folder, chosen, path.name) for path in sorted(folder.glob("random-*.npz"))}:
        found["random"] = _random({name: one for name, (one,) in random.items() if not name.endswith("-merged")})
        found["five"] = {"random": {name: _readings_of_five(one) for name, one in random.items()}}
    if folds and (learnt := _load(folder, chosen, "fold?-merged.npz")):
        found.setdefault("five", {})["actor_independent"] = {
            "summed": _by_channel(folds, temperatures, _five),
            "learnt": _by_channel(learnt, [1.0] * len(learnt), _five),
        }
    if folds and (held_out := _load(folder, chosen, "fold?-statement?.npz")):
        found["statements"] = {
            "held out": _by_channel(held_out, [1.0] * len(held_out), _eight),
            "both heard": _by_channel(folds, temperatures, _eight),
        }
    return found


def _load(folder: Path, chosen: Recipe, pattern: str) -> list[Judged]:
    loaded = [judging.load(path) for path in sorted(folder.glob(pattern))]
    if stale := {origin["recipe_hash"] for _, origin in loaded} - {chosen.hash}:
        raise ResultsError(f"{folder / pattern} comes from recipe {stale.pop()}, now it is {chosen.hash}: judge anew.")
    return [parts[PRECISION] for parts, _ in loaded]


def _eight(emotions: npt.NDArray[np.int64], answers: Probabilities) -> dict[str, Any]:
    return _counted(emotions, answers, LABELS)


def _five(emotions: npt.NDArray[np.int64], answers: Probabilities) -> dict[str, Any]:
    """The same clips and answers with the negative emotions as one, whose probabilities add up.

    Where no voice was found all eight are alike: that is no answer, and half of it would be negative.
    """
    merged = np.zeros((len(answers), len(FIVE)))
    np.add.at(merged.T, _FIVE_OF, answers.T)
    return _counted(_FIVE_OF[emotions], merged, FIVE, told=np.ptp(answers, axis=1) > 0.0)


def _counted(
    emotions: npt.NDArray[np.int64],
    answers: Probabilities,
    labels: Sequence[str],
    *,
    told: npt.NDArray[np.bool_] | bool = True,
) -> dict[str, Any]:
    """`n`, `accuracy`, `uar`, and of each class that occurs `[right, clips]`; what wasn't told is wrong."""
    right = (answers.argmax(axis=1) == emotions) & told
    by_class = {
        label: [int(right[emotions == number].sum()), int((emotions == number).sum())]
        for number, label in enumerate(labels)
        if (emotions == number).any()
    }
    return {
        "n": len(emotions),
        "accuracy": float(right.mean()),
        "uar": float(np.mean([hits / count for hits, count in by_class.values()])),
        "by_class": by_class,
    }


def _by_channel(
    judged: Sequence[Judged],
    temperatures: Sequence[float],
    count: Callable[[npt.NDArray[np.int64], Probabilities], dict[str, Any]],
) -> dict[str, Any]:
    """What `count` gives of each channel's clips of all files, and of `both`."""
    emotions, answers = metrics.pool(judged, temperatures)
    channels = np.concatenate([one.channels for one in judged])
    kept = {name: channels == name for name in get_args(Channel)} | {"both": np.ones(len(channels), dtype=bool)}
    return {name: count(emotions[mine], answers[mine]) for name, mine in kept.items() if mine.any()}


def _random(draws: Mapping[str, Judged]) -> dict[str, Any]:
    """By the shares, such as 60/20/20: each draw's accuracy and UAR, their means, and the classes' clips added up."""
    grouped: dict[str, list[Judged]] = {}
    for name, one in sorted(draws.items()):
        shares = "/".join(name.split("-")[1:4])
        grouped.setdefault(shares, []).append(one)
    found = {}
    for shares, several in grouped.items():
        each = [_eight(one.emotions, one.probabilities(1.0)) for one in several]
        found[shares] = {
            "draws": [{key: one[key] for key in ("n", "accuracy", "uar")} for one in each],
            "accuracy": float(np.mean([one["accuracy"] for one in each])),
            "uar": float(np.mean([one["uar"] for one in each])),
            "by_class": {
                label: np.sum([one["by_class"][label] for one in each], axis=0).tolist()
                for label in each[0]["by_class"]
            },
        }
    return found


def _readings_of_five(judged: Sequence[Judged]) -> dict[str, Any]:
    (one,) = judged
    return _five(one.emotions, one.probabilities(1.0))


def _groups(folds: Sequence[Judged], temperatures: Sequence[float]) -> dict[str, Any]:
    """Of each channel: by the sex of the actor, by intensity (without neutral, which is never strong), by actor."""
    clips = [_clip(key) for one in folds for key in one.keys.tolist()]
    emotions, answers = metrics.pool(folds, temperatures)
    found: dict[str, Any] = {}
    for channel, (kind, group_of) in itertools.product(get_args(Channel), _GROUPS.items()):
        groups = np.array([group_of(clip) if clip.channel == channel else "" for clip in clips])
        found.setdefault(channel, {})[kind] = {
            name: _without_classes(_eight(emotions[groups == name], answers[groups == name]))
            for name in sorted({*groups.tolist()} - {""}, key=lambda name: (len(name), name))
        }
    return found


def _without_classes(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in figures.items() if key != "by_class"}


def _intensity(clip: Clip) -> str:
    if clip.emotion is Emotion.NEUTRAL:
        return ""
    return "strong" if clip.strong else "normal"


_GROUPS: dict[str, Callable[[Clip], str]] = {
    "sex": lambda clip: clip.sex,
    "intensity": _intensity,
    "actor": lambda clip: clip.speaker,
}


def _clip(key: str) -> Clip:
    clip = Ravdess.parse(Path(key))
    if clip is None:
        raise ResultsError(f"{key} is no clip of RAVDESS, whose names say who speaks and how.")
    return clip
