"""What programs may call: names and shapes that don't change. The docstrings are what their authors read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from page import files, judging
from ser_core.timeline import to_dict

if TYPE_CHECKING:
    from page.analyse import Room
    from page.judging import Answer
    from ser_core.recognizer import Recognizer


def build(recognizer: Recognizer, room: Room, model: dict[str, Any]) -> None:
    """Open the endpoints `/predict`, `/timeline` and `/batch`; the first two are tools of the MCP server, too.

    Of the docstrings Gradio makes the descriptions, with each line break under "Returns" as a comma.

    Args:
        recognizer: answers.
        room: the first tab, whose components describe what goes in and comes out.
        model: `concurrency_id` and `concurrency_limit` of what asks the model.
    """

    def predict(audio: str | None) -> Answer:  # an API's parameters are named as these
        """Judge which of eight acted emotions a voice recording sounds like.

        It hears what was acted, not what anyone feels, and must not be used to judge people.

        Args:
            audio: a sound file with speech or song (WAV, FLAC, OGG, MP3, M4A, WebM), at most ten minutes.

        Returns:
            The probabilities; a picture of the spectrogram; the whole prediction (state, label, windows, notes ...).
        """
        return judging.judge(recognizer, audio)[0]

    def timeline(audio: str | None) -> dict[str, Any]:
        """Tell how the emotion of a voice changes over a longer recording.

        Args:
            audio: a sound file with speech or song (WAV, FLAC, OGG, MP3, M4A, WebM), at most ten minutes.

        Returns:
            `segments` of one emotion each, the overlapping `windows` they come from, and `shares` of the time.
        """
        with judging.told():
            return to_dict(recognizer.predict(audio))

    def batch(audios: list[str] | None) -> list[dict[str, Any]]:
        """Judge many voice recordings.

        Args:
            audios: up to 100 sound files with speech or song.

        Returns:
            For each file its `source` and a prediction as of /predict, or an `error` that says why there is none.
        """
        return [record.to_dict() for record in files.judged(recognizer, audios or [])]

    # Not the tab's, which wants the usual endings: what a program sends may have no name.
    audios = gr.File(file_count="multiple", type="filepath", label="Sound files", visible=False)
    listing = gr.JSON(visible=False, label="Answers")
    single: dict[str, Any] = {"inputs": room.recording, **model}
    gr.on([], predict, outputs=[room.chart, room.spectrogram, room.details], api_name="predict", **single)
    gr.on([], timeline, outputs=room.details, api_name="timeline", **single)
    gr.on([], batch, inputs=audios, outputs=listing, api_name="batch", **files.ONE_AT_A_TIME)
