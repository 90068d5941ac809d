"""From sounds to a bundle that answers, through the real command line, on a network of a few thousand weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ser_core
from ser_core import bundle
from tests.train_data import own_corpus, tiny_recipe, train
from train import export, fit, recipe
from train.prepare import FeatureCache

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything up to the bundle was made: data, cache, runs, results, model."""
    folder = tmp_path_factory.mktemp("export")
    own_corpus(folder / "data")
    config = tiny_recipe(folder / "trial.yaml", optim={"epochs": 1})
    common = ["--config", str(config), "--cache", str(folder / "cache")]
    assert train("prepare", "--data", str(folder / "data"), "--corpora", "own", "--cache", str(folder / "cache")) == 0
    runs = ["--runs", str(folder / "runs")]
    assert train("fit", *common, *runs, "--fold", "0") == 0
    judge = ["--data", str(folder / "data"), "--fold", "0", "--results", str(folder / "results")]
    assert train("evaluate", *common, *runs, *judge) == 0
    results = folder / "results" / config.stem
    # One fold is converted and judged for real; the others are its copies, which takes their minutes out of the tests.
    stored = dict(np.load(results / "fold0.npz"))
    for fold in range(1, 5):
        np.savez_compressed(results / f"fold{fold}.npz", **stored)
    assert train("evaluate", *common, "--results", str(folder / "results")) == 0
    assert train("fit", *common, *runs, "--all") == 0
    figures = ["--metrics", str(results / "metrics.json")]
    assert train("export", *common, *runs, *figures, "--out", str(folder / "model"), "--name", "trial") == 0
    return folder


def test_the_bundle_answers(place: Path) -> None:
    recognizer = ser_core.load(place / "model")
    clip = sorted((place / "data" / "own").rglob("*.wav"))[0]
    prediction = recognizer.predict(clip)
    assert recognizer.info.name == "trial"
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0)
    assert tuple(prediction.probabilities) == ser_core.LABELS


def test_every_precision_is_in_it_and_close_to_torch(place: Path) -> None:
    sealed = bundle.read(place / "model")
    assert {name for names in bundle.MODEL_FILES.values() for name in names} < set(sealed.files)
    assert "LICENSE.md" in sealed.files
    for name in ("onnxruntime", "fp32", "fp16"):
        assert sealed.training["parity"][name]["probability"] <= export.TOLERANCE
    assert sealed.training["parity"]["int8"]["probability"] > 0.0


def test_figures_have_their_fields(place: Path) -> None:
    figures = json.loads((place / "model" / "metrics.json").read_text(encoding="utf-8"))
    speech = figures["actor_independent"]["speech"]
    assert {"accuracy", "uar", "folds", "interval_95", "confusion", "ece", "recall"} <= set(speech)
    assert "song" not in figures["actor_independent"]
    assert figures["recipe_hash"] == bundle.read(place / "model").training["recipe_hash"]


def test_a_network_that_answers_otherwise_is_not_exported(place: Path) -> None:
    import torch

    cache = FeatureCache.open(place / "cache")
    config = next(place.glob("*.yaml"))
    network, _ = fit.load_network(fit.Run(recipe.load(str(config)), None), place / "runs")
    clips = export.calibration_set(cache, range(len(cache.clips)), 4)
    export.parity(network, place / "model", clips)
    with torch.no_grad():
        next(network.get_submodule("classifier").parameters()).mul_(3.0).add_(0.5)
    with pytest.raises(export.ExportError, match="differs from torch"):
        export.parity(network, place / "model", clips)


def test_figures_of_another_recipe_are_not_sealed_in(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = json.loads((place / "model" / "metrics.json").read_text(encoding="utf-8")) | {"recipe_hash": "other"}
    (tmp_path / "metrics.json").write_text(json.dumps(figures), encoding="utf-8")
    config = next(place.glob("*.yaml"))
    common = ["--config", str(config), "--cache", str(place / "cache"), "--runs", str(place / "runs")]
    told = train("export", *common, "--metrics", str(tmp_path / "metrics.json"), "--out", str(tmp_path / "model"))
    assert told == 1
    assert "belong to recipe other" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
