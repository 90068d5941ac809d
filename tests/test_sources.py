"""Where a corpus lies: folders by the rules of the ordinary command, and what Arrow or fsspec reads by a URL."""

from __future__ import annotations

import os
import pickle
import zipfile
from typing import TYPE_CHECKING

import pytest
from pyarrow import fs

from ser_core import audio, files, sources
from ser_core.config import Limits
from ser_core.errors import AudioTooLong, NoAudio, UnreadableAudio
from ser_core.journal import Stamp
from ser_core.sources import Place

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits()
NAMES = ("b.wav", "a-b.wav", "a/c.MP3", "a/.hidden.wav", "a/notes.txt", "a.wav", "z/still/deep.flac")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "clips"
    for name in NAMES:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(name.encode())
    return made


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> str:
    """The same as a zip, which fsspec reads and Arrow doesn't."""
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as file:
        for name in NAMES:
            file.write(folder / name, name)
    return f"zip://::{(tmp_path / 'clips.zip').as_uri()}"


# Places.


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("s3://bucket/clips?scheme=http&endpoint_override=127.0.0.1%3A9", "s3://bucket/clips"),
        (
            "s3://key:secret@bucket/clips/a.wav?region=us-east-1&endpoint_override=127.0.0.1%3A9",
            "s3://bucket/clips/a.wav",
        ),
        ("memory://clips", "memory:///clips"),
    ],
)
def test_a_place_is_called_without_secrets(source: str, named: str) -> None:
    assert str(Place.of(source)) == named


def test_a_place_on_this_machine_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Place.of("clips/../a.wav") == Place(None, str(tmp_path / "a.wav"))
    assert Place.of((tmp_path / "a b.wav").as_uri()) == Place(None, str(tmp_path / "a b.wav"))


def test_a_file_may_be_called_like_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "a.wav").touch()
    assert Place.of("s3://a.wav").filesystem is None


@pytest.mark.parametrize("url", ["nothing://ann:secret@a/b", "s3://ann:secret@bucket/a?what=secret"])
def test_a_url_that_nobody_knows_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(NoAudio, match="can't be opened") as caught:
        Place.of(url)
    assert "secret" not in str(caught.value)
    assert "a URL that Arrow or fsspec reads" in str(caught.value)


# Listing.


def test_a_folder_means_the_files_that_the_ordinary_command_finds(folder: Path) -> None:
    corpus = sources.find_all([str(folder)])
    assert [item.source for item in corpus.items] == files.find_all([str(folder)])
    assert [item.path for item in corpus.items] == files.find_all([str(folder)])
    status = (folder / "a" / "c.MP3").stat()
    assert corpus.items[0].seen() == Stamp(status.st_size, status.st_mtime_ns)
    assert corpus.failures == []
    assert corpus.filesystems == []


def test_a_url_means_the_same_files_in_the_same_order(folder: Path, archive: str) -> None:
    corpus = sources.find_all([archive])
    here = [os.path.relpath(str(path), folder) for path in files.find_all([str(folder)])]
    assert [item.path for item in corpus.items] == here
    assert corpus.items[0].source == f"zip://{here[0]}::{archive.removeprefix('zip://::')}"
    assert [item.stamp.size for item in corpus.items if item.stamp] == [len(name) for name in here]
    assert pickle.loads(pickle.dumps(corpus.filesystems[0])).get_file_info("a.wav").is_file


def test_a_source_that_comes_twice_counts_once(folder: Path) -> None:
    asked = [str(folder / "b.wav"), str(folder), (folder / "b.wav").as_uri(), str(folder / "none.wav")]
    named = [item.source for item in sources.find_all(asked).items]
    assert named[0] == str(folder / "b.wav")
    assert named[-1] == str(folder / "none.wav")
    assert len(named) == len(set(named)) == 6


def test_what_can_not_be_looked_for_is_a_failure(tmp_path: Path, archive: str) -> None:
    (tmp_path / "empty").mkdir()
    corpus = sources.find_all([str(tmp_path / "empty"), archive.replace("zip://", "zip://a/notes.txt")])
    assert [(one.source, str(one.error)[:27]) for one in corpus.failures] == [
        (str(tmp_path / "empty"), "There is no sound file in /")
    ]
    assert [item.path for item in corpus.items] == ["a/notes.txt"]  # named itself, it may be called anything
    missing = sources.find_all([archive.replace("zip://", "zip://none.wav")])
    assert [(item.path, item.stamp) for item in missing.items] == [("none.wav", None)]


# Fetching.


@pytest.fixture
def store(tmp_path: Path) -> fs.FileSystem:
    (tmp_path / "store").mkdir()
    return fs.SubTreeFileSystem(str(tmp_path / "store"), fs.LocalFileSystem())


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    made = tmp_path / "scratch"
    made.mkdir()
    return made


def test_a_copy_has_the_same_bytes_and_ending(tmp_path: Path, store: fs.FileSystem, scratch: Path) -> None:
    path = tmp_path / "store" / "voice.mp3"
    path.write_bytes(bytes(range(256)) * 9_000)
    copy, seen = sources.fetch(store, "voice.mp3", scratch, LIMITS)
    assert copy == scratch / "voice.mp3"
    assert copy.read_bytes() == path.read_bytes()
    assert seen == Stamp(path.stat().st_size, path.stat().st_mtime_ns)


@pytest.mark.parametrize("size", [None, 0, 1001])
def test_what_is_refused_is_refused_in_the_same_words_and_not_fetched(
    tmp_path: Path, store: fs.FileSystem, scratch: Path, size: int | None
) -> None:
    path = tmp_path / "store" / "voice.mp3"
    if size is not None:
        path.write_bytes(bytes(size))
    limits = Limits(max_bytes=1000)
    with pytest.raises((NoAudio, AudioTooLong)) as here:
        audio.read(path, limits=limits)
    with pytest.raises(type(here.value)) as there:
        sources.fetch(store, "voice.mp3", scratch, limits)
    assert str(there.value) == str(here.value)
    assert list(scratch.iterdir()) == []


def test_what_breaks_off_is_a_failure_of_that_file(
    tmp_path: Path, store: fs.FileSystem, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store" / "voice.mp3").write_bytes(b"1234")

    def broken(*arguments: object) -> None:
        raise OSError("the line went dead\nand more")

    monkeypatch.setattr("shutil.copyfileobj", broken)
    with pytest.raises(UnreadableAudio, match=r"^voice\.mp3 can't be fetched \(the line went dead\)\. Check"):
        sources.fetch(store, "voice.mp3", scratch, LIMITS)


@pytest.mark.parametrize("name", ["v" * 240 + ".mp3", "ü" * 100 + ".mp3", "new\nline.mp3"])
def test_a_name_that_no_disk_takes_is_cut(name: str, scratch: Path) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    memory = MemoryFileSystem()
    memory.pipe_file(f"/clips/{name}", b"1234")
    copy, _ = sources.fetch(fs.PyFileSystem(fs.FSSpecHandler(memory)), f"/clips/{name}", scratch, LIMITS)
    assert copy.suffix == ".mp3"
    assert copy.read_bytes() == b"1234"
