"""The table of `python -m train compare`, as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from ser_core.tables import percent
from train.corpora import Channel

if TYPE_CHECKING:
    from collections.abc import Mapping

SHIPPED = "with-whisper"


def table(found: Mapping[str, Any]) -> str:
    """The architectures, the best on validation speakers first.

    Args:
        found: see `train.compare.table`.
    """
    columns = (
        "architecture",
        "parameters",
        "multiply-adds",
        "UAR, validation",
        "speech: accuracy, UAR",
        "song: accuracy, UAR",
        "behind the first on speech, 95 %",
        "speech in INT8",
        "INT8",
        "torch, OpenVINO",
    )
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for one in found["networks"]:
        costs = one.get("costs", {})
        cells = [
            one["what"],
            f"{one['parameters'] / 1e6:.2f} M",
            f"{costs['multiply_adds'] / 1e9:.2f} G" if costs else "",
            percent(one["validation"]["uar"]),
            *(_both(one["test"].get(channel)) for channel in get_args(Channel)),
            _behind(one.get("best_is_better_by")),
            percent(one["int8_speech_accuracy"]),
            f"{costs['int8_bytes'] / 1e6:.2f} MB" if costs else "",
            f"{costs['torch_ms']:.1f} ms, {costs['openvino_ms']:.1f} ms" if costs else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(found: Mapping[str, Any]) -> str:
    """Which is best on validation speakers, and whether that is what ships, in a sentence."""
    first = found["networks"][0]
    if first["name"] == SHIPPED:
        return (
            f"The first on validation actors, `{first['name']}`, is of the kind that ships: wider there, trained for "
            "longer, and with fewer warps."
        )
    return (
        f"The first on validation actors is `{first['name']}`, and not `{SHIPPED}`, which is of the kind that ships: "
        "that one was chosen at its full size."
    )


def _both(figures: Mapping[str, float] | None) -> str:
    return f"{percent(figures['accuracy'])}, {percent(figures['uar'])}" if figures else ""


def _behind(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return ""
    low, high = difference["interval_95"]
    return f"{100 * difference['accuracy']:.1f} points ({100 * low:.1f} to {100 * high:.1f})"
