"""Asks a page as anybody can who has no client of Gradio's: by bare HTTP, and by bytes on a line."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx

API = "gradio_api"
PATIENCE_S = 60.0


def file(path: Any, **more: Any) -> dict[str, Any]:
    """A file as Gradio's components take it: what `upload` gave, or a forgery."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def upload(url: str, name: str, content: bytes) -> str:
    """The path by which the page at `url`, which ends in a slash, knows the file from now on."""
    reply = httpx.post(f"{url}{API}/upload", files={"files": (name, content)}, timeout=PATIENCE_S)
    return str(reply.json()[0])


def asked(url: str, data: Any, name: str = "predict", **more: Any) -> httpx.Response:
    """What the simple API says to a question: its refusal, or the event under which the answer can be fetched."""
    return httpx.post(f"{url}{API}/call/{name}", json={"data": data, **more}, timeout=PATIENCE_S)


def begin(url: str, data: Any, name: str = "predict") -> str:
    """The event of a question that is taken."""
    return str(asked(url, data, name).json()["event_id"])


def fetch(url: str, event: str, name: str = "predict", timeout_s: float = PATIENCE_S) -> str:
    """All that the page says of an event, up to its answer."""
    return httpx.get(f"{url}{API}/call/{name}/{event}", timeout=timeout_s).text


def call(url: str, data: Any, name: str = "predict", **more: Any) -> tuple[int, str]:
    """The refusal of a question, or what comes of it."""
    begun = asked(url, data, name, **more)
    if begun.status_code != 200:
        return begun.status_code, begun.text
    return 200, fetch(url, begun.json()["event_id"], name)


def join(url: str, number: int, data: list[Any], session: str) -> dict[str, Any]:
    """The last message of one function, asked for as the page itself does."""
    visitor = {"session_hash": session}
    body = {"data": data, "fn_index": number, **visitor}
    httpx.post(f"{url}{API}/queue/join", json=body, timeout=PATIENCE_S).raise_for_status()
    messages = httpx.get(f"{url}{API}/queue/data", params=visitor, timeout=PATIENCE_S).text
    found = [json.loads(line[6:]) for line in messages.splitlines() if line.startswith("data: ")]
    done: dict[str, Any] = next(message for message in found if message["msg"] == "process_completed")
    return done


def connected(url: str) -> socket.socket:
    """A line to the page, for what no client would send."""
    address = urlsplit(url)
    return socket.create_connection((str(address.hostname), address.port or 80), timeout=PATIENCE_S)
