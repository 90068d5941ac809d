"""`python -m train report`: stored figures -> the tables in README.md, and docs/results.md. Nothing is typed by hand.

Each generated part stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_core import bundle, tables
from ser_core.errors import SerError
from train import results_page
from train.recipe import ROOT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

README = ROOT / "README.md"
BENCH = ROOT / "tests" / "bench" / "path.json"
PAGE_BENCH = ROOT / "tests" / "bench" / "page.json"
ENVIRONMENT = ROOT / "tests" / "bench" / "environment.json"


class ReportError(SerError):
    """A page without the marks between which a table goes."""


def speed(bench: dict[str, Any]) -> str:
    """The measured time from a file to its Prediction, in a sentence."""
    path, reference = bench["path"], bench["reference"]
    return (
        f"{bench['what']}: {path['median_ms']:.1f} ms (median of {path['runs']}, warm), "
        f"{bench['ratio']:.2f} times what {reference['what']} alone takes ({reference['median_ms']:.1f} ms), "
        f"run in turn on {bench['cpu']}, {bench['cores']} cores."
    )


def waiting(bench: dict[str, Any]) -> str:
    """The measured time from Stop to the answer on the page, in a sentence."""
    ours, bare = bench["ours"], bench["bare"]
    return (
        f"{bench['what']}, in a browser: {ours['median_ms']:.0f} ms (median of {bench['rounds']}, warm), "
        f"{bench['ratio']:.2f} times what {bare['what']} and no model takes ({bare['median_ms']:.0f} ms), in turn on "
        f"{bench['cpu']}, {bench['cores']} cores."
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
        "results": lambda: tables.results(metrics),
        "recalls": lambda: tables.recalls(metrics),
        "precisions": lambda: tables.precisions(metrics, shipped),
        "calibration": lambda: tables.calibration(metrics),
        "speed": lambda: speed(json.loads(BENCH.read_text(encoding="utf-8"))),
        "waiting": lambda: waiting(json.loads(PAGE_BENCH.read_text(encoding="utf-8"))),
        "environment": lambda: environment(json.loads(ENVIRONMENT.read_text(encoding="utf-8"))),
    }
    # What takes runs of its own may not have been measured yet.
    for name, table in (
        ("robustness", tables.robustness),
        ("not_voices", tables.not_voices),
        ("other_recordings", tables.other_recordings),
        ("seeds", tables.seeds),
        ("probe", tables.probe),
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train report`."""
    parser.add_argument("--page", type=Path, default=README, help="the page to fill (default: README.md)")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the page is out of date")


def run(args: argparse.Namespace) -> int:
    """Fill the page from what is stored, or say that it is out of date."""
    made = parts()
    pages = {args.page: fill(args.page.read_text(encoding="utf-8"), made).encode(), **results_page.files()}
    stale = [path for path, content in pages.items() if not path.is_file() or path.read_bytes() != content]
    if args.check:
        print("\n".join(f"{path} is out of date: run `make results`" for path in stale) or "up to date")
        return int(bool(stale))
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pages[path])
    print(f"{args.page}: {len(made)} parts filled; {len(pages)} files, of which {len(stale)} were out of date")
    return 0
