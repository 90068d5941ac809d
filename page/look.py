"""How the page looks: one theme, one accent, eight colours that mean the same everywhere."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from ser_core.emotions import COLOURS

ASSETS = Path(__file__).parent.parent / "assets"

_HEAD = """
<meta name="description" content="Speak, and see which of eight acted emotions a small network hears.">
<style>
  /* Gradio hides its link to the API on a phone, but not the dot behind it; the style sheet doesn't reach it. */
  @media (max-width: 640px) {{ footer .divider {{ display: none !important; }} }}
</style>
<script>{script}</script>
"""


def head() -> str:
    """Of the document: what a search engine and a shared link show, and what the style sheet has no way to."""
    return _HEAD.format(script=(ASSETS / "microphone.js").read_text(encoding="utf-8"))


# A screen reader speaks what changes inside; the element itself must stay, so it belongs to the template.
_ANNOUNCED = '<div role="status" aria-live="polite">${value}</div>'


def announced(value: str, elem_id: str) -> gr.HTML:
    """Where a tab says what it has to say, to screen readers as well; HTML."""
    return gr.HTML(value, html_template=_ANNOUNCED, elem_id=elem_id, elem_classes="said")


def theme() -> gr.themes.Base:
    """One accent, teal; small text and buttons keep a contrast of at least 4.5, light or dark."""
    return gr.themes.Default(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
    ).set(
        body_text_color_subdued="*neutral_500",
        link_text_color="*primary_700",
        link_text_color_hover="*primary_800",
        link_text_color_visited="*primary_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
    )


def style() -> str:
    """The style sheet, with a rule per emotion for its bar."""
    rule = '[data-testid="{}-confidence-set"] {{ --stat-background-fill: {}; }}'
    rules = [rule.format(emotion.value, colour) for emotion, colour in COLOURS.items()]
    return "\n".join([(ASSETS / "style.css").read_text(encoding="utf-8"), *rules])
