"""The download against a loopback server that breaks in every way we know of. No network."""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from tests.processes import hear_interrupts
from train import download as dl

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SPEECH = {
    "Actor_01/03-01-01-01-01-01-01.wav": bytes(range(256)) * 40,
    "Actor_02/03-01-05-02-02-01-02.wav": b"RIFF" + bytes(5_000),
}
SONG = {"Actor_01/03-02-01-01-01-01-01.wav": b"song" * 3_000}


def zip_of(files: dict[str, bytes]) -> bytes:
    """A zip with folder entries, stored uncompressed so that its size is known to be more than a block."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
            zipped.mkdir(folder)
        for name, content in files.items():
            zipped.writestr(name, content)
    return buffer.getvalue()


def archive_of(name: str, content: bytes, folder: str) -> dl.Archive:
    return dl.Archive(name, len(content), hashlib.md5(content).hexdigest(), folder)


class Seen(NamedTuple):
    path: str
    range: str | None


class Server(ThreadingHTTPServer):
    """Serves `files`; each request first takes one play from `plays` (plain, with Range honoured, when none is left).

    Plays: an int is a status to answer; "cut" sends half of what is due and hangs up; "hang" sends half and waits;
    "no-range" sends the whole file whatever was asked; "wrong-range" answers 206 from byte 0; "no-length" sends half
    without saying how much will come.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.plays: deque[int | str] = deque()
        self.always: int | str | None = None
        self.seen: list[Seen] = []
        self.let_go = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.seen.append(Seen(self.path, asked))
        play = self.server.plays.popleft() if self.server.plays else self.server.always
        content = self.server.files.get(self.path.removeprefix("/files/").removesuffix("?download=1"))
        if isinstance(play, int) or content is None:
            self.send_error(play if isinstance(play, int) else 404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and play != "no-range" else 0
        if start >= len(content):
            self.send_error(416)
            return
        due = content[start:]
        self.send_response(206 if start else 200)
        if start:
            first = 0 if play == "wrong-range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if play != "no-length":
            self.send_header("Content-Length", str(len(due)))
        self.end_headers()
        halved = play in {"cut", "hang", "no-length"}
        self.wfile.write(due[: len(due) // 2] if halved else due)
        if play == "hang":
            self.wfile.flush()
            self.server.let_go.wait(20)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.let_go.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def speech(server: Server) -> dl.Archive:
    content = zip_of(SPEECH)
    server.files["speech.zip"] = content
    return archive_of("speech.zip", content, "speech")


@pytest.fixture
def song(server: Server) -> dl.Archive:
    content = zip_of(SONG)
    server.files["song.zip"] = content
    return archive_of("song.zip", content, "song")


def fetch(server: Server, to: Path, *archives: dl.Archive, **options: Any) -> Path:
    return dl.download(to, base_url=server.url, archives=archives, retry_pause_s=0.0, **options)


def files_in(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def ranges(server: Server) -> list[str | None]:
    return [seen.range for seen in server.seen]


def test_the_record_is_ravdess() -> None:
    assert [(a.name, a.size, a.md5, a.folder) for a in dl.ARCHIVES] == [
        ("Audio_Speech_Actors_01-24.zip", 208_468_073, "bc696df654c87fed845eb13823edef8a", "speech"),
        ("Audio_Song_Actors_01-24.zip", 225_505_317, "5411230427d67a21e18aa4d466e6d1b9", "song"),
    ]


def test_both_archives_land_in_the_layout_that_prepare_reads(
    server: Server, speech: dl.Archive, song: dl.Archive, tmp_path: Path
) -> None:
    corpus = fetch(server, tmp_path / "new" / "data", speech, song)
    assert corpus == tmp_path / "new" / "data" / "ravdess"
    assert files_in(corpus) == {f"speech/{n}": c for n, c in SPEECH.items()} | {f"song/{n}": c for n, c in SONG.items()}
    assert server.seen == [
        Seen("/files/speech.zip?download=1", None),
        Seen("/files/song.zip?download=1", None),
    ]
    assert sorted(p.name for p in (tmp_path / "new" / "data").iterdir()) == [
        "ravdess", "song.zip", "song.zip.unpacked.json", "speech.zip", "speech.zip.unpacked.json",
    ]  # fmt: skip


def test_what_is_complete_is_left_alone(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    corpus = fetch(server, tmp_path, speech)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    server.always = 500
    assert fetch(server, tmp_path, speech) == corpus
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    assert len(server.seen) == 1


def test_a_missing_clip_comes_back_from_the_kept_archive(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    corpus = fetch(server, tmp_path, speech)
    name = "Actor_02/03-01-05-02-02-01-02.wav"
    (corpus / "speech" / name).unlink()
    fetch(server, tmp_path, speech)
    assert (corpus / "speech" / name).read_bytes() == SPEECH[name]
    assert len(server.seen) == 1


def test_archives_are_deleted_only_when_asked(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    fetch(server, tmp_path, speech)
    assert (tmp_path / "speech.zip").read_bytes() == server.files["speech.zip"]
    corpus = fetch(server, tmp_path, speech, delete_archives=True)
    assert not (tmp_path / "speech.zip").exists()
    assert files_in(corpus / "speech") == SPEECH
    fetch(server, tmp_path, speech, delete_archives=True)
    assert len(server.seen) == 1


def test_a_cut_connection_is_resumed(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    server.plays.extend(["cut", "cut"])
    assert files_in(fetch(server, tmp_path, speech) / "speech") == SPEECH
    half = speech.size // 2
    assert ranges(server) == [None, f"bytes={half}-", f"bytes={half + (speech.size - half) // 2}-"]


def test_a_cut_that_looks_like_the_end_is_resumed(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    server.plays.append("no-length")
    assert files_in(fetch(server, tmp_path, speech) / "speech") == SPEECH
    assert ranges(server) == [None, f"bytes={speech.size // 2}-"]


def test_the_part_of_an_earlier_run_is_resumed(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    (tmp_path / "speech.zip.part").write_bytes(server.files["speech.zip"][:700])
    assert files_in(fetch(server, tmp_path, speech) / "speech") == SPEECH
    assert ranges(server) == ["bytes=700-"]
    assert not (tmp_path / "speech.zip.part").exists()


@pytest.mark.parametrize("play", ["no-range", "wrong-range", 416])
def test_a_server_without_ranges_starts_over(
    server: Server, speech: dl.Archive, tmp_path: Path, play: int | str
) -> None:
    (tmp_path / "speech.zip.part").write_bytes(server.files["speech.zip"][:700])
    server.plays.append(play)
    assert files_in(fetch(server, tmp_path, speech) / "speech") == SPEECH
    assert ranges(server) == ["bytes=700-"] if play == "no-range" else ["bytes=700-", None]


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        pytest.param(b"x" * 700, ["bytes=700-", None], id="damaged"),
        pytest.param(b"x" * 1_000_000, [None], id="too-long"),
    ],
)
def test_a_bad_part_starts_over(
    server: Server, speech: dl.Archive, tmp_path: Path, part: bytes, asked: list[str | None]
) -> None:
    (tmp_path / "speech.zip.part").write_bytes(part)
    assert files_in(fetch(server, tmp_path, speech) / "speech") == SPEECH
    assert ranges(server) == asked


def test_a_damaged_archive_is_fetched_again(
    server: Server, speech: dl.Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speech.zip").write_bytes(b"x" * speech.size)
    assert files_in(fetch(server, tmp_path, speech) / "speech") == SPEECH
    assert "is not the record's file" in capsys.readouterr().out


def test_a_wrong_md5_is_refused_and_nothing_is_unpacked(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    server.files["speech.zip"] = server.files["speech.zip"][:-1] + b"!"
    with pytest.raises(dl.WrongChecksum, match=f"its MD5 is not {speech.md5}. It was deleted"):
        fetch(server, tmp_path, speech)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extra", [b"", b"more"], ids=["shorter", "longer"])
def test_a_file_of_another_size_is_refused(server: Server, speech: dl.Archive, tmp_path: Path, extra: bytes) -> None:
    server.files["speech.zip"] = server.files["speech.zip"] + extra if extra else b"<html>maintenance</html>"
    found = len(server.files["speech.zip"])
    with pytest.raises(dl.ServerRefused, match=f"{speech.size} bytes were expected, the server offers {found} bytes"):
        fetch(server, tmp_path, speech)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_told_at_once(server: Server, speech: dl.Archive, tmp_path: Path, status: int) -> None:
    server.always = status
    with pytest.raises(dl.ServerRefused, match=f"answered {status} .*fetch the file by hand"):
        fetch(server, tmp_path, speech)
    assert len(server.seen) == 1


def test_a_passing_server_error_is_waited_out(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    server.plays.extend([500, 503, 429])
    assert files_in(fetch(server, tmp_path, speech) / "speech") == SPEECH
    assert len(server.seen) == 4


def test_a_lasting_server_error_ends_after_five_tries(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    server.always = 500
    with pytest.raises(dl.ServerRefused, match="answered 500"):
        fetch(server, tmp_path, speech)
    assert len(server.seen) == dl.ATTEMPTS


def test_without_a_network_the_part_is_kept(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    part = tmp_path / "speech.zip.part"
    part.write_bytes(server.files["speech.zip"][:3_000])
    server.shutdown()
    server.server_close()
    with pytest.raises(dl.ConnectionLost, match=r"Connection refused.*the 0.0 MB that have arrived are kept"):
        fetch(server, tmp_path, speech)
    assert part.read_bytes() == server.files["speech.zip"][:3_000]


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/files", "not a url"])
def test_an_address_that_is_none_is_told_at_once(speech: dl.Archive, tmp_path: Path, url: str) -> None:
    with pytest.raises(dl.ServerRefused, match="Check --base-url"):
        dl.download(tmp_path, base_url=url, archives=[speech])


@pytest.mark.parametrize(
    "name",
    ["../escaped.wav", "/escaped.wav", "Actor_01/../../../escaped.wav"],
)
def test_an_archive_that_would_write_elsewhere_unpacks_nothing(server: Server, tmp_path: Path, name: str) -> None:
    content = zip_of({"Actor_01/good.wav": b"good"} | {name: b"evil"})
    server.files["evil.zip"] = content
    with pytest.raises(dl.BadArchive, match="would land outside"):
        fetch(server, tmp_path / "data", archive_of("evil.zip", content, "speech"))
    assert list(tmp_path.rglob("*.wav")) == []


def test_a_link_in_an_archive_is_refused(server: Server, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("Actor_01/link.wav")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr(link, "/etc/hostname")
    server.files["link.zip"] = buffer.getvalue()
    with pytest.raises(dl.BadArchive, match="would land outside"):
        fetch(server, tmp_path, archive_of("link.zip", buffer.getvalue(), "speech"))


def test_a_link_on_disk_leads_nowhere_else(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "data" / "ravdess" / "speech").mkdir(parents=True)
    (tmp_path / "data" / "ravdess" / "speech" / "Actor_01").symlink_to(tmp_path / "outside")
    with pytest.raises(dl.BadArchive, match="would land outside"):
        fetch(server, tmp_path / "data", speech)
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_is_no_zip_says_so(server: Server, tmp_path: Path) -> None:
    server.files["junk.zip"] = b"junk" * 100
    with pytest.raises(dl.BadArchive, match=r"File is not a zip file\. Delete it"):
        fetch(server, tmp_path, archive_of("junk.zip", b"junk" * 100, "speech"))


def test_a_full_disk_is_told_before_anything_is_fetched(
    server: Server, speech: dl.Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=speech.size - 1))
    with pytest.raises(dl.DiskTrouble, match="There is no room"):
        fetch(server, tmp_path, speech)
    assert server.seen == []


def test_a_disk_that_fills_up_on_the_way_is_told(
    server: Server, speech: dl.Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(dl.DiskTrouble, match=r"the disk is full\. Free some space"):
        fetch(server, tmp_path, speech)


def test_a_folder_that_is_a_file_is_told(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(dl.DiskTrouble, match=r"file can't be used: .*Choose a folder"):
        fetch(server, tmp_path / "file", speech)
    assert (tmp_path / "file").read_text() == "mine"


COMMAND = """
import argparse, sys
from train import download
download.ARCHIVES = download.download.__kwdefaults__["archives"] = (download.Archive({archive}),)
download.download.__kwdefaults__["retry_pause_s"] = 0.0
parser = argparse.ArgumentParser()
download.add_arguments(parser)
sys.exit(download.run(parser.parse_args()))
"""


def start(archive: dl.Archive, to: Path, url: str) -> subprocess.Popen[str]:
    """The command in a process of its own, its record replaced by `archive`."""
    fields = ", ".join(repr(value) for value in (archive.name, archive.size, archive.md5, archive.folder))
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(archive=fields), "--to", str(to), "--base-url", url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,  # noqa: PLW1509  no threads run here, and nothing else sets a signal
    )


def test_the_command_says_what_it_did(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    process = start(speech, tmp_path, server.url)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == f"RAVDESS is complete in {tmp_path / 'ravdess'}."


def test_the_command_fails_with_a_sentence(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    server.always = 404
    process = start(speech, tmp_path, server.url)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("error: The server answered 404 Not Found for ")
    assert "Traceback" not in err


def test_ctrl_c_keeps_the_part(server: Server, speech: dl.Archive, tmp_path: Path) -> None:
    server.plays.append("hang")
    process = start(speech, tmp_path, server.url)
    part = tmp_path / "speech.zip.part"
    until = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size == speech.size // 2) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.startswith("Stopped. What has arrived is kept")
    assert part.read_bytes() == server.files["speech.zip"][: speech.size // 2]


def test_the_options_of_the_command() -> None:
    parser = argparse.ArgumentParser()
    dl.add_arguments(parser)
    args = parser.parse_args(["--to", "somewhere"])
    assert vars(args) == {"to": Path("somewhere"), "base_url": dl.BASE_URL, "delete_archives": False}
    assert httpx.URL(dl.BASE_URL).host == "zenodo.org"
