"""Whether the model servers answer, where the network runs on such: a line at the head of the page that keeps itself up
to date, and what is said of them elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

if TYPE_CHECKING:
    from ser_core.recognizer import Recognizer
    from ser_core.remote import RemoteBackend, State

EVERY_S = 10.0
"""Seconds between two looks of an open page."""
ENDPOINT = "tier"
"""Asked by the page itself, and by a name of its own: a look that nobody asked for shall not count as a visitor's work,
see `page.guard`."""

SAID: dict[State, str] = {
    "up": "",
    "standing_in": "<p><strong>The model server can't be reached just now.</strong> Until it is back, recordings are "
    "judged by the computer that serves this page; it may take longer.</p>",
    "down": "<p><strong>Nothing can be judged just now:</strong> the model server can't be reached. This page keeps "
    "looking; when this line is gone, try again.</p>",
}
ELSEWHERE = (
    "To be judged, the spectrogram of a recording (no sound) is sent to a model server that whoever runs this page has "
    "chosen."
)

# What was said stays where the page itself doesn't answer; and what is said again is no news to a screen reader.
_LOOK = f"""async said => {{
  const ask = {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, body: '{{"data": []}}'}};
  let now = said;
  try {{ now = (await (await fetch('gradio_api/run/{ENDPOINT}', ask)).json()).data[0]; }} catch {{}}
  return now === said ? {{__type__: 'update'}} : now;
}}"""
_BANNER = '<div role="status" aria-live="polite">${value}</div>'


def build(page: gr.Blocks, tier: RemoteBackend) -> None:
    """Lay the line out, which is empty while a server answers, and have it looked after."""
    banner = gr.HTML("", html_template=_BANNER, elem_id="tier")
    watch = gr.Timer(EVERY_S)
    gr.on(
        [],
        lambda: SAID[tier.state()],
        None,
        banner,
        api_name=ENDPOINT,
        api_visibility="undocumented",
        queue=False,
    )
    gr.on([page.load, watch.tick], None, banner, banner, js=_LOOK, api_visibility="private", show_progress="hidden")


def runs(recognizer: Recognizer) -> str:
    """What runs the network, to complete a sentence."""
    if recognizer.tier is None:
        return "run by OpenVINO"
    if recognizer.tier.fallback is None:
        return "run by a model server"
    return "run by a model server, or by OpenVINO here while that can't be reached"
