"""Stored logits -> all figures of a recipe, as JSON. Every table of the project derives from these."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ser_core.emotions import LABELS
from train import judging, metrics, recipe, robustness
from train.corpora import Channel
from train.judging import PRECISIONS, ResultsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ser_core.prediction import Precision
    from train.metrics import Judged
    from train.recipe import Recipe

_TESTED = {"ravdess": "RAVDESS, eight classes, five folds by actor (Luna-Jimenez et al. 2021)"}
_MAIN = ("fold?.npz", "robustness-fold?.npz", "not-voices-fold?.npz", "without-*.npz")
"""Files that the figures derive from; `train.further` knows of others."""
RIGHT_WHEN_SURE = 0.85
"""How often an answer that isn't called uncertain shall be right; sets the threshold."""
INT8_MAY_LOSE = 0.005
"""Share of spoken clips; where INT8 loses more, FP16 is what ships."""


def of(folder: Path, chosen: Recipe, command: str) -> dict[str, Any] | None:
    """All figures of a recipe from what is stored in its folder.

    None where fewer than two folds have been judged: what a fold's answers are calibrated on are the others.

    Raises:
        ResultsError: the files come from different states of recipe, code or data.
    """
    paths = sorted(folder.glob("fold?.npz"))
    if len(paths) < 2:
        return None
    loaded = [judging.load(path) for path in paths]
    origin = _common(folder)
    by_precision = {precision: [judged[precision] for judged, _ in loaded] for precision in PRECISIONS}
    int8_loss = _accuracy(by_precision["fp32"], "speech") - _accuracy(by_precision["int8"], "speech")
    default: Precision = "int8" if int8_loss <= INT8_MAY_LOSE else "fp16"
    judged = by_precision[default]
    calibration = _calibration(judged)
    found = {
        "schema_version": metrics.SCHEMA_VERSION,
        "command": command,
        "recipe": chosen.name,
        **origin,
        "labels": list(LABELS),
        "protocol": (
            f"{_TESTED.get(chosen.corpora[0], chosen.corpora[0] + ', eight classes, five folds by speaker')}; every "
            "clip judged once, by networks that never heard its speaker, and on whom no epoch, threshold or "
            "temperature was chosen; file to answer on the app's own path"
        ),
        "folds": [one.fold for one in judged],
        "precision": default,
        "actor_independent": _by_channel(judged, calibration["folds"]),
        "precisions": {
            precision: {channel: _accuracy(values, channel, calibration["folds"]) for channel in _channels(values)}
            for precision, values in by_precision.items()
        },
        "int8_loss_speech": int8_loss,
        "no_speech": int(sum(_silent(one) for one in judged)),
        "clips": int(sum(len(one.keys) for one in judged)),
        "calibration": calibration,
    }
    clean = [parts["int8"] for parts, _ in loaded]
    if changed := _stored(folder, "robustness-fold?.npz"):
        found["robustness"] = _robustness(clean, changed, calibration["folds"])
    if sounds := _stored(folder, "not-voices-fold?.npz"):
        found["not_voices"] = _not_voices([one for parts in sounds for one in parts.values()], calibration)
    if again := _seeds(folder, chosen, default):
        found["seeds"] = again
    if (told_apart := folder / "probe.json").is_file():
        found["probe"] = _probe(told_apart, origin)
    if left_out := sorted(folder.glob("without-*.npz")):
        found["other_recordings"] = {
            path.stem.removeprefix("without-"): _elsewhere(path, default, calibration["temperature"])
            for path in left_out
        }
    return found


