"""What the commands of the bench and of the load tests have in common: their options, and the JSON that they write."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import machine
from tests.browser.driving import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        model: the folder of a bundle; None is the one that ships.
        short: a few runs, to see that all of it works: no figures.
    """

    model: str | None
    short: bool

    @property
    def options(self) -> list[str]:
        """The same on another command line."""
        return [*(["--short"] if self.short else []), *(["--model", self.model] if self.model else [])]


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--model` and `--short`."""
    parser.add_argument("--model", metavar="FOLDER", help="a model bundle other than the one that ships")
    parser.add_argument("--short", action="store_true", help="a few runs, to see that all of it works: no figures")


def python(*arguments: str) -> str:
    """What a new Python with these arguments prints, in the project's folder; its exit code is 0, or this raises."""
    line = [sys.executable, *arguments]
    return subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def run(
    name: str,
    doc: str | None,
    measure: Callable[[Asked], dict[str, Any]],
    packages: tuple[str, ...],
    *,
    package: str = "tests.bench",
) -> int:
    """Parse the command line of `python -m tests.bench.NAME`, measure, write what was measured, print it.

    Args:
        name: of the part; also of its JSON.
        doc: what it says of itself.
        measure: gives the figures.
        packages: whose versions are stored beside them.
        package: that the part belongs to; its JSON lies in that folder.

    Returns:
        The exit code.
    """
    program = f"python -m {package}.{name}"
    parser = argparse.ArgumentParser(prog=program, description=doc)
    add_options(parser)
    parser.add_argument("--out", type=Path, default=ROOT.joinpath(*package.split("."), f"{name}.json"), metavar="FILE")
    given = parser.parse_args()
    asked = Asked(given.model, given.short)
    result = {"command": shlex.join([*program.split(), *asked.options]), "short": asked.short}
    result |= measure(asked) | machine.described(*packages)
    text = json.dumps(result, indent=1) + "\n"
    given.out.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0
