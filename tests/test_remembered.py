"""What the page's memory holds of who came: no more than of their recordings, and no longer."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from types import CellType, FrameType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Event

import app
from page import layout, options, remembered
from page.tidy import DELETE_AFTER_S
from tests import bundles
from tests.fakes import FAKE, free_port
from tests.plain_http import API, begin, file, join, upload
from tests.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "ann-smith-session-3.wav"
LONG_AGO = time.time() - 10_000.0


def visit(page: Any, clip: Path, session: str) -> Path:
    """Upload a clip and have it judged, as the page itself does; gives the file's path."""
    path = upload(page.local_url, NAME, clip.read_bytes())
    number = next(number for number, function in page.fns.items() if function.api_name == "predict")
    assert "angry" in str(join(page.local_url, number, [file(path, orig_name=NAME)], session))
    until(lambda: not page._queue.event_ids_to_events)  # the answer comes before its end
    return Path(path)


def told(page: Any) -> str:
    """What its memory holds of visitors, as text."""
    states = [state.config_values for state in page.state_holder.session_data.values()]
    fetched_by_nobody = [list(queue._queue) for queue in page._queue.pending_messages_per_session.values()]
    return repr([states, fetched_by_nobody, page.temp_file_sets])


def wait(page: Any, monkeypatch: pytest.MonkeyPatch, name: str, paths: Sequence[Any], session: str = "x") -> None:
    """As long as the test runs, have an event wait in which files are named."""
    event = Event(session, SimpleNamespace(concurrency_id="x"), None, None)  # type: ignore[arg-type]
    event._id = name
    event.data = PredictBodyInternal(data=[[file(str(path)) for path in paths]]) if paths else None
    monkeypatch.setitem(page._queue.event_ids_to_events, name, event)


def test_a_visitor_who_has_not_been_here_for_minutes_is_forgotten(fake_page: Any, clip: Path, tmp_path: Path) -> None:
    path = visit(fake_page, clip, "ann")
    assert NAME in told(fake_page)
    remembered.clear(fake_page, tmp_path)
    assert "ann" in fake_page.state_holder.session_data  # she may still be reading
    path.unlink()
    remembered.clear(fake_page, tmp_path, older_than_s=0.0)
    assert "ann" not in fake_page.state_holder.session_data
    assert NAME not in told(fake_page)
    visit(fake_page, clip, "ann")  # and may come again


def test_an_answer_that_nobody_fetches_is_forgotten(fake_page: Any, clip: Path, tmp_path: Path) -> None:
    path = upload(fake_page.local_url, NAME, clip.read_bytes())
    name = begin(fake_page.local_url, [file(path, orig_name=NAME)])
    until(lambda: name not in fake_page._queue.event_ids_to_events)
    assert "angry" in told(fake_page)
    remembered.clear(fake_page, tmp_path, older_than_s=0.0)
    assert "angry" not in told(fake_page)
    assert name not in fake_page._queue.pending_event_ids_session


