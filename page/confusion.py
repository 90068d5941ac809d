"""A confusion matrix as an HTML table that reads well aloud, on a small screen, on light ground and on dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from page import words

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(matrix: Sequence[Sequence[int]], labels: Sequence[str], clips: str) -> str:
    """Per row, in per cent of its clips, what they were heard as.

    Each cell holds its share as text; assets/style.css shades it by `--share`.

    Args:
        matrix: clips by acted emotion (rows) and answer (columns), as long as `labels` each way.
        labels: names of both, in order, harmless in HTML.
        clips: what was judged, as in "spoken clips".

    Returns:
        HTML: a table in a box that scrolls by itself; an emotion without clips has one cell that says so.

    Raises:
        ValueError: the matrix isn't as long as the labels.
        TypeError: it holds something other than numbers.
    """
    rows = "".join(_row(counts, label, len(labels)) for counts, label in zip(matrix, labels, strict=True))
    name, caption = f"Confusion matrix of {clips}", f"{clips.capitalize()}, % of each row"
    return words.boxed("confusion", name, caption, ["acted", *labels], rows)


def _row(counts: Sequence[int], label: str, columns: int) -> str:
    if len(counts) != columns:
        raise ValueError(f"a row of {len(counts)} for {columns} labels")
    total = sum(counts)
    if total == 0:
        cells = f'<td colspan="{columns}">no such clips</td>'
    else:
        shares = [round(100 * count / total) for count in counts]
        cells = "".join(f'<td style="--share: {share}%">{share}&nbsp;%</td>' for share in shares)
    return f'<tr><th scope="row">{label}</th>{cells}</tr>'
