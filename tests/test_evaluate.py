"""The folds' networks on speakers they never heard: what the commands store, and what is derived from it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ser_core import audio, recognizer, windows
from ser_core.config import FeatureConfig
from ser_core.emotions import EMOTIONS, LABELS
from tests import train_data
from tests.train_data import LONG_CLIP, Pipeline, own_rows, train
from train import corpora, evaluate, fit, metrics, recipe, splits
from train.evaluate import ResultsError
from train.metrics import Judged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ser_core.prediction import Precision

CONFIG = FeatureConfig()


@pytest.fixture(scope="module")
def figures(made: Pipeline) -> dict[str, Any]:
    return read(made.figures)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


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
    judged, origins = evaluate.load(made.results / "synthetic", "fp32")
    assert sorted(key for one in judged for key in one.keys) == [clip.key for clip in clips]
    for one, origin in zip(judged, origins, strict=True):
        speakers = splits.test_speakers(clips, "own", one.fold)
        assert set(one.speakers) == speakers
        assert origin["train_clips"] == sum(clip.speaker not in speakers for clip in clips)
        assert origin["recipe_hash"] == recipe.load(str(made.recipe)).hash
        by_key = {clip.key: clip for clip in clips}
        assert [by_key[key].emotion for key in one.keys] == [EMOTIONS[number] for number in one.emotions]


@torch.no_grad()
def test_the_stored_logits_are_the_networks_own_from_file_to_answer(made: Pipeline) -> None:
    judged, _ = evaluate.load(made.results / "synthetic", "fp32")
    network, _ = fit.load_network(fit.Run(recipe.load(str(made.recipe)), 0), made.runs)
    one = judged[0]
    for clip, key in enumerate(one.keys):
        waveform = audio.read(made.data / key, sample_rate=16_000).samples
        parts = recognizer.stretches(waveform, CONFIG)
        rows = one.logits[one.window_clip == clip]
        assert len(parts) == len(rows)
        for part, row, sound_s in zip(parts, rows, one.sound_s[one.window_clip == clip], strict=True):
            assert part.spectrogram is not None
            logits, _ = network(torch.from_numpy(part.spectrogram)[None, None])
            assert row == pytest.approx(logits[0].numpy(), abs=1e-4)
            assert part.sound is not None
            assert sound_s == part.sound.duration_s


def test_a_long_clip_is_judged_in_windows(made: Pipeline) -> None:
    judged, _ = evaluate.load(made.results / "synthetic", "fp32")
    (clip,) = np.flatnonzero(judged[0].keys == f"own/{LONG_CLIP}")
    counts = np.bincount(judged[0].window_clip)
    assert counts[clip] == len(windows.grid(6 * 16_000, CONFIG)) == 4
    assert np.delete(counts, clip).tolist() == [1] * 7


def test_precisions_are_judged_on_the_same_windows(made: Pipeline) -> None:
    exact, half, small = (evaluate.load(made.results / "synthetic", p)[0][1] for p in evaluate.PRECISIONS)
    assert evaluate.PRECISIONS == ("fp32", "fp16", "int8")
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


def test_without_all_folds_there_are_no_figures(
    made: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made.results, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "synthetic"
    for gone in ("metrics.json", "fold1.npz", "fold4.npz"):
        (folder / gone).unlink()
    assert again(made, tmp_path) == 0
    assert capsys.readouterr().out == "no figures yet: folds 1, 4 have not been judged\n"
    assert not (folder / "metrics.json").exists()
    with pytest.raises(ResultsError, match=r"fold1\.npz is missing: run `python -m train evaluate --data DIR`"):
        evaluate.load(folder, "fp32")


def made_up(
    folder: Path, *, wrong_in_int8: int = 0, singers: Sequence[int] = range(5), other: dict[str, str] | None = None
) -> Path:
    """Five folds of 100 spoken clips, all right but every tenth, and 10 sung, right, in those of `singers`.

    `other` is what fold 3 says differently of its origin.
    """
    for fold in range(5):
        count = 100 + 10 * (fold in singers)
        emotions = np.arange(count) % 8
        told = emotions.copy()
        told[0:100:10] += 1
        told %= 8
        worse = told.copy()
        if fold == 0:
            worse[np.arange(1, 1 + wrong_in_int8)] = (emotions[1 : 1 + wrong_in_int8] + 1) % 8
        exact = Judged(
            fold=fold,
            keys=np.array([f"clip{fold}-{number}" for number in range(count)]),
            emotions=emotions,
            speakers=np.array([str(5 * (number % 2) + fold) for number in range(count)]),
            channels=np.array(["speech"] * 100 + ["song"] * (count - 100)),
            window_clip=np.arange(count),
            sound_s=np.ones(count),
            logits=(5.0 * np.eye(8)[told]).astype(np.float32),
        )
        small = dataclasses.replace(exact, logits=(5.0 * np.eye(8)[worse]).astype(np.float32))
        judged: dict[Precision, Judged] = {"fp32": exact, "fp16": exact, "int8": small}
        origin = {"recipe_hash": "a" * 12, "data_digest": "b" * 16}
        evaluate.save(folder, judged, origin | (other or {}) if fold == 3 else origin)
    return folder


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    made_up(tmp_path, wrong_in_int8=3)
    judged, origins = evaluate.load(tmp_path, "int8")
    assert [one.fold for one in judged] == [0, 1, 2, 3, 4]
    assert origins == [{"recipe_hash": "a" * 12, "data_digest": "b" * 16}] * 5
    assert judged[0].keys[104] == "clip0-104"
    assert judged[0].logits.dtype == np.float32
    assert judged[0].logits.shape == (110, 8)
    assert [metrics.accuracy(one.emotions, one.probabilities(1.0)) for one in judged] == [97 / 110, *[100 / 110] * 4]


@pytest.mark.parametrize(("wrong", "default"), [(0, "int8"), (2, "int8"), (3, "fp16")])
def test_int8_is_the_default_where_it_loses_at_most_half_a_point(tmp_path: Path, wrong: int, default: str) -> None:
    # Of 500 spoken clips, two are 0.4 points and three are 0.6.
    found = evaluate.figures(made_up(tmp_path, wrong_in_int8=wrong), recipe.load("base"), "COMMAND")
    assert found["int8_loss_speech"] == pytest.approx(wrong / 500)
    assert found["precision"] == default
    assert found["precisions"] == {
        "fp32": {"speech": 0.9, "song": 1.0},
        "fp16": {"speech": 0.9, "song": 1.0},
        "int8": {"speech": pytest.approx(0.9 - wrong / 500), "song": 1.0},
    }
    speech = found["actor_independent"]["speech"]
    assert speech["accuracy"] == pytest.approx(0.9 if default == "fp16" else 0.9 - wrong / 500)
    assert (found["command"], found["recipe_hash"], found["recipe"]) == ("COMMAND", "a" * 12, "base")
    assert found["protocol"].startswith("RAVDESS, eight classes, five folds by actor (Luna-Jimenez et al. 2021); every")


def test_a_fold_without_songs_counts_for_speech_alone(tmp_path: Path) -> None:
    found = evaluate.figures(made_up(tmp_path, singers=(0, 2, 3)), recipe.load("base"), "")["actor_independent"]
    assert [fold["fold"] for fold in found["song"]["folds"]] == [0, 2, 3]
    assert [fold["n"] for fold in found["speech"]["folds"]] == [100] * 5
    assert (found["song"]["n"], found["song"]["accuracy"]) == (30, 1.0)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("key", ["recipe_hash", "data_digest"])
def test_folds_of_different_origin_are_not_mixed(tmp_path: Path, key: str) -> None:
    made_up(tmp_path, other={key: "other"})
    with pytest.raises(ResultsError, match=rf"differ in their {key}: (a|b)+, other\. Redo them\."):
        evaluate.figures(tmp_path, recipe.load("base"), "")


def test_a_network_of_other_data_is_not_judged(
    made: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made.cache, tmp_path / "cache")
    index = read(made.cache / "index.json")
    (tmp_path / "cache" / "index.json").write_text(json.dumps(index | {"digest": "f" * 16}), encoding="utf-8")
    other = dataclasses.replace(made, cache=tmp_path / "cache")
    assert again(other, tmp_path / "results", "--data", made.data, "--fold", 0) == 1
    expected = f"network of fold 0 was trained on data {index['digest']}, the features now hold {'f' * 16}: prepare or "
    assert expected in capsys.readouterr().err


def test_a_folder_that_lacks_test_clips_is_told(
    made: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = own_rows()
    train_data.write_table(tmp_path, rows[1:])
    for name, *_ in rows:
        (tmp_path / "own" / name).symlink_to(made.data / "own" / name)
    assert again(made, tmp_path / "results", "--data", tmp_path, "--fold", 0) == 1
    expected = f"hold 1 test clips that are not in the corpus, such as own/{rows[0][0]}: name the folder"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
