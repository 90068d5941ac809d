"""What is told of a recipe beside its main figures, from logits written by hand; and through the real command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ser_core.emotions import EMOTIONS, LABELS, Emotion
from tests.train_data import Pipeline, train
from train import further, judging, recipe
from train.judging import ResultsError
from train.metrics import Judged
from train.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CHOSEN = Recipe("few")


def store(
    folder: Path, name: str, told: Sequence[tuple[str, Emotion]], fold: int = 0, hash_: str = CHOSEN.hash
) -> None:
    """Clips by RAVDESS's names, each told as an emotion beyond doubt."""
    numbers = [tuple(map(int, key.split("-"))) for key, _ in told]
    logits = np.zeros((len(told), 8), dtype=np.float32)
    logits[np.arange(len(told)), [EMOTIONS.index(emotion) for _, emotion in told]] = 9.0
    one = Judged(
        fold,
        np.array([f"ravdess/{key}" for key, _ in told]),
        np.array([fields[2] - 1 for fields in numbers]),
        np.array([str(fields[6]) for fields in numbers]),
        np.array(["speech" if fields[1] == 1 else "song" for fields in numbers]),
        np.arange(len(told)),
        np.ones(len(told)),
        logits,
    )
    judging.save(folder / f"{name}.npz", {"int8": one}, {"recipe_hash": hash_})


ANGRY, SAD, HAPPY = Emotion.ANGRY, Emotion.SAD, Emotion.HAPPY
SPOKEN_ANGRY = [f"03-01-05-0{strong}-01-01-0{actor}" for actor in (1, 2) for strong in (1, 2)]
SUNG_HAPPY, NEUTRAL = "03-02-03-01-02-01-01", "03-01-01-01-01-01-02"


def test_groups_are_those_of_the_clips_names(tmp_path: Path) -> None:
    man, woman = SPOKEN_ANGRY[:2], SPOKEN_ANGRY[2:]
    store(tmp_path, "fold0", [(man[0], ANGRY), (man[1], SAD), (SUNG_HAPPY, HAPPY)])
    store(tmp_path, "fold1", [(woman[0], ANGRY), (woman[1], ANGRY), (NEUTRAL, HAPPY)], fold=1)
    groups = further.of(tmp_path, CHOSEN)["groups"]
    assert groups["speech"]["sex"]["male"] == {"n": 2, "accuracy": 0.5, "uar": 0.5}
    # Two of three clips, but one of two emotions.
    assert groups["speech"]["sex"]["female"] == {"n": 3, "accuracy": pytest.approx(2 / 3), "uar": 0.5}
    # Neutral, which is never strong, would make the others look worse.
    assert groups["speech"]["intensity"] == {
        "normal": {"n": 2, "accuracy": 1.0, "uar": 1.0},
        "strong": {"n": 2, "accuracy": 0.5, "uar": 0.5},
    }
    assert list(groups["speech"]["actor"]) == ["1", "2"]
    assert groups["song"]["sex"] == {"male": {"n": 1, "accuracy": 1.0, "uar": 1.0}}


def test_draws_are_averaged_and_their_clips_added_up(tmp_path: Path) -> None:
    store(tmp_path, "random-60-20-20-draw0", [(SPOKEN_ANGRY[0], ANGRY), (SUNG_HAPPY, SAD)])
    store(tmp_path, "random-60-20-20-draw1", [(SPOKEN_ANGRY[1], ANGRY), (SUNG_HAPPY, HAPPY)])
    store(tmp_path, "random-80-10-10-draw0", [(NEUTRAL, Emotion.NEUTRAL)])
    found = further.of(tmp_path, CHOSEN)["random"]
    assert list(found) == ["60/20/20", "80/10/10"]
    assert found["60/20/20"]["accuracy"] == pytest.approx(0.75)
    assert found["60/20/20"]["by_class"] == {"happy": [1, 2], "angry": [2, 2]}
    assert [draw["accuracy"] for draw in found["60/20/20"]["draws"]] == [0.5, 1.0]


