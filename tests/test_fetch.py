"""Addresses as inputs: what is fetched, what not, and within which bounds."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import pytest
from gradio.utils import get_upload_folder

from page import fetch, room
from ser_core.config import Limits
from tests.plain_http import file

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED: list[str] = []


class Site(BaseHTTPRequestHandler):
    """A web server that isn't always as it should be."""

    def do_GET(self) -> None:
        ASKED.append(self.path)
        _, kind, rest = self.path.split("/", 2)
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
            return
        self.send_response(404 if kind == "gone" else 200)
        if kind == "packed":
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(gzip.compress(bytes(50_000_000)))
            return
        self.end_headers()
        for _ in range(200 if kind in {"endless", "slow"} else 1):
            try:
                self.wfile.write(b"x" * 1_000)
            except OSError:  # hung up
                return
            if kind == "slow":
                time.sleep(0.1)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address, under the only name that counts as public here."""
    check = fetch.public

    async def public(host: str) -> str:
        return "127.0.0.1" if host == "public.test" else await check(host)

    monkeypatch.setattr(fetch, "public", public)
    ASKED.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://public.test:{server.server_port}"
        server.shutdown()


def brought(*addresses: str) -> list[dict[str, Any]]:
    sent = [file(address) for address in addresses]
    with ThreadPoolExecutor(1) as pool:  # in this thread another test's browser may keep a loop of its own
        found: list[dict[str, Any]] = pool.submit(asyncio.run, fetch.brought_here([sent])).result()[0]
    return found


def test_a_public_file_is_brought_under_its_name(site: str) -> None:
    (found,) = brought(f"{site}/sound/My%20voice.wav?x=1")
    path = Path(found["path"])
    assert path.read_bytes() == b"x" * 1_000
    assert (path.name, found["orig_name"]) == ("My voice.wav", "My voice.wav")
    assert path.is_relative_to(get_upload_folder())


@pytest.mark.parametrize("name", ["..%2f..%2f..%2fevil", "%2e%2e", "", "a" * 300, "x%00y"])
def test_a_name_leads_nowhere_else(site: str, name: str) -> None:
    try:
        (found,) = brought(f"{site}/sound/{name}")
    except gr.Error:
        return
    assert Path(found["path"]).resolve().is_relative_to(Path(get_upload_folder()).resolve())


def test_what_is_no_address_stays_as_it_is() -> None:
    assert brought("/tmp/x.wav")[0]["path"] == "/tmp/x.wav"


def test_an_endless_file_is_broken_off_and_deleted(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "Limits", lambda: replace(Limits(), max_bytes=10_000))
    with pytest.raises(gr.Error, match="may hold 0 MB, and it gives more"):
        brought(f"{site}/endless/endless.wav")
    assert not list(Path(get_upload_folder()).rglob("endless.wav"))


def test_all_files_of_a_call_share_the_bound(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "Limits", lambda: replace(Limits(), max_bytes=2_500))
    assert len(brought(f"{site}/sound/a.wav", f"{site}/sound/b.wav")) == 2
    with pytest.raises(gr.Error, match="it gives more"):
        brought(*[f"{site}/sound/{name}.wav" for name in "abc"])


def test_nothing_is_fetched_where_the_disk_is_nearly_full(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free", lambda folder: room.FREE_BYTES + Limits().max_bytes - 1)
    with pytest.raises(gr.Error, match="disk is nearly full"):
        brought(f"{site}/plain/voice.wav")
    assert room.DISK.promised == 0


def test_what_would_unfold_is_not_taken(site: str) -> None:
    with pytest.raises(gr.Error, match="its server compresses what it was asked to give as it is"):
        brought(f"{site}/packed/a.wav")


def test_a_slow_server_is_not_waited_for(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "DEADLINE_S", 0.5)
    with pytest.raises(gr.Error, match="doesn't give the file within"):
        brought(f"{site}/slow/slow.wav")


def test_redirects_are_checked_like_addresses(site: str) -> None:
    port = site.rpartition(":")[2]
    assert Path(brought(f"{site}/redirect//sound/a.wav")[0]["path"]).exists()
    for private in (f"http://127.0.0.1:{port}/sound/x", f"//localhost:{port}/sound/x", "file:///etc/passwd"):
        with pytest.raises(gr.Error, match="The address of the sound can't be used"):
            brought(f"{site}/redirect/{private}")
    assert "/sound/x" not in ASKED
    with pytest.raises(gr.Error, match="redirected more than 5 times"):
        brought(f"{site}{'/redirect/' * 8}/sound/a.wav")


def test_what_answers_otherwise_is_told(site: str) -> None:
    with pytest.raises(gr.Error, match=r"status 404\. Check it, or download the file"):
        brought(f"{site}/gone/x.wav")
    for wrong in ("http://", "http://public.test:1/x", "https://[::1", "http://xn--\u0000/", "http://a..b/"):
        with pytest.raises(gr.Error, match="The address of the sound can't be used"):
            brought(wrong)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.100.100.200", False),  # a cloud's metadata, in a network that Gradio's own check takes for public
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::1", False),
    ],
)
def test_only_what_anybody_can_reach_is_public(address: str, public: bool) -> None:
    assert fetch.is_public(address) is public
