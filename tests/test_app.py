"""The door: what it serves and what not, how it starts and ends, its command line."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import soundfile
from filelock import FileLock
from gradio import networking
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file

import app
import ser_core
from page import analyse, layout, live, options, remembered, tidy
from page.ending import Ending
from ser_core import hub
from ser_core.errors import BundleError
from ser_core.hub import Located
from tests import bundles, processes
from tests.browser.driving import serving, started
from tests.fakes import FAKE, free_port
from tests.plain_http import PATIENCE_S, call, file
from tests.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`main` must not move the recordings of a page that runs in this very process."""
    folder = tidy.Folder(tmp_path / "own", FileLock(tmp_path / "lock"))
    monkeypatch.setattr(tidy.Folder, "make", lambda: folder)


@pytest.fixture(scope="module")
def client(fake_page: Any, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(fake_page.local_url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


# Its doors


def test_recordings_are_deleted_and_no_run_is_kept(fake_page: Any, client: Client, clip: Path) -> None:
    client.predict(handle_file(clip), api_name="/predict")
    kept = {Path(file) for files in fake_page.temp_file_sets for file in files}
    recordings = {path for path in kept if path.name == clip.name and path.exists()}
    assert recordings
    remembered.forget_paths(fake_page)  # other tests have named folders, at which Gradio would stop
    delete_files_created_by_app(fake_page, age=0)
    assert not [path for path in recordings if path.exists()]
    assert fake_page.delete_cache == (60, 300)
    assert fake_page.run_history is False


def test_every_way_to_the_model_shares_its_places(fake_page: Any) -> None:
    judged = [function for function in fake_page.fns.values() if function.concurrency_id == "model"]
    assert {"show", "show_upload", "predict", "timeline"} <= {function.name for function in judged}
    assert {function.concurrency_limit for function in judged} == {layout.AT_ONCE}


def test_there_are_as_many_places_as_docs_security_tells(fake_page: Any) -> None:
    places = {function.concurrency_id: function.concurrency_limit for function in fake_page.fns.values()}
    found = (places["model"], places["files"], live.MOST, fake_page._queue.max_size)
    told = "2 at work on recordings, 1 on a batch, 4 visitors live; 32 waiting"
    assert found == tuple(int(number) for number in re.findall(r"\d+", told))
    assert told in (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "target", ["/etc/passwd", str(ROOT / "app.py"), str(ROOT / "requirements.txt"), "http://169.254.169.254/latest"]
)
def test_files_of_the_server_are_not_served(fake_page: Any, target: str) -> None:
    response = httpx.get(f"{fake_page.local_url}gradio_api/file={target}")
    assert response.status_code in {403, 404}
    assert "root:" not in response.text


def test_a_forged_path_is_refused_even_where_it_is_a_sound(fake_page: Any, clip: Path) -> None:
    _, reply = call(fake_page.local_url, [file(str(clip))])
    assert "event: error" in reply
    assert "angry" not in reply


def test_password_is_asked_for(clip: Path) -> None:
    built = layout.build(FAKE)
    app.launch(built, options.Options(port=free_port(), auth=("ann", "se:cret")))
    try:
        assert httpx.get(f"{built.local_url}config").status_code == 401
        with pytest.raises(ValueError, match="Could not login"):
            Client(built.local_url, auth=("ann", "wrong"), verbose=False)
        assert httpx.get(f"{built.local_url}gradio_api/mcp/schema").status_code == 404  # it would ask for none
        friend = Client(built.local_url, auth=("ann", "se:cret"), verbose=False)
        assert friend.predict(handle_file(clip), api_name="/predict")[0]["label"] == "angry"
    finally:
        built.close()


def test_without_a_share_link_a_line_says_so_and_the_page_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_link(**_: Any) -> str:
        raise RuntimeError("Could not get share link from Gradio API Server.")

    monkeypatch.setattr(networking, "setup_tunnel", no_link)
    built = layout.build(FAKE)
    url = app.launch(built, options.Options(port=free_port(), share=True))
    try:
        assert httpx.get(f"{url}config").status_code == 200
    finally:
        built.close()
    assert "A public link could not be had" in capsys.readouterr().out


def test_a_taken_port_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ser_core, "load", lambda model: FAKE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert app.main(["--port", str(port)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert f"127.0.0.1, port {port}" in lines[0]
    assert "Choose another --port" in lines[0]


def test_a_host_that_is_not_ours_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ser_core, "load", lambda model: FAKE)
    assert app.main(["--host", "192.0.2.1"]) == 1  # RFC 5737: never anybody's
    assert "192.0.2.1, port from 7860 on" in capsys.readouterr().err


def test_a_model_that_does_not_load_is_its_own_sentence_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["--model", "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("'nowhere' is neither a folder that is there nor a model on the Hugging")
    assert app.main(["--model", "./nowhere"]) == 1
    assert capsys.readouterr().err.startswith("There is no folder nowhere. Name the folder ")


@pytest.mark.parametrize("error", [BundleError("OpenVINO can't load model.onnx."), TypeError("None"), RecursionError()])
@pytest.mark.parametrize("fails", ["load", "build"])
def test_a_model_from_the_hub_that_is_of_no_use_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, fails: str
) -> None:
    """One whose files are all as its manifest says, whatever it is that can't be done with them."""
    bundles.make(tmp_path)
    found = Located(tmp_path, "tester/model, commit abc1234, from the Hub", "abc1234")
    loaded: list[Located] = []

    def load(model: Located) -> Any:
        loaded.append(model)
        if fails == "load" and model is found:
            raise error
        return FAKE

    def build(*_: Any, **__: Any) -> str:
        if fails == "build" and loaded[-1] is found:
            raise error
        return "the page"

    search = hub.Search("")
    search._model = hub.HubModel("tester/model")
    monkeypatch.setattr(search, "result", lambda: found)
    monkeypatch.setattr(hub, "Search", lambda _: search)
    monkeypatch.setattr(ser_core, "load", load)
    monkeypatch.setattr(layout, "build", build)
    opened: tuple[Any, Any] = app.open_page("tester/model")
    assert opened == ("the page", FAKE)
    reason = str(error).rstrip(".") if isinstance(error, BundleError) else f"it can't be used ({type(error).__name__})"
    assert loaded == [found, hub.bundled(f"instead of tester/model@main, since {reason}")]


def test_a_folder_that_is_of_no_use_is_not_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundles.make(tmp_path)
    monkeypatch.setattr(layout, "build", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        app.open_page(str(tmp_path))


def test_the_model_is_asked_for_on_the_command_line_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SER_MODEL_REPO", raising=False)
    assert options.parse([]).model is None
    monkeypatch.setenv("SER_MODEL_REPO", "ann/voice@v1")
    assert options.parse([]).model == "ann/voice@v1"
    assert options.parse(["--model", "bob/voice"]).model == "bob/voice"


def test_main_serves_until_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    built: list[Any] = []
    build = layout.build

    def remember(*model: Any, **beside: Any) -> Any:
        built.append(build(*model, **beside))
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "example.wav").write_bytes(b"voice")  # as Gradio copies examples
        return built[0]

    def look(_: Ending) -> None:
        seen.append(httpx.get(f"{built[0].local_url}config").status_code)
        swept[0][-1]()  # what is done before each sweep

    swept: list[Any] = []
    monkeypatch.setattr(Ending, "wait", look)
    monkeypatch.setattr(tidy, "sweep_regularly", lambda *given: swept.append(given))
    monkeypatch.setattr(ser_core, "load", lambda model: FAKE)
    monkeypatch.setattr(layout, "build", remember)
    assert app.main(["--port", str(free_port())]) == 0
    assert seen == [200]
    assert not built[0].is_running
    (folder, stays, _, forget, before) = swept[0]
    assert stays == {str(folder / "example.wav")}
    assert built[0].kept == {os.path.realpath(folder / "example.wav")}
    assert forget == built[0].forget
    assert before.func is remembered.clear
    assert FAKE.warm.wait(5.0)


@bundles.needs_shipped
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_recordings_are_deleted_when_the_page_is_told_to_end(
    tmp_path: Path, clip: Path, number: signal.Signals
) -> None:
    """By SIGTERM, as from `docker stop`, systemd or a Space that goes to sleep; with a visitor's page still open."""
    with serving(environment={"GRADIO_TEMP_DIR": str(tmp_path / "temp")}, end=number) as url:
        visitor = Client(url, verbose=False, download_files=False)
        visitor.predict(handle_file(clip), api_name="/predict")
        kept = [path for path in (tmp_path / "temp").rglob("*") if path.is_file()]
        assert {path.suffix for path in kept} >= {".wav", ".webp"}
        assert visitor.config["connect_heartbeat"]
    assert [path for path in kept if path.exists()] == []


@contextlib.contextmanager
def by_itself(
    *arguments: str, code: str = "import app; app.run()", **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """The app, whose lines all come by one pipe; it is killed where it doesn't end."""
    variables = {**os.environ, **environment}
    with processes.start(*arguments, code=code, env=variables, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()


AT_WORK = """
import numpy as np
import app
from ser_core.recognizer import Recognizer

def warm_up(self):
    while True:
        self.backend.infer(np.zeros((1, 1, self.config.n_mels, 400), dtype=np.float32))
        print("at work", flush=True)

Recognizer.warm_up = warm_up
app.run()
"""


@bundles.needs_shipped
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_while_threads_are_at_work(tmp_path: Path, number: signal.Signals) -> None:
    # `started` waits for the end, and raises where it is an abort.
    with started(program=("-c", AT_WORK), end=number, log=tmp_path / "log"):
        until(lambda: "at work" in (tmp_path / "log").read_text())


ANOTHER_IS_TOLD = """
import signal, threading, time
import app

def tell(*_):
    time.sleep(1.0)  # by then the main thread waits
    signal.pthread_kill(threading.get_ident(), {number})

app._warm_up = tell
app.run()
"""


@bundles.needs_shipped
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_where_the_signal_comes_to_another_thread(tmp_path: Path, number: signal.Signals) -> None:
    """The system chooses the thread; seldom, but at some time, it isn't the main one."""
    code = ANOTHER_IS_TOLD.format(number=int(number))
    with by_itself("--port", str(free_port()), code=code, GRADIO_TEMP_DIR=str(tmp_path)) as process:
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "The page is at" in printed
    assert printed.count("Model: ") == 1
    assert list(tmp_path.iterdir()) == []


STILL_WRITES = """
import os, threading
from pathlib import Path
import app

def write(number=0):
    while True:
        path = Path(os.environ["GRADIO_TEMP_DIR"]) / f"late {number}" / "spectrogram.webp"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"a voice")
        except OSError:
            pass

def start(*_):
    for number in range(20):
        threading.Thread(target=write, args=(number,), daemon=True).start()

app._warm_up = start
app.run()
"""


@bundles.needs_shipped
def test_what_threads_write_when_all_was_deleted_does_not_stay(tmp_path: Path) -> None:
    with started(program=("-c", STILL_WRITES), environment={"GRADIO_TEMP_DIR": str(tmp_path)}):
        until(lambda: list(tmp_path.rglob("spectrogram.webp")))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_told_to_end_before_it_serves(tmp_path: Path, number: signal.Signals) -> None:
    with by_itself("--port", str(free_port()), GRADIO_TEMP_DIR=str(tmp_path)) as process:
        until(lambda: list(tmp_path.iterdir()))
        process.send_signal(number)
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "code", "says"), [("--help", 0, "--drain"), ("--port=none", 2, "usage: "), ("--model=./no", 1, "./no")]
)
def test_what_it_prints_comes_through_a_pipe(argument: str, code: int, says: str) -> None:
    with by_itself(argument, PYTHONUNBUFFERED="") as process:
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert says in printed


def test_a_failure_that_nobody_foresaw_is_told_whole_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tidy.Folder.make()
    folder.path.mkdir()
    (folder.path / "a.wav").write_bytes(b"voice")
    monkeypatch.setattr(app, "open_page", lambda *_: 1 / 0)
    assert app.main([]) == 1
    assert "ZeroDivisionError" in caplog.text
    assert not folder.path.exists()


# Its command line


@pytest.mark.parametrize("name", ["GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "PORT", "GRADIO_SHARE", "SER_MODEL_REPO"])
def test_defaults_are_local_and_private(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert options.parse([]) == options.Options("127.0.0.1", None, False, None, None)


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SERVER_PORT": "8001",
        "PORT": "8002",
        "GRADIO_SHARE": "True",
    }.items():
        monkeypatch.setenv(name, value)
    assert options.parse([]) == options.Options("0.0.0.0", 8001, True)
    assert options.parse(["--host", "localhost", "--port", "8003"]) == options.Options("localhost", 8003, True)
    monkeypatch.delenv("GRADIO_SERVER_PORT")
    assert options.parse([]).port == 8002


def test_a_password_may_hold_colons() -> None:
    assert options.parse(["--auth", "ann:a:b"]).auth == ("ann", "a:b")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--auth", "ann"], "a colon between them"),
        (["--auth", ":secret"], "a colon between them"),
        (["--auth", "ann:"], "a colon between them"),
        (["--port", "http"], "a number from 1 to 65535"),
        (["--port", "70000"], "a number from 1 to 65535"),
        (["--pour", "1"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options.parse(argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_importing_the_page_imports_no_torch_and_loads_nothing() -> None:
    code = (
        "import sys, app; "
        "print([name for name in ('torch', 'openvino', 'librosa', 'numba', 'av', 'gradio') if name in sys.modules])"
    )  # gradio reads where recordings shall lie when it is imported, so that must be settled before
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_example_gets_an_emotion() -> None:
    """The voice in each is synthetic, but the detector must take it for one."""
    judge = bundles.recognizer()
    for path in sorted((ROOT / "assets" / "examples").glob("*.wav")):
        prediction = judge.predict(path)
        assert prediction.state == "ok", path.name
        assert prediction.sound is not None
        # Trimmed of silence, the sentence is nearly all of the file.
        assert prediction.sound.duration_s > 0.7 * prediction.duration_s, path.name


def test_examples_are_small_synthetic_and_all_on_the_page() -> None:
    files = sorted((ROOT / "assets" / "examples").glob("*.wav"))
    assert sorted(path.stem.removeprefix("synthetic-").replace("-", " ") for path in files) == sorted(analyse.EXAMPLES)
    for path in files:
        info = soundfile.info(path)
        assert path.name.startswith("synthetic-")
        assert (info.channels, info.subtype, info.samplerate) == (1, "PCM_16", 22_050)
        assert 1.0 < info.duration < 5.0
        assert path.stat().st_size < 150_000


def test_the_page_leaves_no_server_thread_behind() -> None:
    before = threading.active_count()
    built = layout.build(FAKE)
    app.launch(built, options.Options(port=free_port()))
    built.close()
    assert threading.active_count() <= before + 2  # the client library keeps its pool
