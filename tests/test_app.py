"""The page without a browser: its words, its API through the real client, its doors."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import soundfile
from gradio import networking
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
import ser_core
from ser_core import hub, plots
from ser_core.audio import Sound
from ser_core.config import FeatureConfig, Limits
from ser_core.emotions import LABELS
from ser_core.errors import BundleError
from ser_core.features import trim
from ser_core.hub import Located
from ser_core.prediction import ModelInfo, Prediction, QualityNote, Span, Timings, Window
from tests import bundles, sounds
from tests.browser.driving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
SCHEMA = Path(__file__).parent / "golden" / "api_predict.json"
INFO = ModelInfo("fake", "1.2", "tests", None, "fp16")
PROBABILITIES = dict(zip(LABELS, (0.04, 0.02, 0.05, 0.01, 0.61, 0.08, 0.15, 0.04), strict=True))


class FakeRecognizer:
    """Angry about every sound, with the interface of the real one and no network inside."""

    info = INFO
    config = FeatureConfig()
    limits = Limits()
    metrics: dict[str, Any] = {"actor_independent": {"speech": {"accuracy": 0.734}}}  # noqa: RUF012

    def __init__(self) -> None:
        self.warm = threading.Event()

    def warm_up(self) -> None:
        self.warm.set()

    def listen(self, source: str | None) -> tuple[Sound, Prediction]:
        sound = ser_core.audio.read(source, limits=self.limits)
        return sound, self.predict(sound)

    def predict(self, source: Sound, sample_rate: int | None = None) -> Prediction:
        rate = self.config.sample_rate
        trimmed = trim(source.samples, self.config)
        timings = Timings(1.0, 1.0, 1.0, 1.0, 4.0)
        if trimmed.samples.size == 0:
            note = QualityNote("silent", "The recording is silent. Check that the microphone is on.")
            return Prediction("no_speech", None, None, {}, (), None, source.duration_s, (note,), timings, INFO)
        sound = Span(trimmed.start / rate, trimmed.end / rate)
        window = Window(0.0, source.duration_s, sound, "ok", "angry", 0.61, PROBABILITIES, (0.25, 0.75))
        return Prediction("ok", "angry", 0.61, PROBABILITIES, (window,), sound, source.duration_s, (), timings, INFO)


class BrokenRecognizer(FakeRecognizer):
    def predict(self, source: Sound, sample_rate: int | None = None) -> Prediction:
        raise ZeroDivisionError("secret detail")


# Duck-typed on purpose: the page needs only these few names of a Recognizer.
FAKE: Any = FakeRecognizer()
BROKEN: Any = BrokenRecognizer()


def answer(**changes: Any) -> Prediction:
    prediction: Prediction = FAKE.predict(Sound(tone(), 16_000, 16_000, 1, "array"))
    return replace(prediction, **changes)


def tone(seconds: float = 1.0, rate: int = 16_000) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (0.3 * np.sin(2 * np.pi * 440.0 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "tone.wav"
    soundfile.write(path, tone(), 16_000)
    return path


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    built = app.build(FAKE)
    app.launch(built, app.Options(port=free_port()))
    yield built
    built.close()


@pytest.fixture(scope="module")
def client(page: Any, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(page.local_url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


# What it says


def test_a_clear_answer_names_the_first_two() -> None:
    assert app.say(answer()) == "<p>Sounds <strong>angry</strong> (61&nbsp;%), then disgust (15&nbsp;%).</p>"


def test_an_unsure_answer_says_so_and_names_the_nearest_two() -> None:
    said = app.say(answer(state="uncertain", probabilities={**PROBABILITIES, "angry": 0.34, "fearful": 0.29}))
    assert said == (
        "<p>Not sure: perhaps <strong>angry</strong> (34&nbsp;%), or <strong>fearful</strong> (29&nbsp;%).</p>"
    )


def test_no_voice_is_a_sentence_with_a_next_step_and_no_emotion() -> None:
    notes = (QualityNote("too_short", "Under 0.3 s of sound. Speak a whole sentence."), QualityNote("quiet", "Quiet."))
    nothing: dict[str, Any] = {"state": "no_speech", "label": None, "confidence": None, "probabilities": {}}
    assert app.say(answer(**nothing, notes=notes)) == (
        "<p><strong>No voice to judge.</strong> Under 0.3 s of sound. Speak a whole sentence.</p>"
        "<ul><li>Quiet.</li></ul>"
    )
    assert "Speak for a second or more" in app.say(answer(**nothing))


def test_sound_without_a_voice_is_told_as_what_it_is() -> None:
    """By the real recogniser's own note: the words must fit behind "No voice to judge."."""
    _, prediction = bundles.recognizer().listen(sounds.noise(2.0), 16_000)
    assert app.say(prediction) == (
        "<p><strong>No voice to judge.</strong> There is sound in this recording, but nobody was heard to speak or "
        "sing. Come closer to the microphone, in a quiet place, and record again.</p>"
    )


