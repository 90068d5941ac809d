"""`python -m train compare`: architectures under one recipe, ranked on validation speakers -> JSON and a table.

Trains what isn't trained yet, judges validation and test clips from their files through the app's path (`--data`), and
derives the table from the stored logits. Without `--data` only the latter. `--costs` measures on this machine what each
network costs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from train import comparison, corpora, fit, judging, metrics, readings, recipe
from train.cache import FeatureCache
from train.corpora import Channel
from train.costs import measure
from train.evaluate import RESULTS, clips_of, deployed
from train.place import Place
from train.pretrained import FOLDER
from train.run import Run, RunError
from train.runs import ORIGIN

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from ser_core.prediction import Precision
    from train.metrics import Judged
    from train.recipe import Recipe

CONFIGS = "compare"
NAMES = ("dense", "fully-convolutional", "self-attention", "residual", comparison.SHIPPED)
"""Of the recipes in `train/configs/compare`."""
FOLDS = (0, 1)
SIDES = ("validation", "test")
EXACT: Precision = "fp16"
SMALL: Precision = "int8"
"""Networks are compared as the former: what is left of them as the latter is told beside it."""


def stored_in(results: Path, name: str, fold: int, side: str) -> Path:
    """Where the logits of a network are kept that were told on one side of a fold."""
    return results / CONFIGS / name / f"fold{fold}-{side}.npz"


def train(chosen: Recipe, cache: FeatureCache, args: argparse.Namespace) -> None:
    """Train a recipe's networks on the folds without their validation speakers, as far as they aren't complete."""
    with Place.find() as place:
        for fold in FOLDS:
            one = Run(chosen, fold, validate=True)
            for member in range(chosen.members):
                fit.train(one, cache, args.runs, place, member=member, resume=True, pretrained=args.pretrained)
            readings.read(one, cache, args.runs, args.cache, args.pretrained)


def judge(chosen: Recipe, cache: FeatureCache, args: argparse.Namespace) -> None:
    """Send validation and test clips through a recipe's networks as the app asks them, and keep what they say."""
    by_key = {clip.key: clip for clip in corpora.read(args.data, {chosen.corpora[0]})}
    for fold in FOLDS:
        one = Run(chosen, fold, validate=True)
        split = one.split(cache)
        with deployed(one, cache, args.runs, args.pretrained) as (backends, record):
            origin = {key: record[key] for key in (*ORIGIN, "parameters")}
            for side, indices in zip(SIDES, (split.validation, split.test), strict=True):
                clips = clips_of(cache, indices, by_key)
                what = f"{chosen.name}, {side}"
                judged = judging.judge(clips, {p: backends[p] for p in (EXACT, SMALL)}, fold, what=what)
                judging.save(stored_in(args.results, chosen.name, fold, side), judged, origin)


def table(results: Path, costs: Mapping[str, Any]) -> dict[str, Any]:
    """All that is compared, JSON-ready, from the stored logits.

    Args:
        results: folder of the results.
        costs: by name, the `recipe_hash` of a network and its `costs`, see `train.costs.measure`.

    Returns:
        `networks`, the best on validation speakers first: UAR and accuracy on these, accuracy and UAR of each channel
        on test speakers, what is known of them, and by how much the best is better on spoken test clips, with the
        interval of a bootstrap over actors.

    Raises:
        ResultsError: logits are missing.
        RunError: they come from another state of recipe or code, or from different data.
    """
    found = []
    digests: set[str] = set()
    for name in NAMES:
        chosen = recipe.load(f"{CONFIGS}/{name}")
        sides = {side: [_load(results, name, fold, side) for fold in FOLDS] for side in SIDES}
        origins = [origin for loaded in sides.values() for _, origin in loaded]
        if stale := {origin["recipe_hash"] for origin in origins} - {chosen.hash}:
            raise RunError(
                f"The results of {name} come from recipe {stale.pop()}, now it is {chosen.hash}: compare anew."
            )
        digests |= {origin["data_digest"] for origin in origins}
        judged = {side: [parts[EXACT] for parts, _ in loaded] for side, loaded in sides.items()}
        found.append(
            {
                "name": name,
                "what": _first_comment(name),
                **{key: origins[0][key] for key in ("recipe_hash", "data_digest", "parameters")},
                "epochs": chosen.optim.epochs,
                "validation": _figures(judged["validation"], None),
                "test": {
                    channel: _figures(judged["test"], channel)
                    for channel in get_args(Channel)
                    if any((one.channels == channel).any() for one in judged["test"])
                },
                "int8_speech_accuracy": _figures([parts[SMALL] for parts, _ in sides["test"]], "speech")["accuracy"],
                **({"costs": costs[name]["costs"]} if costs.get(name, {}).get("recipe_hash") == chosen.hash else {}),
                "_judged": judged["test"],
            }
        )
    if len(digests) > 1:
        raise RunError("The networks that are compared were trained on different data: compare anew.")
    found.sort(key=lambda one: -one["validation"]["uar"])
    best = found[0].pop("_judged")
    for one in found[1:]:
        one["best_is_better_by"] = _difference(best, one.pop("_judged"))
    return {"folds": list(FOLDS), "ranked_by": "UAR on validation speakers, speech and song", "networks": found}


