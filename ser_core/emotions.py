"""The eight emotions: their order, names, colours and groups. Every list of classes in the project is this one."""

from __future__ import annotations

from enum import StrEnum


class Emotion(StrEnum):
    """One of the eight states of RAVDESS; the value is its public name.

    The order of the members is the order of the network's logits and of every dict and chart of probabilities.
    It is the order of the third field of a RAVDESS file name (Livingstone & Russo 2018,
    doi:10.1371/journal.pone.0196391).
    """

    NEUTRAL = "neutral"
    CALM = "calm"
    HAPPY = "happy"
    SAD = "sad"
    ANGRY = "angry"
    FEARFUL = "fearful"
    DISGUST = "disgust"
    SURPRISED = "surprised"


EMOTIONS: tuple[Emotion, ...] = tuple(Emotion)
LABELS: tuple[str, ...] = tuple(emotion.value for emotion in EMOTIONS)

NEGATIVE: frozenset[Emotion] = frozenset({Emotion.SAD, Emotion.ANGRY, Emotion.FEARFUL, Emotion.DISGUST})
"""The emotions that the five-class reading (calm, happy, negative, neutral, surprised) merges into one."""
NEGATIVE_LABEL = "negative"
"""What that one is called."""

COLOURS: dict[Emotion, str] = {
    Emotion.NEUTRAL: "#777777",
    Emotion.CALM: "#56B4E9",
    Emotion.HAPPY: "#F0E442",
    Emotion.SAD: "#0072B2",
    Emotion.ANGRY: "#D55E00",
    Emotion.FEARFUL: "#CC79A7",
    Emotion.DISGUST: "#009E73",
    Emotion.SURPRISED: "#E69F00",
}
"""sRGB colours, the palette of Okabe & Ito (2008), which people with any common colour blindness can tell apart;
its black, unreadable on a dark page, is a mid grey here."""


def merge_negative(probabilities: dict[str, float]) -> dict[str, float]:
    """The five-class reading of an answer: sadness, anger, fear and disgust are one, `negative`.

    Args:
        probabilities: the eight names to floats, as in `Prediction.probabilities`; {} where nothing was judged.

    Returns:
        The five names to floats of the same sum, in the order in which they, or the first of the merged, came; {} for
        {}.
    """
    merged: dict[str, float] = {}
    for label, probability in probabilities.items():
        name = NEGATIVE_LABEL if label in NEGATIVE else label
        merged[name] = merged.get(name, 0.0) + probability
    return merged
