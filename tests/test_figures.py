"""Stored logits -> figures, on logits that are made up so that each figure is known."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ser_core.emotions import LABELS
from train import figures, judging, metrics, recipe
from train.judging import ResultsError
from train.metrics import Judged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ser_core.prediction import Precision

NEUTRAL, CALM, HAPPY, SAD, ANGRY, FEARFUL, DISGUST, SURPRISED = range(8)
ORIGIN = {"recipe_hash": "a" * 12, "data_digest": "b" * 16}


def figured(folder: Path, command: str = "") -> dict[str, Any]:
    """The figures of what is stored in a folder."""
    found = figures.of(folder, recipe.load("base"), command)
    assert found is not None
    return found


def judged(
    emotions: Sequence[int], told: Sequence[int], *, fold: int = 0, heard: bool = True, size: float = 5.0
) -> Judged:
    """Spoken clips with one window each, with a voice in it or not, and logits of `size` for what is told."""
    count = len(emotions)
    return Judged(
        fold=fold,
        keys=np.array([f"clip{fold}-{number}" for number in range(count)]),
        emotions=np.array(emotions),
        speakers=np.array([str(fold)] * count),
        channels=np.array(["speech"] * count),
        window_clip=np.arange(count),
        sound_s=np.full(count, 1.0 if heard else 0.0),
        logits=(size * np.eye(8)[list(told)]).astype(np.float32),
    )


def worse(folder: Path) -> None:
    """Turn a third of every fold's clips, those that are told least surely, into wrong answers."""
    for fold in range(5):
        path = folder / f"fold{fold}.npz"
        stored, origin = judging.load(path)
        emotions = stored["fp32"].emotions
        unsure = np.arange(len(emotions)) % 3 == 0
        told = np.where(unsure, (emotions + 1) % 8, emotions)
        # No two clips are told as surely: a threshold can lie between any of them.
        sizes = np.where(unsure, 2.0, 5.0) + np.arange(len(emotions)) / 1000
        logits = (sizes[:, None] * np.eye(8)[told]).astype(np.float32)
        judging.save(path, {name: dataclasses.replace(one, logits=logits) for name, one in stored.items()}, origin)


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
        origin = dict(ORIGIN)
        judging.save(folder / f"fold{fold}.npz", judged, origin | (other or {}) if fold == 3 else origin)
    return folder


@pytest.mark.parametrize(("wrong", "default"), [(0, "int8"), (2, "int8"), (3, "fp16")])
def test_int8_is_the_default_where_it_loses_at_most_half_a_point(tmp_path: Path, wrong: int, default: str) -> None:
    # Of 500 spoken clips, two are 0.4 points and three are 0.6.
    found = figured(made_up(tmp_path, wrong_in_int8=wrong), "COMMAND")
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
    found = figured(made_up(tmp_path, singers=(0, 2, 3)))["actor_independent"]
    assert [fold["fold"] for fold in found["song"]["folds"]] == [0, 2, 3]
    assert [fold["n"] for fold in found["speech"]["folds"]] == [100] * 5
    assert (found["song"]["n"], found["song"]["accuracy"]) == (30, 1.0)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("key", ["recipe_hash", "data_digest"])
def test_folds_of_different_origin_are_not_mixed(tmp_path: Path, key: str) -> None:
    made_up(tmp_path, other={key: "other"})
    with pytest.raises(ResultsError, match=rf"differ in their {key}: (a|b)+, other\. Redo them\."):
        figures.of(tmp_path, recipe.load("base"), "")


def test_with_fewer_than_two_folds_there_are_no_figures(tmp_path: Path) -> None:
    made_up(tmp_path)
    for fold in (0, 1, 2):
        (tmp_path / f"fold{fold}.npz").unlink()
    assert figured(tmp_path)["folds"] == [3, 4]
    (tmp_path / "fold3.npz").unlink()
    assert figures.of(tmp_path, recipe.load("base"), "") is None


