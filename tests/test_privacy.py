"""The real page, as a visitor's browser and whoever reads its log would see it: it calls nobody, and tells nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests import bundles
from tests.browser.driving import SPOKEN, serving
from tests.plain_http import call, file, upload

if TYPE_CHECKING:
    from pathlib import Path

# Python runs it before anything else, in the page's own process and in all that this starts.
WATCH = """
import ipaddress, os, sys

def watch(event, args):
    if event not in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        return
    where = args[0] if event.startswith("socket.get") else args[1]
    host = where[0] if isinstance(where, tuple) else where
    try:
        local = host is None or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host in ("localhost", "")
    if not local:
        with open(os.environ["WATCHED"], "a") as out:
            print(event, host, file=out)

sys.addaudithook(watch)
open(os.environ["WATCHED"], "a").close()
"""
TELLING = "Ann Smith, session 3.wav"
TOKEN = "hf_neverToBeSeenAnywhere0123456789"


@bundles.needs_shipped
@pytest.mark.usefixtures("no_model_named")
def test_a_whole_visit_connects_to_nobody_and_leaves_no_trace_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    watched, log = tmp_path / "watched.txt", tmp_path / "log.txt"
    environment = {"PYTHONPATH": str(tmp_path), "WATCHED": str(watched), "HF_TOKEN": TOKEN}
    with serving(environment=environment, log=log) as url:
        answers = [httpx.get(url).text, httpx.get(f"{url}config").text]
        for content in (SPOKEN.read_bytes(), b"this is no sound at all" * 50):
            path = upload(url, TELLING, content)
            answers += [call(url, [file(sent, orig_name=TELLING)])[1] for sent in (path, path + "x")]
    assert '"state"' in answers[2]
    assert "no sound file that can be read" in answers[4]
    assert watched.read_text() == ""
    printed = log.read_text()
    assert "The page is at" in printed
    assert "Smith" not in printed
    assert not [text for text in (*answers, printed) if TOKEN in text]
