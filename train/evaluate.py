"""`python -m train evaluate`: networks on speakers they never heard -> logits, and figures from those.

With `--data` the test clips go from their files through the very path of the app, and every window's logits are
stored: of each fold; with `--robustness` under each condition of `train.robustness`; with `--leave-out` of corpora that
training never heard. Without it the figures are computed again from the stored logits.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_core.backends import OpenVinoBackend
from ser_core.bundle import MODEL_FILES
from ser_core.emotions import LABELS
from train import asked, corpora, export, figures, further, judging, protocols, recipe, robustness, splits
from train.cache import FeatureCache
from train.judging import PRECISIONS, ResultsError
from train.pretrained import FOLDER
from train.runs import ORIGIN, load_network

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from ser_core.prediction import Precision
    from train.corpora import Clip
    from train.recipe import Recipe
    from train.run import Run

RESULTS = recipe.ROOT / "train" / "results"


@contextlib.contextmanager
def deployed(
    one: Run, cache: FeatureCache, runs: Path, folder: Path = FOLDER
) -> Iterator[tuple[dict[Precision, OpenVinoBackend], dict[str, Any]]]:
    """A run's network in all precisions, INT8 calibrated on clips that it was trained on, and the run's record.

    Raises:
        RunError, ResultsError: the run isn't complete, or belongs to other code or other data.
    """
    network, record = load_network(one, runs, folder)
    if record["data_digest"] != cache.digest:
        raise ResultsError(
            f"The network of {one.name} was trained on data {record['data_digest']}, the features now hold "
            f"{cache.digest}: prepare or train again."
        )
    calibration = export.calibration_set(cache, one.split(cache).train)
    with tempfile.TemporaryDirectory() as scratch:
        export.convert(network, Path(scratch), calibration)
        yield {p: OpenVinoBackend(Path(scratch) / MODEL_FILES[p][0], cache.config.n_mels) for p in PRECISIONS}, record


def _number(one: Run) -> int:
    """Of the fold, for the record: 0 where a split isn't of one."""
    fold = one.fold if one.splitting is None else one.splitting.fold
    return fold or 0


def clips_of(cache: FeatureCache, indices: Iterable[int], by_key: dict[str, Clip]) -> list[Clip]:
    """The clips of these numbers in the features, as the corpus has them. Raises ResultsError where it lacks one."""
    keys = [cache.clips[index].key for index in indices]
    if absent := set(keys) - set(by_key):
        raise ResultsError(
            f"The features hold {len(absent)} clips that are not in the corpus, such as {min(absent)}: name the "
            "folder that they were made from, or prepare again."
        )
    return [by_key[key] for key in keys]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train evaluate`."""
    parser.add_argument("--config", default="base", help="a recipe of train/configs, or a .yaml file (default: base)")
    parser.add_argument("--data", type=Path, help="folder of the corpora: judge the test clips anew")
    parser.add_argument(
        "--fold",
        type=int,
        nargs="*",
        choices=range(5),
        help="judge these folds' test clips (default: all five, without --random; given without a number: none)",
    )
    parser.add_argument("--random", **asked.RANDOM)
    asked.add_arguments(parser)
    parser.set_defaults(all=False, validate=False)
    parser.add_argument("--robustness", action="store_true", help="judge under each condition, and what is no voice")
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="CORPUS", help="judge corpora that were left out")
    parser.add_argument("--cache", type=Path, default=Path(".cache/features"), help="features, for INT8's calibration")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where `fit` put the networks")
    parser.add_argument("--pretrained", type=Path, default=FOLDER, help="folder of pretrained weights")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where logits and figures go")


def run(args: argparse.Namespace) -> int:
    """Judge what was asked for, then print and store the figures of all that has been judged."""
    chosen = recipe.load(args.config)
    folder = args.results / chosen.name
    if args.fold is None:
        args.fold = [] if args.random else list(range(len(splits.ACTOR_FOLDS)))
    if args.robustness and (args.random or args.statement or args.merged):
        raise ResultsError("--robustness is measured on the folds alone: leave --random, --statement, --merged away.")
    if args.data:
        _judge(args, chosen, folder)
    command = shlex.join(["python", "-m", "train", "evaluate", "--config", args.config, "--data", "DIR"])
    result = figures.of(folder, chosen, command)
    if result is None:
        print(f"no figures yet: fewer than two folds in {folder} have been judged")
        return 0
    (folder / "metrics.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if chosen.corpora[0] == "ravdess":
        more = {"command": command, **further.of(folder, chosen), "data_digest": result["data_digest"]}
        (folder / "further.json").write_text(json.dumps(more, indent=1) + "\n", encoding="utf-8")
    print("\n".join(figures.lines(result)))
    return 0


def _judge(args: argparse.Namespace, chosen: Recipe, folder: Path) -> None:
    # Resolved here, so that a wrong folder is told before anything is computed.
    by_key = {clip.key: clip for clip in corpora.read(args.data, {chosen.corpora[0], *args.leave_out})}
    cache = FeatureCache.open(args.cache)
    for one in asked.runs(chosen, args):
        clips = clips_of(cache, one.split(cache).test, by_key)
        with deployed(one, cache, args.runs, args.pretrained) as (backends, record):
            origin = _origin(one, cache, record)
            if args.robustness and one.left_out is None:
                for name, parts in robustness.judge(clips, backends, _number(one), args.data).items():
                    judging.save(folder / f"{name}-{one.name}.npz", parts, origin)
                continue
            beside = one.splitting is not None or one.merged
            asked_of = {further.PRECISION: backends[further.PRECISION]} if beside else backends
            judged = judging.judge(clips, asked_of, _number(one), what=one.name)
            judging.save(folder / f"{one.name}.npz", protocols.read_as_learnt(judged, merged=one.merged), origin)


def _origin(one: Run, cache: FeatureCache, record: dict[str, Any]) -> dict[str, Any]:
    origin = {key: record[key] for key in ORIGIN}
    if one.left_out is None:
        return origin
    heard = [cache.clips[index] for index in one.split(cache).train]
    return origin | {
        "trained_on": sorted({clip.corpus for clip in heard}),
        "trained_emotions": sorted({clip.emotion for clip in heard}, key=LABELS.index),
    }