def test_notes_follow_the_sentence_and_cannot_carry_markup() -> None:
    said = app.say(answer(notes=(QualityNote("clipped", "Too <loud> & clipped."),)))
    assert said.endswith("</p><ul><li>Too &lt;loud&gt; &amp; clipped.</li></ul>")


def test_model_line_tells_name_version_precision_and_measured_accuracy() -> None:
    line = app.model_line(FAKE)
    assert line.startswith("fake v1.2, tests. FP16, run by OpenVINO. ")
    assert "right about 73 % of spoken clips" in line


def test_model_line_tells_in_plain_words_whatever_a_foreign_manifest_says() -> None:
    source = "bundled copy: the model lists '<img src=x onerror=alert(1)>.py'; " + "and more " * 99
    foreign = SimpleNamespace(info=replace(FAKE.info, source=source), metrics={})
    line = app.model_line(foreign)  # type: ignore[arg-type]
    assert r"bundled copy: the model lists &#x27;&lt;img src=x onerror=alert\(1\)&gt;.py" in line
    assert "![" not in app.model_line(
        SimpleNamespace(info=replace(FAKE.info, source="![t](https://evil.example/t.png)"), metrics={})  # type: ignore[arg-type]
    )
    assert len(line) < 500


# The API


def test_the_only_public_endpoint_is_predict_and_its_schema_is_the_written_one(client: Client) -> None:
    assert client.view_api(print_info=False, return_format="dict") == json.loads(SCHEMA.read_text(encoding="utf-8"))


def test_api_gives_the_chart_the_picture_and_the_whole_prediction(client: Client, clip: Path) -> None:
    chart, picture, prediction = client.predict(handle_file(clip), api_name="/predict")
    expected = FAKE.predict(ser_core.audio.read(clip))
    assert chart["label"] == "angry"
    assert {row["label"]: row["confidence"] for row in chart["confidences"]} == PROBABILITIES
    assert prediction == json.loads(json.dumps(expected.to_dict()))
    with Image.open(picture) as image:
        assert image.size == (plots.LAYOUT.width, plots.LAYOUT.height)
        assert len(image.convert("RGB").getcolors(maxcolors=1 << 24) or []) > 100


def test_silence_is_answered_not_refused(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(16_000, dtype=np.float32), 16_000)
    chart, picture, prediction = client.predict(handle_file(path), api_name="/predict")
    assert (chart, prediction["state"], prediction["label"]) == ({}, "no_speech", None)
    assert Path(picture).stat().st_size > 0


@pytest.mark.parametrize("kind", ["noise", "tone"])
def test_what_is_no_voice_is_answered_without_an_emotion(tmp_path: Path, kind: str) -> None:
    path = sounds.write(tmp_path, getattr(sounds, kind)(2.0), 16_000)
    found, prediction = app.judge(bundles.recognizer(), str(path))
    assert (found.chart, prediction.state) == ({}, "no_speech")
    assert [note["code"] for note in found.prediction["notes"]] == ["no_voice"]
    assert found.spectrogram.size == (plots.LAYOUT.width, plots.LAYOUT.height)


