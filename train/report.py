"""`python -m train report`: stored figures -> the tables in README.md. Nothing there is typed by hand.

Each generated part stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_core import bundle
from ser_core.errors import SerError
from train.recipe import ROOT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

README = ROOT / "README.md"
BENCH = ROOT / "tests" / "bench" / "path.json"
ENVIRONMENT = ROOT / "tests" / "bench" / "environment.json"


class ReportError(SerError):
    """A page without the marks between which a table goes."""


def results(metrics: dict[str, Any]) -> str:
    """The headline: accuracy and UAR of speech and of song on actors never heard in training."""
    head = (
        "| RAVDESS, eight emotions | clips | accuracy | 95 % interval over actors "
        "| UAR | folds, mean ± std | folds 1 to 4 | folds 2 to 4 | each fold |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    rows = []
    for channel, values in metrics["actor_independent"].items():
        low, high = values["interval_95"]["accuracy"]
        free = values["folds"][2:]
        cells = (
            channel,
            f"{values['n']:,}",
            f"**{_percent(values['accuracy'])}**",
            f"{_percent(low)} to {_percent(high)}",
            _percent(values["uar"]),
            f"{_percent(values['mean']['accuracy'])} ± {100 * values['std']['accuracy']:.1f}",
            _percent(values["folds_1_to_4"]["accuracy"]),
            _percent(sum(fold["accuracy"] * fold["n"] for fold in free) / sum(fold["n"] for fold in free)),
            ", ".join(f"{100 * fold['accuracy']:.1f}" for fold in values["folds"]),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return head + "\n".join(rows)


def recalls(metrics: dict[str, Any]) -> str:
    """How many clips of each emotion were recognised."""
    channels = metrics["actor_independent"]
    lines = [
        "| recall | " + " | ".join(metrics["labels"]) + " |",
        "| --- |" + " --- |" * len(metrics["labels"]),
    ]
    for channel, values in channels.items():
        cells = ["not sung" if value is None else _percent(value) for value in values["recall"].values()]
        lines.append(f"| {channel} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def precisions(metrics: dict[str, Any], shipped: bundle.Bundle) -> str:
    """Accuracy of the same five networks as FP32, FP16 and INT8, and the size of the files that ship."""
    lines = ["| weights | speech | song | size |", "| --- | --- | --- | --- |"]
    for precision, values in metrics["precisions"].items():
        size = sum(shipped.files[name].size for name in bundle.MODEL_FILES[precision]) / 2**20
        chosen = " (default)" if precision == metrics["precision"] else ""
        lines.append(
            f"| {precision.upper()}{chosen} | {_percent(values['speech'], 2)} | {_percent(values['song'], 2)} "
            f"| {size:.1f} MB |"
        )
    return "\n".join(lines)


def robustness(metrics: dict[str, Any]) -> str:
    """Accuracy of the same test clips as people really record them."""
    table = metrics["robustness"]
    channels = [name for name in table["unchanged"] if name != "no_speech"]
    lines = [
        "| as recorded | " + " | ".join(f"{channel} | cost" for channel in channels) + " | no voice found |",
        "| --- |" + " --- | --- |" * len(channels) + " --- |",
    ]
    for name, values in table.items():
        cells = []
        for channel in channels:
            cost = 100 * values[channel]["cost"]
            cells += [_percent(values[channel]["accuracy"]), "" if name == "unchanged" else f"{cost:+.1f}"]
        cells.append(str(values["no_speech"]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def other_recordings(metrics: dict[str, Any]) -> str:
    """Corpora that training never heard."""
    lines = ["| never heard in training | trained on | emotions | clips | UAR | accuracy |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for corpus, values in metrics["other_recordings"].items():
        cells = (
            corpus,
            ", ".join(values["trained_on"]),
            str(len(values["emotions"])),
            f"{values['n']:,}",
            f"**{_percent(values['uar'])}**",
            _percent(values["accuracy"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def probe(metrics: dict[str, Any]) -> str:
    """How much the sound of a clip still says of the corpus that it comes from, in a sentence."""
    found = metrics["probe"]
    return (
        f"A linear classifier that sees only each band's mean and spread tells these {len(found['corpora'])} corpora "
        f"apart in {_percent(found['before'])} of the clips of unheard speakers as they are, and in "
        f"{_percent(found['after'])} as training hears them (chance: {_percent(found['chance'])})."
    )


def not_voices(metrics: dict[str, Any]) -> str:
    """How often what is no voice gets no emotion."""
    lines = ["| sound | recordings | no voice found | no emotion claimed |", "| --- | --- | --- | --- |"]
    for kind, values in sorted(metrics["not_voices"].items(), key=lambda item: item[1]["human"]):
        name = kind.replace("_", " ") + (" (human)" if values["human"] else "")
        lines.append(f"| {name} | {values['n']} | {_percent(values['no_speech'])} | {_percent(values['refused'])} |")
    return "\n".join(lines)


def calibration(metrics: dict[str, Any]) -> str:
    """How far confidence can be trusted, in a sentence."""
    speech = metrics["actor_independent"]["speech"]
    clips = sum(values["n"] for values in metrics["actor_independent"].values())
    return (
        f"Expected calibration error on speech: {speech['ece']:.3f}. The surer half of the spoken clips is right in "
        f"{_percent(speech['accuracy_surer_half'])}. Below a confidence of "
        f"{100 * metrics['calibration']['uncertain_below']:.0f} % the page says that it isn't sure. "
        f"In {metrics['no_speech']} of the {clips:,} clips no voice was found."
    )


def speed(bench: dict[str, Any]) -> str:
    """The measured time from a file to its Prediction, in a sentence."""
    path, reference = bench["path"], bench["reference"]
    return (
        f"{bench['what']}: {path['median_ms']:.1f} ms (median of {path['runs']}, warm), "
        f"{bench['ratio']:.2f} times what {reference['what']} alone takes ({reference['median_ms']:.1f} ms), "
        f"run in turn on {bench['cpu']}, {bench['cores']} cores."
    )


def environment(measured: dict[str, Any]) -> str:
    """How large an environment with requirements.txt alone is, and what takes most of it, in a sentence."""
    largest = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in measured["largest"].items())
    return (
        f"An environment with `requirements.txt` alone, without torch, takes {measured['bytes'] / 1e9:.2f} GB; most of "
        f"it is {largest}."
    )


def parts() -> dict[str, Callable[[], str]]:
    """The generated parts of README.md by their marks."""
    shipped = bundle.read(bundle.BUNDLED)
    metrics = shipped.metrics()
    made = {
        "results": lambda: results(metrics),
        "recalls": lambda: recalls(metrics),
        "precisions": lambda: precisions(metrics, shipped),
        "calibration": lambda: calibration(metrics),
        "speed": lambda: speed(json.loads(BENCH.read_text(encoding="utf-8"))),
        "environment": lambda: environment(json.loads(ENVIRONMENT.read_text(encoding="utf-8"))),
    }
    # What takes runs of its own may not have been measured yet.
    for name, table in (
        ("robustness", robustness),
        ("not_voices", not_voices),
        ("other_recordings", other_recordings),
        ("probe", probe),
    ):
        if name in metrics:
            made[name] = functools.partial(table, metrics)
    return made


def fill(page: str, contents: dict[str, Callable[[], str]]) -> str:
    """Put each content between its marks.

    Raises:
        ReportError: a mark isn't there.
    """
    for name, make in contents.items():
        marks = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->", re.DOTALL)
        if not marks.search(page):
            raise ReportError(f"The page has no <!-- {name} --> ... <!-- /{name} -->: add both marks.")
        # As a function, since a replacement string would have its backslashes read.
        filled = f"<!-- {name} -->\n{make()}\n<!-- /{name} -->"
        page = marks.sub(lambda _, filled=filled: filled, page)  # type: ignore[misc]
    return page


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train report`."""
    parser.add_argument("--page", type=Path, default=README, help="the page to fill (default: README.md)")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the page is out of date")


def run(args: argparse.Namespace) -> int:
    """Fill the page from what is stored, or say that it is out of date."""
    page = args.page.read_text(encoding="utf-8")
    filled = fill(page, parts())
    if args.check:
        print("up to date" if filled == page else f"{args.page} is out of date: run `make results`")
        return int(filled != page)
    args.page.write_text(filled, encoding="utf-8")
    print(f"{args.page}: {len(parts())} parts filled")
    return 0
