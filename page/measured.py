"""How good the model is: its figures in words for whoever is curious, and the tables behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from page import confusion
from ser_core import tables
from ser_core.tables import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ser_core.bundle import Bundle

    Figures = Mapping[str, Any]
    """A bundle's metrics, see `train.figures.of`, of which `page.plain.harmless` has made mere text."""

CHANNELS = {"speech": "spoken", "song": "sung"}
"""What the clips of each channel are called here."""

_EXAMPLE = 0.78
"""The confidence near which the page tells how many answers were right."""

_PEOPLE = (
    "People who listen to these spoken clips name the emotion in about two thirds of them (67 %, as cited by "
    "[Luna-Jimenez et al. 2021](https://doi.org/10.3390/s21227665)).\n\n"
    "Figures of up to 98 % that are told of these recordings come from dividing the clips between training and test at "
    "random: each voice of the test was then heard in training too, so that they say nothing of how a new voice is "
    "heard, and can't be compared with the ones above."
)


@dataclass(frozen=True)
class Fold:
    """What a visitor opens to see.

    Attributes:
        label: on the closed fold, plain text.
        words: above the table, in Markdown.
        table: Markdown.
        matrix: HTML, instead of `table`.
    """

    label: str
    words: str
    table: str = ""
    matrix: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, what stands openly below it, in Markdown, and the folds below that."""

    title: str
    words: str
    folds: tuple[Fold, ...] = ()


def sections(figures: Figures) -> list[Section]:
    """All that was measured of a model.

    Args:
        figures: the bundle's metrics, made harmless; {} where nothing was measured.

    Returns:
        The same sections for every model; one whose figures aren't there, or can't be read, says that.
    """
    return [
        _section(figures, "How often it is right", "how often it is right about voices that it never heard", _right),
        _section(figures, "Which emotions it mixes up", "which emotions it takes for which", _emotions),
        _section(figures, "What its per cents mean", "how far its per cents can be trusted", _calibration),
        _section(figures, "As people really record", "what noise, rooms and telephones cost", _robustness),
        _section(figures, "What is no voice", "what it makes of sounds that are no voice", _not_voices),
        _section(figures, "Other recordings", "how it does on whole collections that it never heard", _elsewhere),
    ]


def precisions(figures: Figures, opened: Bundle) -> Fold:
    """What smaller weights cost, or that it wasn't measured.

    Args:
        figures: as for `sections`.
        opened: for the sizes of its files; its manifest is enough.
    """
    label = "Smaller weights, same answers?"
    words = "The same networks with weights of 32, 16 and 8 bits: how often each is right, and how large its files are."
    try:
        return Fold(label, words, tables.precisions(figures, opened))
    except _UNREADABLE:
        return Fold(label, _unmeasured("what smaller weights cost"))


# Figures are whatever a file holds, and those that can't be read say as little as those that aren't there.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def _section(
    figures: Figures, title: str, what: str, make: Callable[[Figures], tuple[str, tuple[Fold, ...]]]
) -> Section:
    try:
        return Section(title, *make(figures))
    except _UNREADABLE:
        return Section(title, _unmeasured(what))


def _unmeasured(what: str) -> str:
    return f"Not measured, as far as this model's own figures tell: {what}."


def _channels(figures: Figures) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the clips of each channel are called, and its figures. Raises KeyError where there is no channel."""
    channels = figures["actor_independent"]
    if not set(CHANNELS) & set(channels):
        raise KeyError("actor_independent")
    return ((called, channels[name]) for name, called in CHANNELS.items() if name in channels)


def _right(figures: Figures) -> tuple[str, tuple[Fold, ...]]:
    shares = []
    for called, values in _channels(figures):
        low, high = values["interval_95"]["accuracy"]
        shares.append(
            f"**{percent(values['accuracy'])}** of {values['n']:,} {called} clips "
            f"(95 % interval: {percent(low)} to {percent(high)})"
        )
    ravdess = figures["protocol"].startswith("RAVDESS")
    words = (
        f"Judged on people whom it never heard in training, it names the acted emotion in {' and '.join(shares)}. The "
        "interval says how far the figure might move with other people. Guessing blindly among "
        f"{len(figures['labels'])} emotions would be right in {percent(1 / len(figures['labels']))}.\n\n"
        "For these figures it was trained several times, each time without the people on whom it was then judged. The "
        "networks that answer here were made in the same way, and learned from all of them."
    )
    how = f"How that was measured, for experts: {figures['protocol']}."
    table = Fold(
        "All figures, group by group",
        "UAR (unweighted average recall) is the mean of the shares that are recognised of each emotion, so that a rare "
        "one counts as much as a frequent one. A fold is a group of speakers, judged by networks that were trained on "
        f"the other groups alone. {tables.CHOICES if ravdess else ''}",
        tables.results(figures),
    )
    return "\n\n".join([words, _PEOPLE, how] if ravdess else [words, how]), (table,)


