"""What Gradio keeps in memory of who came, and for how long.

Gradio keeps a session for each visitor and each call, with the last inputs and answers in it, until there are
thousands of others, the answers that nobody fetched, the path of each file that it was ever given, and the last request
until there is another; uvicorn, beneath it, keeps the addresses of the last 4,096 visitors. None of it is needed longer
than the recordings are, and file names are visitors', too.
"""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from page.tidy import DELETE_AFTER_S, needed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import gradio as gr
    from gradio.queueing import Event

    from page.blocks import Page

_LONGEST = 4096
"""Of a path, by Linux."""
MOST_SESSIONS = 200
"""Kept at once, of those that were used last: five times as many as may be at work and wait. Each is some 100 KB."""


class Events(dict[str, "Event"]):
    """What Gradio's queue keeps of each event that isn't finished, by its name; in place of its own `dict`.

    It also knows of those that are finished and still held by somebody: the loops of the queue hold the last one, with
    the request in it, until there is another.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: WeakSet[Event] = WeakSet()
        self._lock = threading.Lock()

    def __setitem__(self, name: str, event: Event) -> None:
        super().__setitem__(name, event)  # first: what isn't here counts as finished
        with self._lock:
            self._held.add(event)

    def empty_finished(self) -> None:
        """Take out of them who asked, and what."""
        with self._lock:
            held = list(self._held)
        for event in held:
            if event._id not in self:
                event.data = None
                event.request = None  # type: ignore[assignment]  # nobody reads it any more


def clear(page: Page, folder: Path, older_than_s: float = DELETE_AFTER_S) -> None:
    """Forget who hasn't been here for so long, all addresses, and which files were deleted; and keep the files that are
    still waited for. To be called before each sweep.

    Args:
        page: served.
        folder: the page's own, see `page.tidy`.
        older_than_s: seconds.
    """
    needed(*waited_for(page, folder))
    # Uploads come into the folder with the age of their first byte.
    needed(*page.upload_file_set.difference(page.known))
    page.known = set(page.upload_file_set)
    forget_sessions(page, older_than_s)
    page._queue.event_ids_to_events.empty_finished()  # type: ignore[attr-defined]  # `app.launch` made it an `Events`
    forget_paths(page)
    forget_addresses(page)


def waited_for(page: gr.Blocks, folder: Path) -> set[str]:
    """The files in the page's folder that calls name which aren't finished, or wait behind others."""
    own = os.path.realpath(folder)
    found = set()
    for event in _unfinished(page):
        for named in _paths(event.data.data) if event.data is not None else ():
            # Anyone may name anything, and any file of the server's; that isn't touched.
            with contextlib.suppress(OSError, ValueError):
                path = os.path.realpath(named[:_LONGEST])
                if Path(path).is_relative_to(own):
                    found.add(path)
    return found


def forget_sessions(page: gr.Blocks, older_than_s: float) -> None:
    """Forget the sessions, and what they didn't fetch, that were last used so many seconds ago and ask for nothing."""
    sessions, queue = page.state_holder, page._queue
    before = datetime.now() - timedelta(seconds=older_than_s)  # noqa: DTZ005  as Gradio notes it
    busy = {event.session_hash for event in _unfinished(page)}
    for name, used in list(sessions.time_last_used.items()):
        if used > before or name in busy:
            continue
        with sessions.lock:
            if sessions.time_last_used.get(name) == used:  # still
                sessions.session_data.pop(name, None)
                sessions.time_last_used.pop(name, None)
    # Also of those that Gradio let go of by itself, since there were too many.
    for pending in (queue.pending_messages_per_session, queue.pending_event_ids_session):
        for name in list(pending):
            if name not in sessions.time_last_used and name not in busy:
                pending.pop(name, None)


def forget_paths(page: gr.Blocks) -> None:
    """Forget the paths of files that are no more, and of folders, at which Gradio's own deleting would stop."""
    for paths in page.temp_file_sets:
        # `Path.is_file` raises where a name is too long.
        paths.difference_update([path for path in list(paths) if not os.path.isfile(path)])  # noqa: PTH113


def forget_addresses(page: Page) -> None:
    """Forget the addresses that uvicorn compared with those of proxies, and those that `--rate` need not count now."""
    page.server.config.loaded_app.trusted_hosts._trusts.cache_clear()
    if page.rate is not None:
        page.rate.forget()


def _unfinished(page: gr.Blocks) -> list[Any]:
    return list(page._queue.event_ids_to_events.values())


def _paths(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(path := value.get("path"), str):
            yield path
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _paths(part)
