"""Architectures side by side: their ranking from logits written by hand, what they cost, and the command itself."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from tests.train_data import Pipeline, train
from train import compare, comparison, costs, judging, metrics, recipe
from train.compare import FOLDS, stored_in
from train.metrics import Judged
from train.run import RunError

if TYPE_CHECKING:
    from pathlib import Path

CLIPS = 40
KNOWN = {"recipe_hash": recipe.load("compare/dense").hash, "data_digest": "d" * 16, "parameters": 123}


def told(right: int, *, speakers: int = 4) -> Judged:
    """40 spoken and 40 sung clips of all emotions, of which the first `right` of each are heard right, by a hair."""
    emotions = np.tile(np.arange(CLIPS) % 8, 2)
    logits = np.zeros((2 * CLIPS, 8), dtype=np.float32)
    answers = np.where(np.arange(2 * CLIPS) % CLIPS < right, emotions, (emotions + 1) % 8)
    logits[np.arange(2 * CLIPS), answers] = 1.0
    names = np.array([str(number % speakers) for number in range(2 * CLIPS)])
    channels = np.repeat(["speech", "song"], CLIPS)
    return Judged(0, names, emotions, names, channels, np.arange(2 * CLIPS), np.ones(2 * CLIPS), logits)


def store(results: Path, name: str, validation: int, test: int, **origin: str) -> None:
    known = KNOWN | {"recipe_hash": recipe.load(f"compare/{name}").hash} | origin
    for fold in FOLDS:
        for side, right in (("validation", validation), ("test", test)):
            judging.save(stored_in(results, name, fold, side), {"fp16": told(right), "int8": told(right - 1)}, known)


def store_all(results: Path) -> None:
    for number, name in enumerate(compare.NAMES):
        store(results, name, 20 + number, 30 - number)


def test_the_best_on_validation_speakers_comes_first(tmp_path: Path) -> None:
    """Though it is the worst on those that are tested: nothing is chosen on them."""
    store_all(tmp_path)
    found = compare.table(tmp_path, {})
    assert [one["name"] for one in found["networks"]] == list(reversed(compare.NAMES))
    first, *others = found["networks"]
    assert "best_is_better_by" not in first
    assert first["validation"]["accuracy"] == pytest.approx(24 / 40)
    assert first["test"]["speech"] == {"n": 80, "accuracy": pytest.approx(26 / 40), "uar": pytest.approx(26 / 40)}
    assert [one["best_is_better_by"]["accuracy"] for one in others] == pytest.approx([-n / 40 for n in (1, 2, 3, 4)])
    for one in others:
        low, high = one["best_is_better_by"]["interval_95"]
        assert low - 1e-9 <= one["best_is_better_by"]["accuracy"] <= high + 1e-9


def test_the_table_says_who_is_behind_and_what_ships(tmp_path: Path) -> None:
    store_all(tmp_path)
    costs_of = {"costs": {"multiply_adds": 2_500_000_000, "int8_bytes": 700_000, "torch_ms": 5.04, "openvino_ms": 1.26}}
    known = costs_of | {"recipe_hash": recipe.load("compare/dense").hash}
    # What another state of a network cost says nothing of this one.
    found = compare.table(tmp_path, {"dense": known, "residual": costs_of | {"recipe_hash": "0" * 12}})
    assert [one["name"] for one in found["networks"] if "costs" in one] == ["dense"]
    lines = comparison.table(found).splitlines()
    assert len(lines) == 2 + len(compare.NAMES)
    assert lines[2].startswith("| Like what ships: a plain residual CNN, narrower still")
    assert "| -2.5 points (" in lines[3]
    assert lines[-1].startswith("| A compact DenseNet-BC on spectrograms, the line of 2020 | 0.00 M | 2.50 G |")
    # Of 40, 30 are right, and 29 as INT8.
    assert lines[-1].endswith("| 72.5 % | 0.70 MB | 5.0 ms, 1.3 ms |")
    assert comparison.verdict(found).startswith(
        "The first on validation actors, `with-whisper`, is of the kind that ships"
    )
    found["networks"].reverse()
    assert comparison.verdict(found).startswith("The first on validation actors is `dense`, and not `with-whisper`")


def test_stale_or_mixed_logits_are_refused(tmp_path: Path) -> None:
    store_all(tmp_path)
    store(tmp_path, "dense", 20, 20, recipe_hash="0" * 12)
    with pytest.raises(RunError, match=r"The results of dense come from recipe 0{12}, now it is"):
        compare.table(tmp_path, {})
    store(tmp_path, "dense", 20, 20)
    judging.save(
        stored_in(tmp_path, "dense", 1, "test"), {"fp16": told(3), "int8": told(3)}, KNOWN | {"data_digest": "e" * 16}
    )
    with pytest.raises(RunError, match="different data"):
        compare.table(tmp_path, {})


def test_a_paired_bootstrap_by_hand() -> None:
    """One actor gains a clip of two, the other none: draws of both, of the first twice, of the second twice."""
    emotions = np.zeros(4, dtype=np.int64)
    right, wrong = np.eye(8)[[0]], np.eye(8)[[1]]
    ours, theirs = np.concatenate([right, right, wrong, right]), np.concatenate([wrong, right, wrong, right])
    speakers = np.array(["a", "a", "b", "b"])
    assert metrics.paired_bootstrap(emotions, ours, theirs, speakers) == pytest.approx([0.0, 0.5])
    # What both hear alike makes no difference, however unsure either alone is.
    assert metrics.paired_bootstrap(emotions, ours, ours, speakers) == [0.0, 0.0]


def test_multiply_adds_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False), nn.Flatten(), nn.Linear(4 * 8 * 4, 10))
    # 4 channels of 8 x 4 places, each of 9 products; then 128 to 10.
    assert costs.multiply_adds(network, torch.zeros(1, 1, 16, 8)) == 4 * 8 * 4 * 9 + 128 * 10


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Pipeline) -> Path:
    """Recipes of two small architectures on the synthetic corpora, in place of the project's."""
    configs = tmp_path / "configs"
    shutil.copytree(recipe.CONFIGS, configs, ignore=shutil.ignore_patterns("trials", "compare"))
    (configs / "compare").mkdir()
    text = made.recipe.read_text(encoding="utf-8").replace("members: 2", "members: 1")
    (configs / "compare" / "residual.yaml").write_text(f"# Plain.\n{text}", encoding="utf-8")
    dense = "# Dense.\nextends: compare/residual\nnetwork: {name: dense, options: {growth: 16, depths: [1, 1, 1, 1]}}\n"
    (configs / "compare" / "dense.yaml").write_text(dense, encoding="utf-8")
    monkeypatch.setattr(recipe, "CONFIGS", configs)
    monkeypatch.setattr(compare, "NAMES", ("dense", "residual"))
    monkeypatch.setattr(costs, "ROUNDS", 2)
    return tmp_path


