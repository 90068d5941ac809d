"""Gradio's page, with an answer in words to whatever it is sent."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import gradio as gr

from page.fetch import brought_here
from page.judging import OUR_FAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gradio.block_function import BlockFunction
    from gradio.state_holder import SessionState

    from page.rate import Rate

UNFIT = (
    "This input is not one that the page can take: a wrong type, a missing part, or a file that was not uploaded here. "
    "Upload the file first; /gradio_api/info tells what each endpoint takes."
)

TITLE = "This can't be taken"

log = logging.getLogger("ser.app")


class Page(gr.Blocks):
    """Blocks through which nothing but a gr.Error reaches a visitor, and no address but `page.fetch`'s way.

    Attributes:
        forget: lets go of what the page holds in memory of visitors who are gone; to be called every few seconds.
        kept: paths of files that no visitor may have deleted, the examples' say.
        rate: counts what visitors start; None where they may start as much as they like.
        known: paths of uploads that were there at the last sweep, see `page.remembered`.
    """

    forget: Callable[[], None] = staticmethod(lambda: None)
    kept: Collection[str] = frozenset()
    rate: Rate | None = None
    known: Collection[str] = frozenset()

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        """As Gradio's, which would fetch addresses without bounds.

        Raises:
            gr.Error: an input doesn't fit, or can't be fetched.
        """
        try:
            fetched = await brought_here(inputs)
            prepared: list[Any] = await super().preprocess_data(block_fn, fetched, state, explicit_call)
        except gr.Error:
            raise
        except Exception as error:
            # Without the error itself: it may hold what was sent.
            log.info("An input was refused (%s)", type(error).__name__)
            raise gr.Error(UNFIT, title=TITLE, print_exception=False) from error
        return prepared

    async def process_api(self, block_fn: BlockFunction | int, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As Gradio's.

        Raises:
            gr.Error: whatever it was, in words.
        """
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        if function.fn is None:  # what only a browser does
            raise gr.Error(UNFIT, title=TITLE, print_exception=False)
        try:
            done: dict[str, Any] = await super().process_api(function, *args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            log.exception("Unforeseen failure while answering")
            raise gr.Error(OUR_FAULT, title="That didn't work", print_exception=False) from error
        return done
