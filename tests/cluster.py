"""`python -m tests.cluster --data DIR --out FILE.json`: real clips on two nodes, one of which goes away half-way.

The same clips are judged by the ordinary command on this machine. Every clip must have its row, with the same label and
the same probabilities. Both nodes are on this machine and have one core each, so that each has a worker; what is
measured is the whole command, from its start to its end, beside the ordinary one with as many threads.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_core import files
from ser_core.emotions import LABELS
from tests.bench import machine
from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NODES = 2
TOLERANCE = 1e-5
"""The most by which a probability may differ."""
STORE_BYTES = 100 * 1024 * 1024
STORED = ROOT / "tests" / "bench" / "cluster.json"
DOCS = ROOT / "docs" / "cluster.md"
_BEGIN, _END = "<!-- cluster -->\n", "<!-- /cluster -->"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, judge the clips in all ways, compare, write and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder that holds ravdess/")
    parser.add_argument("--count", type=int, default=2000, metavar="N", help="clips (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as scratch:  # sockets' paths may have 107 bytes
        found = measure(_clips(options.data, options.count, Path(scratch) / "clips"), Path(scratch))
    command = f"python -m tests.cluster --data DIR --count {options.count} --out {options.out}"
    result = {"command": command, **machine.described("openvino", "pyarrow", "ray"), **found}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.out.resolve() == STORED:
        DOCS.write_text(with_figures(DOCS.read_text(encoding="utf-8"), result), encoding="utf-8")
    print(json.dumps(result, indent=1))


def with_figures(text: str, result: dict[str, Any]) -> str:
    """The text of `DOCS` with what was found in its place."""
    alone, ray, less = (result[name] for name in ("one_machine", "ray", "ray_with_a_node_removed"))
    largest = max(ray["largest_difference"], less["largest_difference"])
    told = (
        f"On {result['cpu']}, the whole command from its start to its end, on {result['clips']:,} clips of RAVDESS: "
        f"{alone['clips_per_s']:.1f} clips a second by the ordinary command with {result['nodes']} threads; "
        f"{ray['clips_per_s']:.1f} on {result['nodes']} nodes of one core each, {ray['of_one_machine']:.2f} times as "
        f"many; {less['clips_per_s']:.1f} where one of the nodes went away when "
        f"{less['rows_when_the_node_was_removed']:,} rows were written. No row was lost or came twice, no label "
        f"differed, and {f'no probability by more than {largest:.0e}' if largest else 'neither did a probability'}.\n"
    )
    before, _, rest = text.partition(_BEGIN)
    return f"{before}{_BEGIN}{told}{_END}{rest.partition(_END)[2]}"


def measure(clips: Path, scratch: Path) -> dict[str, Any]:
    """Judge a folder by the ordinary command, by Ray undisturbed, and by Ray while a node goes away."""
    # Before Ray is imported, which reads it then.
    os.environ.update(RAY_TMPDIR=str(scratch), RAY_USAGE_STATS_ENABLED="0")
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    print("one machine ...", flush=True)
    alone_s = _timed(clips, "--format", "jsonl", "--out", scratch / "alone.jsonl")
    lines = (scratch / "alone.jsonl").read_text(encoding="utf-8").splitlines()
    expected = {answer["source"]: answer for answer in map(json.loads, lines)}
    figures: dict[str, Any] = {"clips": len(expected), "nodes": NODES, "cores_each": 1}
    figures["one_machine"] = _figures(alone_s, len(expected))
    for name, disturbed in (("ray", False), ("ray_with_a_node_removed", True)):
        print(name, "...", flush=True)
        out = scratch / name
        took_s, at = _on_nodes(clips, out, len(expected) // 2 if disturbed else None)
        largest = compare(expected, _rows(out))
        figures[name] = {**_figures(took_s, len(expected)), "largest_difference": largest}
        figures[name]["of_one_machine"] = round(alone_s / took_s, 3)
        if at is not None:
            figures[name]["rows_when_the_node_was_removed"] = at
    return figures


def compare(expected: dict[str, dict[str, Any]], rows: list[dict[str, Any]]) -> float:
    """The largest difference of a probability. Fails where a row is lost, comes twice, or has another label."""
    found = {row["source"]: row for row in rows}
    assert len(rows) == len(found) == len(expected)
    largest = 0.0
    for source, answer in expected.items():
        row = found[source]
        assert row["error"] is None
        assert (row["state"], row["label"]) == (answer["state"], answer["label"]), source
        for label in LABELS if answer["label"] else ():
            largest = max(largest, abs(row[label] - answer["probabilities"][label]))
    assert largest <= TOLERANCE, largest
    return largest


def _figures(took_s: float, count: int) -> dict[str, float]:
    return {"seconds": round(took_s, 1), "clips_per_s": round(count / took_s, 2)}


def _clips(data: Path, count: int, folder: Path) -> Path:
    """A folder of links to clips, evenly taken from all."""
    found = files.find_all([str(data / "ravdess")])
    if len(found) < count:
        sys.exit(f"{data / 'ravdess'} holds {len(found)} clips, not {count}. `python -m train download` gets them.")
    folder.mkdir()
    for number in range(count):
        clip = Path(str(found[number * len(found) // count]))
        (folder / f"{number:05d}-{clip.name}").symlink_to(clip.resolve())
    return folder


def _command(clips: Path, *options: str | Path) -> list[str]:
    return [sys.executable, "-m", "ser_core", str(clips), "--quiet", "--jobs", str(NODES), *map(str, options)]


def _timed(clips: Path, *options: str | Path) -> float:
    began = time.perf_counter()
    subprocess.run(_command(clips, *options), cwd=ROOT, check=True)
    return time.perf_counter() - began


def _on_nodes(clips: Path, out: Path, remove_at: int | None) -> tuple[float, int | None]:
    """Seconds of the command on a fresh cluster, and how many rows there were when a node was removed."""
    from ray.cluster_utils import Cluster

    nodes: Any = Cluster()
    try:
        # No core on the head, as is usual: it may not go away.
        node = {"object_store_memory": STORE_BYTES}
        nodes.add_node(num_cpus=0, include_dashboard=False, **node)
        workers = [nodes.add_node(num_cpus=1, **node) for _ in range(NODES)]
        environment = {**os.environ, "RAY_ADDRESS": nodes.address}
        command = _command(clips, "--engine", "ray", "--format", "parquet", "--out", out)
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        at = None
        if remove_at is not None:
            at = _wait_for(lambda: len(_rows(out)), remove_at, process)
            nodes.remove_node(workers[0], allow_graceful=False)
        assert process.wait() == 0
        return time.perf_counter() - began, at
    finally:
        nodes.shutdown()


def _wait_for(count: Callable[[], int], least: int, process: subprocess.Popen[bytes]) -> int:
    while (now := count()) < least:
        assert process.poll() is None, "it ended before a node could be removed"
        time.sleep(0.2)
    return now


def _rows(out: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    columns = ["source", "state", "label", "error", *LABELS]
    return [row for path in out.glob("*.parquet") for row in parquet.read_table(path, columns=columns).to_pylist()]


if __name__ == "__main__":
    main()