def test_junk_is_refused_in_a_sentence_without_traceback(
    client: Client, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "junk.wav"
    path.write_bytes(b"this is no sound at all" * 50)
    with pytest.raises(AppError, match=r"junk\.wav") as refused:
        client.predict(handle_file(path), api_name="/predict")
    assert "Traceback" not in str(refused.value)
    assert "Traceback" not in capfd.readouterr().err


def test_nothing_is_refused_with_the_next_step(client: Client) -> None:
    with pytest.raises(AppError, match=r"(?i)record|upload|choose"):
        client.predict(None, api_name="/predict")


def test_an_unforeseen_failure_is_logged_and_told_in_general_words(
    clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built = app.build(BROKEN)
    app.launch(built, app.Options(port=free_port()))
    try:
        with pytest.raises(AppError) as refused:
            Client(built.local_url, verbose=False).predict(handle_file(clip), api_name="/predict")
    finally:
        built.close()
    assert "Something went wrong on the server" in str(refused.value)
    assert "secret detail" not in str(refused.value)
    assert "secret detail" in caplog.text


def test_no_two_pictures_share_a_file_that_could_be_rewritten_under_a_reader(clip: Path) -> None:
    one, other = (app.judge(FAKE, str(clip))[0].spectrogram for _ in range(2))
    assert one.tobytes() == other.tobytes()
    saved = []
    for picture in (one, other):
        file = io.BytesIO()
        picture.save(file, "webp", exif=picture.info["exif"])
        saved.append(file.getvalue())
    assert saved[0] != saved[1]


def test_eight_visitors_at_once_get_the_answer_of_one(client: Client, clip: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(client.predict, handle_file(clip), api_name="/predict") for _ in range(16)]
        charts = [job.result(timeout=60)[0] for job in jobs]
    assert all(chart == charts[0] for chart in charts)


# Its doors


def test_recordings_are_deleted_and_no_run_is_kept(page: Any, client: Client, clip: Path) -> None:
    client.predict(handle_file(clip), api_name="/predict")
    kept = {Path(file) for files in page.temp_file_sets for file in files}
    recordings = {path for path in kept if path.name == clip.name and path.exists()}
    assert recordings
    delete_files_created_by_app(page, age=0)
    assert not [path for path in recordings if path.exists()]
    assert page.delete_cache == (60, 300)
    assert page.run_history is False


def test_every_way_to_the_model_shares_its_places(page: Any) -> None:
    judged = [function for function in page.fns.values() if function.name in {"show", "predict"}]
    assert len(judged) == 3
    assert {function.concurrency_id for function in judged} == {"model"}
    assert {function.concurrency_limit for function in judged} == {app.AT_ONCE}


@pytest.mark.parametrize(
    "target", ["/etc/passwd", str(ROOT / "app.py"), str(ROOT / "requirements.txt"), "http://169.254.169.254/latest"]
)
def test_files_of_the_server_are_not_served(page: Any, target: str) -> None:
    response = httpx.get(f"{page.local_url}gradio_api/file={target}")
    assert response.status_code in {403, 404}
    assert "root:" not in response.text


def test_a_forged_path_is_refused_even_where_it_is_a_sound(page: Any, clip: Path) -> None:
    call = f"{page.local_url}gradio_api/call/predict"
    forged = {"path": str(clip), "meta": {"_type": "gradio.FileData"}}
    event = httpx.post(call, json={"data": [forged]}).json()["event_id"]
    reply = httpx.get(f"{call}/{event}", timeout=30).text
    assert "event: error" in reply
    assert "angry" not in reply


def test_password_is_asked_for(clip: Path) -> None:
    built = app.build(FAKE)
    app.launch(built, app.Options(port=free_port(), auth=("ann", "se:cret")))
    try:
        assert httpx.get(f"{built.local_url}config").status_code == 401
        with pytest.raises(ValueError, match="Could not login"):
            Client(built.local_url, auth=("ann", "wrong"), verbose=False)
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
    built = app.build(FAKE)
    url = app.launch(built, app.Options(port=free_port(), share=True))
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

    def build(*_: Any) -> str:
        if fails == "build" and loaded[-1] is found:
            raise error
        return "the page"

    search = hub.Search("")
    search._model = hub.HubModel("tester/model")
    monkeypatch.setattr(search, "result", lambda: found)
    monkeypatch.setattr(hub, "Search", lambda _: search)
    monkeypatch.setattr(ser_core, "load", load)
    monkeypatch.setattr(app, "build", build)
    opened: tuple[Any, Any] = app.open_page("tester/model")
    assert opened == ("the page", FAKE)
    reason = str(error).rstrip(".") if isinstance(error, BundleError) else f"it can't be used ({type(error).__name__})"
    assert loaded == [found, hub.bundled(f"instead of tester/model@main, since {reason}")]


def test_a_folder_that_is_of_no_use_is_not_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundles.make(tmp_path)
    monkeypatch.setattr(app, "build", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        app.open_page(str(tmp_path))


def test_the_model_is_asked_for_on_the_command_line_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SER_MODEL_REPO", raising=False)
    assert app.parse([]).model is None
    monkeypatch.setenv("SER_MODEL_REPO", "ann/voice@v1")
    assert app.parse([]).model == "ann/voice@v1"
    assert app.parse(["--model", "bob/voice"]).model == "bob/voice"


def test_main_serves_until_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    built: list[Any] = []
    build = app.build

    def remember(*model: Any) -> Any:
        built.append(build(*model))
        monkeypatch.setattr(
            built[0], "block_thread", lambda: seen.append(httpx.get(f"{built[0].local_url}config").status_code)
        )
        return built[0]

    monkeypatch.setattr(ser_core, "load", lambda model: FAKE)
    monkeypatch.setattr(app, "build", remember)
    assert app.main(["--port", str(free_port())]) == 0
    built[0].close()
    assert seen == [200]
    assert FAKE.warm.wait(5.0)


@bundles.needs_shipped
def test_recordings_are_deleted_when_the_page_is_told_to_end(tmp_path: Path, clip: Path) -> None:
    """By SIGTERM, as from `docker stop`, systemd or a Space that goes to sleep; `serving` ends it so."""
    with serving(environment={"GRADIO_TEMP_DIR": str(tmp_path / "temp")}) as url:
        Client(url, verbose=False, download_files=False).predict(handle_file(clip), api_name="/predict")
        kept = [path for path in (tmp_path / "temp").rglob("*") if path.is_file()]
        assert {path.suffix for path in kept} >= {".wav", ".webp"}
    assert [path for path in kept if path.exists()] == []


# Its command line


@pytest.mark.parametrize("name", ["GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "PORT", "GRADIO_SHARE", "SER_MODEL_REPO"])
def test_defaults_are_local_and_private(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert app.parse([]) == app.Options("127.0.0.1", None, False, None, None)


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SERVER_PORT": "8001",
        "PORT": "8002",
        "GRADIO_SHARE": "True",
    }.items():
        monkeypatch.setenv(name, value)
    assert app.parse([]) == app.Options("0.0.0.0", 8001, True)
    assert app.parse(["--host", "localhost", "--port", "8003"]) == app.Options("localhost", 8003, True)
    monkeypatch.delenv("GRADIO_SERVER_PORT")
    assert app.parse([]).port == 8002


def test_a_password_may_hold_colons() -> None:
    assert app.parse(["--auth", "ann:a:b"]).auth == ("ann", "a:b")


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
        app.parse(argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_importing_the_page_imports_no_torch_and_loads_nothing() -> None:
    code = (
        "import sys, app; "
        "print([name for name in ('torch', 'openvino', 'librosa', 'numba', 'av') if name in sys.modules])"
    )
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
    assert sorted(path.stem.removeprefix("synthetic-").replace("-", " ") for path in files) == sorted(app.EXAMPLES)
    for path in files:
        info = soundfile.info(path)
        assert path.name.startswith("synthetic-")
        assert (info.channels, info.subtype, info.samplerate) == (1, "PCM_16", 22_050)
        assert 1.0 < info.duration < 5.0
        assert path.stat().st_size < 150_000


def test_the_page_leaves_no_server_thread_behind() -> None:
    before = threading.active_count()
    built = app.build(FAKE)
    app.launch(built, app.Options(port=free_port()))
    built.close()
    assert threading.active_count() <= before + 2  # the client library keeps its pool
