"""How often a visitor may start work, and what is told to who wants more."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from page import options, rate
from page.guard import Guard
from page.rate import Rate

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

JOIN = "/gradio_api/queue/join"


class Inner:
    """Stands for Gradio's app; remembers the headers that it is asked with."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = dict(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


class Page:
    """A guard with `Inner` behind it, and visitors who ask it."""

    def __init__(self, **how: Any) -> None:
        self.inner = Inner()
        self.guard = Guard(self.inner, lambda: Path("/"), **how)

    def ask(self, method: str, path: str, host: str = "192.0.2.1", **headers: str) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.guard, client=(host, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
                return await client.request(method, path, headers=headers)

        # In a thread of its own: in this one another test's browser may keep a loop.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, asked()).result()


def test_who_starts_too_much_is_told_when_to_come_again() -> None:
    page = Page(rate=Rate(2))
    assert [page.ask("POST", JOIN).status_code for _ in range(3)] == [200, 200, 429]
    refused = page.ask("POST", JOIN)
    seconds = int(refused.headers["retry-after"])
    assert 1 <= seconds <= 60
    # The first is where Gradio's page, the second where its clients look for a reason.
    assert refused.json()["detail"] == refused.json()["error"]
    assert f"Try again in {seconds} second" in refused.json()["detail"]
    assert refused.headers["x-content-type-options"] == "nosniff"


def test_others_and_all_that_starts_nothing_go_on() -> None:
    page = Page(rate=Rate(1))
    page.ask("POST", JOIN)
    assert page.ask("POST", JOIN).status_code == 429
    assert page.ask("POST", JOIN, "192.0.2.2").status_code == 200
    # While someone is live, each second brings an upload and a piece of the stream that was counted when it began.
    for _ in range(5):
        assert page.ask("POST", "/gradio_api/upload").status_code == 200
        assert page.ask("POST", "/gradio_api/stream/0123abc").status_code == 200
        assert page.ask("GET", "/gradio_api/queue/data?session_hash=x").status_code == 200


def test_an_address_is_kept_for_a_minute_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Rate(2)
    page = Page(rate=counted)
    for host in ("192.0.2.7", "192.0.2.8"):
        page.ask("POST", JOIN, host)
    counted.forget()
    assert [page.ask("POST", JOIN, "192.0.2.7").status_code for _ in range(2)] == [200, 429]
    assert "192.0.2.8" in str(vars(counted._kept))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61.0)
    counted.forget()
    assert "192.0.2" not in str(vars(counted._kept))
    assert page.ask("POST", JOIN, "192.0.2.7").status_code == 200


@pytest.mark.parametrize(
    "path",
    [JOIN, "/gradio_api/call/predict", "/gradio_api/call/v2/batch", "/gradio_api/run/x", "/gradio_api/mcp/", "/login"],
)
def test_every_way_to_start_something_is_counted(path: str) -> None:
    page = Page(rate=Rate(1))
    assert [page.ask("POST", path).status_code for _ in range(2)] == [200, 429]


def test_without_a_rate_nobody_is_refused() -> None:
    page = Page()
    assert {page.ask("POST", JOIN).status_code for _ in range(20)} == {200}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("testclient", "testclient", True),
    ],
)
def test_a_visitor_is_an_address_or_the_network_that_one_is_given(one: str, other: str, same: bool) -> None:
    assert (rate.of({"client": (one, 1)}) == rate.of({"client": (other, 2)})) is same


def test_what_came_through_mcp_is_counted_once_and_its_pass_cannot_be_made_up() -> None:
    """Gradio's MCP server asks the page itself, with the headers that it was asked with."""
    page = Page(rate=Rate(1))
    page.ask("POST", "/gradio_api/mcp/")
    found = {name.decode(): value.decode() for name, value in page.inner.headers.items() if name.startswith(b"x-page")}
    assert len(found) == 1
    for _ in range(3):
        assert page.ask("POST", JOIN, "127.0.0.1", **found).status_code == 200
    forged = dict.fromkeys(found, "0" * 64)
    assert [page.ask("POST", JOIN, "127.0.0.1", **forged).status_code for _ in range(2)] == [200, 429]


def test_another_site_has_no_use_of_a_page_with_a_password() -> None:
    closed, opened = Page(private=True), Page()
    across = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
    assert closed.ask("POST", JOIN, **across).status_code == 403
    assert opened.ask("POST", JOIN, **across).status_code == 200
    assert closed.ask("GET", "/", **{**across, "sec-fetch-mode": "navigate"}).status_code == 200
    # A form that the other site sends off.
    assert closed.ask("POST", JOIN, **{**across, "sec-fetch-mode": "navigate"}).status_code == 403
    assert closed.ask("POST", JOIN, **{"sec-fetch-site": "same-origin"}).status_code == 200


def test_the_rate_is_asked_for_on_the_command_line_or_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(options.RATE, raising=False)
    assert options.parse([]).rate is None
    monkeypatch.setenv(options.RATE, "30")
    assert options.parse([]).rate == 30
    assert options.parse(["--rate", "5"]).rate == 5
    for wrong in ("0", "-1", "often", "1e3", "1000000"):
        with pytest.raises(SystemExit):
            options.parse([f"--rate={wrong}"])
        assert "the rate must be a number from 1 to 10000" in capsys.readouterr().err
