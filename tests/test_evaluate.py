"""The folds' networks on speakers they never heard: what the commands store, and what is derived from it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ser_core import audio, windows
from ser_core.config import FeatureConfig
from ser_core.emotions import EMOTIONS, LABELS
from tests import train_data
from tests.train_data import LONG_CLIP, LONG_S, Pipeline, own_rows, train
from train import corpora, judging, recipe, splits
from train.run import Run
from train.runs import load_network

if TYPE_CHECKING:
    from pathlib import Path

    from train.metrics import Judged

CONFIG = FeatureConfig()


@pytest.fixture(scope="module")
def figures(made: Pipeline) -> dict[str, Any]:
    return read(made.figures)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def stored(results: Path, precision: str = "fp32") -> tuple[list[Judged], list[dict[str, Any]]]:
    """What all folds' networks said in a precision, in order, and what it comes from."""
    loaded = [judging.load(results / "synthetic" / f"fold{fold}.npz") for fold in range(5)]
    return [judged[precision] for judged, _ in loaded], [origin for _, origin in loaded]


def again(made: Pipeline, results: Path, *arguments: object) -> int:
    """`python -m train evaluate` on the pipeline's recipe with other results."""
    where = ("--cache", made.cache, "--runs", made.runs, "--results", results)
    return train("evaluate", "--config", made.recipe, *where, *arguments)


# What the commands store.


def test_the_figures_have_their_fields(figures: dict[str, Any], made: Pipeline) -> None:
    assert figures["schema_version"] == 1
    assert figures["labels"] == list(LABELS)
    assert figures["recipe"] == "synthetic"
    assert figures["recipe_hash"] == recipe.load(str(made.recipe)).hash
    assert figures["protocol"].startswith("own, eight classes, five folds by speaker; every clip judged once")
    assert figures["precision"] in ("fp16", "int8")
    assert figures["no_speech"] == 0
    # Nobody sings here: a channel without clips has no figures, rather than figures of nothing.
    assert list(figures["actor_independent"]) == ["speech"]
    assert {precision: list(values) for precision, values in figures["precisions"].items()} == {
        precision: ["speech"] for precision in ("fp32", "fp16", "int8")
    }
    speech = figures["actor_independent"]["speech"]
    assert set(speech) >= {"n", "accuracy", "uar", "interval_95", "folds", "mean", "std", "recall", "confusion", "ece"}
    assert speech["n"] == 24
    assert [(fold["fold"], fold["n"], fold["speakers"]) for fold in speech["folds"]] == [
        (0, 8, ["ana", "fay"]),
        (1, 4, ["ben"]),
        (2, 4, ["cho"]),
        (3, 4, ["dag"]),
        (4, 4, ["eva"]),
    ]
    assert np.array(speech["confusion"]).sum(axis=1).tolist() == [
        sum(emotion == label for _, emotion, _, _ in own_rows()) for label in LABELS
    ]
    assert speech["accuracy"] == pytest.approx(np.trace(speech["confusion"]) / 24)
    assert 0.0 <= speech["ece"] <= 1.0
    for low, high in speech["interval_95"].values():
        assert 0.0 <= low <= high <= 1.0
    assert len(figures["calibration"]["folds"]) == 5
    assert 0.05 <= figures["calibration"]["temperature"] <= 10.0


def test_every_clip_is_judged_by_a_network_that_never_heard_its_speaker(made: Pipeline) -> None:
    clips = corpora.read(made.data, ["own"])
    judged, origins = stored(made.results)
    assert sorted(key for one in judged for key in one.keys) == [clip.key for clip in clips]
    for one, origin in zip(judged, origins, strict=True):
        speakers = splits.test_speakers(clips, "own", one.fold)
        assert set(one.speakers) == speakers
        # All of nEMO's twelve clips train.
        assert origin["train_clips"] == 12 + sum(clip.speaker not in speakers for clip in clips)
        assert origin["recipe_hash"] == recipe.load(str(made.recipe)).hash
        by_key = {clip.key: clip for clip in clips}
        assert [by_key[key].emotion for key in one.keys] == [EMOTIONS[number] for number in one.emotions]


