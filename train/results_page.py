"""Stored figures -> docs/results.md and its pictures. Nothing there is typed by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ser_core import bundle, tables
from ser_core.emotions import LABELS
from ser_core.tables import percent
from train import card_plots, comparison
from train.evaluate import RESULTS
from train.further import FIVE
from train.recipe import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ser_core.bundle import Bundle

PAGE = ROOT / "docs" / "results.md"
PLOTS = PAGE.parent / "plots"
INTRODUCTION = """# Results

<!-- Written by `python -m train report` from the JSON in train/results. Not edited by hand. -->

Every figure of the model that ships, and of what it was compared with. Accuracies derive from logits that are stored
clip by clip in `train/results`; `make results` rebuilds this page from them in seconds. The commands under a table make
its logits again: from networks trained anew, or on another processor, figures come out alike but for a point or two,
which is what the table of seeds tells. `DIR` is the folder of the corpora; how to get them is told in
[the README](../README.md#train-it-again-or-on-your-own-voices), and
[there](../README.md#how-good-it-is), too, what was seen of the test actors while the recipe was made."""
RANDOM = """A split at random puts clips of the same actor, who says the same two sentences, on both sides. It measures
how well a known voice is recognised, and says nothing of the next visitor; the table at the top of this page does. The
project of 2020 reported such splits. Its notebooks reloaded a model that had been trained on an earlier split before
they tested on the last one, so that some of its test clips may well have been trained on. Here every network is trained
anew, on its own training side, and the two recordings of RAVDESS that sound the same lie on one side."""
FIVE_CLASSES = """Sad, angry, fearful and disgust as one emotion, "negative": as the sum of the eight probabilities, and
by networks that were trained so."""
COMPARED = """Five architectures of at most 0.6 million trained parameters under the same recipe (with the warps and the
mixup of model 0.3.0) and 20 epochs, one seed each, on folds 0 and 1. They are ranked on validation actors, on whom none
of them trained; those of fold 0 are tested in fold 1, by networks that heard neither. The recipe's settings were found
with residual networks. The one like what ships has beside its convolutions a frozen reading of Whisper's first two
layers, 3.6 million parameters that were not trained here. The differences come with a bootstrap over actors, paired by
clip; times are medians for one window of 3 s, all networks in turn on the same two cores. All are judged as FP16, since
quantisation does not spare them alike."""
STATEMENTS = """RAVDESS has two sentences. Here one trains and the other tests, on actors who are unheard too. Only half
of the clips train then, so that the difference is not the sentence's alone."""
SPLIT = "random-50-20-30-draw0"


def files() -> dict[Path, bytes]:
    """The page and its pictures, by where they belong; what wasn't measured is left out."""
    shipped = bundle.read(bundle.BUNDLED)
    name = shipped.training["recipe"]["name"]
    more = _json(RESULTS / name / "further.json")
    compared = _json(RESULTS / "compare.json")
    pictures = _pictures(shipped.metrics(), compared)
    text = page(shipped, more, compared, _json(RESULTS / "2020.json"), pictures)
    return {PAGE: text.encode(), **{PLOTS / name: picture for name, picture in pictures.items()}}


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _pictures(metrics: Mapping[str, Any], compared: Mapping[str, Any]) -> dict[str, bytes]:
    drawn = card_plots.draw(metrics)
    if table := metrics.get("robustness"):
        speech = {name: values["speech"]["accuracy"] for name, values in table.items()}
        bars = card_plots.bars(speech, "accuracy on unheard actors' speech, as recorded")
        drawn["robustness.png"] = card_plots.png(bars)
    if compared:
        tested = {one["name"]: one["test"]["speech"]["accuracy"] for one in compared["networks"]}
        bars = card_plots.bars(tested, "accuracy on unheard actors' speech, folds 0 and 1")
        drawn["comparison.png"] = card_plots.png(bars)
    return drawn


def page(
    shipped: Bundle,
    more: Mapping[str, Any],
    compared: Mapping[str, Any],
    old: Mapping[str, Any],
    pictures: Iterable[str],
) -> str:
    """All of docs/results.md.

    Args:
        shipped: the model that ships, with its metrics.
        more: see `train.further.of`; {} where nothing of it was measured.
        compared: see `train.compare.table`; {} likewise.
        old: the figures of 2020.
        pictures: file names in `PLOTS`.
    """
    metrics = shipped.metrics()
    name, drawn = metrics["recipe"], set(pictures)
    judged = f"python -m train evaluate --config {name} --data DIR"
    trained = f"python -m train fit --config {name}"
    parts = [INTRODUCTION, *_unheard(shipped, metrics, drawn), _commands(f"{trained} --fold 0 1 2 3 4", judged)]
    if "seeds" in metrics:
        parts += ["### Other seeds", tables.seeds(metrics), _commands(*_of_seeds(metrics, name))]
    if "robustness" in metrics:
        parts += ["## As people really record", tables.robustness(metrics), *_images(("robustness.png",), drawn)]
        parts += ["What is no voice should get no emotion:", tables.not_voices(metrics)]
        parts += [_commands(f"{judged} --robustness")]
    if others := metrics.get("other_recordings"):
        out = f"--leave-out {' '.join(others)}"
        parts += ["## Corpora never heard", tables.other_recordings(metrics)]
        parts += [_commands(f"{trained} {out}", f"{judged} --fold {out}")]
    if "groups" in more:
        parts += ["## Who is heard how well", *groups(more["groups"]), _commands(judged)]
    if "statements" in more:
        parts += ["## A sentence never heard", STATEMENTS, statements(more["statements"])]
        parts += [_commands(f"{trained} --fold 0 1 2 3 4 --statement 1 2", f"{judged} --statement 1 2")]
    if compared:
        parts += ["## Architectures", COMPARED, comparison.table(compared), comparison.verdict(compared)]
        parts += [*_images(("comparison.png",), drawn), _commands(compared["command"])]
    if "random" in more:
        parts += ["## Random splits, as in 2020", RANDOM, random(more["random"]), by_class(_eight(more, old), LABELS)]
        parts += [_commands(*_of_random(trained, judged, more["random"]))]
    if "five" in more:
        parts += ["## Five classes", FIVE_CLASSES, *_of_five(more["five"], old, trained, judged)]
    return "\n\n".join(parts) + "\n"


def _unheard(shipped: Bundle, metrics: Mapping[str, Any], drawn: set[str]) -> list[str]:
    return [
        "## Actors never heard",
        f"Model {shipped.version}, recipe `{metrics['recipe']}` {metrics['recipe_hash']}. {metrics['protocol']}.",
        tables.results(metrics),
        tables.recalls(metrics),
        tables.calibration(metrics),
        tables.precisions(metrics, shipped),
        *_images(("confusion-speech.png", "confusion-song.png", "reliability.png", "coverage.png"), drawn),
    ]


def _of_five(found: Mapping[str, Any], old: Mapping[str, Any], trained: str, judged: str) -> list[str]:
    parts = []
    if "actor_independent" in found:
        parts += [five(found["actor_independent"])]
        parts += [_commands(f"{trained} --fold 0 1 2 3 4 --merged", f"{judged} --merged")]
    if {SPLIT, f"{SPLIT}-merged"} <= found.get("random", {}).keys():
        columns = {f"2020: {name}": one for name, one in old["five"].items()} | {
            "here, eight added up": found["random"][SPLIT]["by_class"],
            "here, trained on five": found["random"][f"{SPLIT}-merged"]["by_class"],
        }
        parts += ["On a random split, right of tested, beside the project of 2020:", by_class(columns, FIVE)]
        parts += [_commands(f"{trained} --random 50/20/30 --merged", f"{judged} --random 50/20/30 --merged")]
    return parts


def groups(found: Mapping[str, Any]) -> list[str]:
    """Of each channel by sex and intensity, then by actor."""
    lines = ["| clips | of | how many | accuracy | UAR |", "| --- | --- | --- | --- | --- |"]
    for channel, kinds in found.items():
        for kind in ("sex", "intensity"):
            lines += [
                f"| {channel} | {name} | {one['n']:,} | {percent(one['accuracy'])} | {percent(one['uar'])} |"
                for name, one in kinds[kind].items()
            ]
    actors = sorted({name for kinds in found.values() for name in kinds["actor"]}, key=int)
    rows = [f"| actor | {' | '.join(actors)} |", "| --- " * (len(actors) + 1) + "|"]
    for channel, kinds in found.items():
        cells = [percent(kinds["actor"][name]["accuracy"], 0) if name in kinds["actor"] else "" for name in actors]
        rows.append(f"| {channel} | {' | '.join(cells)} |")
    return ["\n".join(lines), "\n".join(rows)]


def statements(found: Mapping[str, Any]) -> str:
    """Accuracy and UAR where the sentence is unheard, beside where both are heard."""
    lines = ["| sentence | clips | how many | accuracy | UAR |", "| --- | --- | --- | --- | --- |"]
    for kind, channels in found.items():
        lines += [
            f"| {kind} | {channel} | {one['n']:,} | {percent(one['accuracy'])} | {percent(one['uar'])} |"
            for channel, one in channels.items()
        ]
    return "\n".join(lines)


def random(found: Mapping[str, Any]) -> str:
    """Accuracy of each kind of split, and of each draw."""
    lines = [
        "| training/validation/test | clips tested | accuracy | UAR | each draw |",
        "| --- | --- | --- | --- | --- |",
    ]
    for shares, one in found.items():
        tested = " + ".join(str(draw["n"]) for draw in one["draws"])
        each = ", ".join(f"{100 * draw['accuracy']:.1f}" for draw in one["draws"])
        lines.append(f"| {shares} | {tested} | **{percent(one['accuracy'])}** | {percent(one['uar'])} | {each} |")
    return "\n".join(lines)


def by_class(columns: Mapping[str, Mapping[str, Sequence[int]]], labels: Sequence[str]) -> str:
    """Clips right of clips tested, a row for each class, a column for each source; and overall."""
    lines = [f"| emotion | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for label in sorted(labels):
        cells = [f"{one[label][0]}/{one[label][1]}" if label in one else "" for one in columns.values()]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    totals = [[sum(counts) for counts in zip(*one.values(), strict=True)] for one in columns.values()]
    told = [f"{hits}/{count}, {percent(hits / count, 2)}" for hits, count in totals]
    return "\n".join([*lines, f"| overall | {' | '.join(told)} |"])


def five(found: Mapping[str, Any]) -> str:
    """Five classes on actors never heard."""
    lines = ["| actors never heard | clips | how many | accuracy | UAR |", "| --- | --- | --- | --- | --- |"]
    names = {"summed": "eight probabilities, added up", "learnt": "trained on five"}
    for kind, channels in found.items():
        lines += [
            f"| {names[kind]} | {channel} | {one['n']:,} | {percent(one['accuracy'])} | {percent(one['uar'])} |"
            for channel, one in channels.items()
        ]
    return "\n".join(lines)


def _eight(more: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    return {f"2020: {name}": one for name, one in old["eight"].items()} | {
        f"here, {shares}": one["by_class"] for shares, one in more["random"].items()
    }


def _images(names: Sequence[str], drawn: set[str]) -> list[str]:
    shown = [f"![{name.removesuffix('.png').replace('-', ', ')}](plots/{name})" for name in names if name in drawn]
    return ["\n".join(shown)] if shown else []


def _of_seeds(metrics: Mapping[str, Any], name: str) -> list[str]:
    found = []
    for seed, channels in metrics["seeds"].items():
        folds = " ".join(next(iter(channels.values())))
        if seed != "0":
            found.append(f"python -m train fit --config {name}-seed{seed} --fold {folds}")
            found.append(f"python -m train evaluate --config {name}-seed{seed} --data DIR --fold {folds}")
    return found


def _of_random(trained: str, judged: str, found: Mapping[str, Any]) -> list[str]:
    commands = []
    for shares, one in found.items():
        draws = f" --draw {' '.join(map(str, range(len(one['draws']))))}" if len(one["draws"]) > 1 else ""
        commands += [f"{command} --random {shares}{draws}" for command in (trained, judged)]
    return commands


def _commands(*lines: str) -> str:
    return "```sh\n" + "\n".join(lines) + "\n```"