def test_who_still_waits_is_not_forgotten(
    fake_page: Any, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit(fake_page, clip, "bob")
    wait(fake_page, monkeypatch, "waiting", [clip], "bob")
    remembered.clear(fake_page, tmp_path, older_than_s=0.0)
    assert "bob" in fake_page.state_holder.session_data


def test_names_that_strangers_make_up_fill_no_memory(fake_page: Any) -> None:
    with httpx.Client(base_url=f"{fake_page.local_url}{API}") as stranger:
        for number in range(remembered.MOST_SESSIONS + 50):
            stranger.post("/run/x", json={"data": [], "session_hash": f"made-up-{number}"})
            if number % 2:
                stranger.post("/run/predict", json={"data": [None], "session_hash": f"made-up-{number}"})
    assert len(fake_page.state_holder.session_data) <= remembered.MOST_SESSIONS


def test_a_file_that_waits_behind_others_is_not_old(
    fake_page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "page").mkdir()
    waiting, other, elsewhere = folder / "waiting.wav", folder / "other.wav", tmp_path / "passwd"
    for path in (waiting, other, elsewhere):
        path.write_bytes(b"voice")
        os.utime(path, (LONG_AGO, LONG_AGO))
    for named in ("\0", "\ud800", "a/" * 2**20, waiting, elsewhere, folder / "gone.wav", f"{folder}/../passwd", 5):
        wait(fake_page, monkeypatch, str(named), [named])
    wait(fake_page, monkeypatch, "nothing", [])
    remembered.clear(fake_page, folder)
    fresh = [path for path in (waiting, other, elsewhere) if time.time() - path.stat().st_mtime < DELETE_AFTER_S]
    assert fresh == [waiting]


def test_an_upload_counts_from_when_it_is_there(fake_page: Any, clip: Path, tmp_path: Path) -> None:
    """Gradio gives it the name that it is known by at the end, and with it the age of its beginning."""
    fake_page.known = frozenset()
    path = visit(fake_page, clip, "slow")
    os.utime(path, (LONG_AGO, LONG_AGO))
    remembered.clear(fake_page, tmp_path)
    assert time.time() - path.stat().st_mtime < DELETE_AFTER_S
    os.utime(path, (LONG_AGO, LONG_AGO))
    remembered.clear(fake_page, tmp_path)
    assert time.time() - path.stat().st_mtime > DELETE_AFTER_S


def test_what_gradio_let_go_of_itself_is_forgotten_too(fake_page: Any, tmp_path: Path) -> None:
    fake_page._queue.pending_event_ids_session["evicted"] = {"x"}
    remembered.clear(fake_page, tmp_path)
    assert "evicted" not in fake_page._queue.pending_event_ids_session


def held(word: str) -> list[str]:
    """What of this process's memory holds a text with the word, but for the test itself."""
    gc.collect()
    holders = [thing for thing in gc.get_objects() if type(thing) not in (FrameType, CellType)]
    return [f"{type(holder)}: {text!r:.200}" for holder in holders for text in texts(holder) if word in str(text)]


def texts(holder: Any) -> Iterator[str | bytes]:
    """Those that it holds, in tuples and the like as well, which `gc.get_objects` leaves out where it can."""
    for thing in gc.get_referents(holder):
        if type(thing) in (str, bytes):
            yield thing
        elif type(thing) in (tuple, dict) and not gc.is_tracked(thing):
            yield from texts(thing)


@pytest.mark.parametrize("rate", [None, 100])
def test_nothing_at_all_is_kept_of_who_is_gone(
    rate: int | None, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither their address, of which a proxy on this machine tells, nor their file's name, here the same; and it isn't
    written down either.
    """
    address = f"203.0.113.{91 if rate is None else 92}"
    page = layout.build(FAKE)
    app.launch(page, options.Options(port=free_port(), rate=rate))

    def visited() -> Path:
        told = {"X-Forwarded-For": address}
        with httpx.Client(base_url=f"{page.local_url}{API}", headers=told, timeout=60) as visitor:
            path = visitor.post("/upload", files={"files": (f"{address}.wav", clip.read_bytes())}).json()[0]
            event = visitor.post("/call/predict", json={"data": [file(path)]}).json()["event_id"]
            assert "angry" in visitor.get(f"/call/predict/{event}").text
            return Path(path)

    try:
        visited().unlink()
        assert (address in str(page.rate and vars(page.rate._kept))) is (rate is not None)
        until(lambda: not page._queue.event_ids_to_events)  # the answer comes before its end
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 61.0)
        for _ in range(2):
            remembered.clear(page, tmp_path, older_than_s=0.0)
        until(lambda: not held(address))
    finally:
        page.close()
    assert address not in "".join(capfd.readouterr())


def test_the_path_of_a_file_that_was_deleted_is_forgotten(fake_page: Any, clip: Path) -> None:
    gone = clip.with_name("gone.wav")
    fake_page.upload_file_set.update({str(clip), str(gone), str(clip.parent)})
    remembered.forget_paths(fake_page)
    assert str(clip) in fake_page.upload_file_set
    assert not {str(gone), str(clip.parent)} & fake_page.upload_file_set
    fake_page.upload_file_set.discard(str(clip))


def test_the_sound_of_who_is_gone_is_forgotten_by_the_page_as_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    from page import live

    made: list[live.Sessions] = []
    build = live.build

    def remember(*given: Any) -> live.Sessions:
        made.append(build(*given))
        return made[-1]

    monkeypatch.setattr(live, "build", remember)
    page = layout.build(bundles.recognizer())
    made[0]._live["gone"] = live.Session(None, 0.0, 0.0, 0.0)  # type: ignore[arg-type]
    page.forget()
    assert len(made[0]) == 0
