"""What is told to who watches the page: liveness, readiness, and a stop that a load balancer can see coming."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from gradio_client import Client, handle_file

import app
from page import layout, options
from page.health import LIVE, READY, Health
from tests import bundles, fakes
from tests.browser.driving import started
from tests.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Watched:
    """A served page, the health that it tells, and whether its model can be asked."""

    def __init__(self) -> None:
        self.available = True
        self.health = Health(lambda: self.available)
        self.page: Any = layout.build(fakes.FAKE)
        self.url = app.launch(
            self.page, options.Options(port=fakes.free_port(), auth=("ann", "secret"), rate=1), self.health
        )

    def asked(self, path: str) -> tuple[int, str]:
        answer = httpx.get(f"{self.url.rstrip('/')}{path}")
        return answer.status_code, answer.json()["status"]


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    one = Watched()
    yield one
    one.page.close()


def test_a_page_is_ready_once_it_is_warm_and_its_model_can_be_asked(watched: Watched) -> None:
    assert watched.asked(LIVE) == (200, "live")
    assert watched.asked(READY) == (503, "warming up")
    watched.health.warm.set()
    assert watched.asked(READY) == (200, "ready")
    watched.available = False
    assert watched.asked(READY) == (503, "no model")
    assert watched.asked(LIVE) == (200, "live")
    watched.available = True
    watched.health.stopping.set()
    assert watched.asked(READY) == (503, "stopping")


def test_a_probe_needs_no_password_and_counts_toward_no_rate(watched: Watched) -> None:
    assert httpx.get(f"{watched.url}config").status_code == 401
    assert {watched.asked(LIVE)[0] for _ in range(5)} == {200}


def test_first_calls_that_fail_leave_no_page_that_starts_for_ever() -> None:
    class Failing(fakes.FakeRecognizer):
        def warm_up(self) -> None:
            raise RuntimeError("cold")

    health = Health()
    app._warm_up(Failing(), health)  # type: ignore[arg-type]
    assert health.status() == "ready"


@bundles.needs_shipped
def test_a_page_that_drains_says_so_and_still_answers(clip: Path) -> None:
    with started(environment={options.DRAIN: "60"}) as server:
        probe = f"{server.url.rstrip('/')}{READY}"
        until(lambda: httpx.get(probe).status_code == 200)
        visitor = Client(server.url, verbose=False, download_files=False)
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: httpx.get(probe).status_code != 200)
        assert httpx.get(probe).json() == {"status": "stopping"}
        assert visitor.predict(handle_file(clip), api_name="/predict")[2]["state"]
    # It was told to end a second time, and did not wait for the minute.


def test_the_time_to_drain_is_asked_for_on_the_command_line_or_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(options.DRAIN, raising=False)
    assert options.parse([]).drain_s == 0
    monkeypatch.setenv(options.DRAIN, "5")
    assert options.parse([]).drain_s == 5
    assert options.parse(["--drain", "20"]).drain_s == 20
    for wrong in ("-1", "soon", "1.5", "86400"):
        with pytest.raises(SystemExit):
            options.parse([f"--drain={wrong}"])
        assert "a number from 0 to 3600" in capsys.readouterr().err
