"""The endpoints, through the real clients: Gradio's, plain HTTP, MCP."""

from __future__ import annotations

import asyncio
import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

import app
import ser_core
from page import files, judging, layout, options
from ser_core import plots, timeline
from tests import bundles, sounds
from tests.fakes import BROKEN, FAKE, PROBABILITIES, free_port

SCHEMA = Path(__file__).parent / "golden" / "api.json"


@pytest.fixture(scope="module")
def client(fake_page: Any, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(fake_page.local_url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


def test_the_public_endpoints_and_their_schemas_are_the_written_ones(client: Client) -> None:
    schema = client.view_api(print_info=False, return_format="dict")
    assert set(schema["named_endpoints"]) == {"/predict", "/timeline", "/batch"}
    assert schema == json.loads(SCHEMA.read_text(encoding="utf-8"))


def test_api_gives_the_chart_the_picture_and_the_whole_prediction(client: Client, clip: Path) -> None:
    chart, picture, prediction = client.predict(handle_file(clip), api_name="/predict")
    expected = FAKE.predict(ser_core.audio.read(clip))
    assert chart["label"] == "angry"
    assert {row["label"]: row["confidence"] for row in chart["confidences"]} == PROBABILITIES
    assert prediction == json.loads(json.dumps(expected.to_dict()))
    with Image.open(picture) as image:
        assert image.size == (plots.LAYOUT.width, plots.LAYOUT.height)
        assert len(image.convert("RGB").getcolors(maxcolors=1 << 24) or []) > 100


def test_the_timeline_is_the_library_s_own(client: Client, clip: Path) -> None:
    found = client.predict(handle_file(clip), api_name="/timeline")
    assert found == json.loads(json.dumps(timeline.to_dict(FAKE.predict(ser_core.audio.read(clip)))))
    assert [(part["label"], part["start_s"]) for part in found["segments"]] == [("angry", 0.0)]


def test_a_batch_lists_failures_beside_successes(client: Client, clip: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk.wav"
    junk.write_bytes(b"this is no sound at all" * 50)
    found = client.predict([handle_file(clip), handle_file(junk), handle_file(clip)], api_name="/batch")
    assert [record["source"] for record in found] == ["tone.wav", "junk.wav", "tone.wav"]
    assert [record.get("label") for record in found] == ["angry", None, "angry"]
    assert "junk.wav is no sound file" in found[1]["error"]
    assert found[0]["probabilities"] == PROBABILITIES


def test_a_batch_may_hold_files_of_any_name(client: Client, clip: Path, tmp_path: Path) -> None:
    nameless = tmp_path / "blob"
    nameless.write_bytes(clip.read_bytes())
    found = client.predict([handle_file(nameless)], api_name="/batch")
    assert [record["label"] for record in found] == ["angry"]


def test_an_empty_batch_and_one_too_large_are_refused(clip: Path) -> None:
    with pytest.raises(gr.Error, match="Choose some sound files first"):
        next(files.judged(FAKE, []))
    with pytest.raises(gr.Error, match="101 files are more than the 100"):
        next(files.judged(FAKE, [str(clip)] * 101))


def test_three_lines_of_plain_http_do(fake_page: Any, clip: Path) -> None:
    """What README tells to type with curl: upload, ask, fetch."""
    api = f"{fake_page.local_url}gradio_api"
    with clip.open("rb") as file:
        path = httpx.post(f"{api}/upload", files={"files": file}).json()[0]
    body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
    event = httpx.post(f"{api}/call/predict", json=body).json()["event_id"]
    reply = httpx.get(f"{api}/call/predict/{event}", timeout=30).text
    chart, _, prediction = json.loads(reply.partition("event: complete\ndata: ")[2].splitlines()[0])
    assert (chart["label"], prediction["label"]) == ("angry", "angry")


def test_an_mcp_client_finds_described_tools_and_gets_an_answer(fake_page: Any, clip: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk.wav"
    junk.write_bytes(b"this is no sound at all" * 50)

    async def ask() -> tuple[dict[str, Any], list[Any], Any]:
        address = f"{fake_page.local_url}gradio_api/mcp/"
        async with streamable_http_client(address) as (read, write, *_), ClientSession(read, write) as session:
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            heard = [await session.call_tool(name, {"audio": data_url(clip)}) for name in tools]
            return tools, heard, await session.call_tool("timeline", {"audio": data_url(junk)})

    with ThreadPoolExecutor(1) as pool:  # in this thread another test's browser may keep a loop of its own
        tools, heard, refused = pool.submit(asyncio.run, ask()).result()
    assert list(tools) == ["predict", "timeline"]
    assert "must not be used to judge people" in tools["predict"].description
    assert "at most ten minutes" in json.dumps(tools["predict"].inputSchema)
    for answered in heard:
        assert not answered.isError, answered.content
        texts = [content.text for content in answered.content if content.type == "text"]
        assert any("'label': 'angry'" in text for text in texts)  # Gradio writes it as Python would
    assert refused.isError
    assert "is no sound file that can be read" in refused.content[0].text


def data_url(file: Path) -> str:
    """As MCP clients hand files over that lie on their own machine."""
    return f"data:audio/wav;base64,{base64.b64encode(file.read_bytes()).decode()}"


def test_silence_is_answered_not_refused(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(16_000, dtype=np.float32), 16_000)
    chart, picture, prediction = client.predict(handle_file(path), api_name="/predict")
    assert (chart, prediction["state"], prediction["label"]) == ({}, "no_speech", None)
    assert Path(picture).stat().st_size > 0


@pytest.mark.parametrize("kind", ["noise", "tone"])
def test_what_is_no_voice_is_answered_without_an_emotion(tmp_path: Path, kind: str) -> None:
    path = sounds.write(tmp_path, getattr(sounds, kind)(2.0), 16_000)
    found, prediction = judging.judge(bundles.recognizer(), str(path))
    assert (found.chart, prediction.state) == ({}, "no_speech")
    assert [note["code"] for note in found.prediction["notes"]] == ["no_voice"]
    with Image.open(found.spectrogram) as picture:
        assert picture.size == (plots.LAYOUT.width, plots.LAYOUT.height)


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
    built = layout.build(BROKEN)
    app.launch(built, options.Options(port=free_port()))
    try:
        with pytest.raises(AppError) as refused:
            Client(built.local_url, verbose=False).predict(handle_file(clip), api_name="/predict")
    finally:
        built.close()
    assert "Something went wrong on the server" in str(refused.value)
    assert "secret detail" not in str(refused.value)
    assert "secret detail" in caplog.text


def test_no_two_pictures_share_a_file_that_could_be_rewritten_under_a_reader(clip: Path) -> None:
    one, other = (Path(judging.judge(FAKE, str(clip))[0].spectrogram) for _ in range(2))
    assert one != other
    assert one.read_bytes() == other.read_bytes()


def test_eight_visitors_at_once_get_the_answer_of_one(client: Client, clip: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(client.predict, handle_file(clip), api_name="/predict") for _ in range(16)]
        charts = [job.result(timeout=60)[0] for job in jobs]
    assert all(chart == charts[0] for chart in charts)
