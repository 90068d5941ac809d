"""Another's words on our page: a model's name, its labels and figures may come from a stranger's repository."""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import Any

MAX_CHARACTERS = 240
MAX_ENTRIES = 64
MAX_DEPTH = 8

# Left alone is what means nothing to Markdown or HTML within a line. A colon, an "@" and the dot of "www." go as well,
# since Gradio's Markdown makes links of bare addresses; so does an underscore, but for one that joins two words.
_LIVE = re.compile(r"[^\w\s,./;()%-]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.", re.IGNORECASE)


def plain(text: object) -> str:
    """Text that reads just like it, within a line of Markdown as well as in HTML, an attribute's quotes included.

    What could be markup is written as character references, white space as single spaces; what can't be seen is left
    out (it could turn the direction of what follows), and so is what is longer than `MAX_CHARACTERS`. Not for code
    spans, which would show the references.

    Args:
        text: anything; what is no text is taken as `str` gives it.
    """
    line = " ".join(str(text).split())
    seen = "".join(character for character in line if character.isprintable())
    if len(seen) > MAX_CHARACTERS:
        seen = seen[: MAX_CHARACTERS - 2] + " …"
    return _LIVE.sub(lambda found: f"&#{ord(found[0])};", seen)


def harmless(value: Any, depth: int = 0) -> Any:
    """The same JSON with its texts, names of entries included, made `plain`; names of letters, digits and single
    underscores stay as they are.

    Args:
        value: what `json.loads` gave.
        depth: how deep it lies in the whole.

    Returns:
        A copy without what no honest file of figures holds: numbers that are none, what lies deeper than `MAX_DEPTH`
        (None instead), and what comes behind the first `MAX_ENTRIES` entries.
    """
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, (dict, list)):
        return value
    if depth >= MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [harmless(entry, depth + 1) for entry in value[:MAX_ENTRIES]]
    entries = islice(value.items(), MAX_ENTRIES)
    return {plain(name): harmless(entry, depth + 1) for name, entry in entries}


def figure(metrics: Any, *keys: str) -> float | None:
    """The number under these keys, one in the other; None where there is none, whatever a stranger's file holds."""
    found = metrics
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) if isinstance(found, float) and math.isfinite(found) else None
