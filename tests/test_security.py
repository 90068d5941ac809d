"""Nobody gets in, and nothing leaks: what strangers may send to the page that is served, and what they get for it."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from gradio import routes
from gradio.utils import get_upload_folder

from page import guard, room
from page.blocks import UNFIT
from page.judging import OUR_FAULT
from tests.plain_http import API, begin, call, connected, fetch, file, join, upload
from tests.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
LEAKS = re.compile(r"Traceback|File \"|/site-packages|/tmp/|/root|/home|" + re.escape(str(ROOT)))


def raw(page: Any, target: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    """GET exactly what is given; other clients tidy paths up before they send them."""
    address = urlsplit(page.local_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    try:
        connection.putrequest("GET", target)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        reply = connection.getresponse()
        sent = {name.lower(): value for name, value in reply.getheaders()}
        return reply.status, reply.read().decode("utf-8", "replace"), sent
    finally:
        connection.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """On this machine; nothing may ever connect to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


# Files of the server

SECRETS = {
    "passwd": "/etc/passwd",
    "environment": "/proc/self/environ",
    "source": str(ROOT / "app.py"),
    "model": str(ROOT / "assets" / "model" / "manifest.json"),
}
UP = "../" * 12
SHAPES: dict[str, Callable[[str], str]] = {
    "absolute": lambda path: path,
    "climbing": lambda path: UP + path[1:],
    "encoded": lambda path: quote(UP + path[1:], safe="").replace(".", "%2e"),
    "encoded twice": lambda path: quote(quote(UP + path[1:], safe="").replace(".", "%2e"), safe=""),
    "backslashes": lambda path: (UP + path[1:]).replace("/", "\\"),
    "encoded backslashes": lambda path: (UP + path[1:]).replace("/", "%5c"),
    "dots and slashes": lambda path: "....//" * 12 + path[1:],
    "behind a NUL": lambda path: f"x%00{path}",
    "file:": lambda path: f"file://{path}",
}
DOORS = [
    f"/{API}/file=",
    f"/{API}/file/",
    "/static/",
    "/assets/",
    "/svelte/",
    f"/{API}/custom_component/x/client/y/",
    "/theme/",
    f"/{API}/",
    "/",
]


@pytest.mark.parametrize("door", DOORS)
def test_no_file_of_the_server_is_given_out(fake_page: Any, door: str) -> None:
    for secret in SECRETS.values():
        for shape, made in SHAPES.items():
            status, text, _ = raw(fake_page, door + made(secret))
            assert 400 <= status < 500, (shape, secret)
            assert not re.search(r"root:|PATH=|import |sha256", text), (shape, secret)


def test_the_upload_folder_holds_no_way_out(fake_page: Any) -> None:
    inside = upload(fake_page.local_url, "x.wav", b"x")
    for tail in ("/../../../../../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"):
        status, text, _ = raw(fake_page, f"/{API}/file={Path(inside).parent}{tail}")
        assert status in {403, 404}
        assert "root:" not in text
    name = upload(fake_page.local_url, "../../../../../etc/cron.d/x.wav", b"x")
    assert Path(name).is_relative_to(get_upload_folder())


# Addresses


def loopback(port: int) -> list[str]:
    hosts = ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]", "[::1]"]
    return [f"http://{host}:{port}/voice.wav" for host in hosts]


def test_the_server_fetches_nothing_for_whoever_asks(fake_page: Any, listener: socket.socket) -> None:
    for address in [*loopback(listener.getsockname()[1]), "http://example.com/", "HTTPS://example.com/", "ftp://x/y"]:
        for way in (f"/{API}/file=", f"/{API}/file/", f"/{API}/proxy="):
            assert raw(fake_page, way + address)[0] == 404, way + address
            assert raw(fake_page, way + quote(address, safe=""))[0] == 404


def test_no_input_makes_the_server_ask_a_private_network(fake_page: Any, listener: socket.socket) -> None:
    private = ["http://169.254.169.254/latest/meta-data/", "http://100.100.100.200/", "http://[fd00:ec2::254]/"]
    for address in [*loopback(listener.getsockname()[1]), *private]:
        status, text = call(fake_page.local_url, [file(address)])
        assert status == 200
        assert "event: error" in text
        assert "The address of the sound can't be used" in text, address


# Inputs