def _emotions(figures: Figures) -> tuple[str, tuple[Fold, ...]]:
    words, matrices = [], []
    labels = figures["labels"]
    legend = "The rows are what was acted, the columns what it was heard as; in per cent of the row's clips."
    for called, values in _channels(figures):
        words.append(_best_and_worst(values, labels, f"{called} clips"))
        matrix = confusion.table(values["confusion"], labels, f"{called} clips")
        matrices.append(Fold(f"What is taken for what: {called} clips", legend, matrix=matrix))
    recalls = Fold(
        "How much of each emotion is recognised",
        "Recall: of the clips in which an emotion was acted, the share that was heard as that.",
        tables.recalls(figures),
    )
    return " ".join(words), (recalls, *matrices)


def _best_and_worst(values: Figures, labels: list[str], clips: str) -> str:
    """Which emotion is recognised best and which least, and what the latter is taken for, as a sentence or two."""
    recalls = {label: share for label, share in values["recall"].items() if share is not None}
    best, worst = max(recalls, key=recalls.__getitem__), min(recalls, key=recalls.__getitem__)
    row = dict(zip(labels, values["confusion"][labels.index(worst)], strict=True))
    instead = max((label for label in labels if label != worst), key=row.__getitem__)
    said = (
        f"Of {clips} it recognises “{best}” best ({percent(recalls[best])}) and “{worst}” least "
        f"({percent(recalls[worst])}), which it most often takes for “{instead}” "
        f"({percent(row[instead] / sum(row.values()))})."
    )
    absent = [label for label in labels if label not in recalls]
    return f"{said} There are no {clips} that act {' or '.join(absent)}." if absent else said


def _calibration(figures: Figures) -> tuple[str, tuple[Fold, ...]]:
    called, values = next(_channels(figures))
    near = min(values["reliability"], key=lambda one: abs(one["confidence"] - _EXAMPLE))
    words = (
        "It says in per cent how sure it is, and was adjusted (calibrated) so that this can be taken at its word. "
        f"Of {near['n']:,} {called} clips whose answer came with about {percent(near['confidence'], 0)}, "
        f"{percent(near['accuracy'], 0)} were right. Over all {called} clips, what it says and how often it is right "
        f"lie {100 * values['ece']:.1f} points apart on average (the expected calibration error). Below "
        f"{percent(figures['calibration']['uncertain_below'], 0)} it calls an answer “not sure”."
    )
    sure = Fold("How sure it is, and how often right", tables.calibration(figures), tables.reliability(figures))
    only = Fold(
        "If only the surest are answered",
        "How often it is right where it keeps silent about the clips that it is least sure of.",
        tables.coverage(figures),
    )
    return words, (sure, only)


def _robustness(figures: Figures) -> tuple[str, tuple[Fold, ...]]:
    found = figures["robustness"]
    channel, called = next((name, called) for name, called in CHANNELS.items() if name in found["unchanged"])
    accuracies = {name: values[channel]["accuracy"] for name, values in found.items()}
    unchanged = accuracies.pop("unchanged")
    hardest = min(accuracies, key=accuracies.__getitem__)
    words = (
        "The same clips again, changed as rooms, microphones, telephones and noise change them. The hardest for it: "
        f"{hardest}. Of the {called} clips {percent(accuracies[hardest])} are right there, instead of "
        f"{percent(unchanged)}."
    )
    legend = (
        "Decibels (dB) beside a noise say by how much the voice is louder; babble is other people talking. The cost is "
        "in points against the unchanged clips, and in the last column stands in how many clips no voice was found."
    )
    return words, (Fold("Noise by noise, device by device", legend, tables.robustness(figures)),)


def _not_voices(figures: Figures) -> tuple[str, tuple[Fold, ...]]:
    kinds = [values for values in figures["not_voices"].values() if not values["human"]]
    recordings = sum(values["n"] for values in kinds)
    refused = sum(values["n"] * values["refused"] for values in kinds) / recordings
    words = (
        "A voice detector listens first, and where it finds no voice there is no answer. Noises, tones, animals, "
        "machines and the like should get no emotion: either no voice is found, or the answer is “not sure”. Of "
        f"{recordings:,} such recordings without a human sound that was so in {percent(refused)}."
    )
    legend = "What people make is marked as human, since a voice may well be found in it."
    return words, (Fold("Sound by sound", legend, tables.not_voices(figures)),)


def _elsewhere(figures: Figures) -> tuple[str, tuple[Fold, ...]]:
    if not figures["other_recordings"]:
        raise KeyError("other_recordings")
    words = (
        "A new studio, a new language, new sentences: whole collections of recordings, each judged by a network that "
        "was trained on the others and heard no part of it. It is the nearest thing to a visitor's voice."
    )
    legend = "UAR (unweighted average recall) is the mean of the shares that are recognised of each emotion."
    return words, (Fold("Collection by collection", legend, tables.other_recordings(figures)),)
