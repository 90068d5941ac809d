"""The same clip by each precision of the weights, side by side; and with the negative emotions merged into one."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from page import look, words
from page.judging import still_there, told
from page.plain import figure
from ser_core import windows
from ser_core.emotions import LABELS, merge_negative
from ser_core.recognizer import joined
from ser_core.tables import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ser_core.bundle import Bundle
    from ser_core.prediction import Precision
    from ser_core.recognizer import Recognizer
    from ser_core.stretch import Stretch

REPEATS, LONG = 5, 20
"""How often the network judges a clip, of which the median time is told; once where it has more windows than that."""

HINT = "Judges the recording of the first tab with the weights in each precision."
AGAIN = "Press Compare: nothing was compared yet, or it was more than five minutes ago."
NAMES: dict[Precision, str] = {"int8": "INT8", "fp16": "FP16", "fp32": "FP32 (ONNX)"}
WEIGHTS_COLUMNS = ("weights", "answer", "how sure", "network, ms", "size, MB", "right on unseen actors' speech")


class Networks:
    """The model in every precision that it has, each loaded when it is first asked for, and kept.

    Args:
        recognizer: the one that the page answers with.
        load: gives another, by its precision.
        opened: the model's files; None where there are none.
    """

    def __init__(
        self, recognizer: Recognizer, load: Callable[[Precision], Recognizer], opened: Bundle | None = None
    ) -> None:
        self.recognizer, self.opened = recognizer, opened
        # Model servers have one precision: where they answer for the page, all that is compared is loaded here.
        own = {recognizer.info.precision: recognizer}
        self._loaded: dict[Precision, Recognizer] = own if recognizer.tier is None else {}
        self._load = load
        self._lock = threading.Lock()

    @property
    def precisions(self) -> list[Precision]:
        """Those that the model has, the page's own first."""
        own = self.recognizer.info.precision
        return [own, *(name for name in NAMES if name != own and self.opened and self.opened.has(name))]

    def get(self, precision: Precision) -> Recognizer:
        """The recogniser of that precision; raises BundleError where it can't be loaded."""
        with self._lock:
            if precision not in self._loaded:
                self._loaded[precision] = self._load(precision)
            return self._loaded[precision]

    def megabytes(self, precision: Precision) -> float | None:
        """Size of its weights with their graph, in 10^6 bytes."""
        return None if self.opened is None else self.opened.size_of(precision) / 1e6

    def accuracy(self, precision: Precision) -> float | None:
        """Share of spoken clips of unseen actors that it named rightly, as far as it was measured."""
        return figure(self.recognizer.metrics, "precisions", precision, "speech")


@dataclass(frozen=True)
class Judged:
    """One precision's answer.

    Attributes:
        precision: whose.
        eight: name -> probability; empty without a voice.
        network_ms: what the network took for the recording.
    """

    precision: Precision
    eight: dict[str, float]
    network_ms: float

    def probabilities(self, merge: bool) -> dict[str, float]:
        """Of the eight emotions, or of five where the negative ones are merged; empty without a voice."""
        return merge_negative(self.eight) if merge else self.eight


def judge(networks: Networks, path: str | None) -> list[Judged]:
    """Judge a file in every precision, the page's own first; sound and features are the same for all.

    Raises:
        gr.Error: see `told`.
    """
    with told():
        sound = networks.recognizer.read(still_there(path))
        parts = windows.stretches(sound.samples, networks.recognizer.config)
        return [_judged(networks.get(precision), parts) for precision in networks.precisions]


def _judged(recognizer: Recognizer, parts: Sequence[Stretch]) -> Judged:
    times = []
    for _ in range(REPEATS if len(parts) <= LONG else 1):
        began = time.perf_counter()
        judged = recognizer.judge(parts)
        times.append(1000.0 * (time.perf_counter() - began))
    answer = joined(judged)
    eight = dict(zip(LABELS, answer.tolist(), strict=True)) if answer.size else {}
    return Judged(recognizer.info.precision, eight, statistics.median(times))