def test_negative_emotions_add_up(tmp_path: Path) -> None:
    """Sad for angry is right where both are negative; and anger may be told where no single emotion would be."""
    store(tmp_path, "random-50-20-30-draw0", [(SPOKEN_ANGRY[0], SAD), (SUNG_HAPPY, HAPPY), (NEUTRAL, HAPPY)])
    store(tmp_path, "random-50-20-30-draw0-merged", [(SPOKEN_ANGRY[0], ANGRY), (SUNG_HAPPY, ANGRY), (NEUTRAL, HAPPY)])
    found = further.of(tmp_path, CHOSEN)
    five = found["five"]["random"]
    assert five["random-50-20-30-draw0"]["by_class"] == {"happy": [1, 1], "negative": [1, 1], "neutral": [0, 1]}
    assert five["random-50-20-30-draw0-merged"]["by_class"] == {"happy": [0, 1], "negative": [1, 1], "neutral": [0, 1]}
    # Networks that learnt five classes are none of the eight-class draws.
    assert len(found["random"]["50/20/30"]["draws"]) == 1
    weak = np.full((1, 8), 0.1)
    weak[0, EMOTIONS.index(HAPPY)] = 0.3
    assert further._five(np.array([EMOTIONS.index(SAD)]), weak)["accuracy"] == 1.0


def test_folds_in_five_classes_and_without_a_sentence(tmp_path: Path) -> None:
    clips = [(SPOKEN_ANGRY[0], SAD), (SUNG_HAPPY, HAPPY)]
    for fold in (0, 1):
        store(tmp_path, f"fold{fold}", clips, fold)
        store(tmp_path, f"fold{fold}-merged", [(SPOKEN_ANGRY[0], ANGRY), (SUNG_HAPPY, ANGRY)], fold)
        store(tmp_path, f"fold{fold}-statement1", [(SUNG_HAPPY, SAD)], fold)
    found = further.of(tmp_path, CHOSEN)
    five = found["five"]["actor_independent"]
    assert {name: one["both"]["accuracy"] for name, one in five.items()} == {"summed": 1.0, "learnt": 0.5}
    assert five["learnt"]["song"]["accuracy"] == 0.0
    assert found["statements"]["held out"]["both"] == {
        "n": 2,
        "accuracy": 0.0,
        "uar": 0.0,
        "by_class": {"happy": [0, 2]},
    }
    assert found["statements"]["both heard"]["song"]["accuracy"] == 1.0


def test_stale_logits_are_refused(tmp_path: Path) -> None:
    store(tmp_path, "random-50-20-30-draw0", [(NEUTRAL, SAD)], hash_="0" * 12)
    with pytest.raises(ResultsError, match=rf"comes from recipe 000000000000, now it is {CHOSEN.hash}: judge anew"):
        further.of(tmp_path, CHOSEN)


def test_nothing_stored_is_nothing_told(tmp_path: Path) -> None:
    assert further.of(tmp_path, CHOSEN) == {"recipe": "few", "recipe_hash": CHOSEN.hash}


def test_five_classes_at_random_through_the_command_line(made: Pipeline, tmp_path: Path) -> None:
    """Trained, exported, judged from files: the clips are those of the split, and no class without clips is told."""
    which = ("--config", made.recipe, "--cache", made.cache, "--random", "60/20/20", "--merged")
    assert train("fit", *which, "--runs", tmp_path / "runs", "--threads", 1) == 0
    run = json.loads((tmp_path / "runs/synthetic/random-60-20-20-draw0-merged/run-0.json").read_text(encoding="utf-8"))
    assert run["split"] == "random-60-20-20-draw0-merged"
    judge = ("evaluate", *which, "--runs", tmp_path / "runs", "--data", made.data, "--results", tmp_path / "results")
    assert train(*judge) == 0
    judged, origin = judging.load(tmp_path / "results" / "synthetic" / "random-60-20-20-draw0-merged.npz")
    assert origin["recipe_hash"] == recipe.load(str(made.recipe)).hash
    assert list(judged) == [further.PRECISION]
    answers = judged[further.PRECISION].probabilities(1.0)
    never = [LABELS.index(label) for label in ("sad", "fearful", "disgust")]
    assert answers[:, never].max() == 0.0
    # Of three clips of an emotion one is tested, of four one, of two none; all of nEMO's train.
    assert len(judged[further.PRECISION].keys) == 7
    assert run["train_clips"] == 12 + 15