def _seeds(folder: Path, chosen: Recipe, precision: Precision) -> dict[str, Any]:
    """Accuracy by channel and fold of the recipe and of those that differ from it in their seed alone, by their seed:
    of the folds that all have been judged on. Empty where there is no other.

    Raises:
        ResultsError: another seed's networks come from another state of the code or other data.
    """
    same = {
        other.seed: other
        for other in map(recipe.load, recipe.names())
        if dataclasses.replace(other, name=chosen.name, seed=chosen.seed) == chosen
    }
    found: dict[int, dict[int, Judged]] = {}
    for seed, other in sorted((same | {chosen.seed: chosen}).items()):
        own = folder if other is chosen else folder.parent / other.name
        judged = [judging.load(path) for path in sorted(own.glob("fold?.npz"))]
        if other is not chosen and any(origin["recipe_hash"] != other.hash for _, origin in judged):
            raise ResultsError(f"The results of {other.name} are stale: train and evaluate its folds again.")
        if judged:
            found[seed] = {parts[precision].fold: parts[precision] for parts, _ in judged}
    if len(found) < 2:
        return {}
    folds = sorted(set.intersection(*map(set, found.values())))
    return {
        str(seed): {
            channel: {str(fold): _accuracy([judged[fold]], channel) for fold in folds}
            for channel in _channels([judged[fold] for fold in folds])
        }
        for seed, judged in found.items()
    }


def _probe(path: Path, origin: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if differing := [key for key in origin if found[key] != origin[key]]:
        raise ResultsError(f"{path} differs from the judged folds in its {', '.join(differing)}: probe again.")
    return found


def lines(found: Mapping[str, Any]) -> list[str]:
    """The figures that matter most, as text."""
    told = []
    for channel, values in found["actor_independent"].items():
        low, high = values["interval_95"]["accuracy"]
        told.append(
            f"{channel}: accuracy {values['accuracy']:.1%} (95 % {low:.1%} to {high:.1%} over actors), "
            f"UAR {values['uar']:.1%}, folds 1 to 4 {values['folds_1_to_4']['accuracy']:.1%}, "
            f"ECE {values['ece']:.3f}, surer half {values['accuracy_surer_half']:.1%}, {values['n']} clips"
        )
        told.append("  by fold: " + ", ".join(f"{fold['accuracy']:.1%}" for fold in values["folds"]))
    for precision, values in found["precisions"].items():
        told.append(f"{precision}: " + ", ".join(f"{channel} {value:.2%}" for channel, value in values.items()))
    told.append(f"INT8 loses {100 * found['int8_loss_speech']:.2f} points on speech; default {found['precision']}")
    told.append(f"no voice found in {found['no_speech']} of {found['clips']} clips")
    for name, values in found.get("robustness", {}).items():
        shares = [f"{channel} {one['accuracy']:.1%}" for channel, one in values.items() if channel != "no_speech"]
        told.append(f"{name}: {', '.join(shares)}, no voice in {values['no_speech']}")
    for kind, values in found.get("not_voices", {}).items():
        told.append(f"{kind}: not answered {values['refused']:.1%} of {values['n']}")
    for corpus, values in found.get("other_recordings", {}).items():
        told.append(f"{corpus}, never heard: UAR {values['uar']:.1%}, accuracy {values['accuracy']:.1%}")
    return told


def _common(folder: Path) -> dict[str, str]:
    """The recipe hash and the data digest that all stored files share."""
    stored = (path for pattern in _MAIN for path in sorted(folder.glob(pattern)))
    origins = {path: judging.load(path)[1] for path in stored}
    common = {}
    for key in ("recipe_hash", "data_digest"):
        if len(values := {origin[key] for origin in origins.values()}) > 1:
            raise ResultsError(f"The files in {folder} differ in their {key}: {', '.join(sorted(values))}. Redo them.")
        (common[key],) = values
    return common


def _stored(folder: Path, pattern: str) -> list[dict[str, Judged]]:
    return [judging.load(path)[0] for path in sorted(folder.glob(pattern))]


def _calibration(judged: Sequence[Judged]) -> dict[str, Any]:
    temperatures = metrics.cross_fitted_temperatures(judged)
    emotions, pooled = metrics.pool(judged, temperatures)
    return {
        "method": (
            "temperature and threshold; each fold's fitted on the speakers of the other folds, as judged by the "
            "networks that never heard them; the shipped ones on all of these"
        ),
        "folds": temperatures,
        "temperature": metrics.fit_temperature(judged),
        "right_when_sure": RIGHT_WHEN_SURE,
        "uncertain_below": metrics.threshold_for(emotions, pooled, RIGHT_WHEN_SURE),
    }


def _channels(judged: Sequence[Judged]) -> list[str]:
    """Of "speech" and "song", in this order, what was judged at all."""
    return [channel for channel in get_args(Channel) if any((one.channels == channel).any() for one in judged)]


def _channel(judged: Judged, channel: str) -> Judged:
    return judged.subset(judged.channels == channel)


def _by_channel(judged: Sequence[Judged], temperatures: Sequence[float]) -> dict[str, Any]:
    """`metrics.summary` of each channel, over the folds that have clips of it."""
    found = {}
    for channel in _channels(judged):
        parts = [(_channel(one, channel), t) for one, t in zip(judged, temperatures, strict=True)]
        parts = [(part, t) for part, t in parts if len(part.keys)]
        found[channel] = metrics.summary([part for part, _ in parts], [t for _, t in parts])
    return found


def _accuracy(judged: Sequence[Judged], channel: str, temperatures: Sequence[float] | None = None) -> float:
    parts = [_channel(one, channel) for one in judged]
    return metrics.accuracy(*metrics.pool(parts, temperatures or [1.0] * len(parts)))


def _robustness(
    clean: Sequence[Judged], changed: Sequence[Mapping[str, Judged]], temperatures: Sequence[float]
) -> dict[str, Any]:
    """Accuracy under each condition, and what it costs beside the same clips unchanged."""
    folds = {one.fold for parts in changed for one in parts.values()}
    both = [(one, t) for one, t in zip(clean, temperatures, strict=True) if one.fold in folds]
    kept = [t for _, t in both]
    table: dict[str, Any] = {}
    for name, judged in {
        "unchanged": [one for one, _ in both],
        **{name: [parts[name] for parts in changed] for name in changed[0]},
    }.items():
        table[name] = {channel: {"accuracy": _accuracy(judged, channel, kept)} for channel in _channels(judged)}
        for channel, values in table[name].items():
            values["cost"] = table["unchanged"][channel]["accuracy"] - values["accuracy"]
        table[name]["no_speech"] = int(sum(_silent(one) for one in judged))
    return table


def _not_voices(judged: Sequence[Judged], calibration: Mapping[str, Any]) -> dict[str, Any]:
    """How often each kind of sound gets no emotion: no voice is found, or the answer is uncertain."""
    table: dict[str, Any] = {}
    kinds = np.array([key.partition("/")[0] for key in judged[0].keys.tolist()])
    for kind in dict.fromkeys(kinds.tolist()):
        own = [one.subset(kinds == kind) for one in judged]
        confidence = [one.probabilities(calibration["temperature"]).max(axis=1) for one in own]
        no_speech = [_silent(one) / len(one.keys) for one in own]
        table[kind] = {
            "n": len(own[0].keys),
            "human": kind in robustness.HUMAN,
            "no_speech": float(np.mean(no_speech)),
            "refused": float(np.mean(np.concatenate(confidence) < calibration["uncertain_below"])),
        }
    return table


def _elsewhere(path: Path, precision: Precision, temperature: float) -> dict[str, Any]:
    """A corpus as heard by a network that was trained on all others, see `metrics.between_corpora`."""
    by_precision, origin = judging.load(path)
    judged = by_precision[precision]
    tested = sorted({LABELS[number] for number in judged.emotions}, key=LABELS.index)
    emotions, answers = metrics.between_corpora(
        judged.emotions, judged.probabilities(temperature), tested, origin["trained_emotions"]
    )
    matrix = metrics.confusion(emotions, answers)
    return {
        "n": len(emotions),
        "emotions": [label for label in tested if label in origin["trained_emotions"]],
        "trained_on": origin["trained_on"],
        "accuracy": metrics.accuracy(emotions, answers),
        "uar": metrics.uar(emotions, answers),
        "recall": {
            label: None if np.isnan(value) else float(value)
            for label, value in zip(LABELS, metrics.recalls(matrix), strict=True)
        },
    }


def _silent(judged: Judged) -> int:
    """Clips in which no window held a voice."""
    return len(judged.keys) - len(np.unique(judged.window_clip[judged.sound_s > 0.0]))