@torch.no_grad()
def test_the_stored_logits_are_the_networks_own_from_file_to_answer(made: Pipeline) -> None:
    judged, _ = stored(made.results)
    network, _ = load_network(Run(recipe.load(str(made.recipe)), 0), made.runs)
    one = judged[0]
    for clip, key in enumerate(one.keys):
        waveform = audio.read(made.data / key, sample_rate=16_000).samples
        parts = windows.stretches(waveform, CONFIG)
        rows = one.logits[one.window_clip == clip]
        assert len(parts) == len(rows)
        for part, row, sound_s in zip(parts, rows, one.sound_s[one.window_clip == clip], strict=True):
            assert part.spectrogram is not None
            logits, _ = network(torch.from_numpy(part.spectrogram)[None, None])
            assert row == pytest.approx(logits[0].numpy(), abs=1e-4)
            assert part.sound is not None
            assert sound_s == pytest.approx(part.sound.duration_s, rel=1e-6)


def test_a_long_clip_is_judged_in_windows(made: Pipeline) -> None:
    judged, _ = stored(made.results)
    (clip,) = np.flatnonzero(judged[0].keys == f"own/{LONG_CLIP}")
    counts = np.bincount(judged[0].window_clip)
    # 7 s are five windows of 3 s, a second apart.
    assert counts[clip] == len(windows.grid(round(LONG_S * 16_000), CONFIG)) == 5
    assert np.delete(counts, clip).tolist() == [1] * 7


def test_precisions_are_judged_on_the_same_windows(made: Pipeline) -> None:
    exact, half, small = (stored(made.results, precision)[0][1] for precision in judging.PRECISIONS)
    assert judging.PRECISIONS == ("fp32", "fp16", "int8")
    for other in (half, small):
        assert other.keys.tolist() == exact.keys.tolist()
        assert other.window_clip.tolist() == exact.window_clip.tolist()
    assert half.probabilities(1.0) == pytest.approx(exact.probabilities(1.0), abs=2e-3)
    assert not np.array_equal(half.logits, exact.logits)
    assert not np.array_equal(small.logits, half.logits)


# Figures from stored logits.


def test_the_figures_come_out_again_from_the_stored_logits(made: Pipeline, tmp_path: Path) -> None:
    shutil.copytree(made.results, tmp_path, dirs_exist_ok=True)
    (tmp_path / "synthetic" / "metrics.json").unlink()
    assert again(made, tmp_path) == 0
    assert read(tmp_path / "synthetic" / "metrics.json") == read(made.figures)


def test_the_command_that_is_stored_reads_the_recipe_that_was_asked_for(
    figures: dict[str, Any], made: Pipeline
) -> None:
    assert figures["command"] == f"python -m train evaluate --config {made.recipe} --data DIR"


def test_the_figures_are_of_the_folds_that_have_been_judged(
    made: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made.results, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "synthetic"
    for gone in ("metrics.json", "fold1.npz", "fold4.npz"):
        (folder / gone).unlink()
    assert again(made, tmp_path) == 0
    some = read(folder / "metrics.json")
    assert (some["folds"], some["clips"]) == ([0, 2, 3], 16)
    assert [fold["fold"] for fold in some["actor_independent"]["speech"]["folds"]] == [0, 2, 3]
    # One fold alone has no others on which its temperature could be fitted.
    for gone in ("metrics.json", "fold0.npz", "fold3.npz"):
        (folder / gone).unlink()
    capsys.readouterr()
    assert again(made, tmp_path) == 0
    assert capsys.readouterr().out == f"no figures yet: fewer than two folds in {folder} have been judged\n"
    assert not (folder / "metrics.json").exists()


def test_a_network_of_other_data_is_not_judged(
    made: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made.cache, tmp_path / "cache")
    index = read(made.cache / "index.json")
    (tmp_path / "cache" / "index.json").write_text(json.dumps(index | {"digest": "f" * 16}), encoding="utf-8")
    other = dataclasses.replace(made, cache=tmp_path / "cache")
    assert again(other, tmp_path / "results", "--data", made.data, "--fold", 0) == 1
    expected = f"network of fold0 was trained on data {index['digest']}, the features now hold {'f' * 16}: prepare or "
    assert expected in capsys.readouterr().err


def test_a_folder_that_lacks_test_clips_is_told(
    made: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = own_rows()
    train_data.write_table(tmp_path, rows[1:])
    for name, *_ in rows:
        (tmp_path / "own" / name).symlink_to(made.data / "own" / name)
    assert again(made, tmp_path / "results", "--data", tmp_path, "--fold", 0) == 1
    expected = f"hold 1 clips that are not in the corpus, such as own/{rows[0][0]}: name the folder"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_conditions_are_of_the_folds_alone(made: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--config", made.recipe, "--data", made.data, "--robustness", "--random", "60/20/20")
    assert train("evaluate", *asked) == 1
    assert "--robustness is measured on the folds alone" in capsys.readouterr().err
