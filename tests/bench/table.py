"""Stored figures -> docs/speed.md. Nothing there is typed by hand.

python -m tests.bench.table
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.bench.bars import BARS, Bar, beside, megabytes, milliseconds, number
from tests.bench.command import FOLDER
from tests.bench.floors import reasons

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tests.bench.bars import Found

PARTS = ("pages", "network", "stages", "profile", "throughput", "crowd", "path", "page")
"""Of the bench, each a module with a `measure` and a JSON of its name; in the order in which they run."""
OUT = FOLDER.parent.parent / "docs" / "speed.md"
INTRODUCTION = """# Speed

<!-- Written by `python -m tests.bench.table` from the JSON in tests/bench. Not edited by hand. -->

`make bench` measures all of this again and writes this page. A time is the median of rounds in which ours and what
stands beside it take turns, so that the machine's moods meet both alike; a ratio is the median over the rounds of ours
divided by theirs. Everything is warm unless it says otherwise. `make setup-bench` first installs what only this page
compares with.
"""
SHORT = "**This was a short run, which shows that all of it works. Its figures mean nothing.**"


def stored(folder: Path) -> Found:
    """What the parts wrote into a folder, as far as they did."""
    files = {part: folder / f"{part}.json" for part in PARTS}
    return {part: json.loads(file.read_text(encoding="utf-8")) for part, file in files.items() if file.is_file()}


def page(found: Found) -> str:
    """All of docs/speed.md."""
    sections = [INTRODUCTION, *([SHORT] if any(one.get("short") for one in found.values()) else []), measured_on(found)]
    sections += ["## What is asked", bars(found), *reasons(found)]
    for title, part, make in (
        ("The network", "network", network),
        ("The stages of an answer", "stages", stages),
        ("Where it goes", "profile", profile),
        ("Much at once", "throughput", throughput),
        ("The page", "pages", pages),
        ("Many visitors", "crowd", crowd),
    ):
        if part in found:
            sections += [f"## {title}", make(found[part]), f"`{found[part]['command']}`"]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def measured_on(found: Found) -> str:
    """The machine and the versions; a line for each machine, should the parts come from several."""
    machines: dict[str, list[str]] = {}
    versions: dict[str, list[str]] = {}
    for part, one in found.items():
        flags = ", ".join(one.get("flags", [])) or "no flags known"
        machines.setdefault(f"{one['cpu']}, {one['cores']} cores ({flags})", []).append(part)
        for name, version in one["versions"].items():
            if version not in versions.setdefault(name, []):
                versions[name].append(version)
    lines = [f"- {machine}: {', '.join(parts)}" for machine, parts in machines.items()]
    told = ", ".join(f"{name} {' and '.join(several)}" for name, several in versions.items())
    return "\n".join(["Measured on:", "", *lines, "", f"With {told}."])


def bars(found: Found) -> str:
    """Each bar with its figure and what stands beside it."""
    rows = [_bar(bar, found) for bar in BARS]
    return grid(("what", "ours", "beside", "measured", "asked", "met"), rows)


def _bar(bar: Bar, found: Found) -> Sequence[str]:
    try:
        reading = bar.read(found)
    except LookupError as error:
        reason = str(error) if not isinstance(error, KeyError) else ""
        return (bar.what, "", reason, "not measured", bar.asked, "")
    met = "met" if bar.is_met(reading.value) else "**not met**"
    return (bar.what, reading.ours, reading.beside, f"{number(reading.value)} {bar.unit}", bar.asked, met)


def profile(one: Mapping[str, Any]) -> str:
    """What the network's time and the page's memory consist of."""
    layers = one["layers"]
    of_time = [
        (name, f"{number(time)} ms", f"{time / layers['total_ms']:.0%}") for name, time in layers["by_kind_ms"].items()
    ]
    steps = list(one["memory"].items())
    of_memory = [
        (name, megabytes(size), megabytes(size - before) if before else "")
        for (name, size), before in zip(steps, [0, *(size for _, size in steps)], strict=False)
    ]
    return (
        f"A window of 3 s in {layers['precision'].upper()}, by the kind of layer and the type of number it computes "
        "with (OpenVINO's own count, which slows it down a little):\n\n"
        + grid(("kind", "time", "share"), of_time)
        + "\n\nThe memory of a process that takes the page's steps one after the other, in the order of its start:\n\n"
        + grid(("after", "resident", "more"), of_memory)
    )


def network(one: Mapping[str, Any]) -> str:
    """The network by each runtime, alone and in a batch, and the larger ones."""
    model, batch = one["model"], one["batch"]
    size = batch["windows"]
    rows = []
    for name, window in one["window"].items():
        ships = ", as it ships" if name == model["precision"] else ""
        many = batch[name]["median_ms"]
        rows.append(
            (window["what"] + ships, milliseconds(window["median_ms"]), milliseconds(many), number(many / size))
        )
    larger = [
        (other["what"], "not measured", "", other["skipped"])
        if "skipped" in other
        else (
            other["what"],
            milliseconds(other["median_ms"]),
            f"{other['multiply_adds'] / 1e6:,.0f} million",
            f"{number(other['times_ours'])} times",
        )
        for other in one["larger"].values()
    ]
    counted = f"{one['multiply_adds'] / 1e6:,.0f} million multiply-adds"
    peak = f"that of a {one['peak']['what']}, {number(one['peak']['gflops'])} GFLOP/s"
    shipped = milliseconds(one["shipped"]["median_ms"])
    sections = (
        f"{model['name']} {model['version']}, {one['input']}; {counted}. The processor's peak is {peak}.",
        grid(("the same network", "one window", f"{size} windows", "each of them, ms"), rows),
        one["int8_elsewhere"],
        f"Beside larger ones in turn, which have random weights, the network as it ships takes {shipped}:",
        grid(("for the same 3 s", "time", "multiply-adds", "of ours"), larger),
    )
    return "\n\n".join(sections)


def stages(one: Mapping[str, Any]) -> str:
    """Each stage, cold and warm."""
    imported = one["import"]
    rows = [
        ("a Python that imports ser_core", milliseconds(imported["median_ms"]), "", *_beside(imported)),
        *(
            (name, milliseconds(stage["cold_ms"]), milliseconds(stage["median_ms"]), *_beside(stage))
            for name, stage in one["stages"].items()
        ),
    ]
    strip = one["pictures_with_strip"]
    for name, pictures in (
        ("pictures of this answer: drawing and encoding", one["pictures"]),
        (f"pictures of {strip['seconds']} s, with the strip of emotions", strip),
    ):
        rows.append((name, "", milliseconds(pictures["median_ms"]), *_beside(pictures)))
    return f"{one['what']}.\n\n" + grid(("stage", "first in a new process", "warm", "beside", "ratio"), rows)


def throughput(one: Mapping[str, Any]) -> str:
    """A long recording and many clips."""
    long, clips = one["long"], one["clips"]
    rows = [
        (
            f"a recording of {long['seconds']} s, with its timeline",
            milliseconds(long["median_ms"]),
            f"{number(long['times_real_time'])} times real time",
            *_beside(long),
        ),
        (
            f"{clips['clips']:,} clips of 3 to 5 s by `python -m ser_core`, with its start",
            milliseconds(clips["median_ms"]),
            f"{number(clips['clips_per_s'])} clips a second",
            *_beside(clips),
        ),
    ]
    return grid(("what", "time", "that is", "beside", "ratio"), rows)


def pages(one: Mapping[str, Any]) -> str:
    """Start, answers and memory of the page, beside the bare one's."""
    rows = [
        (name, milliseconds(one[key]["median_ms"]), *_beside(one[key]))
        for name, key in (
            ("from the start of the process to the page", "start"),
            ("from then to the first answer", "first_answer"),
            ("a call of the API with everything", "api"),
        )
    ]
    memory = one["memory"]
    held = [
        (
            who,
            megabytes(memory[key]["after_start"]["resident"]),
            megabytes(memory[key]["before_last"]["resident"]),
            megabytes(memory[key]["after_answers"]["resident"]),
            f"{100.0 * memory[key]['growth']:+.2f} %",
            megabytes(memory[key]["after_answers"]["peak"]),
        )
        for who, key in (("ours", "ours"), ("a bare Gradio page", "bare"))
    ]
    head = (
        "resident memory",
        "after the start",
        f"after {memory['answers'] - memory['last']} answers",
        f"after {memory['answers']} answers",
        f"the last {memory['last']}",
        "peak",
    )
    return f"{one['what']}.\n\n" + grid(("what", "ours", "beside", "ratio"), rows) + "\n\n" + grid(head, held)


