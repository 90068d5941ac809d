"""What a Space does: an environment with requirements.txt and nothing else, the app in it, one question over HTTP.

    python -m tests.fresh [--out FILE]

It goes without constraints.txt, as a Space does: what isn't pinned is as new as can be had. Writes how large the
environment is; the README's sentence comes from that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from pathlib import Path
from typing import Any

from tests.browser.driving import ROOT, SPOKEN, serving

OUT = ROOT / "tests" / "bench" / "environment.json"
MAX_BYTES = 1_200_000_000
LARGEST = 6
QUESTION = """
import json, sys
from gradio_client import Client, handle_file
chart, spectrogram, prediction = Client(sys.argv[1], verbose=False).predict(
    handle_file(sys.argv[2]), api_name="/predict")
print(json.dumps(prediction))
"""


def sizes(site: Path) -> Counter[str]:
    """Bytes of each top-level package or folder of a `site-packages`, without compiled .pyc files."""
    found: Counter[str] = Counter()
    for path in site.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix != ".pyc":
            found[path.relative_to(site).parts[0]] += path.stat().st_size
    return found


def ask(python: Path, clip: Path) -> dict[str, Any]:
    """Start the app with this interpreter and ask it about a clip; the prediction as JSON.

    Raises:
        RuntimeError: the app isn't up in time.
        subprocess.CalledProcessError: it doesn't answer.
    """
    with serving(python=python, environment={"PYTHONPATH": "", "SER_MODEL_REPO": ""}) as url:
        command = [str(python), "-c", QUESTION, url, str(clip)]
        asked = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    answer: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    return answer


def main() -> int:
    """Make the environment, measure it, ask."""
    parser = argparse.ArgumentParser(prog="python -m tests.fresh", description=__doc__)
    parser.add_argument(
        "--out", type=Path, help=f"write the sizes there (those in {OUT.relative_to(ROOT)} are told of)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "env"
        venv.create(home, with_pip=True)
        python = home / "bin" / "python"
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "-r"]
        subprocess.run([str(python), *install, str(ROOT / "requirements.txt")], check=True, timeout=900)
        found = sizes(next(home.glob("lib/python*/site-packages")))
        answer = ask(python, SPOKEN)
    total = sum(found.values())
    result = {
        "command": "python -m tests.fresh --out tests/bench/environment.json",
        "bytes": total,
        "largest": dict(found.most_common(LARGEST)),
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    print(f"the app answered: {answer['state']}, {answer['label']}")
    problems = []
    if answer["state"] not in {"ok", "uncertain"}:
        problems.append(f"an example was answered {answer['state']}")
    if "torch" in found:
        problems.append("torch was installed")
    if total > MAX_BYTES:
        problems.append(f"the environment has {total / 1e9:.2f} GB, at most {MAX_BYTES / 1e9:.1f} are allowed")
    print("\n".join(f"error: {problem}" for problem in problems), file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
