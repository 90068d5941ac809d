"""What a visitor meets: recording, uploading, examples, errors, a phone, the dark. The emotion itself is left open."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from typing import TYPE_CHECKING

import librosa
import numpy as np
import pytest
import soundfile
from PIL import Image

from ser_core.emotions import LABELS
from tests import sounds
from tests.browser.driving import ROOT, choose, launched, long_recording

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

CLIP = ROOT / "assets" / "examples" / "synthetic-plain.wav"
ANSWERED = re.compile(r"^(Sounds|Not sure: perhaps) (\w+) \((\d+)\s%\), (then|or) (\w+) \((\d+)\s%\)\.")

# Draws the spectrogram on a canvas and tells its size and how many of its pixels' colours differ.
SPECTROGRAM = """async () => {
  const image = document.querySelector('#spectrogram img');
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);
  const colours = new Set(new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer));
  return {width: canvas.width, height: canvas.height, shown: image.clientWidth, colours: colours.size,
          alt: image.alt, source: image.src};
}"""

NEW_PICTURE = """seen => {
  const source = document.querySelector('#spectrogram img')?.src;
  return source && !seen.includes(source);
}"""

PLACES = """() => Object.fromEntries(['recording', 'judge', 'answer', 'spectrogram', 'chart', 'examples', 'model'].map(
  id => { const box = document.getElementById(id).getBoundingClientRect(); return [id, [box.x, box.y + scrollY]]; }))"""


COUNT_REQUESTS = """
  const devices = navigator.mediaDevices, ask = devices.getUserMedia.bind(devices);
  window.asked = 0;
  devices.getUserMedia = wanted => { window.asked += 1; return ask(wanted); };"""


def hovered(page: Page) -> str:
    """What is told where the mouse meets a curve."""
    plot = page.locator("#curves svg.marks")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    tooltip = page.locator("#vg-tooltip-element.visible")
    for across, down in itertools.product(range(10, 40), range(30)):
        page.mouse.move(box["x"] + box["width"] * across / 40, box["y"] + box["height"] * down / 30)
        if tooltip.count():
            return tooltip.inner_text()
    raise AssertionError("no curve tells anything")


def press_until(page: Page, name: str) -> int:
    """Press Tab until the focus is on what is called so; gives how often."""
    for count in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText?.trim()") == name:
            return count
    raise AssertionError(f"{name} can't be reached by keyboard")


def upload(page: Page, file: Path) -> None:
    """Choose `file` on the upload side of the recorder."""
    page.get_by_role("button", name="Upload file").first.click()
    page.locator("#recording input[type=file]").set_input_files(file)


def chart(page: Page) -> dict[str, int]:
    """The label chart as it stands: names to rounded per cent, from top to bottom."""
    rows = page.locator("#chart .confidence-set")
    names, shares = rows.locator("dt").all_inner_texts(), rows.locator("dd").all_inner_texts()
    return {name.strip(): int(share.rstrip("% ")) for name, share in zip(names, shares, strict=True)}


def assert_answered(page: Page) -> None:
    """The sentence, the chart and the spectrogram are there and tell the same story."""
    sentence = page.locator("#answer [role=status]")
    sentence.locator("p:not(.refused) > strong").first.wait_for(timeout=30_000)
    match = ANSWERED.match(sentence.inner_text().strip())
    assert match, sentence.inner_text()
    page.locator("#chart .confidence-set").nth(7).wait_for()
    shown = chart(page)
    assert set(shown) == set(LABELS)
    assert abs(sum(shown.values()) - 100) <= 4
    first, second = list(shown)[:2]
    assert (match[2], int(match[3])) == (first, shown[first])
    assert int(match[6]) == shown[second]
    assert_spectrogram(page)


def assert_spectrogram(page: Page) -> None:
    page.locator("#spectrogram img").wait_for()
    picture = page.evaluate(SPECTROGRAM)
    assert (picture["width"], picture["height"]) == (880, 460)
    assert picture["shown"] > 300
    assert picture["colours"] > 200
    assert picture["alt"].startswith("Spectrogram of ")


def test_a_recording_from_the_microphone_is_judged_when_it_stops(page: Page) -> None:
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(4_000)
    page.get_by_role("button", name="Stop", exact=True).click()
    assert_answered(page)
    seconds = re.search(r"Spectrogram of ([\d.]+) seconds", page.evaluate(SPECTROGRAM)["alt"])
    assert seconds
    assert 2.5 < float(seconds[1]) < 6.0


def test_an_upload_is_judged_when_it_is_chosen(page: Page) -> None:
    upload(page, CLIP)
    assert_answered(page)
    assert page.evaluate(SPECTROGRAM)["alt"].startswith("Spectrogram of 2.4 seconds")


@pytest.mark.parametrize("name", ["flac-16", "mp3", "ogg-opus", "m4a-aac", "webm-opus", "mp4-video-aac"])
def test_what_phones_and_messengers_make_can_be_uploaded(page: Page, tmp_path: Path, name: str) -> None:
    samples, rate = soundfile.read(CLIP, dtype="float32")
    file = sounds.write(tmp_path, librosa.resample(samples, orig_sr=rate, target_sr=48_000), 48_000, name)
    choose(page, file)
    assert_answered(page)
    assert page.locator("#recording audio, #recording [data-testid*=waveform]").count()
    accepted = page.get_by_test_id("Upload a sound file-upload-button").get_attribute("accept") or ""
    assert file.suffix in accepted


def test_a_long_recording_has_a_timeline(page: Page, tmp_path: Path) -> None:
    file = long_recording(tmp_path)
    choose(page, file)
    assert_answered(page)
    page.locator("#shares").get_by_text("Over time: ").wait_for()
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("#segments tbody tr").all()]
    assert rows[0][0] == "0.0"
    assert float(rows[-1][1]) == pytest.approx(soundfile.info(file).duration, abs=0.06)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(rows))
    assert page.locator("#legend li").all_inner_texts() == list(LABELS)
    assert {"probability", "seconds", "emotion"} <= set(hovered(page).split())
    # And goes when a short recording follows.
    page.get_by_role("button", name="plain", exact=True).click()
    page.locator("#over-time").wait_for(state="hidden", timeout=30_000)


def test_the_answer_can_be_taken_along(page: Page, tmp_path: Path) -> None:
    buttons = {name: page.get_by_role("button", name=name) for name in ("PNG", "JSON", "CSV")}
    assert all(button.is_disabled() for button in buttons.values())
    choose(page, long_recording(tmp_path))
    assert_answered(page)
    saved = {}
    for name, button in buttons.items():
        with page.expect_download() as download:
            button.click()
        saved[name] = download.value.path().read_bytes()
    with Image.open(io.BytesIO(saved["PNG"])) as picture:
        assert (picture.format, picture.size) == ("PNG", (880, 460))
    answer = json.loads(saved["JSON"])
    assert answer["label"] == next(iter(chart(page)))
    rows = list(csv.DictReader(io.StringIO(saved["CSV"].decode())))
    assert len(rows) == len(answer["windows"]) > 1
    assert [float(row["start_s"]) for row in rows] == [window["start_s"] for window in answer["windows"]]
    assert float(rows[0]["angry"]) == answer["windows"][0]["probabilities"]["angry"]
    page.get_by_role("button", name="Clear").first.click()
    page.locator("#answer .waiting").wait_for()
    assert all(button.is_disabled() for button in buttons.values())


def test_a_keyboard_is_enough(page: Page) -> None:
    page.locator("#heading").click()
    reached = press_until(page, "plain")
    assert reached < 30
    page.keyboard.press("Enter")
    assert_answered(page)
    page.get_by_role("tab", name="One recording").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#live").wait_for()


def test_the_page_can_be_installed(page: Page, url: str) -> None:
    manifest = page.request.get(f"{url}manifest.json").json()
    assert manifest["name"] == "Emotion in a voice"
    assert manifest["display"] == "standalone"
    assert {icon["sizes"] for icon in manifest["icons"]} >= {"192x192", "512x512"}
    for icon in manifest["icons"]:
        with Image.open(io.BytesIO(page.request.get(url.rstrip("/") + icon["src"]).body())) as picture:
            assert f"{picture.width}x{picture.height}" == icon["sizes"]
    assert page.locator("link[rel=manifest]").count() == 1


def test_a_refused_microphone_is_explained_and_not_asked_for_before_record(browser: Browser, url: str) -> None:
    refusing = launched(browser.browser_type, microphone=False)
    page = refusing.new_page()
    page.add_init_script(COUNT_REQUESTS)
    page.goto(url)
    page.locator("#judge").wait_for()
    page.wait_for_timeout(1_000)
    assert page.evaluate("window.asked") == 0
    page.locator("#recording").get_by_role("button", name="Record", exact=True).click()
    refused = page.locator("#recording [role=alert]")
    refused.wait_for()
    assert "Allow it" in refused.inner_text()
    assert page.evaluate("window.asked") == 1
    refusing.close()


def test_examples_answer_at_a_click_and_the_button_judges_again(page: Page) -> None:
    seen: list[str] = []
    for name in ("plain", "fast and high"):
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_function(NEW_PICTURE, arg=seen)
        assert_answered(page)
        seen.append(page.evaluate(SPECTROGRAM)["source"])
    before = chart(page)
    page.get_by_role("button", name="Judge it").click()
    page.wait_for_function(NEW_PICTURE, arg=seen)
    assert_answered(page)
    assert chart(page) == before


def test_junk_is_told_in_a_sentence_and_the_next_clip_is_judged(browser: Browser, url: str, tmp_path: Path) -> None:
    junk = tmp_path / "junk.wav"
    junk.write_bytes(b"no sound, only words. " * 100)
    page = browser.new_page()
    page.goto(url)
    page.get_by_role("button", name="plain", exact=True).click()
    assert_answered(page)
    page.get_by_role("button", name="Clear").first.click()
    upload(page, junk)
    refused = page.locator("#answer .refused")
    refused.wait_for(timeout=30_000)
    assert "junk.wav is no sound file that can be read" in refused.inner_text()
    assert chart(page) == {}
    assert page.locator("#spectrogram img").count() == 0
    assert page.locator("#recording audio").count() == 0  # no player of what can't be played
    assert "Traceback" not in page.content()
    page.get_by_role("button", name="plain", exact=True).click()
    assert_answered(page)
    page.close()


def test_silence_is_answered_with_advice_and_no_emotion(page: Page, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(32_000, dtype=np.float32), 16_000)
    upload(page, silence)
    page.get_by_text("No voice to judge.").wait_for(timeout=30_000)
    assert "microphone" in page.locator("#answer").inner_text()
    assert chart(page) == {}
    page.locator("#spectrogram img").wait_for()
    assert page.evaluate(SPECTROGRAM)["alt"] == "Spectrogram of 2.0 seconds of recording, in which no voice was found."


def test_the_button_without_a_recording_tells_what_to_do(page: Page) -> None:
    page.get_by_role("button", name="Judge it").click()
    page.locator("#answer .refused").wait_for()
    assert "Nothing to judge." in page.locator("#answer").inner_text()


def test_clearing_the_recording_clears_the_answer(page: Page) -> None:
    page.get_by_role("button", name="plain", exact=True).click()
    assert_answered(page)
    page.get_by_role("button", name="Clear").first.click()
    page.locator("#answer .waiting").wait_for()
    assert chart(page) == {}
    assert page.locator("#spectrogram img").count() == 0


def test_the_answer_is_announced(page: Page) -> None:
    page.evaluate("document.querySelector('#answer [aria-live=polite]').stays = true")
    page.get_by_role("button", name="plain", exact=True).click()
    assert_answered(page)
    assert page.evaluate("document.querySelector('#answer [aria-live=polite]').stays") is True


def test_the_notice_stands_above_the_recorder(page: Page) -> None:
    notice = page.locator("#notice")
    # The parts of the page come one after the other.
    for name in ("recording", "judge", "answer", "spectrogram", "chart", "examples", "model"):
        page.locator(f"#{name}").wait_for(state="attached")
    assert "An AI system is at work" in notice.inner_text()
    assert "Recordings are not kept" in notice.inner_text()
    places = page.evaluate(PLACES)
    box = notice.bounding_box()
    assert box
    assert box["y"] + box["height"] <= places["recording"][1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_jumps_or_runs_over_the_edge(browser: Browser, url: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(url)
    page.locator("#examples button").first.wait_for()
    page.wait_for_timeout(500)
    before = page.evaluate(PLACES)
    page.get_by_role("button", name="plain", exact=True).click()
    assert_answered(page)
    page.wait_for_timeout(500)
    after = page.evaluate(PLACES)
    for name, place in before.items():
        assert after[name] == pytest.approx(place, abs=2.0), name
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink = page.evaluate("getComputedStyle(document.querySelector('#heading h1')).color.match(/\\d+/)[0]")
    assert (int(ink) > 192) == (scheme == "dark")
    page.close()