def test_no_function_of_the_page_takes_what_was_not_uploaded(
    fake_page: Any, listener: socket.socket, clip: Path
) -> None:
    """Also those that programs aren't told of: a number is all that is needed to reach them."""
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/voice.wav"
    for number, function in fake_page.fns.items():
        if not function.inputs:
            continue
        for forged in (file("/etc/passwd"), file(str(clip)), file(address), {"a": [1]}, [file("/etc/passwd")]):
            done = join(fake_page.local_url, number, [forged] * len(function.inputs), f"stranger{number}")
            text = json.dumps(done)
            assert not LEAKS.search(text), (number, forged, text)
            if isinstance(forged, list) or "path" in forged:
                assert not done["success"], (number, forged)
                assert len(done["output"]["error"]) > 40, (number, forged)


def test_another_visitor_s_recording_is_not_found_by_its_content(fake_page: Any, clip: Path) -> None:
    path = upload(fake_page.local_url, "mine.wav", clip.read_bytes())
    known = hashlib.sha256(clip.read_bytes()).hexdigest()
    assert re.fullmatch(r"[0-9a-f]{64}", Path(path).parent.name)
    assert known not in path
    for guess in (path.replace(Path(path).parent.name, known), str(Path(path).parent), get_upload_folder()):
        assert raw(fake_page, f"/{API}/file={guess}")[0] in {403, 404}
        assert "angry" not in call(fake_page.local_url, [file(guess)])[1]


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        [5],
        ["text"],
        [[1, 2]],
        [{}],
        [1, 2, 3],
        [{"path": "/etc/passwd"}],
        [file(5)],
        [file("x\0y")],
        [file("/etc/passwd", is_stream=True)],
        [file("x" * 100_000)],
        [{"url": "http://127.0.0.1/x", "meta": {"_type": "gradio.FileData"}}],
        [[file("/etc/passwd")] * 1_000],
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["predict", "batch"])
def test_what_does_not_fit_is_refused_in_words(
    fake_page: Any, capfd: pytest.CaptureFixture[str], data: Any, name: str
) -> None:
    status, text = call(fake_page.local_url, data, name)
    if status == 200:
        assert "event: error" in text or '"state"' not in text
        assert OUR_FAULT not in text
        assert '"error": null' not in text
    else:
        assert 400 <= status < 500
    assert not LEAKS.search(text)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("number", [999, -1, "x", None, 2**70])
def test_a_function_that_there_is_not_is_a_refusal(
    fake_page: Any, capfd: pytest.CaptureFixture[str], number: Any
) -> None:
    body = {"data": [None], "fn_index": number, "session_hash": "stranger"}
    refused = httpx.post(f"{fake_page.local_url}{API}/queue/join", json=body)
    assert 400 <= refused.status_code < 500
    assert call(fake_page.local_url, [None], "nowhere")[0] == 400
    assert "Traceback" not in capfd.readouterr().err


def test_no_call_goes_past_the_queue(fake_page: Any) -> None:
    for way in ("run", "api"):
        assert httpx.post(f"{fake_page.local_url}{API}/{way}/predict", json={"data": [None]}).status_code == 404


def test_the_page_answers_after_all_this(fake_page: Any, clip: Path) -> None:
    assert "angry" in call(fake_page.local_url, [file(upload(fake_page.local_url, "voice.wav", clip.read_bytes()))])[1]
    assert UNFIT in json.loads(call(fake_page.local_url, [5])[1].partition("data: ")[2])["error"]


# Sizes


