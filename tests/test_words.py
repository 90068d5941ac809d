"""What the page says of an answer."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from page import words
from ser_core.prediction import QualityNote
from tests import bundles, sounds
from tests.fakes import FAKE, PROBABILITIES, answer


def test_a_clear_answer_names_the_first_two() -> None:
    assert words.say(answer()) == "<p>Sounds <strong>angry</strong> (61&nbsp;%), then disgust (15&nbsp;%).</p>"


def test_an_unsure_answer_says_so_and_names_the_nearest_two() -> None:
    said = words.say(answer(state="uncertain", probabilities={**PROBABILITIES, "angry": 0.34, "fearful": 0.29}))
    assert said == (
        "<p>Not sure: perhaps <strong>angry</strong> (34&nbsp;%), or <strong>fearful</strong> (29&nbsp;%).</p>"
    )


def test_no_voice_is_a_sentence_with_a_next_step_and_no_emotion() -> None:
    notes = (QualityNote("too_short", "Under 0.3 s of sound. Speak a whole sentence."), QualityNote("quiet", "Quiet."))
    nothing: dict[str, Any] = {"state": "no_speech", "label": None, "confidence": None, "probabilities": {}}
    assert words.say(answer(**nothing, notes=notes)) == (
        "<p><strong>No voice to judge.</strong> Under 0.3 s of sound. Speak a whole sentence.</p>"
        "<ul><li>Quiet.</li></ul>"
    )
    assert "Speak for a second or more" in words.say(answer(**nothing))


def test_sound_without_a_voice_is_told_as_what_it_is() -> None:
    """By the real recogniser's own note: the words must fit behind "No voice to judge."."""
    _, prediction = bundles.recognizer().listen(sounds.noise(2.0), 16_000)
    assert words.say(prediction) == (
        "<p><strong>No voice to judge.</strong> There is sound in this recording, but nobody was heard to speak or "
        "sing. Come closer to the microphone, in a quiet place, and record again.</p>"
    )


def test_notes_follow_the_sentence_and_cannot_carry_markup() -> None:
    said = words.say(answer(notes=(QualityNote("clipped", "Too <loud> & clipped."),)))
    assert said.endswith("</p><ul><li>Too &lt;loud&gt; &amp; clipped.</li></ul>")


def test_model_line_tells_name_version_precision_and_measured_accuracy() -> None:
    line = words.model_line(FAKE)
    assert line.startswith("fake v1.2, tests. FP16, run by OpenVINO. ")
    assert "right about 73 % of spoken clips" in line


def test_model_line_tells_in_plain_words_whatever_a_foreign_manifest_says() -> None:
    source = "bundled copy: the model lists '<img src=x onerror=alert(1)>.py'; " + "and more " * 99
    line = words.model_line(foreign(source))
    assert "<img" not in line
    assert "&#60;img src&#61;x onerror&#61;alert(1)&#62;.py" in line
    assert "![" not in words.model_line(foreign("![t](https://evil.example/t.png)"))
    assert len(line) < 600


def foreign(source: str) -> Any:
    return SimpleNamespace(info=replace(FAKE.info, source=source), metrics={}, tier=None)


def test_shares_are_told_in_order_and_in_words() -> None:
    said = words.shares({"angry": 0.55, "no_speech": 0.25, "uncertain": 0.2})
    assert said == "<p>Over time: angry 55&nbsp;%, no voice 25&nbsp;%, not sure 20&nbsp;%.</p>"


@pytest.mark.parametrize(
    ("state", "label", "said"),
    [("ok", "happy", "happy"), ("uncertain", "sad", "not sure, perhaps sad"), ("no_speech", None, "no voice")],
)
def test_a_state_is_named_in_a_table(state: Any, label: str | None, said: str) -> None:
    assert words.named(state, label) == said


def test_a_refusal_carries_no_markup() -> None:
    assert "&lt;b&gt;.wav" in words.refusal("Title", "<b>.wav is no sound.")
