"""The model card: what the Hub reads of it, and that its figures are the bundle's own."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from ser_core import bundle, tables
from ser_core.attribution import SOURCES, WHISPER
from ser_core.config import CONTRACT, FeatureConfig
from ser_core.emotions import LABELS
from tests import bundles
from train import card, card_plots

if TYPE_CHECKING:
    from pathlib import Path

    from ser_core.bundle import Bundle

CORPORA = ["ravdess", "nemo"]


def channel(accuracy: float, uar: float) -> dict[str, Any]:
    fold = {"fold": 0, "speakers": ["1"], "n": 8, "accuracy": accuracy, "uar": uar}
    return {
        "n": 40,
        "accuracy": accuracy,
        "uar": uar,
        "interval_95": {"accuracy": [accuracy - 0.05, accuracy + 0.05], "uar": [uar - 0.05, uar + 0.05]},
        "folds": [{**fold, "fold": number} for number in range(5)],
        "mean": {"accuracy": accuracy, "uar": uar},
        "std": {"accuracy": 0.01, "uar": 0.01},
        "folds_1_to_4": {"accuracy": accuracy, "uar": uar},
        "recall": dict.fromkeys(LABELS, 0.5),
        "confusion": (np.eye(len(LABELS), dtype=int) * 5).tolist(),
        "ece": 0.0312,
        "reliability": [{"n": 20, "confidence": 0.4, "accuracy": 0.35}, {"n": 20, "confidence": 0.9, "accuracy": 0.8}],
        "coverage": [
            {"coverage": 0.5, "threshold": 0.7, "accuracy": 0.9},
            {"coverage": 1.0, "threshold": 0.1, "accuracy": 0.6},
        ],
        "accuracy_surer_half": 0.9123,
    }


def figures() -> dict[str, Any]:
    """Figures such as no network has, so that each is found by its value."""
    return {
        "schema_version": 1,
        "labels": list(LABELS),
        "protocol": "RAVDESS, eight classes, five folds by actor; every clip judged once",
        "precision": "fp16",
        "actor_independent": {"speech": channel(0.61234, 0.58765), "song": channel(0.71234, 0.68771)},
        "precisions": {"fp16": {"speech": 0.61234, "song": 0.71234}},
        "no_speech": 3,
        "clips": 80,
        "calibration": {"uncertain_below": 0.55},
    }


def measured(folder: Path, **changes: Any) -> Bundle:
    """A small bundle with figures, said to be trained on RAVDESS and nEMO."""
    bundles.make(folder)
    (folder / bundle.METRICS).write_text(json.dumps({**figures(), **changes}), encoding="utf-8")
    return bundle.write(
        folder,
        name="small",
        version="1.2.3",
        precision="fp16",
        calibration=bundles.CALIBRATION,
        licence="CC-BY-NC-SA-4.0",
        training={"recipe": {"name": "tests", "corpora": CORPORA, "members": 2}, "versions": {"openvino": "9.8.7"}},
    )


def front_matter(text: str) -> dict[str, Any]:
    stored: dict[str, Any] = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    return stored


def test_the_front_matter_says_what_the_hub_filters_by(tmp_path: Path) -> None:
    told = front_matter(card.make(measured(tmp_path), repo_id="me/ser"))
    assert told["license"] == "cc-by-nc-sa-4.0"
    assert told["pipeline_tag"] == "audio-classification"
    assert told["library_name"] == "openvino"
    assert told["language"] == ["en", "pl"]
    assert {"speech-emotion-recognition", "ravdess", "openvino", "onnx"} <= set(told["tags"])
    assert told["datasets"] == ["amu-cai/nEMO"]
    assert told["metrics"] == ["accuracy", "recall"]


def test_the_model_index_names_the_protocol_and_keeps_speech_and_song_apart(tmp_path: Path) -> None:
    ((model),) = front_matter(card.make(measured(tmp_path), repo_id="me/ser"))["model-index"]
    assert model["name"] == "small"
    speech, song = model["results"]
    protocol = "RAVDESS, eight classes, five folds by actor, actor-independent"
    assert speech["dataset"]["name"] == f"{protocol}, speech alone"
    assert song["dataset"]["name"] == f"{protocol}, song alone"
    assert [(one["type"], one["value"]) for one in speech["metrics"]] == [("accuracy", 0.6123), ("recall", 0.5877)]
    assert [(one["type"], one["value"]) for one in song["metrics"]] == [("accuracy", 0.7123), ("recall", 0.6877)]
    assert speech["metrics"][1]["args"] == {"average": "macro"}


def test_the_tables_are_those_of_the_report(tmp_path: Path) -> None:
    shipped = measured(tmp_path)
    text, metrics = card.make(shipped, repo_id="me/ser"), shipped.metrics()
    for table in (tables.results, tables.recalls, tables.calibration):
        assert table(metrics) in text
    assert tables.precisions(metrics, shipped) in text
    assert "### As people really record" not in text, "there are no such figures"


def test_what_was_measured_later_gets_its_table(tmp_path: Path) -> None:
    found = {"rain": {"n": 8, "human": False, "no_speech": 0.875, "refused": 1.0}}
    text = card.make(measured(tmp_path, not_voices=found), repo_id="me/ser")
    assert tables.not_voices({"not_voices": found}) in text


def test_changed_figures_change_the_card(tmp_path: Path) -> None:
    before = card.make(measured(tmp_path), repo_id="me/ser")
    channels = {"speech": channel(0.43211, 0.39876), "song": channel(0.71234, 0.68771)}
    after = card.make(measured(tmp_path, actor_independent=channels), repo_id="me/ser")
    assert "61.2 %" in before
    assert "61.2 %" not in after.replace(tables.precisions(figures(), bundle.read(tmp_path)), "")
    assert "43.2 %" in after


def test_the_same_bundle_gives_the_same_card(tmp_path: Path) -> None:
    shipped = measured(tmp_path)
    assert card.make(shipped, repo_id="me/ser") == card.make(shipped, repo_id="me/ser")


def test_a_pretrained_part_is_named_with_its_licence(tmp_path: Path) -> None:
    shipped = measured(tmp_path)
    recipe = shipped.training["recipe"] | {"reader": {"layers": 2}}
    with_reader = dataclasses.replace(shipped, training=shipped.training | {"recipe": recipe})
    assert WHISPER not in card.make(shipped, repo_id="me/ser")
    assert WHISPER in card.make(with_reader, repo_id="me/ser")


def test_the_contract_is_told_as_the_code_has_it(tmp_path: Path) -> None:
    text, config = card.make(measured(tmp_path), repo_id="me/ser"), FeatureConfig()
    for part in (
        f"| input | `{CONTRACT.input}` | (B, 1, {config.n_mels}, T) |",
        f"| output | `{CONTRACT.logits}` | (B, 8) | {', '.join(LABELS)}, in this order |",
        f"| output | `{CONTRACT.attention}` | (B, T / {CONTRACT.attention_stride}) |",
        f"`n_fft={config.n_fft}, hop_length={config.hop_length}, n_mels={config.n_mels}, fmin=0, fmax=8000`",
        f"T is a multiple of {config.frame_step} and at least {config.min_frames}.",
        'ser_core.load("me/ser")',
        "openvino 9.8.7",
    ):
        assert part in text


def test_every_corpus_is_attributed_with_its_licence(tmp_path: Path) -> None:
    text = card.make(measured(tmp_path), repo_id="me/ser")
    for name in CORPORA:
        assert f"| {SOURCES[name].title} | {SOURCES[name].voices} | {SOURCES[name].licence} |" in text
        assert SOURCES[name].citation in text
    assert SOURCES["banglaser"].citation not in text, "it wasn't trained on"


def test_the_card_says_what_it_must_not_be_used_for(tmp_path: Path) -> None:
    assert "must not be used to judge people" in card.make(measured(tmp_path), repo_id="me/ser")


def test_pictures_and_examples_are_told_of_where_they_are(tmp_path: Path) -> None:
    shipped = measured(tmp_path)
    without = card.make(shipped, repo_id="me/ser")
    assert "](plots/" not in without
    assert "## Example clips" not in without
    told = card.make(shipped, repo_id="me/ser", plots=["reliability.png"])
    assert "](plots/reliability.png)" in told


def test_a_bundle_without_figures_gets_a_card_without_them(tmp_path: Path) -> None:
    text = card.make(bundles.make(tmp_path), repo_id="me/ser")
    assert front_matter(text)["license"] == "apache-2.0"
    assert "model-index" not in front_matter(text)
    assert "## Evaluation" not in text
    assert "## Use it" in text
    assert card_plots.draw({"schema_version": 1}) == {}


@bundles.needs_shipped
def test_the_card_of_the_bundle_that_ships_has_every_part() -> None:
    shipped = bundle.read(bundles.SHIPPED)
    plots = card_plots.draw(shipped.metrics())
    text = card.make(shipped, repo_id="me/ser", plots=list(plots))
    assert tables.results(shipped.metrics()) in text
    assert tables.precisions(shipped.metrics(), shipped) in text
    assert set(front_matter(text)["datasets"]) == {"amu-cai/nEMO"}
    assert [line for line in text.splitlines() if "None" in line or "nan" in line.split()] == []


# Pictures.


def test_every_channel_has_its_confusion_matrix_and_all_share_the_curves() -> None:
    drawn = card_plots.draw(figures())
    assert list(drawn) == ["confusion-speech.png", "confusion-song.png", "reliability.png", "coverage.png"]
    for content in drawn.values():
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 400
        assert len(content) < 200_000


def test_the_same_figures_give_the_same_bytes() -> None:
    assert card_plots.draw(figures()) == card_plots.draw(figures())


def test_a_cell_is_as_dark_as_its_share_of_the_row() -> None:
    matrix = [[3, 1, 0], [0, 0, 0], [0, 0, 7]]
    picture = np.asarray(card_plots.confusion(matrix, ["a", "b", "c"], "speech")).astype(int)

    def corner(row: int, column: int) -> tuple[int, ...]:
        """A pixel of a cell beside its number."""
        return tuple(picture[84 + 70 * row + 8, 110 + 70 * column + 8].tolist())

    assert corner(2, 2) == card_plots.DEEP
    assert corner(0, 2) == corner(1, 1) == card_plots.PAPER
    assert card_plots.DEEP[0] < corner(0, 0)[0] < corner(0, 1)[0] < card_plots.PAPER[0]


@pytest.mark.parametrize("lowest", [0.05, 0.6, 1.0])
def test_curves_stay_within_the_picture(lowest: float) -> None:
    steps = [{"coverage": 0.5, "accuracy": 1.0}, {"coverage": 1.0, "accuracy": lowest}]
    picture = np.asarray(card_plots.coverage({"speech": steps}))
    edges = np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3), picture[:, -2:].reshape(-1, 3)])
    assert (edges == 255).all()
