"""An otherwise empty Gradio page with the components of ours, whose functions return constants: what Gradio itself
costs, in time, in memory and in accessibility.

    python -m tests.browser.bare --port PORT
"""

from __future__ import annotations

import argparse
import os
import signal

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from typing import Any

import gradio as gr
import pandas as pd

from ser_core.emotions import LABELS
from tests.browser.driving import ROOT

CHART = {label: 1.0 / len(LABELS) for label in LABELS}
WINDOW = {"start_s": 0.0, "end_s": 3.0, "state": "ok", "label": "sad", "confidence": 0.5, "probabilities": CHART}
ANSWER = {**WINDOW, "windows": [{**WINDOW, "attention": [0.03125] * 32}]}
SERIES = pd.DataFrame([(t, label, 0.125) for t in (1.5, 2.5) for label in LABELS], columns=["s", "emotion", "p"])
CLIPS = sorted((ROOT / "assets" / "examples").glob("*.wav"))


def build() -> gr.Blocks:
    """The page; recording, uploading and pressing the button answer like ours, as soon as Gradio can."""
    picture = ROOT / "assets" / "icon.png"

    def show(path: str | None) -> list[Any]:
        return ["<p>Sounds <strong>sad</strong>.</p>", *predict(path)]

    def predict(audio: str | None) -> list[Any]:
        return [CHART, str(picture), ANSWER]

    page: gr.Blocks = gr.Blocks(title="Bare", analytics_enabled=False)
    with page:
        gr.Markdown("# Bare")
        with gr.Tabs():
            with gr.Tab("One recording"):
                recording = gr.Audio(
                    sources=["microphone", "upload"], type="filepath", label="Your recording", elem_id="recording"
                )
                upload = gr.UploadButton("Upload a sound file")
                gr.Examples([[str(clip)] for clip in CLIPS], inputs=recording, elem_id="examples")
                button = gr.Button("Judge it", elem_id="judge")
                sentence = gr.HTML(elem_id="answer")
                chart = gr.Label(label="Chart", elem_id="chart")
                spectrogram = gr.Image(label="Picture", interactive=False, elem_id="spectrogram")
                with gr.Accordion("The whole answer", open=False):
                    details = gr.JSON()
                gr.LinePlot(SERIES, x="s", y="p", color="emotion")
                gr.DownloadButton("Save")
            with gr.Tab("Live"):
                live = gr.Audio(sources=["microphone"], streaming=True, type="numpy", label="Live", elem_id="live")
                gr.Label(label="Chart")
                gr.Image(label="Picture", interactive=False)
            with gr.Tab("Many files"):
                gr.File(file_count="multiple", label="Sound files", elem_id="files")
                gr.Button("Judge them all", elem_id="judge-all")
                gr.Dataframe([["a", 1.0]], headers=["file", "seconds"], interactive=False)
            with gr.Tab("Compare"):
                gr.Checkbox(label="Merge")
            with gr.Tab("About the model"):
                gr.Markdown("About [something](https://example.org)")
        outputs = [sentence, chart, spectrogram, details]
        gr.on([recording.stop_recording, recording.upload, button.click], show, recording, outputs)
        upload.upload(show, upload, outputs)
        gr.on([], predict, recording, outputs[1:], api_name="predict")
        live.stream(lambda chunk: None, live, None)
    return page


def main() -> None:
    """Serve it until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.bare")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    build().launch(server_name="127.0.0.1", server_port=options.port, quiet=True, ssr_mode=False)


if __name__ == "__main__":
    main()