def agreement(found: Sequence[Judged], merge: bool) -> str:
    """In a sentence, whether the precisions agree; HTML."""
    rows = [one.probabilities(merge) for one in found]
    if not rows[0]:
        return "<p><strong>No voice to judge</strong>, in any precision.</p>"
    tops = {max(row, key=row.__getitem__) for row in rows}
    apart = max(abs(row[label] - rows[0][label]) for row in rows for label in row)
    said = f"All say <strong>{tops.pop()}</strong>" if len(tops) == 1 else f"They differ: {', '.join(sorted(tops))}"
    return f"<p>{said}; their probabilities lie at most {100 * apart:.1f} points apart.</p>"


def weights_table(networks: Networks, found: Sequence[Judged], merge: bool) -> list[list[str]]:
    """A row for each precision: its answer, its time and size, and how often it was right where that was measured."""
    table = []
    for one in found:
        row = one.probabilities(merge)
        top = max(row, key=row.__getitem__, default="no voice")
        size, accuracy = networks.megabytes(one.precision), networks.accuracy(one.precision)
        table.append(
            [
                NAMES[one.precision],
                top,
                percent(row[top]) if row else "",
                f"{one.network_ms:.1f}",
                "" if size is None else f"{size:.1f}",
                "not measured" if accuracy is None else percent(accuracy),
            ]
        )
    return table


def emotions_table(found: Sequence[Judged], merge: bool) -> list[list[str]]:
    """A row for each emotion: how probable, in per cent, each precision finds it; none without a voice."""
    rows = [one.probabilities(merge) for one in found]
    return [[label, *(f"{100 * row[label]:.1f}" for row in rows)] for label in rows[0]]


def view(networks: Networks, found: Sequence[Judged], merge: bool) -> tuple[str, str, str]:
    """What is shown of the answers: a sentence and two tables; HTML."""
    columns = ("emotion", *(NAMES[one.precision] for one in found))
    return (
        agreement(found, merge),
        words.table("The weights", WEIGHTS_COLUMNS, weights_table(networks, found, merge)),
        words.table("How probable each emotion is, in per cent", columns, emotions_table(found, merge)),
    )


def build(recording: gr.Audio, networks: Networks, model: dict[str, Any]) -> None:
    """Lay the tab out and wire it.

    Args:
        recording: the first tab's.
        networks: what is compared.
        model: `concurrency_id` and `concurrency_limit` of what asks the model.
    """
    with gr.Row():
        button = gr.Button("Compare", variant="primary", elem_id="compare")
        merged = gr.Checkbox(
            label="Merge sad, angry, fearful and disgust into one: negative",
            info="The reading in five classes of the project of 2020.",
            elem_id="merged",
        )
    said = look.announced(words.hint(HINT), "compare-said")
    weights = gr.HTML(elem_id="weights")
    gr.Markdown(parity(networks.opened), elem_id="parity")
    emotions = gr.HTML(elem_id="emotions")
    answers = gr.State([])

    def show(path: str | None, merge: bool) -> tuple[Any, ...]:
        try:
            found = judge(networks, path)
        except gr.Error as error:
            return words.refusal(error.title, str(error.message)), "", "", []
        return *view(networks, found, merge), found

    def show_again(found: list[Judged], merge: bool) -> tuple[Any, ...]:
        return view(networks, found, merge) if found else (words.hint(AGAIN), gr.skip(), gr.skip())

    shared: dict[str, Any] = {"api_visibility": "private", "show_progress_on": said}
    shown = [said, weights, emotions]
    button.click(show, [recording, merged], [*shown, answers], trigger_mode="once", **model, **shared)
    merged.input(show_again, [answers, merged], shown, trigger_mode="always_last", queue=False, **shared)


def parity(opened: Bundle | None) -> str:
    """How far the precisions were from PyTorch when they were exported, in a sentence; Markdown."""
    unmeasured = "How far they lie from the network in PyTorch was not measured."
    try:
        measured = opened.training["parity"] if opened else {}
        said = [f"{NAMES[name]} {_points(float(measured[name]['probability']))}" for name in NAMES if name in measured]
        clips = max(int(one["clips"]) for one in measured.values())
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # whatever a stranger's bundle holds
        return unmeasured
    if not said:
        return unmeasured
    return (
        f"Against the same network in PyTorch, on {clips} clips, no probability was further off than: "
        f"{', '.join(said)}."
    )


def _points(share: float) -> str:
    return f"{100 * share:.2g} points" if share >= 1e-4 else "a hundredth of a point"