def test_the_threshold_is_where_answers_are_right_as_often_as_they_shall_be(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folds = []
    for fold in range(5):
        emotions = rng.integers(0, 8, 80)
        logits = (rng.normal(size=(80, 8)) + 1.5 * np.eye(8)[emotions]).astype(np.float32)
        folds.append(dataclasses.replace(judged(emotions.tolist(), emotions.tolist(), fold=fold), logits=logits))
        judging.save(tmp_path / f"fold{fold}.npz", dict.fromkeys(judging.PRECISIONS, folds[-1]), ORIGIN)
    found = figured(tmp_path)
    calibration = found["calibration"]
    assert calibration["right_when_sure"] == figures.RIGHT_WHEN_SURE == 0.85
    # Each fold at the temperature that the others gave it, as its own figures are.
    assert calibration["folds"] == pytest.approx(metrics.cross_fitted_temperatures(folds))
    answers = np.concatenate([one.probabilities(t) for one, t in zip(folds, calibration["folds"], strict=True)])
    emotions = np.concatenate([one.emotions for one in folds])
    sure = answers.max(axis=1) >= calibration["uncertain_below"]
    assert 0.1 < sure.mean() < 0.9
    assert metrics.accuracy(emotions[sure], answers[sure]) == pytest.approx(0.85, abs=0.01)
    assert found["actor_independent"]["speech"]["accuracy"] < 0.8


def test_a_condition_costs_what_the_same_clips_lose(tmp_path: Path) -> None:
    made_up(tmp_path)
    for fold in (0, 3):
        clean = judging.load(tmp_path / f"fold{fold}.npz")[0]["int8"]
        # Every tenth spoken clip is wrong already; under noise twenty more are, and all songs.
        lost = np.array([number >= 100 or number % 10 in (1, 2) for number in range(110)])
        told = np.where(lost, (clean.emotions + 1) % 8, clean.logits.argmax(axis=1))
        noisy = dataclasses.replace(clean, logits=(5.0 * np.eye(8)[told]).astype(np.float32))
        deaf = dataclasses.replace(clean, sound_s=np.where(np.arange(110) < 30, 0.0, 1.0))
        judging.save(tmp_path / f"robustness-fold{fold}.npz", {"noise": noisy, "far away": deaf}, ORIGIN)
    found = figured(tmp_path)
    table = found["robustness"]
    assert list(table) == ["unchanged", "noise", "far away"]
    assert table["unchanged"]["speech"] == {"accuracy": pytest.approx(0.9), "cost": 0.0}
    assert table["noise"]["speech"] == {"accuracy": pytest.approx(0.7), "cost": pytest.approx(0.2)}
    assert table["noise"]["song"] == {"accuracy": 0.0, "cost": 1.0}
    assert [table[name]["no_speech"] for name in table] == [0, 0, 60]
    # Where nobody is heard, nothing is told: of the 30 clips four, neutral ones, happen to be what comes first.
    assert table["far away"]["speech"]["accuracy"] == pytest.approx((0.9 * 70 + 4) / 100)
    assert "noise: speech 70.0%, song 0.0%, no voice in 0" in figures.lines(found)
    assert any(line.startswith("far away: ") and line.endswith(", no voice in 60") for line in figures.lines(found))


def test_how_often_what_is_no_voice_gets_no_emotion(tmp_path: Path) -> None:
    made_up(tmp_path)
    for fold in range(2):
        keys = [*(f"rain/{number}" for number in range(6)), "baby_cry/6", "baby_cry/7", "dog/8", "dog/9"]
        # Rain is never heard as a voice, and the second dog isn't; the other dog's emotion is as good as none.
        sounds = dataclasses.replace(
            judged([-1] * 10, [SAD] * 10, fold=fold, size=20.0),
            keys=np.array(keys),
            sound_s=np.array([0.0] * 6 + [1.0, 1.0, 1.0, 0.0]),
        )
        sounds.logits[8] = 0.01 * fold
        judging.save(tmp_path / f"not-voices-fold{fold}.npz", {"int8": sounds}, ORIGIN)
    found = figured(tmp_path)
    assert found["calibration"]["uncertain_below"] == 0.0
    assert [one["refused"] for one in found["not_voices"].values()] == [0.0, 0.0, 0.0]
    # Where all may be answered nothing is refused for being uncertain.
    worse(tmp_path)
    found = figured(tmp_path)
    assert found["calibration"]["uncertain_below"] > 0.125
    assert found["not_voices"] == {
        "rain": {"n": 6, "human": False, "no_speech": 1.0, "refused": 1.0},
        "baby_cry": {"n": 2, "human": True, "no_speech": 0.0, "refused": 0.0},
        "dog": {"n": 2, "human": False, "no_speech": 0.5, "refused": 1.0},
    }
    assert "rain: not answered 100.0% of 6" in figures.lines(found)


def test_a_corpus_never_heard_is_judged_over_what_both_sides_have(tmp_path: Path) -> None:
    made_up(tmp_path)
    # As nEMO among networks that heard all: nobody is calm there, and who sounds calm counts as neutral.
    nemo = judged([NEUTRAL, NEUTRAL, HAPPY, SAD], [CALM, NEUTRAL, SURPRISED, SAD])
    heard_all = {"trained_on": ["ravdess"], "trained_emotions": list(LABELS)}
    judging.save(tmp_path / "without-nemo.npz", dict.fromkeys(judging.PRECISIONS, nemo), ORIGIN | heard_all)
    # As RAVDESS among networks that never heard calm and disgust: those clips are left out.
    acted = judged([NEUTRAL, CALM, DISGUST, SAD, SAD], [CALM, CALM, DISGUST, SAD, HAPPY])
    heard_some = {"trained_on": ["banglaser", "nemo"], "trained_emotions": ["neutral", "happy", "sad"]}
    judging.save(tmp_path / "without-ravdess.npz", dict.fromkeys(judging.PRECISIONS, acted), ORIGIN | heard_some)
    found = figured(tmp_path)
    nothing = dict.fromkeys(LABELS)
    assert found["other_recordings"] == {
        "nemo": {
            "n": 4,
            "emotions": ["neutral", "happy", "sad"],
            "trained_on": ["ravdess"],
            # Surprise, which was told of the happy clip, isn't among the tested emotions; of the others, all as
            # improbable, the first is taken.
            "accuracy": 0.75,
            "uar": pytest.approx(2 / 3),
            "recall": nothing | {"neutral": 1.0, "happy": 0.0, "sad": 1.0},
        },
        "ravdess": {
            "n": 3,
            "emotions": ["neutral", "sad"],
            "trained_on": ["banglaser", "nemo"],
            # Calm was told of the neutral clip; without it neutral is the first among equals, as it is of the last.
            "accuracy": pytest.approx(2 / 3),
            "uar": 0.75,
            "recall": nothing | {"neutral": 1.0, "sad": 0.5},
        },
    }
    assert "nemo, never heard: UAR 66.7%, accuracy 75.0%" in figures.lines(found)


def test_other_seeds_stand_beside_the_recipe_on_the_folds_that_all_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = recipe.load("base")
    again = dataclasses.replace(base, name="again", seed=7)
    other = dataclasses.replace(base, name="other", seed=8, members=1)
    recipes = {one.name: one for one in (base, again, other)}
    monkeypatch.setattr(recipe, "names", lambda: list(recipes))
    monkeypatch.setattr(recipe, "load", recipes.__getitem__)
    folder = made_up(tmp_path / "base")
    assert "seeds" not in figured(folder)
    for fold in (1, 3):
        clips = judged([SAD, HAPPY, ANGRY, CALM], [SAD, HAPPY, SAD, SAD if fold == 3 else CALM], fold=fold)
        origin = ORIGIN | {"recipe_hash": again.hash}
        judging.save(tmp_path / "again" / f"fold{fold}.npz", dict.fromkeys(judging.PRECISIONS, clips), origin)
        judging.save(tmp_path / "other" / f"fold{fold}.npz", dict.fromkeys(judging.PRECISIONS, clips), ORIGIN)
    assert figured(folder)["seeds"] == {
        "0": {"speech": {"1": 0.9, "3": 0.9}, "song": {"1": 1.0, "3": 1.0}},
        "7": {"speech": {"1": 0.75, "3": 0.5}},
    }
    (tmp_path / "again" / "fold1.npz").replace(tmp_path / "kept")
    judging.save(tmp_path / "again" / "fold1.npz", judging.load(tmp_path / "kept")[0], ORIGIN)
    with pytest.raises(ResultsError, match="results of again are stale"):
        figured(folder)


def test_how_well_corpora_are_told_apart_is_a_figure_where_it_was_probed(tmp_path: Path) -> None:
    made_up(tmp_path)
    assert "probe" not in figured(tmp_path)
    probed = {
        "command": "COMMAND",
        **ORIGIN,
        "corpora": ["ravdess", "nemo"],
        "chance": 0.5,
        "before": 1.0,
        "after": 0.7,
    }
    (tmp_path / "probe.json").write_text(json.dumps(probed), encoding="utf-8")
    assert figured(tmp_path)["probe"] == probed
    (tmp_path / "probe.json").write_text(json.dumps(probed | {"recipe_hash": "c" * 12}), encoding="utf-8")
    with pytest.raises(
        ResultsError, match=r"probe\.json differs from the judged folds in its recipe_hash: probe again"
    ):
        figures.of(tmp_path, recipe.load("base"), "")


def test_all_that_is_stored_must_come_from_one_recipe(tmp_path: Path) -> None:
    made_up(tmp_path)
    stale = ORIGIN | {"recipe_hash": "c" * 12, "trained_on": ["own"], "trained_emotions": list(LABELS)}
    judging.save(tmp_path / "without-nemo.npz", dict.fromkeys(judging.PRECISIONS, judged([SAD], [SAD])), stale)
    with pytest.raises(ResultsError, match=r"differ in their recipe_hash: a+, c+\. Redo them\."):
        figures.of(tmp_path, recipe.load("base"), "")