def test_one_command_trains_judges_and_prints(two: Path, made: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--cache", made.cache, "--runs", two / "runs", "--results", two / "results")
    assert train("compare", *where, "--data", made.data, "--costs") == 0
    printed = capsys.readouterr().out
    assert "| Dense | 0." in printed
    assert "| Plain | 0." in printed
    path = two / "results" / "compare.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert {one["name"] for one in found["networks"]} == {"dense", "residual"}
    for one in found["networks"]:
        assert one["costs"]["multiply_adds"] > 1e6
        assert one["costs"]["openvino_ms"] > 0.0
        # Folds 0 and 1 test ana, fay and ben, and validate two others.
        assert one["test"]["speech"]["n"] == 12
        assert one["validation"]["n"] == 8
    assert next(one for one in found["networks"] if one["name"] == "dense")["costs"]["torch_to_dense"] == 1.0
    # What is there isn't trained again, and without the corpora the table comes out of what is stored.
    before = {file: file.stat().st_mtime_ns for file in (two / "runs").rglob("*.safetensors")}
    assert train("compare", *where) == 0
    assert json.loads(path.read_text(encoding="utf-8")) == found
    assert train("compare", *where, "--data", made.data, "--only", "dense") == 0
    assert {file: file.stat().st_mtime_ns for file in (two / "runs").rglob("*.safetensors")} == before
