"""What the page says of an answer; HTML with nothing of a stranger's in it that isn't escaped."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from page.plain import figure, plain
from page.tier import runs
from ser_core.emotions import COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ser_core.prediction import Prediction, State, Window
    from ser_core.recognizer import Recognizer

INVITATION = "Record a sentence, upload a clip or press an example; the answer appears here."

_STATES = {"uncertain": "not sure", "no_speech": "no voice"}


def say(prediction: Prediction) -> str:
    """The answer as HTML: one sentence, and the notes on the recording below it."""
    notes = list(prediction.notes)
    if prediction.state == "no_speech":
        advice = notes.pop(0).message if notes else "Speak for a second or more, closer to the microphone."
        sentence = f"<strong>No voice to judge.</strong> {html.escape(advice)}"
    else:
        sentence = nearest(prediction)
    items = "".join(f"<li>{html.escape(note.message)}</li>" for note in notes)
    return f"<p>{sentence}</p>" + (f"<ul>{items}</ul>" if items else "")


def nearest(judged: Prediction | Window) -> str:
    """The two most probable emotions of what was judged, as a sentence; HTML."""
    ranked = sorted(judged.probabilities.items(), key=lambda item: -item[1])
    (first, p_first), (second, p_second) = [(name, f"({percent(share)})") for name, share in ranked[:2]]
    if judged.state == "uncertain":
        return f"Not sure: perhaps <strong>{first}</strong> {p_first}, or <strong>{second}</strong> {p_second}."
    return f"Sounds <strong>{first}</strong> {p_first}, then {second} {p_second}."


def refusal(title: str | None, message: str) -> str:
    """Why there is no answer, as HTML."""
    return f'<p class="refused"><strong>{html.escape(title or "")}.</strong> {html.escape(message)}</p>'


def hint(message: str) -> str:
    """What to do, where there is nothing to tell yet; HTML."""
    return f'<p class="waiting">{html.escape(message)}</p>'


def shares(found: Mapping[str, float]) -> str:
    """How a recording's time is shared out among what was heard, the largest first; HTML.

    Args:
        found: emotion, "uncertain" or "no_speech" -> share of the time, above 0.
    """
    parts = [f"{_STATES.get(name, name)} {percent(share)}" for name, share in found.items()]
    return f"<p>Over time: {', '.join(parts)}.</p>"


def named(state: State, label: str | None) -> str:
    """A state and its label in a word or two, for a table's cell."""
    if state == "uncertain":
        return f"{_STATES[state]}, perhaps {label}"
    return _STATES.get(state, str(label))


def model_line(recognizer: Recognizer) -> str:
    """Which weights are running and, where it was measured, how often they are right; Markdown."""
    info = recognizer.info
    line = (
        f"{plain(info.name)} v{plain(info.version)}, {plain(info.source)}. {info.precision.upper()}, "
        f"{runs(recognizer)}."
    )
    accuracy = figure(recognizer.metrics, "actor_independent", "speech", "accuracy")
    if accuracy is not None:
        line += f" On actors it had never heard it was right about {100 * accuracy:.0f} % of spoken clips."
    return f"{line} The example voices are synthetic (espeak-ng)."


def legend() -> str:
    """Which colour means which emotion; HTML."""
    rows = (f'<li style="--emotion: {colour}">{emotion.value}</li>' for emotion, colour in COLOURS.items())
    return f'<ul class="legend">{"".join(rows)}</ul>'


def table(caption: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls in its own box where it is too wide; HTML.

    Args:
        caption: what it shows.
        headers: of its columns, the first of which names the row.
        rows: HTML, as many cells as headers each.
    """
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in rows
    )
    return boxed("plain", caption, caption, headers, body)


def boxed(kind: str, name: str, caption: str, headers: Sequence[str], body: str) -> str:
    """A table in a box that scrolls by itself, with a finger or with keys; HTML.

    Args:
        kind: its class in the style sheet.
        name: what a screen reader calls the box.
        caption: what the table shows.
        headers: of its columns.
        body: its rows, as HTML.
    """
    head = "".join(f'<th scope="col">{header}</th>' for header in headers)
    return (
        f'<div class="scrolls" role="region" aria-label="{name}" tabindex="0"><table class="{kind}">'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def percent(share: float) -> str:
    """0.614 as 61 %, on one line; HTML."""
    return f"{100 * share:.0f}&nbsp;%"
