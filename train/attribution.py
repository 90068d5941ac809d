"""Whose recordings these are: the corpora as a model card and the folder of example clips have to name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from train.corpora import Clip

SHARE_ALIKE = "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/)"


@dataclass(frozen=True)
class Source:
    """A corpus as others have to name it.

    Attributes:
        title: its own name.
        dataset: its usual short name, or its id among the Hub's data sets where its makers put it there.
        language: of its speakers, ISO 639-1.
        voices: who speaks, and in which language.
        licence: of the recordings.
        citation: authors, year, title, place and a link.
    """

    title: str
    dataset: str
    language: str
    voices: str
    licence: str
    citation: str


RAVDESS = Source(
    title="RAVDESS",
    dataset="ravdess",
    language="en",
    voices="24 actors, English, two sentences, spoken and sung",
    licence=SHARE_ALIKE,
    citation=(
        "Livingstone SR, Russo FA (2018) The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS). "
        "PLoS ONE 13(5): e0196391. https://doi.org/10.1371/journal.pone.0196391, recordings: "
        "https://doi.org/10.5281/zenodo.1188976"
    ),
)
SOURCES: dict[str, Source] = {
    "ravdess": RAVDESS,
    "nemo": Source(
        title="nEMO",
        dataset="amu-cai/nEMO",
        language="pl",
        voices="9 actors, Polish",
        licence=SHARE_ALIKE,
        citation=(
            "Christop I (2024) nEMO: Dataset of Emotional Speech in Polish. LREC-COLING 2024. "
            "https://github.com/amu-cai/nEMO"
        ),
    ),
    "banglaser": Source(
        title="BanglaSER",
        dataset="banglaser",
        language="bn",
        voices="34 actors, Bengali",
        licence="CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)",
        citation=(
            "Das RK et al. (2022) BanglaSER: A speech emotion recognition dataset for the Bangla language. "
            "Data in Brief 42, 108091. https://doi.org/10.17632/t9h6p943xy"
        ),
    ),
}
"""By the names of `train.corpora.CORPORA`; one's own recordings have no entry."""


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
