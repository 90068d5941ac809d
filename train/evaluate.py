"""`python -m train evaluate`: the folds' networks on the speakers they never heard -> logits, and figures from those.

With `--data` the test clips go from their files through the very path of the app, and every window's logits are stored.
Without it the figures are computed again from the stored logits.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ser_core import audio, recognizer
from ser_core.backends import OpenVinoBackend
from ser_core.bundle import MODEL_FILES
from ser_core.config import FeatureConfig
from ser_core.emotions import EMOTIONS, LABELS
from ser_core.errors import SerError
from ser_core.prediction import Precision
from train import corpora, export, fit, metrics, recipe
from train.corpora import Channel
from train.metrics import Judged
from train.prepare import FeatureCache

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from train.corpora import Clip
    from train.recipe import Recipe

RESULTS = recipe.ROOT / "train" / "results"
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_TESTED = {"ravdess": "RAVDESS, eight classes, five folds by actor (Luna-Jimenez et al. 2021)"}
UNCERTAIN_BELOW = 0.5
"""Calibrated confidence under which an answer is more likely wrong than right."""


_FIELDS = ("keys", "emotions", "speakers", "channels", "window_clip", "sound_s")
"""What `foldK.npz` holds beside the logits, see `metrics.Judged`."""


class ResultsError(SerError):
    """Stored results that are missing, incomplete or stale."""


def judge(clips: Sequence[Clip], backends: dict[Precision, OpenVinoBackend], fold: int) -> dict[Precision, Judged]:
    """Send clips from their files through the app's path, judged in each precision.

    Raises:
        AudioError: a clip can't be read.
    """
    from tqdm import tqdm

    config = FeatureConfig()
    owner: list[int] = []
    sound_s: list[float] = []
    logits: dict[Precision, list[np.ndarray]] = {precision: [] for precision in backends}
    for number, clip in enumerate(tqdm(clips, desc=f"fold {fold}", unit="clip", mininterval=2.0)):
        parts = recognizer.stretches(audio.read(clip.path, sample_rate=config.sample_rate).samples, config)
        owner += [number] * len(parts)
        sound_s += [part.sound.duration_s if part.sound else 0.0 for part in parts]
        for precision, backend in backends.items():
            voiced = [part.spectrogram for part in parts if part.spectrogram is not None]
            outputs = iter(recognizer.infer(backend, voiced))
            silent = np.zeros((1, len(LABELS)), dtype=np.float32)
            logits[precision] += [silent if p.spectrogram is None else next(outputs).logits for p in parts]
    return {
        precision: Judged(
            fold=fold,
            keys=np.array([clip.key for clip in clips]),
            emotions=np.array([EMOTIONS.index(clip.emotion) for clip in clips]),
            speakers=np.array([clip.speaker for clip in clips]),
            channels=np.array([clip.channel for clip in clips]),
            window_clip=np.array(owner),
            sound_s=np.array(sound_s),
            logits=np.concatenate(rows),
        )
        for precision, rows in logits.items()
    }


def save(folder: Path, judged: dict[Precision, Judged], origin: dict[str, Any]) -> None:
    """Write one fold's logits as `foldK.npz`, with what they come from."""
    one = next(iter(judged.values()))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / f"fold{one.fold}.npz",
        allow_pickle=False,
        **{name: getattr(one, name) for name in _FIELDS},
        origin=np.array(json.dumps(origin)),
        **{f"logits_{precision}": values.logits for precision, values in judged.items()},
    )


def load(folder: Path, precision: Precision) -> tuple[list[Judged], list[dict[str, Any]]]:
    """All five folds' stored logits in one precision, and what they come from.

    Raises:
        ResultsError: a fold is missing.
    """
    judged, origins = [], []
    for fold in range(5):
        path = folder / f"fold{fold}.npz"
        if not path.is_file():
            raise ResultsError(
                f"{path} is missing: run `python -m train evaluate --data DIR` with this fold's network."
            )
        with np.load(path, allow_pickle=False) as stored:
            fields = {name: stored[name] for name in _FIELDS}
            judged.append(Judged(fold=fold, logits=stored[f"logits_{precision}"], **fields))
            origins.append(json.loads(str(stored["origin"])))
    return judged, origins


def figures(folder: Path, chosen: Recipe, command: str) -> dict[str, Any]:
    """All figures of a recipe from its stored logits, see `metrics.summary`.

    Raises:
        ResultsError: a fold is missing, or the folds come from different states of recipe, code or data.
    """
    loaded = {precision: load(folder, precision) for precision in PRECISIONS}
    by_precision = {precision: judged for precision, (judged, _) in loaded.items()}
    origins = loaded["fp32"][1]
    for key in ("recipe_hash", "data_digest"):
        if len(values := {origin[key] for origin in origins}) > 1:
            raise ResultsError(f"The folds in {folder} differ in their {key}: {', '.join(sorted(values))}. Redo them.")
    reference = by_precision["fp32"]
    int8_loss = _accuracy(reference, "speech") - _accuracy(by_precision["int8"], "speech")
    default: Precision = "int8" if int8_loss <= 0.005 else "fp16"
    judged = by_precision[default]
    temperatures = metrics.cross_fitted_temperatures(judged)
    return {
        "schema_version": metrics.SCHEMA_VERSION,
        "command": command,
        "recipe": chosen.name,
        "recipe_hash": origins[0]["recipe_hash"],
        "data_digest": origins[0]["data_digest"],
        "labels": list(LABELS),
        "protocol": (
            f"{_TESTED.get(chosen.corpora[0], chosen.corpora[0] + ', eight classes, five folds by speaker')}; every "
            "clip judged once, by a network that heard neither its speaker nor anything chosen on him or her; file to "
            "answer on the app's own path"
        ),
        "precision": default,
        "actor_independent": {channel: _summary(judged, temperatures, channel) for channel in _channels(judged)},
        "precisions": {
            precision: {channel: _accuracy(values, channel) for channel in _channels(judged)}
            for precision, values in by_precision.items()
        },
        "int8_loss_speech": int8_loss,
        "no_speech": int(sum(_silent(one) for one in judged)),
        "calibration": {
            "method": "temperature; each fold's fitted on the other folds' test clips, the shipped one on all of them",
            "folds": temperatures,
            "temperature": metrics.fit_temperature(judged),
            "uncertain_below": UNCERTAIN_BELOW,
        },
    }


