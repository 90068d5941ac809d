"""`python -m train trials`: what each change to the recipe was worth on validation speakers -> JSON.

A trial is a small YAML difference in `train/configs/trials`, trained by `fit --config trials/NAME --fold 0 --validate`;
this command gathers what these runs wrote. Validation speakers are taken from the training side of the fold, so that
nothing is chosen on the speakers that the fold tests.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from train import recipe
from train.evaluate import RESULTS
from train.run import Run, RunError
from train.runs import record_path

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

FOLDER = "trials"
REFERENCE = "short"
_FIGURES = ("speech_accuracy", "speech_loss", "song_accuracy", "song_loss")


def gather(runs: Path, fold: int) -> list[dict[str, Any]]:
    """Every complete trial: its name, what its recipe says, and its figures on validation speakers.

    Args:
        runs: folder of all runs.
        fold: whose validation speakers.

    Returns:
        JSON-ready, the reference first, then by speech's log loss.

    Raises:
        RunError: the reference isn't there, or a trial was trained on other data or by other code than the reference.
    """
    found = []
    for path in sorted((recipe.CONFIGS / FOLDER).glob("*.yaml")):
        chosen = recipe.load(f"{FOLDER}/{path.stem}")
        written = record_path(Run(chosen, fold, validate=True).folder(runs), 0)
        if not written.is_file():
            continue
        record = json.loads(written.read_text(encoding="utf-8"))
        # A trial is of the members alone: `fit` validates them without a reader.
        if record["recipe_hash"] != chosen.members_hash:
            raise RunError(
                f"The trial {path.stem} was trained by recipe {record['recipe_hash']}, now it is "
                f"{chosen.members_hash}: train it again, or move its folder away."
            )
        found.append(
            {
                "trial": path.stem,
                "why": path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# "),
                "recipe_hash": chosen.members_hash,
                "data_digest": record["data_digest"],
                "epochs": len(record["history"]),
                "parameters": record["parameters"],
                **{key: record["history"][-1][key] for key in _FIGURES},
            }
        )
    if not any(one["trial"] == REFERENCE for one in found):
        raise RunError(
            f"There is nothing to compare with: run `python -m train fit --config {FOLDER}/{REFERENCE} --fold {fold} "
            "--validate` first."
        )
    if len(digests := {one["data_digest"] for one in found}) > 1:
        raise RunError(f"The trials were trained on different data ({', '.join(sorted(digests))}): train them again.")
    return sorted(found, key=lambda one: (one["trial"] != REFERENCE, one["speech_loss"]))


def table(found: list[dict[str, Any]]) -> str:
    """The trials as a Markdown table, each beside the reference."""
    reference = found[0]
    lines = ["| trial | speech | song | log loss, speech | log loss, song |", "| --- | --- | --- | --- | --- |"]
    for one in found:
        cells = [f"{one['trial']}: {one['why'].rstrip('.')}"]
        for key, scale, digits in (
            ("speech_accuracy", 100, 1),
            ("song_accuracy", 100, 1),
            ("speech_loss", 1, 3),
            ("song_loss", 1, 3),
        ):
            value, difference = scale * one[key], scale * (one[key] - reference[key])
            cells.append(f"{value:.{digits}f}" + ("" if one is reference else f" ({difference:+.{digits}f})"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train trials`."""
    from pathlib import Path

    parser.add_argument("--fold", type=int, default=0, choices=range(5), help="whose validation speakers (default: 0)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where `fit` put them")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go")


def run(args: argparse.Namespace) -> int:
    """Gather, print and store."""
    found = gather(args.runs, args.fold)
    stored = {"command": f"python -m train trials --fold {args.fold}", "fold": args.fold, "trials": found}
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "trials.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    return 0
