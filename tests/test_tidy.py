"""Where recordings lie, and that they go."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from page import tidy
from page.tidy import Folder
from tests.browser.driving import ROOT
from tests.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(tidy.VARIABLE, str(tmp_path))
    return tmp_path


def old(path: Path, seconds: float = 1_000.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"voice")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


@pytest.fixture
def folder() -> Iterator[Folder]:
    made = Folder.make()
    yield made
    made.delete()


def test_the_folder_is_this_page_s_own_and_told_to_gradio(base: Path, folder: Folder) -> None:
    assert folder.path.parent == base
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert os.environ[tidy.VARIABLE] == str(folder.path)


def test_by_default_it_lies_where_temporary_files_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tidy.VARIABLE)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    made = Folder.make()
    assert made.path.parent == tmp_path
    made.delete()
    assert not made.path.exists()


KILLED = "import os; from page.tidy import Folder; print(Folder.make().path, flush=True); os.kill(os.getpid(), 9)"


def test_what_a_killed_page_left_behind_is_deleted_by_the_next_start(base: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, capture_output=True, text=True, check=False)
    left = Path(done.stdout.strip())
    assert left.parent == base
    (left / "voice.wav").write_bytes(b"voice")
    Folder.make().delete()
    assert not left.exists()


def test_what_is_left_of_a_page_without_its_lock_is_deleted_too(base: Path) -> None:
    left, begun = (Path(tempfile.mkdtemp(prefix=tidy.PREFIX, dir=base)) for _ in range(2))
    for folder in (left, begun):
        (folder / "voice.wav").write_bytes(b"voice")
    os.utime(left, (time.time() - 1_000.0,) * 2)
    Folder.make().delete()
    assert not left.exists()
    assert begun.exists()


def test_a_running_page_s_folder_and_what_is_no_page_s_are_left_alone(base: Path, folder: Folder) -> None:
    others = [
        old(folder.path / "voice.wav"),
        old(base / "emotion-page-scans" / "thesis.doc"),
        old(base / "page-20240101123456" / "voice.wav"),
    ]
    target = base / "elsewhere"
    old(target / tidy.LOCK)
    (base / "emotion-page-link").symlink_to(target, target_is_directory=True)
    for folder_of_others in (base / "emotion-page-scans", base / "emotion-page-sentence"):
        folder_of_others.mkdir(exist_ok=True)
        folder_of_others.chmod(0o755)
        os.utime(folder_of_others, (time.time() - 10_000.0,) * 2)
    os.environ[tidy.VARIABLE] = str(base)
    second = Folder.make()
    assert all(path.exists() for path in (*others, target / tidy.LOCK))
    assert second.path != folder.path
    second.delete()


def test_a_file_that_is_still_needed_is_not_old(base: Path) -> None:
    path = old(base / "voice.wav")
    tidy.needed(str(path), str(base / "gone.wav"))
    tidy.sweep(base, 300.0)
    assert path.exists()


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


def test_an_upload_that_still_comes_in_is_not_swept(base: Path) -> None:
    coming, left = old(base / "tmp1234", tidy.COMING_S - 60.0), old(base / "tmp5678", tidy.COMING_S + 60.0)
    there = old(base / "0123" / "voice.wav", tidy.COMING_S - 60.0)
    tidy.sweep(base, tidy.DELETE_AFTER_S)
    assert coming.exists()
    assert not left.exists()
    assert not there.exists()


def test_whatever_goes_wrong_before_it_the_sweep_follows(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy, "DELETE_EVERY_S", 0)
    voice, stop = old(base / "0123" / "voice.wav"), threading.Event()

    def broken() -> None:
        raise ValueError

    thread = tidy.sweep_regularly(base, [], lambda: not stop.is_set(), broken, broken, tick_s=0.01)
    until(lambda: not voice.exists())
    stop.set()
    thread.join(10.0)


def test_a_link_is_deleted_and_not_what_it_points_to(base: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = old(tmp_path_factory.mktemp("elsewhere") / "file")
    (base / "link").symlink_to(target)
    (base / "folder").symlink_to(target.parent, target_is_directory=True)
    for link in base.iterdir():
        os.utime(link, (time.time() - 1_000.0,) * 2, follow_symlinks=False)
    tidy.sweep(base, 0.0)
    assert target.exists()
    assert list(base.iterdir()) == []


def test_sweeping_goes_on_until_the_page_ends(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy, "DELETE_EVERY_S", 0.05)
    runs = [True]
    thread = tidy.sweep_regularly(base, set(), lambda: runs[0], tick_s=0.01)
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


def test_what_is_held_in_memory_is_let_go_of_at_each_tick(base: Path) -> None:
    enough = threading.Event()
    forgotten: list[int] = []

    def forget() -> None:
        forgotten.append(len(forgotten))
        if len(forgotten) == 3:
            enough.set()
        raise RuntimeError("and a failure doesn't end it")

    thread = tidy.sweep_regularly(base, set(), lambda: not enough.is_set(), forget, tick_s=0.01)
    assert enough.wait(10.0)
    thread.join(5.0)
    assert not thread.is_alive()
