"""The page as a whole: its head, its tabs, and what all of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from page import about, analyse, api, compare, files, live, tier
from page.blocks import Page
from page.look import ASSETS
from page.tidy import DELETE_AFTER_S, DELETE_EVERY_S
from page.words import model_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from ser_core.bundle import Bundle
    from ser_core.examples import Examples
    from ser_core.prediction import Precision
    from ser_core.recognizer import Recognizer

AT_ONCE, WAITING = 2, 32
"""Answers computed at the same time, and visitors who may wait for one.

By what `python -m tests.bench.crowd` measured three times on two cores (the last is in docs/speed.md): 1 at a time
gives from 3 % to a third fewer answers than 2; 3, 4 and 8 gave between a fifth fewer and a seventh more, which is how
much such a measurement varies, and each that is at work takes memory. From 8 visitors on, more of them bring no more
answers but longer waits; the last of 32 waits for seconds, and who comes then is told so at once.
"""


def build(
    recognizer: Recognizer,
    *,
    clips: Examples | None = None,
    opened: Bundle | None = None,
    load: Callable[[Precision], Recognizer] | None = None,
) -> Page:
    """The page and its API; nothing is served yet.

    Args:
        recognizer: answers.
        clips: offered beside the synthetic voices.
        opened: the bundle that `recognizer` was loaded from.
        load: loads it in another precision; without, there is no comparison.
    """
    model: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": AT_ONCE}
    page = Page(title="Emotion in a voice", delete_cache=(DELETE_EVERY_S, DELETE_AFTER_S), analytics_enabled=False)
    with page:
        gr.Markdown(
            "# Emotion in a voice\n"
            "Say a sentence: small neural networks tell which of eight acted emotions it sounds like.",
            elem_id="heading",
        )
        gr.Markdown((ASSETS / "notice.md").read_text(encoding="utf-8"), elem_id="notice")
        if recognizer.tier is not None:
            tier.build(page, recognizer.tier)
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            with gr.Tab("One recording", id="one"):
                room = analyse.build(recognizer, clips, model)
            with gr.Tab("Live", id="live") as tab:
                sessions = live.build(recognizer, tab, page)
            with gr.Tab("Many files", id="many"):
                files.build(recognizer)
            if load is not None:
                with gr.Tab("Compare", id="compare"):
                    compare.build(room.recording, compare.Networks(recognizer, load, opened), model)
            with gr.Tab("About the model", id="about"):
                about.build(recognizer, opened)
        gr.Markdown(model_line(recognizer), elem_id="model")
        api.build(recognizer, room, model)

        def forget(request: gr.Request) -> None:
            sessions.leave(live.visitor(request))

        page.unload(forget)
        page.forget = sessions.forget_gone
    # Without `api_open`: else a direct call needs to wait for no place.
    page.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE, api_open=False)
    return page
