"""Stored logits, the figures that derive from them, and whether both belong to the code and the model of today."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ser_core import bundle
from ser_core.emotions import LABELS
from train import evaluate, export, fit, metrics, recipe, report
from train.corpora import Ravdess
from train.evaluate import PRECISIONS, RESULTS, ResultsError
from train.metrics import Judged
from train.splits import ACTOR_FOLDS

if TYPE_CHECKING:
    from pathlib import Path

STORED = sorted(RESULTS.glob("*/metrics.json"))


def judged(fold: int, right: bool = True) -> Judged:
    """Two spoken clips of each emotion by two speakers, a window each, all told rightly or all as the next emotion."""
    emotions = np.repeat(np.arange(8), 2)
    logits = np.full((16, 8), -2.0, dtype=np.float32)
    logits[np.arange(16), emotions if right else (emotions + 1) % 8] = 2.0
    return Judged(
        fold,
        np.array([f"own/{fold}-{number}" for number in range(16)]),
        emotions,
        np.array([f"{fold}{number % 2}" for number in range(16)]),
        np.full(16, "speech"),
        np.arange(16),
        np.ones(16),
        logits,
    )


def store(folder: Path, int8_right: bool = True, hashes: str = "aaaaa") -> None:
    for fold in range(5):
        origin = {"recipe_hash": hashes[fold], "data_digest": "d"}
        both = {precision: judged(fold) for precision in PRECISIONS} | {"int8": judged(fold, int8_right)}
        evaluate.save(folder, both, origin)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    store(tmp_path)
    loaded, origins = evaluate.load(tmp_path, "fp16")
    assert [one.fold for one in loaded] == list(range(5))
    assert all(origin["recipe_hash"] == "a" for origin in origins)
    expected = judged(3)
    for name in ("keys", "emotions", "speakers", "channels", "window_clip", "sound_s", "logits"):
        np.testing.assert_array_equal(getattr(loaded[3], name), getattr(expected, name))


def test_figures_of_a_perfect_network(tmp_path: Path) -> None:
    store(tmp_path)
    figures = evaluate.figures(tmp_path, recipe.load("base"), "command")
    speech = figures["actor_independent"]["speech"]
    assert speech["accuracy"] == speech["uar"] == speech["accuracy_surer_half"] == 1.0
    assert speech["interval_95"] == {"accuracy": [1.0, 1.0], "uar": [1.0, 1.0]}
    assert (speech["n"], len(speech["folds"]), np.trace(speech["confusion"])) == (80, 5, 80)
    assert "song" not in figures["actor_independent"]
    assert (figures["precision"], figures["int8_loss_speech"], figures["no_speech"]) == ("int8", 0.0, 0)


def test_int8_that_loses_is_not_the_default(tmp_path: Path) -> None:
    store(tmp_path, int8_right=False)
    figures = evaluate.figures(tmp_path, recipe.load("base"), "command")
    assert (figures["precision"], figures["int8_loss_speech"]) == ("fp16", 1.0)


def test_folds_of_different_code_are_not_mixed(tmp_path: Path) -> None:
    store(tmp_path, hashes="aaaab")
    with pytest.raises(ResultsError, match=r"differ in their recipe_hash: a, b"):
        evaluate.figures(tmp_path, recipe.load("base"), "command")


def test_a_missing_fold_is_named(tmp_path: Path) -> None:
    store(tmp_path)
    (tmp_path / "fold3.npz").unlink()
    with pytest.raises(ResultsError, match=r"fold3\.npz is missing"):
        evaluate.load(tmp_path, "fp32")


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_stored_results_belong_to_the_code_of_today(path: Path) -> None:
    name = path.parent.name
    stored = json.loads(path.read_text(encoding="utf-8"))
    now = recipe.load(name).hash
    again = f"python -m train fit --config {name} --fold 0 1 2 3 4, python -m train evaluate --config {name} --data DIR"
    assert stored["recipe_hash"] == now, f"{path} is stale: recipe, features, network or training changed. Run {again}"
    for origin in evaluate.load(path.parent, "fp32")[1]:
        assert origin["recipe_hash"] == now, f"the logits in {path.parent} are stale: run {again}"


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_stored_figures_derive_from_the_stored_logits(path: Path) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))
    again = json.loads(json.dumps(evaluate.figures(path.parent, recipe.load(path.parent.name), stored["command"])))
    for channel, values in stored["actor_independent"].items():
        assert again["actor_independent"][channel]["confusion"] == values["confusion"]
        assert again["actor_independent"][channel]["accuracy"] == pytest.approx(values["accuracy"], abs=1e-9)
        assert again["actor_independent"][channel]["uar"] == pytest.approx(values["uar"], abs=1e-9)
        assert again["actor_independent"][channel]["ece"] == pytest.approx(values["ece"], abs=1e-3)
    assert again["precisions"] == stored["precisions"]
    assert again["precision"] == stored["precision"]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_stored_test_clips_are_whole_actors_of_their_fold_and_each_clip_is_tested_once(path: Path) -> None:
    folds, _ = evaluate.load(path.parent, "fp32")
    assert [set(one.speakers.tolist()) for one in folds] == [set(actors) for actors in ACTOR_FOLDS]
    keys = [key for one in folds for key in one.keys.tolist()]
    assert sorted(keys) == sorted(f"ravdess/{name}" for name in Ravdess.expected())
    for one in folds:
        speech = one.subset(one.channels == "speech")
        assert len(speech.keys) % 60 == 0
        counts = np.bincount(speech.emotions, minlength=len(LABELS))
        assert counts[0] % 4 == 0
        assert not (counts[1:] % 8).any()


def test_the_model_that_ships_carries_the_stored_figures_of_its_own_recipe() -> None:
    shipped = bundle.read(bundle.BUNDLED)
    figures = shipped.metrics()
    stored = json.loads((RESULTS / figures["recipe"] / "metrics.json").read_text(encoding="utf-8"))
    assert figures == stored
    assert shipped.training["recipe_hash"] == stored["recipe_hash"] == recipe.load(figures["recipe"]).hash
    assert shipped.training["data_digest"] == stored["data_digest"]
    assert shipped.precision == stored["precision"]
    assert shipped.calibration.temperature == stored["calibration"]["temperature"]


def test_the_model_that_ships_was_checked_against_torch() -> None:
    parity = bundle.read(bundle.BUNDLED).training["parity"]
    for name in ("onnxruntime", "fp32", "fp16"):
        assert parity[name]["clips"] >= 200
        assert parity[name]["probability"] <= export.TOLERANCE
        assert parity[name]["labels"] == 0


def test_the_readme_says_what_the_stored_figures_say() -> None:
    page = report.README.read_text(encoding="utf-8")
    assert report.fill(page, report.parts()) == page, "run `make results`"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(report.ReportError, match=r"no <!-- results -->"):
        report.fill("# A page\n", {"results": lambda: "text"})


def test_speech_on_unheard_actors_passes_its_bar() -> None:
    figures = bundle.read(bundle.BUNDLED).metrics()["actor_independent"]
    assert (figures["speech"]["n"], figures["song"]["n"]) == (1440, 1012)
    assert figures["speech"]["accuracy"] >= 0.70


def test_a_run_of_another_recipe_is_not_evaluated(tmp_path: Path) -> None:
    with pytest.raises(fit.RunError, match="no complete run"):
        fit.load_network(fit.Run(recipe.load("tiny"), 0), tmp_path)


def test_schema_version_is_stored() -> None:
    assert bundle.read(bundle.BUNDLED).metrics()["schema_version"] == metrics.SCHEMA_VERSION