def test_a_huge_body_is_refused(fake_page: Any) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"data": ["'
        for _ in range(guard.ANSWER_BYTES // 65_536 + 1):
            yield b"a" * 65_536
        yield b'"]}'

    for content in (b"".join(parts()), parts()):  # declared, and not
        refused = httpx.post(f"{fake_page.local_url}{API}/call/predict", content=content, timeout=60)
        assert refused.status_code == 413
        assert "maximum allowed size of 4 MB" in refused.text


def left_over(page: Any) -> set[Path]:
    return {path for path in Path(page.app.uploaded_file_dir).rglob("*") if path.is_file()}


def test_an_upload_that_is_too_large_is_refused_and_leaves_nothing(
    fake_page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = left_over(fake_page)
    address = f"{fake_page.local_url}{API}/upload"
    monkeypatch.setattr(fake_page, "max_file_size", 1_000)
    refused = httpx.post(address, files={"files": ("x.wav", b"x" * 2_000)})
    assert refused.status_code == 413
    assert "maximum allowed size of 1000 bytes" in refused.text
    monkeypatch.setattr(guard, "UPLOAD_BYTES", 10 << 20)
    many = [("files", (f"{index}.wav", b"x" * 900)) for index in range(900)]
    assert httpx.post(address, files=many).status_code == 200
    monkeypatch.setattr(guard, "UPLOAD_BYTES", 100_000)
    declared = httpx.post(address, files=many)
    body = httpx.Request("POST", address, files=many)
    undeclared = httpx.post(
        address, content=iter([body.read()]), headers={"content-type": body.headers["content-type"]}
    )
    for refused in (declared, undeclared):
        assert refused.status_code == 413
        assert "exceeds the maximum allowed size" in refused.text
    assert {path.name.split(".")[-1] for path in left_over(fake_page) - before} == {"wav"}


def test_who_says_less_than_is_sent_is_refused(fake_page: Any) -> None:
    """By two headers that contradict each other, as no browser sends them: room is promised for what is sent."""
    address = urlsplit(fake_page.local_url)
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="x.wav"\r\n\r\n' + b"x" * 50_000
    asked: list[int] = []
    with pytest.MonkeyPatch.context() as patched:
        of = room.DISK.of

        def noted(size: int, folder: Path) -> Any:
            asked.append(size)
            return of(size, folder)

        patched.setattr(room.DISK, "of", noted)
        with connected(fake_page.local_url) as line:
            head = f"POST /{API}/upload HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1\r\n"
            head += "Transfer-Encoding: chunked\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
            line.sendall(head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(part), part))
            line.recv(1_000)
    assert asked == [guard.UPLOAD_BYTES]


def test_an_upload_that_stalls_gives_its_room_back(fake_page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STALLED_S", 0.3)
    address = urlsplit(fake_page.local_url)
    with connected(fake_page.local_url) as line:
        head = f"POST /{API}/upload HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 5000\r\n"
        line.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")
        answer = line.recv(10_000).decode()
        assert answer.startswith("HTTP/1.1 4")
        assert "took too long" in answer + line.recv(10_000).decode()
    until(lambda: room.DISK.promised == 0)


def test_an_upload_that_trickles_ends_too(fake_page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SENDING_S", 0.5)

    def slowly() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="x.wav"\r\n\r\n'
        for _ in range(100):
            yield b"x"
            time.sleep(0.1)

    address = f"{fake_page.local_url}{API}/upload"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    refused = httpx.post(address, content=slowly(), headers=headers)
    assert "took too long" in refused.text
    until(lambda: room.DISK.promised == 0)


def test_an_answer_may_take_longer_than_a_request(fake_page: Any, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = file(upload(fake_page.local_url, "voice.wav", clip.read_bytes()))
    monkeypatch.setattr(guard, "STALLED_S", 0.2)
    monkeypatch.setattr(guard, "SENDING_S", 0.2)
    address = f"{fake_page.local_url}{API}/queue/data"
    began = time.monotonic()
    with httpx.stream("GET", address, params={"session_hash": "nobody"}, timeout=60) as answer:
        for _ in answer.iter_lines():
            if time.monotonic() - began > 1.0:
                break
    assert "angry" in call(fake_page.local_url, [sent])[1]


def test_a_thousand_files_are_too_many(fake_page: Any) -> None:
    many = [("files", (f"{index}.wav", b"x")) for index in range(1_001)]
    refused = httpx.post(f"{fake_page.local_url}{API}/upload", files=many)
    assert refused.status_code == 400
    assert "Too many files" in refused.text


def test_nothing_is_taken_in_where_the_disk_is_nearly_full(fake_page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free", lambda folder: 0)
    refused = httpx.post(f"{fake_page.local_url}{API}/upload", files={"files": ("x.wav", b"x")})
    assert refused.status_code == 507
    assert "disk is nearly full" in refused.json()["detail"]


# Answers


def test_nobody_gets_another_s_answer(fake_page: Any, clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    api = f"{fake_page.local_url}{API}"
    data = [file(upload(fake_page.local_url, "voice.wav", clip.read_bytes()))]
    begun = [begin(fake_page.local_url, data) for _ in range(2)]
    assert all(re.fullmatch(r"[0-9a-f]{32}", event) for event in begun)
    assert begun[0] != begun[1]
    for wrong in (begun[0][:-1] + ("0" if begun[0][-1] != "0" else "1"), "*", "", "null"):
        for way in (f"/call/predict/{wrong}", f"/queue/data?session_hash={wrong}"):
            assert "angry" not in httpx.get(f"{api}{way}", timeout=60).text
    for event in begun:
        assert "angry" in fetch(fake_page.local_url, event)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_other_sites_may_not_read_a_page_on_this_machine(fake_page: Any, origin: str) -> None:
    for path in ("/config", f"/{API}/info"):
        assert "access-control-allow-origin" not in raw(fake_page, path, Origin=origin)[2]
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    allowed = httpx.options(f"{fake_page.local_url}{API}/queue/join", headers=asked)
    assert "access-control-allow-origin" not in allowed.headers


def test_browsers_are_told_what_the_page_may(fake_page: Any) -> None:
    _, _, sent = raw(fake_page, "/")
    assert sent["x-content-type-options"] == "nosniff"
    assert sent["referrer-policy"] == "same-origin"
    assert "microphone=(self), camera=()" in sent["permissions-policy"]
    policy = dict(part.strip().split(" ", 1) for part in sent["content-security-policy"].split(";"))
    assert policy["frame-ancestors"] == "'self' https://huggingface.co https://*.hf.space"
    assert (policy["object-src"], policy["base-uri"], policy["default-src"]) == ("'none'", "'self'", "'self'")


@pytest.mark.parametrize("name", ["page.html", "picture.svg", "page.xhtml", "script.js", "voice.wav"])
def test_what_was_uploaded_is_no_page_of_ours(fake_page: Any, name: str) -> None:
    path = upload(fake_page.local_url, name, b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    for part in ({}, {"Range": "bytes=0-9"}):
        status, _, sent = raw(fake_page, f"/{API}/file={quote(path)}", X_Sent="back", Cookie="a=b", **part)
        assert status == (206 if part else 200)
        assert sent["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert sent["x-content-type-options"] == "nosniff"
        assert sent["cache-control"] == "private, no-store"
        assert not {"x-sent", "cookie", "set-cookie"} & set(sent)
        if name != "voice.wav":
            assert sent["content-disposition"].startswith("attachment")
            assert sent["content-type"] == "application/octet-stream"


# Routes


def test_only_these_routes_are_open() -> None:
    """Of all that Gradio's own source names; what a new version adds is closed, and so noticed where it is needed."""
    source = Path(routes.__file__).read_text(encoding="utf-8")
    named = re.findall(r'@(router|app)\.\w+\(\s*f?"([^"]+)"', source)
    paths = {(f"/{API}" if kind == "router" else "") + path for kind, path in named}
    opened = {path.rstrip("/") for path in paths if guard.OPEN.fullmatch(re.sub(r"\{[^}]*\}", "1", path))}
    assert opened == OPEN
    assert len(paths) > 80


OPEN = {
    "",
    "/assets/{path:path}",
    "/config",
    "/favicon.ico",
    "/gradio_api/api/{api_name}",
    "/gradio_api/app_id",
    "/gradio_api/call/v2/{api_name}",
    "/gradio_api/call/v2/{api_name}/{event_id}",
    "/gradio_api/call/{api_name}",
    "/gradio_api/call/{api_name}/{event_id}",
    "/gradio_api/cancel",
    "/gradio_api/file={path_or_url:path}",
    "/gradio_api/heartbeat/{session_hash}",
    "/gradio_api/info",
    "/gradio_api/login_check",
    "/gradio_api/openapi.json",
    "/gradio_api/queue/data",
    "/gradio_api/queue/join",
    "/gradio_api/reset",
    "/gradio_api/run/{api_name}",
    "/gradio_api/startup-events",
    "/gradio_api/stream/{event_id}",
    "/gradio_api/stream/{event_id}/close",
    "/gradio_api/theme.css",
    "/gradio_api/upload",
    "/gradio_api/upload_progress",
    "/login",
    "/logout",
    "/manifest.json",
    "/pwa_icon",
    "/robots.txt",
    "/static/{path:path}",
    "/theme.css",
}


@pytest.mark.parametrize(
    "path",
    [
        "process_recording",
        "component_server",
        "vibe-edit",
        "vibe-code",
        "undo-vibe-edit",
        "vibe-starter-queries",
        "dev/reload",
        "deep_link?session_hash=x",
        "token",
        "user",
        "runs",
        "run-history/records",
        "profiling/summary",
        "custom_component/x/client/y/z.js",
        "stream/x/y/1/playlist.m3u8",
        "queue/status",
    ],
)
def test_what_the_page_has_no_use_for_is_closed(fake_page: Any, path: str) -> None:
    for method in ("GET", "POST"):
        refused = httpx.request(method, f"{fake_page.local_url}{API}/{path}")
        assert refused.status_code == 404
        assert "There is nothing at this address" in refused.text
    for outside in ("monitoring", "monitoring/summary", "svelte/x.js", "pwa_icon/20000", "docs"):
        assert "There is nothing at this address" in httpx.get(fake_page.local_url + outside).text
