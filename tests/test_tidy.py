"""Where recordings lie, and that they go."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from page import tidy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(tidy.VARIABLE, str(tmp_path))
    return tmp_path


def old(path: Path, seconds: float = 1_000.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"voice")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_the_folder_is_this_process_s_own_and_told_to_gradio(base: Path) -> None:
    folder = tidy.own_folder()
    assert folder.parent == base
    assert folder.stat().st_mode & 0o777 == 0o700
    assert os.environ[tidy.VARIABLE] == str(folder)


def test_by_default_it_lies_in_a_folder_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tidy.VARIABLE)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tidy.own_folder()
    assert folder.parent.parent == tmp_path
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_what_a_killed_page_left_behind_is_deleted_and_a_running_one_s_is_not(base: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = old(base / f"page-{ended.pid}" / "upload" / "voice.wav")
    reused = old(base / f"page-{os.getpid()}" / "voice.wav")  # by a process that had this one's number
    others = old(base / f"page-{os.getppid()}" / "voice.wav")
    foreign = old(base / "another" / "voice.wav")
    tidy.own_folder()
    assert not left.exists()
    assert not left.parent.parent.exists()
    assert not reused.exists()
    assert others.exists()
    assert foreign.exists()


def test_only_what_is_old_is_swept_and_never_what_is_to_stay(base: Path) -> None:
    gone, fresh = old(base / "a" / "b" / "voice.wav"), old(base / "c" / "voice.wav", 10.0)
    kept = old(base / "d" / "example.wav")
    empty = base / "e"
    empty.mkdir()
    os.utime(empty, (0, 0))
    tidy.sweep(base, 300.0, {str(kept)})
    assert [path.exists() for path in (gone, fresh, kept, empty)] == [False, True, True, False]
    tidy.sweep(base, 0.0)
    assert [path for path in base.rglob("*") if path.is_file()] == []


def test_a_link_is_deleted_and_not_what_it_points_to(base: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = old(tmp_path_factory.mktemp("elsewhere") / "file")
    (base / "link").symlink_to(target)
    (base / "folder").symlink_to(target.parent, target_is_directory=True)
    time.sleep(0.01)
    tidy.sweep(base, 0.0)
    assert target.exists()
    assert list(base.iterdir()) == []


def test_sweeping_goes_on_until_the_page_ends(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy, "DELETE_EVERY_S", 0.05)
    runs = [True]
    thread = tidy.sweep_regularly(base, set, lambda: runs[0], tick_s=0.01)
    for name in ("one", "two"):
        path = old(base / name)
        deadline = time.monotonic() + 10.0
        while path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not path.exists()
    runs.clear()
    runs.append(False)
    thread.join(5.0)
    assert not thread.is_alive()