def crowd(one: Mapping[str, Any]) -> str:
    """Throughput and waiting times against the number of clients, and other settings than the page's."""

    def row(of: Mapping[str, Any], first: str) -> tuple[str, ...]:
        times = milliseconds(of["median_ms"]), milliseconds(of["p95_ms"])
        faults = str(of["failed"] + of["wrong"])
        return (first, f"{of['requests']:,}", number(of["answers_per_s"]), *times, faults)

    head = ("requests", "answers a second", "median", "95 % within", "failed or wrong")
    ours = [row(of, f"{of['clients']}") for of in one["curve"]]
    others = [
        row(of, f"{of['at_once']}" + (", as the page has it" if of["at_once"] == one["at_once"] else ""))
        for of in one["settings"]
    ]
    clients = one["settings"][0]["clients"]
    return (
        f"{one['what']}; {one['at_once']} answers are computed at a time, and {one['waiting']} may wait.\n\n"
        + grid(("clients at once", *head), ours)
        + f"\n\n{clients} clients, with more or fewer answers computed at a time:\n\n"
        + grid(("at a time", *head), others)
    )


def _beside(one: Mapping[str, Any]) -> tuple[str, str]:
    return beside(one["reference"]), number(one["ratio"]) if "ratio" in one else ""


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def write(folder: Path = FOLDER, out: Path = OUT) -> None:
    """Make the page from what lies in `folder`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page(stored(folder)), encoding="utf-8")


if __name__ == "__main__":
    write()
