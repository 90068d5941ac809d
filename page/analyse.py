"""One recording: recorded, uploaded or an example; judged as a whole and over time."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import gradio as gr

from page import look, save, words
from page.judging import judge, over_time
from page.look import ASSETS
from ser_core import plots, timeline
from ser_core.audio import SUFFIXES
from ser_core.emotions import COLOURS, LABELS
from ser_core.errors import NoAudio, UnreadableAudio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from ser_core.examples import Examples
    from ser_core.prediction import Prediction
    from ser_core.recognizer import Recognizer
    from ser_core.timeline import Segment

EXAMPLES = ("plain", "slow and low", "fast and high", "loud and lively", "quiet and flat")
SEGMENT_COLUMNS = ("from, s", "to, s", "emotion", "how sure")
LISTENED = (
    "The white line rises where the networks listened most. Below a longer recording, a strip shows which emotion was "
    "heard when: faint where they aren't sure."
)
TAKE = """**Take it along.** The files are made in your browser; nothing stays here. Programs can ask, too, from Python,
JavaScript, a shell or an assistant that speaks MCP: *Use via API or MCP*, at the foot of the page, shows how."""


@dataclasses.dataclass(frozen=True)
class Room:
    """The parts of this tab that others refer to."""

    recording: gr.Audio
    chart: gr.Label
    spectrogram: gr.Image
    details: gr.JSON


def build(recognizer: Recognizer, clips: Examples | None, model: dict[str, Any]) -> Room:
    """Lay the tab out and wire it.

    Args:
        recognizer: answers.
        clips: offered beside the synthetic voices.
        model: `concurrency_id` and `concurrency_limit` of what asks the model.
    """
    with gr.Row():
        with gr.Column(min_width=320):
            recording = gr.Audio(
                sources=["microphone", "upload"],
                type="filepath",
                label="Your recording",
                editable=False,
                buttons=[],
                elem_id="recording",
            )
            # The recorder's own chooser greys out WebM and MP4, and its sign for it says nothing.
            upload = gr.UploadButton(
                "Upload a sound file", file_types=["audio", *SUFFIXES], size="sm", elem_id="upload"
            )
            synthetic = {ASSETS / "examples" / f"synthetic-{name.replace(' ', '-')}.wav": name for name in EXAMPLES}
            offered = [_offer(recording, synthetic, "Or try a synthetic voice", "examples")]
            if clips is not None:
                credit = f"Or an actor whom it heard in training: {clips.credit}"
                offered.append(_offer(recording, clips.clips, credit, "actors"))
            button = gr.Button("Judge it", variant="primary", elem_id="judge")
        with gr.Column(min_width=320):
            sentence = look.announced(words.hint(words.INVITATION), "answer")
            chart = gr.Label(
                label="How probable each emotion is", show_heading=False, elem_id="chart", elem_classes="emotions"
            )
    with gr.Row():
        with gr.Column(min_width=320):
            spectrogram = gr.Image(
                label="Spectrogram",
                interactive=False,
                buttons=["fullscreen"],
                alt_text="No recording yet",
                elem_id="spectrogram",
                elem_classes="picture",
            )
            gr.Markdown(LISTENED, elem_id="listened")
        with gr.Column(min_width=320, elem_id="take"):
            gr.Markdown(TAKE)
            saves = save.row()
            with gr.Accordion("The whole answer", open=False):
                details = gr.JSON(show_label=False, label="The whole answer", max_height=320)
            save.wire(saves, details)
    with gr.Column(visible=False, elem_id="over-time") as course:
        summary = look.announced("", "shares")
        curves = gr.LinePlot(
            x="seconds",
            y="probability",
            color="emotion",
            color_map={emotion.value: colour for emotion, colour in COLOURS.items()},
            colors_in_legend=[],  # it doesn't fit on a phone; ours below does
            y_lim=[0.0, 1.0],
            label="Emotions over time",
            tooltip="all",
            elem_id="curves",
        )
        gr.HTML(words.legend(), elem_id="legend")
        table = gr.HTML(elem_id="segments")

    shown = [sentence, chart, spectrogram, details, *saves, course, summary, curves, table]

    def empty(sentence: str) -> list[Any]:
        blank = [None, None, None, *([gr.Button(interactive=False)] * len(saves))]
        return [sentence, *blank, gr.Column(visible=False), "", None, ""]

    def show(path: str | None) -> list[Any]:
        try:
            answer, prediction = judge(recognizer, path)
        except gr.Error as error:  # told where the answer would stand, and the last answer is cleared away
            useless = path is not None and isinstance(error.__cause__, (NoAudio, UnreadableAudio))
            return [None if useless else gr.skip(), *empty(words.refusal(error.title, str(error.message)))]
        segments = over_time(prediction)
        alt_text = plots.describe(prediction.duration_s, prediction.sound, prediction.windows, segments)
        picture = gr.Image(answer.spectrogram, alt_text=alt_text)
        saved = [gr.Button(interactive=True)] * len(saves)
        whole = [words.say(prediction), answer.chart, picture, answer.prediction, *saved]
        return [gr.skip(), *whole, *_course(prediction, segments)]

    def show_upload(path: str | None) -> list[Any]:
        kept, *rest = show(path)
        return [kept if kept is None else path, *rest]

    # Every way in shares the model's few places, and a file chosen while another is judged is judged next.
    shared: dict[str, Any] = {
        **model,
        "outputs": [recording, *shown],
        "api_visibility": "private",
        "trigger_mode": "always_last",
        "show_progress": "minimal",
        "show_progress_on": sentence,
    }
    gr.on([recording.stop_recording, recording.upload, button.click], show, recording, **shared)
    upload.upload(show_upload, upload, **shared)
    for one in offered:
        one.load_input_event.then(show, recording, **shared)
    recording.clear(lambda: empty(words.hint(words.INVITATION)), None, shown, queue=False, api_visibility="private")
    return Room(recording, chart, spectrogram, details)


def _offer(recording: gr.Audio, clips: dict[Path, str], label: str, elem_id: str) -> Any:
    return gr.Examples(
        [[str(path)] for path in clips],
        inputs=recording,
        example_labels=list(clips.values()),
        label=label,
        elem_id=elem_id,
        api_visibility="private",
    )


def _course(prediction: Prediction, segments: Sequence[Segment]) -> list[Any]:
    """Updates of the part that a recording of more than one window has: its frame, summary, curves and table."""
    if not segments:
        return [gr.Column(visible=False), "", None, ""]
    rows = [
        (
            f"{segment.start_s:.1f}",
            f"{segment.end_s:.1f}",
            words.named(segment.state, segment.label),
            "" if segment.confidence is None else words.percent(segment.confidence),
        )
        for segment in segments
    ]
    plot = gr.LinePlot(series(prediction), x_lim=[0.0, prediction.duration_s])
    return [
        gr.Column(visible=True),
        words.shares(timeline.shares(segments)),
        plot,
        words.table("What was heard when", SEGMENT_COLUMNS, rows),
    ]


def series(prediction: Prediction) -> pd.DataFrame:
    """A row for each window with a voice and each emotion: its middle in seconds, and how probable."""
    import pandas as pd

    rows = [
        (round((window.start_s + window.end_s) / 2, 2), label, round(window.probabilities[label], 4))
        for window in prediction.windows
        if window.probabilities
        for label in LABELS
    ]
    return pd.DataFrame(rows, columns=["seconds", "emotion", "probability"])
