"""Room on the disk: promised before it is taken, to no two visitors at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from page import room
from page.room import FREE_BYTES, Room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 5_000


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for one upload of SIZE bytes and what belongs to it, and for no second one."""
    monkeypatch.setattr(room, "free", lambda folder: FREE_BYTES + SIZE + SIZE // 2)


@pytest.mark.usefixtures("small_disk")
def test_what_is_promised_to_one_is_nobody_else_s(tmp_path: Path) -> None:
    disk = Room()
    with disk.of(SIZE, tmp_path) as first, disk.of(SIZE, tmp_path) as second, disk.of(SIZE // 2, tmp_path) as third:
        assert (first, second, third) == (True, False, True)
        assert disk.promised == SIZE + SIZE // 2
    assert disk.promised == 0
    with disk.of(SIZE, tmp_path) as again:
        assert again


@pytest.mark.usefixtures("small_disk")
def test_a_promise_ends_with_an_upload_that_fails(tmp_path: Path) -> None:
    disk = Room()
    with pytest.raises(OSError, match="broken"), disk.of(SIZE, tmp_path):
        raise OSError("broken")
    assert disk.promised == 0


def test_a_folder_that_is_not_there_yet_has_its_parent_s_disk(tmp_path: Path) -> None:
    assert room.free(tmp_path / "a" / "b") > 0


@pytest.mark.usefixtures("small_disk")
def test_of_uploads_that_begin_together_only_those_are_taken_that_fit(fake_page: Any) -> None:
    address = f"{fake_page.local_url}gradio_api/upload"
    whole = httpx.Request("POST", address, files={"files": ("x.wav", b"x" * SIZE)})
    body, headers = whole.read(), dict(whole.headers)
    half_sent, go_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield body[:100]
        half_sent.set()
        go_on.wait(30.0)
        yield body[100:]

    answers: list[httpx.Response] = []
    slow = threading.Thread(target=lambda: answers.append(httpx.post(address, content=slowly(), headers=headers)))
    slow.start()
    assert half_sent.wait(30.0)
    refused = httpx.post(address, content=body, headers=headers)
    assert refused.status_code == 507
    assert "disk is nearly full" in refused.json()["detail"]
    go_on.set()
    slow.join(30.0)
    assert [answer.status_code for answer in answers] == [200]
    assert httpx.post(address, content=body, headers=headers).status_code == 200
