"""Whose recordings these are: what the folder of example clips has to say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ser_core.attribution import RAVDESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from train.corpora import Clip

CREDIT = f"{RAVDESS.title}, Livingstone and Russo 2018, CC BY-NC-SA 4.0"
"""A line to be shown beside its clips."""


def of_examples(clips: Sequence[Clip]) -> str:
    """The page beside example clips of RAVDESS that says whose they are.

    Args:
        clips: given on under the names of their files.

    Returns:
        Markdown.
    """
    rows = [f"| {clip.path.name} | {clip.emotion.value} | {clip.speaker} | {clip.sex} |" for clip in clips]
    terms = (
        "They were copied as they are, under their own names; nothing was changed. They may be given on under the same "
        "licence, and not be used commercially."
    )
    return "\n".join(
        [
            "# Whose recordings these are",
            "",
            f"The clips named below are part of {RAVDESS.title}, shared under {RAVDESS.licence}:",
            "",
            RAVDESS.citation,
            "",
            terms,
            "",
            "| file | acted emotion | actor | sex |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )
