"""Trials of the recipe: gathered from what `fit --validate` wrote, compared with one reference, never mixed up."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.train_data import train
from train import recipe, trials

if TYPE_CHECKING:
    from pathlib import Path

FIGURES = {"speech_accuracy": 0.5, "speech_loss": 1.5, "song_accuracy": 0.75, "song_loss": 0.8}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for runs, and three trials of which two differ from the reference."""
    configs = tmp_path / "configs"
    (configs / "trials").mkdir(parents=True)
    (configs / "base.yaml").write_text((recipe.CONFIGS / "base.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    for name, text in {
        # A reader is fitted beside what ships; trials are of the convolutions alone.
        "short": "# The reference.\nextends: base\noptim: {epochs: 2}\nreader: {layers: 2}\n",
        "worse": "# Without a ramp.\nextends: trials/short\naugment: {ramp: 0.0}\n",
        "better": "# Deeper.\nextends: trials/short\nnetwork: {options: {depths: [0, 2, 2, 2]}}\n",
    }.items():
        (configs / "trials" / f"{name}.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(recipe, "CONFIGS", configs)
    return tmp_path / "runs"


def ran(runs: Path, name: str, *, record: dict[str, Any] | None = None, **figures: float) -> None:
    """What `fit --fold 0 --validate` leaves of a trial."""
    folder = runs / name / "fold0-validate"
    folder.mkdir(parents=True)
    stored = {
        "recipe_hash": recipe.load(f"trials/{name}").members_hash,
        "data_digest": "0" * 16,
        "parameters": 1_000,
        # Only some epochs are validated; the last one always is.
        "history": [{"loss": 2.0}, {"loss": 1.0, **FIGURES, **figures}],
        **(record or {}),
    }
    (folder / "run-0.json").write_text(json.dumps(stored), encoding="utf-8")


def test_trials_stand_beside_the_reference_by_their_log_loss(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran(runs, "worse", speech_accuracy=0.4, speech_loss=1.75)
    ran(runs, "short")
    ran(runs, "better", speech_accuracy=0.55, speech_loss=1.25)
    results = runs.parent / "results"
    assert train("trials", "--runs", runs, "--results", results) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "| short: The reference | 50.0 | 75.0 | 1.500 | 0.800 |",
        "| better: Deeper | 55.0 (+5.0) | 75.0 (+0.0) | 1.250 (-0.250) | 0.800 (+0.000) |",
        "| worse: Without a ramp | 40.0 (-10.0) | 75.0 (+0.0) | 1.750 (+0.250) | 0.800 (+0.000) |",
    ]
    stored = json.loads((results / "trials.json").read_text(encoding="utf-8"))
    assert stored["command"] == "python -m train trials --fold 0"
    assert [one["trial"] for one in stored["trials"]] == ["short", "better", "worse"]
    assert stored["trials"][1]["epochs"] == 2


def test_a_trial_that_did_not_run_is_left_out(runs: Path) -> None:
    ran(runs, "short")
    assert [one["trial"] for one in trials.gather(runs, 0)] == ["short"]


def test_trials_without_their_reference_are_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran(runs, "better")
    assert train("trials", "--runs", runs, "--results", runs) == 1
    assert "run `python -m train fit --config trials/short --fold 0 --validate` first" in capsys.readouterr().err


def test_a_trial_of_other_code_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran(runs, "short")
    ran(runs, "better", record={"recipe_hash": "f" * 12})
    assert train("trials", "--runs", runs, "--results", runs) == 1
    assert f"better was trained by recipe {'f' * 12}" in capsys.readouterr().err


def test_trials_on_other_data_are_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran(runs, "short")
    ran(runs, "better", record={"data_digest": "1" * 16})
    assert train("trials", "--runs", runs, "--results", runs) == 1
    assert "trained on different data" in capsys.readouterr().err


def test_every_trial_of_the_project_differs_from_the_reference_and_says_why() -> None:
    folder = recipe.CONFIGS / trials.FOLDER
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    said = {str(dataclasses.replace(recipe.load(f"{trials.FOLDER}/{name}"), name="")) for name in names}
    assert trials.REFERENCE in names
    assert len(said) == len(names)
    for name in names:
        assert (folder / f"{name}.yaml").read_text(encoding="utf-8").startswith("# "), name
