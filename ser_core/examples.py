"""Clips that a published model brings along, for visitors who have no voice at hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ser_core.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ser_core.bundle import Bundle

LISTING = "examples.json"
"""A file of the bundle: {"credit": whose the clips are, "clips": [{"file": ..., "label": ...}, ...]}."""

SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True)
class Examples:
    """Clips, and whose they are.

    Attributes:
        credit: to be shown beside them.
        clips: path -> what to call it.
    """

    credit: str
    clips: dict[Path, str]


def write(folder: Path, credit: str, clips: Sequence[tuple[Path, str]]) -> None:
    """Copy clips into the folder of a bundle that is yet to be sealed, and list them.

    Args:
        folder: of the bundle.
        credit: whose the clips are, in a line.
        clips: path and label of each; files of one name would overwrite each other.
    """
    for path, _ in clips:
        (folder / path.name).write_bytes(path.read_bytes())
    listing = {"credit": credit, "clips": [{"file": path.name, "label": label} for path, label in clips]}
    (folder / LISTING).write_text(json.dumps(listing, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def of(opened: Bundle) -> Examples | None:
    """The clips of a verified bundle; None where it has none.

    Raises:
        BundleError: the listing can't be read, or names a file that the bundle doesn't vouch for.
    """
    if LISTING not in opened.files:
        return None
    try:
        stored: dict[str, Any] = json.loads((opened.folder / LISTING).read_text(encoding="utf-8"))
        credit, clips = str(stored["credit"]), {str(one["file"]): str(one["label"]) for one in stored["clips"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(
            f"{LISTING} in {opened.folder} can't be read ({error!r}). Publish the model again."
        ) from error
    if absent := {file for file in clips if file not in opened.files or not file.endswith(SUFFIXES)}:
        raise BundleError(
            f"{LISTING} in {opened.folder} names {', '.join(sorted(absent))}, which are no sounds that the bundle "
            "holds. Publish the model again."
        )
    return Examples(credit, {opened.folder / file: label for file, label in clips.items()})
