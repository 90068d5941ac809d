"""What is told of the precisions, also of a bundle that is odd or lacks some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr
import pytest

import ser_core
from page import compare
from page.compare import Judged, Networks
from ser_core import bundle, windows
from ser_core.bundle import MODEL_FILES
from ser_core.emotions import LABELS
from tests import bundles, sounds

if TYPE_CHECKING:
    from pathlib import Path

    from ser_core.prediction import Precision

SAD = {label: 0.65 if label == "sad" else 0.05 for label in LABELS}
ANGRY = {label: 0.65 if label == "angry" else 0.05 for label in LABELS}


@pytest.fixture
def networks(tmp_path: Path) -> Networks:
    """All three precisions of a small network."""
    return of(bundles.make(tmp_path / "model"))


def of(held: bundle.Bundle) -> Networks:
    def load(precision: Precision) -> ser_core.Recognizer:
        return ser_core.load(held.folder, precision=precision)

    return Networks(load(held.precision), load, held)


def test_each_precision_answers_the_page_s_own_first(networks: Networks, tmp_path: Path) -> None:
    found = compare.judge(networks, str(sounds.write(tmp_path, sounds.voice(2.0), 16_000)))
    assert [one.precision for one in found] == ["fp16", "int8", "fp32"]
    assert all(sum(one.eight.values()) == pytest.approx(1.0) for one in found)
    assert all(one.network_ms > 0.0 for one in found)
    # The same small network in all three: what is told apart is the files.
    assert "at most 0." in compare.agreement(found, merge=False)


def test_sound_and_features_are_made_once(networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    stretches = windows.stretches

    def counted(*given: Any) -> Any:
        calls.append(1)
        return stretches(*given)

    monkeypatch.setattr(windows, "stretches", counted)
    compare.judge(networks, str(sounds.write(tmp_path, sounds.voice(7.0), 16_000)))
    assert len(calls) == 1


def test_a_precision_that_the_bundle_lacks_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    bundles.make(folder)
    for name in MODEL_FILES["int8"]:
        (folder / name).unlink()
    lacking = of(bundles.seal(folder))
    found = compare.judge(lacking, str(sounds.write(tmp_path, sounds.voice(2.0), 16_000)))
    assert [one.precision for one in found] == ["fp16", "fp32"]
    _, weights, emotions = compare.view(lacking, found, merge=False)
    assert "INT8" not in weights + emotions


def test_no_voice_is_told_and_nothing_is_tabled(networks: Networks, tmp_path: Path) -> None:
    found = compare.judge(networks, str(sounds.write(tmp_path, sounds.silence(2.0), 16_000)))
    said, weights, emotions = compare.view(networks, found, merge=True)
    assert "No voice to judge" in said
    assert "no voice" in weights
    assert "<td>" not in emotions


def test_what_can_not_be_read_is_a_sentence(networks: Networks, tmp_path: Path) -> None:
    junk = tmp_path / "junk.wav"
    junk.write_bytes(b"no sound, only words. " * 100)
    with pytest.raises(gr.Error, match=r"junk\.wav is no sound file"):
        compare.judge(networks, str(junk))
    with pytest.raises(gr.Error, match="has deleted this recording"):
        compare.judge(networks, str(tmp_path / "swept.wav"))


def test_where_they_differ_it_says_so_and_merged_they_may_agree() -> None:
    found = [Judged("int8", SAD, 1.0), Judged("fp16", ANGRY, 2.0)]
    assert compare.agreement(found, merge=False) == (
        "<p>They differ: angry, sad; their probabilities lie at most 60.0 points apart.</p>"
    )
    assert "All say <strong>negative</strong>" in compare.agreement(found, merge=True)
    assert [row[0] for row in compare.emotions_table(found, merge=True)] == [
        *("neutral", "calm", "happy", "negative", "surprised")
    ]


@pytest.mark.parametrize("odd", ["lots", None, {}, float("nan"), [1.0], True])
def test_a_figure_that_is_none_is_not_measured(networks: Networks, odd: Any) -> None:
    networks.recognizer.metrics = {"precisions": {"fp16": {"speech": odd}, "int8": odd}}
    assert networks.accuracy("fp16") is None
    assert networks.accuracy("int8") is None
    networks.recognizer.metrics = {"precisions": odd}
    assert networks.accuracy("fp16") is None


@pytest.mark.parametrize(
    "parity",
    [
        None,
        "lots",
        {},
        {"int8": {"clips": 200}},
        {"int8": {"probability": "<img src=x>", "clips": 200}},
        {"int8": {"probability": 0.1, "clips": "<img src=x> [log in](https://evil.example)"}},
    ],
)
def test_odd_parity_is_not_measured(networks: Networks, parity: Any) -> None:
    assert networks.opened
    odd = replace(networks.opened, training={"parity": parity})
    assert compare.parity(odd) == "How far they lie from the network in PyTorch was not measured."
    assert compare.parity(None) == compare.parity(replace(networks.opened, training={}))


def test_parity_is_told_in_points(networks: Networks) -> None:
    assert networks.opened
    measured = {"int8": {"probability": 0.053, "clips": 200}, "fp32": {"probability": 2e-7, "clips": 200}}
    said = compare.parity(replace(networks.opened, training={"parity": measured}))
    assert "on 200 clips" in said
    assert "INT8 5.3 points, FP32 (ONNX) a hundredth of a point." in said
