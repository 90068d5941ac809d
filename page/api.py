"""What programs may call: names and shapes that don't change. The docstrings are what MCP clients read."""

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
    """Open the endpoints `/predict`, `/timeline` and `/batch`, which are the tools of the MCP server, too.

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
            The probabilities of the emotions; a picture of the log-mel spectrogram; and the whole prediction: `state`
            ("ok", "uncertain" or "no_speech"), `label`, `confidence`, `probabilities`, `windows`, `sound`,
            `duration_s`, `notes`, `timings` and `model`.
        """
        return judging.judge(recognizer, audio)[0]

    def timeline(audio: str | None) -> dict[str, Any]:
        """Tell how the emotion of a voice changes over a longer recording.

        Args:
            audio: a sound file with speech or song (WAV, FLAC, OGG, MP3, M4A, WebM), at most ten minutes.

        Returns:
            `segments`: stretches of one emotion with `start_s`, `end_s`, `state`, `label`, `confidence` and
            `probabilities`, which follow each other without a gap; `windows`: the overlapping stretches that were
            judged; `shares`: how much of the time each emotion takes; `duration_s`.
        """
        with judging.told():
            return to_dict(recognizer.predict(audio))

    def batch(audios: list[str] | None) -> list[dict[str, Any]]:
        """Judge many voice recordings.

        Args:
            audios: up to 100 sound files with speech or song.

        Returns:
            For each file its name as `source`, and either the fields of a prediction, as `/predict` gives them, or
            `error`, why it could not be judged.
        """
        return [record.to_dict() for record in files.judge_all(recognizer, audios or [])]

    # Not the tab's, which wants the usual endings: what a program sends may have no name.
    audios = gr.File(file_count="multiple", type="filepath", label="Sound files", visible=False)
    listing = gr.JSON(visible=False, label="Answers")
    single: dict[str, Any] = {"inputs": room.recording, **model}
    gr.on([], predict, outputs=[room.chart, room.spectrogram, room.details], api_name="predict", **single)
    gr.on([], timeline, outputs=room.details, api_name="timeline", **single)
    gr.on([], batch, inputs=audios, outputs=listing, api_name="batch", **files.ONE_AT_A_TIME)
