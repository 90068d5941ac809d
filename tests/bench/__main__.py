"""Measure everything, and write the JSON in tests/bench and the table in docs/speed.md.

    python -m tests.bench [--short] [--only PART ...] [--model FOLDER] [--out DIR]

Each part is a process of its own, so that none meets another's threads and memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench import command, table
from tests.browser.driving import ROOT, chromium


def main() -> int:
    """Run the parts one after the other, then write the table, if none failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    command.add_options(parser)
    parser.add_argument("--only", nargs="+", choices=table.PARTS, metavar="PART", help=f"of {', '.join(table.PARTS)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write all of it there, the table as speed.md")
    given = parser.parse_args()
    folder = given.out or command.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    parts = given.only or _possible(given.short)
    options = command.Asked(given.model, given.short).options
    # Side by side only where no figure counts.
    with ThreadPoolExecutor(2 if given.short else 1) as pool:
        done = list(pool.map(lambda part: _measure(part, folder.resolve() / f"{part}.json", options), parts))
    if failed := [part for part, well in zip(parts, done, strict=True) if not well]:
        print(
            f"Failed: {', '.join(failed)}. Measure again what did, with --only; no table was written.", file=sys.stderr
        )
        return 1
    out = given.out / "speed.md" if given.out else table.OUT
    table.write(folder, out)
    print(out)
    return 0


def _possible(short: bool) -> list[str]:
    """All parts, but the browser's only where there is one; its short form is a test of its own, in tests/browser."""
    if not short and chromium() is None:
        print("page: skipped, there is no Chromium; what was stored of it stays", file=sys.stderr)
    return [part for part in table.PARTS if part != "page" or (not short and chromium() is not None)]


def _measure(part: str, out: Path, options: list[str]) -> bool:
    """Run a part; whether it went well."""
    print(f"{part} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    line = [sys.executable, "-m", f"tests.bench.{part}", *options, "--out", str(out)]
    ended = subprocess.run(line, cwd=ROOT, env=_all_cores(), stdout=subprocess.DEVNULL, check=False)
    print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return ended.returncode == 0


def _all_cores() -> dict[str, str]:
    """This process's variables without those that would keep a library from using all cores."""
    return {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}


if __name__ == "__main__":
    raise SystemExit(main())