def _channels(judged: Sequence[Judged]) -> list[str]:
    """Of "speech" and "song", in this order, what was judged at all."""
    return [channel for channel in get_args(Channel) if any((one.channels == channel).any() for one in judged)]


def _channel(judged: Judged, channel: str) -> Judged:
    return judged.subset(judged.channels == channel)


def _summary(judged: Sequence[Judged], temperatures: Sequence[float], channel: str) -> dict[str, Any]:
    """The figures of one channel over the folds that have clips of it."""
    parts = [(_channel(one, channel), t) for one, t in zip(judged, temperatures, strict=True)]
    parts = [(part, t) for part, t in parts if len(part.keys)]
    return metrics.summary([part for part, _ in parts], [t for _, t in parts])


def _accuracy(judged: Sequence[Judged], channel: str) -> float:
    parts = [_channel(one, channel) for one in judged]
    return metrics.accuracy(
        np.concatenate([part.emotions for part in parts]),
        np.concatenate([part.probabilities(1.0) for part in parts]),
    )


def _silent(judged: Judged) -> int:
    """Clips in which no window held a voice."""
    return len(judged.keys) - len(np.unique(judged.window_clip[judged.sound_s > 0.0]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train evaluate`."""
    parser.add_argument("--config", default="base", help="a recipe of train/configs, or a .yaml file (default: base)")
    parser.add_argument("--data", type=Path, help="folder of the corpora: judge the test clips anew")
    parser.add_argument("--fold", type=int, nargs="+", choices=range(5), default=list(range(5)))
    parser.add_argument("--cache", type=Path, default=Path(".cache/features"), help="features, for INT8's calibration")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where `fit` put the networks")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where logits and figures go")


def run(args: argparse.Namespace) -> int:
    """Judge what was asked for, then print and store the figures once all folds are there."""
    chosen = recipe.load(args.config)
    folder = args.results / chosen.name
    if args.data:
        # Resolved here, so that a wrong folder is told before anything is computed.
        by_key = {clip.key: clip for clip in corpora.read(args.data, chosen.corpora[:1])}
        cache = FeatureCache.open(args.cache)
        for fold in args.fold:
            _evaluate_fold(fit.Run(chosen, fold), cache, by_key, args.runs, folder)
    missing = [fold for fold in range(5) if not (folder / f"fold{fold}.npz").is_file()]
    if missing:
        print(f"no figures yet: folds {', '.join(map(str, missing))} have not been judged")
        return 0
    command = shlex.join(["python", "-m", "train", "evaluate", "--config", args.config, "--data", "DIR"])
    result = figures(folder, chosen, command)
    (folder / "metrics.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for channel, values in result["actor_independent"].items():
        low, high = values["interval_95"]["accuracy"]
        print(
            f"{channel}: accuracy {values['accuracy']:.1%} (95 % {low:.1%} to {high:.1%} over actors), "
            f"UAR {values['uar']:.1%}, folds 1 to 4 {values['folds_1_to_4']['accuracy']:.1%}, "
            f"ECE {values['ece']:.3f}, surer half {values['accuracy_surer_half']:.1%}, {values['n']} clips"
        )
        print("  by fold: " + ", ".join(f"{fold['accuracy']:.1%}" for fold in values["folds"]))
    for precision, values in result["precisions"].items():
        print(f"{precision}: " + ", ".join(f"{channel} {value:.2%}" for channel, value in values.items()))
    print(f"INT8 loses {100 * result['int8_loss_speech']:.2f} points on speech; the default is {result['precision']}")
    return 0


def _evaluate_fold(one: fit.Run, cache: FeatureCache, by_key: dict[str, Clip], runs: Path, folder: Path) -> None:
    assert one.fold is not None  # noqa: S101
    network, record = fit.load_network(one, runs)
    if record["data_digest"] != cache.digest:
        raise ResultsError(
            f"The network of fold {one.fold} was trained on data {record['data_digest']}, the features now hold "
            f"{cache.digest}: prepare or train again."
        )
    split = one.split(cache)
    keys = [cache.clips[index].key for index in split.test]
    if absent := set(keys) - set(by_key):
        raise ResultsError(
            f"The features hold {len(absent)} test clips that are not in the corpus, such as {min(absent)}: name the "
            "folder that they were made from, or prepare again."
        )
    calibration = export.calibration_set(cache, split.train)
    with tempfile.TemporaryDirectory() as scratch:
        export.convert(network, Path(scratch), calibration)
        backends = {p: OpenVinoBackend(Path(scratch) / MODEL_FILES[p][0], cache.config.n_mels) for p in PRECISIONS}
        judged = judge([by_key[key] for key in keys], backends, one.fold)
    save(folder, judged, {key: record[key] for key in ("recipe_hash", "data_digest", "train_clips", "torch", "device")})
    for channel in _channels([judged["fp32"]]):
        print(f"fold {one.fold} {channel}: {_accuracy([judged['fp32']], channel):.1%}", file=sys.stderr)
