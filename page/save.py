"""What a visitor takes along is made in the browser, of what it shows already: the server keeps no file for it."""

from __future__ import annotations

import json

import gradio as gr

from ser_core.emotions import LABELS

_SAVE = """const save = (blob, name) => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob); link.download = name; link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
};"""

# Gradio draws the picture from WebP, which image editors and slides may not know.
PNG = f"""() => {{ {_SAVE}
  const image = document.querySelector('#spectrogram img');
  if (!image) return [];
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  canvas.getContext('2d').drawImage(image, 0, 0);
  canvas.toBlob(blob => save(blob, 'spectrogram.png'));
  return []; }}"""

JSON = f"""answer => {{ {_SAVE}
  save(new Blob([JSON.stringify(answer, null, 1)], {{type: 'application/json'}}), 'emotion.json');
  return []; }}"""

CSV = f"""answer => {{ {_SAVE}
  const labels = {json.dumps(LABELS)};
  const columns = ['start_s', 'end_s', 'state', 'label', 'confidence'];
  const rows = answer.windows.map(window =>
    [...columns.map(column => window[column]), ...labels.map(label => window.probabilities[label])]);
  const lines = [[...columns, ...labels], ...rows].map(row => row.map(cell => cell ?? '').join(','));
  save(new Blob([lines.join('\\n') + '\\n'], {{type: 'text/csv'}}), 'emotion.csv');
  return []; }}"""
"""A row for each window; numbers, and words of ours alone, so that nothing needs quotes."""

LABELLED = {"Picture (PNG)": PNG, "Answer (JSON)": JSON, "Windows (CSV)": CSV}


def row() -> list[gr.Button]:
    """The buttons, side by side; they can be pressed once there is an answer."""
    with gr.Row():
        return [gr.Button(label, size="sm", interactive=False, min_width=90) for label in LABELLED]


def wire(buttons: list[gr.Button], details: gr.JSON) -> None:
    """Let each of `row`'s buttons save what is shown; `details` holds the answer, as `Prediction.to_dict` gives it."""
    for button, script in zip(buttons, LABELLED.values(), strict=True):
        button.click(None, details, None, js=script, api_visibility="private")