def _load(results: Path, name: str, fold: int, side: str) -> tuple[dict[str, Judged], dict[str, Any]]:
    path = stored_in(results, name, fold, side)
    if not path.is_file():
        raise RunError(f"{path} is missing: run `python -m train compare --data DIR --only {name}`.")
    return judging.load(path)


def _first_comment(name: str) -> str:
    text = (recipe.CONFIGS / CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    return text.partition("\n")[0].removeprefix("# ").rstrip(".")


def _pool(judged: Sequence[Judged], channel: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Emotions, probabilities and speakers of all folds; of one channel, or of both where it is None."""
    kept = [one if channel is None else one.subset(one.channels == channel) for one in judged]
    return *metrics.pool(kept, [1.0] * len(kept)), np.concatenate([one.speakers for one in kept])


def _figures(judged: Sequence[Judged], channel: str | None) -> dict[str, Any]:
    emotions, answers, _ = _pool(judged, channel)
    return {
        "n": len(emotions),
        "accuracy": metrics.accuracy(emotions, answers),
        "uar": metrics.uar(emotions, answers),
    }


def _difference(best: Sequence[Judged], other: Sequence[Judged]) -> dict[str, Any]:
    if any(one.keys.tolist() != two.keys.tolist() for one, two in zip(best, other, strict=True)):
        raise RunError("The networks that are compared were judged on different clips: compare anew.")
    emotions, ours, speakers = _pool(best, "speech")
    _, theirs, _ = _pool(other, "speech")
    return {
        "accuracy": metrics.accuracy(emotions, ours) - metrics.accuracy(emotions, theirs),
        "interval_95": metrics.paired_bootstrap(emotions, ours, theirs, speakers),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train compare`."""
    parser.add_argument("--data", type=Path, help="folder of the corpora: train what is missing, and judge anew")
    parser.add_argument("--costs", action="store_true", help="measure what each costs on this machine")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="train and judge these alone")
    parser.add_argument("--cache", type=Path, default=Path(".cache/features"), help="features made by `prepare`")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the networks are or go")
    parser.add_argument("--pretrained", type=Path, default=FOLDER, help="folder of pretrained weights")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where logits and figures go")


def run(args: argparse.Namespace) -> int:
    """Train and judge if asked to, then print and store the table."""
    path = args.results / f"{CONFIGS}.json"
    costs: dict[str, Any] = {}
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        costs = {one["name"]: one for one in stored["networks"] if "costs" in one}
    if args.data:
        cache = FeatureCache.open(args.cache)
        chosen = [recipe.load(f"{CONFIGS}/{name}") for name in args.only]
        for one in chosen:
            train(one, cache, args)
            judge(one, cache, args)
    if args.costs:
        compared = {name: Run(recipe.load(f"{CONFIGS}/{name}"), FOLDS[0], validate=True) for name in NAMES}
        measured = measure(compared, args.runs, args.pretrained)
        costs = {
            name: {"costs": values, "recipe_hash": compared[name].recipe.hash} for name, values in measured.items()
        }
    found = {"command": "python -m train compare --data DIR --costs", **table(args.results, costs)}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(comparison.table(found))
    return 0
