"""Whose recordings a model learned from: the corpora as a model card, the page and example clips have to name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    def __str__(self) -> str:
        """All that its licence asks to be said, in a line."""
        return f"{self.title}, {self.licence}. {self.citation}"


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

CHANGES = (
    "The recordings were resampled, trimmed, turned into spectrograms and changed in speed, level and spectrum for "
    "training; none of them is contained in the weights."
)
"""What became of them, which their licences ask to be said as well."""


WHISPER = (
    "A part of the network, the first layers of a speech encoder, is [Whisper](https://github.com/openai/whisper) "
    "tiny.en by OpenAI, MIT, as it came. It learned to write down 680,000 hours of speech from the web; nobody told it "
    "an emotion, but that it heard the actors of these corpora can't be ruled out."
)
"""What has to be said of a network with a pretrained part."""


def is_pretrained(training: Mapping[str, Any]) -> bool:
    """Whether a part of the network is Whisper's; `training` as in `trained_on`."""
    recipe = training.get("recipe")
    return isinstance(recipe, dict) and bool(recipe.get("reader"))


def trained_on(training: Mapping[str, Any]) -> list[tuple[str, Source | None]]:
    """The corpora of a bundle by their names, the tested one first; None where nothing is known of one.

    Args:
        training: `Bundle.training`, which may hold anything; [] where it names no corpora.
    """
    recipe = training.get("recipe")
    names = recipe.get("corpora") if isinstance(recipe, dict) else None
    return [(name, SOURCES.get(name)) for name in names if isinstance(name, str)] if isinstance(names, list) else []
