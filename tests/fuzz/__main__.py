"""`python -m tests.fuzz`: thousands of files and arrays that no honest person sends, and what came of each.

All end in a sound or in an error that says what was wrong and what to do, within 5 s and 400 MB over the idle process.
Writes the figures as JSON, and ends with 1 where a case went wrong; its file is kept in build/fuzz. Needs
Linux, whose /proc tells the memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from tests.bench.machine import described
from tests.fuzz import campaign
from tests.fuzz.judge import Judge
from tests.processes import ROOT

KEEP = ROOT / "build" / "fuzz"
OUT = ROOT / "tests" / "fuzz" / "fuzz.json"
PACKAGES = ("av", "hypothesis", "numpy", "soundfile", "soxr")


def main() -> int:
    """Draw, judge, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--cases", type=int, default=10_000, help="how many are drawn (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="that they are drawn from (default %(default)s)")
    parser.add_argument("--no-bombs", action="store_true", help="leave out the files of up to 128 MB")
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON file (default %(default)s)")
    options = parser.parse_args()
    shutil.rmtree(KEEP, ignore_errors=True)
    began = time.monotonic()
    with Judge() as judge:
        run = campaign.Campaign(judge, keep=KEEP)
        run.draw(options.cases, options.seed)
        if not options.no_bombs:
            run.bombs(lambda name: print(name, file=sys.stderr))
    tally = run.tally
    figures = {
        "command": f"python -m tests.fuzz --cases {options.cases} --seed {options.seed}"
        + " --no-bombs" * options.no_bombs,
        "tried": tally.tried,
        "answered": tally.answered,
        "refused": dict(sorted(tally.refused.items())),
        "lost": tally.lost,
        "faults": tally.faults,
        "slowest_s": round(tally.slowest_s, 2),
        "slowest": tally.slowest,
        "most_s": campaign.MOST_S,
        "peak_mb": round(tally.peak_mb),
        "largest": tally.largest,
        "most_mb": campaign.MOST_MB,
        "seed": options.seed,
        "took_s": round(time.monotonic() - began),
        **described(*PACKAGES),
    }
    options.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))
    return int(bool(tally.faults))


if __name__ == "__main__":
    sys.exit(main())
