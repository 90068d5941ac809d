"""Figures on arrays small enough to be worked out by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ser_core import recognizer, windows
from ser_core.emotions import LABELS
from train import metrics
from train.metrics import Judged

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

NEUTRAL, CALM, HAPPY, SAD = range(4)


def answers(told: Sequence[int], confidence: Sequence[float] | None = None) -> metrics.Probabilities:
    """One row a clip: `confidence` (0.9 unless told) on what was told, the rest spread evenly."""
    rows = np.zeros((len(told), 8))
    for row, label, sure in zip(rows, told, confidence or [0.9] * len(told), strict=True):
        row[:] = (1.0 - sure) / 7
        row[label] = sure
    return rows


def judged(
    emotions: Sequence[int],
    logits: npt.NDArray[np.float32],
    *,
    fold: int = 0,
    speakers: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
) -> Judged:
    """One window a clip, one second of sound each."""
    count = len(emotions)
    return Judged(
        fold=fold,
        keys=np.array([f"clip{fold}-{number}" for number in range(count)]),
        emotions=np.array(emotions),
        speakers=np.array(speakers or ["1"] * count),
        channels=np.array(channels or ["speech"] * count),
        window_clip=np.arange(count),
        sound_s=np.ones(count),
        logits=logits,
    )


def logits_of(told: Sequence[int], size: float = 4.0) -> npt.NDArray[np.float32]:
    """`size` for what was told, 0 for the rest."""
    return (size * np.eye(8)[list(told)]).astype(np.float32)


def test_accuracy_confusion_and_recalls() -> None:
    emotions = np.array([NEUTRAL, NEUTRAL, NEUTRAL, NEUTRAL, CALM, CALM, SAD])
    told = answers([NEUTRAL, NEUTRAL, NEUTRAL, CALM, CALM, HAPPY, HAPPY])
    matrix = metrics.confusion(emotions, told)
    expected = np.zeros((8, 8), dtype=int)
    expected[NEUTRAL, [NEUTRAL, CALM]] = 3, 1
    expected[CALM, [CALM, HAPPY]] = 1, 1
    expected[SAD, HAPPY] = 1
    assert matrix.tolist() == expected.tolist()
    assert metrics.accuracy(emotions, told) == pytest.approx(4 / 7)
    recalls = metrics.recalls(matrix)
    assert recalls[[NEUTRAL, CALM, SAD]].tolist() == [0.75, 0.5, 0.0]
    # Classes that nobody acted have no recall and don't count.
    assert np.isnan(recalls[[HAPPY, 4, 5, 6, 7]]).all()
    assert metrics.uar(emotions, told) == pytest.approx((0.75 + 0.5 + 0.0) / 3)


def test_calibration_error_is_the_weighted_gap_between_confidence_and_accuracy() -> None:
    emotions = np.array([NEUTRAL, NEUTRAL, CALM, CALM])
    told = answers([NEUTRAL, SAD, CALM, CALM], [0.9, 0.9, 0.61, 0.61])
    # Two bins of two clips: half right at 0.9, all right at 0.61.
    assert metrics.expected_calibration_error(emotions, told) == pytest.approx((2 * 0.4 + 2 * 0.39) / 4)
    sure = np.eye(8)[[NEUTRAL, CALM]]
    assert metrics.expected_calibration_error(np.array([NEUTRAL, CALM]), sure) == 0.0
    assert metrics.expected_calibration_error(np.array([SAD, SAD]), sure) == 1.0


def test_the_reliability_diagram_holds_the_bins_that_hold_clips() -> None:
    emotions = np.array([NEUTRAL, NEUTRAL, CALM, CALM, SAD])
    told = answers([NEUTRAL, SAD, CALM, CALM, SAD], [0.9, 0.88, 0.61, 0.65, 1.0])
    # Bins of 1 / 15: 0.6 to 0.667, 0.867 to 0.933, and the last, to which certainty belongs.
    assert metrics.reliability(emotions, told) == [
        {"n": 2, "confidence": pytest.approx(0.63), "accuracy": 1.0},
        {"n": 2, "confidence": pytest.approx(0.89), "accuracy": 0.5},
        {"n": 1, "confidence": 1.0, "accuracy": 1.0},
    ]


def test_the_coverage_curve_answers_the_surest_first() -> None:
    emotions = np.array([NEUTRAL, CALM, SAD, SAD])
    told = answers([NEUTRAL, HAPPY, SAD, HAPPY], [0.5, 0.7, 0.9, 0.3])
    # In order of confidence: right, wrong, right, wrong.
    assert metrics.coverage_curve(emotions, told, steps=4) == [
        {"coverage": 0.25, "threshold": 0.9, "accuracy": 1.0},
        {"coverage": 0.5, "threshold": 0.7, "accuracy": 0.5},
        {"coverage": 0.75, "threshold": 0.5, "accuracy": pytest.approx(2 / 3)},
        {"coverage": 1.0, "threshold": 0.3, "accuracy": 0.5},
    ]
    # A share that is no whole number of clips is rounded up, so that no step is empty.
    assert [one["coverage"] for one in metrics.coverage_curve(emotions, told, steps=3)] == [0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("wanted", "threshold"),
    [
        (0.5, 0.0),  # half of all four are right: all may be answered
        (0.6, 0.5),  # two of the three surest
        (0.7, 0.9),  # the surest alone
        (1.0, 0.9),
    ],
)
def test_the_threshold_leaves_answers_that_are_right_as_often_as_wanted(wanted: float, threshold: float) -> None:
    emotions = np.array([NEUTRAL, CALM, SAD, SAD])
    told = answers([NEUTRAL, HAPPY, SAD, HAPPY], [0.5, 0.7, 0.9, 0.3])
    found = metrics.threshold_for(emotions, told, wanted)
    assert found == pytest.approx(threshold)
    kept = told.max(axis=1) >= found
    assert metrics.accuracy(emotions[kept], told[kept]) >= wanted


def test_where_no_answer_can_be_trusted_only_the_surest_is_left() -> None:
    told = answers([HAPPY, HAPPY], [0.8, 0.6])
    assert metrics.threshold_for(np.array([SAD, SAD]), told, 0.85) == pytest.approx(0.8)


SPOKEN_IN_NEMO = ("neutral", "happy", "sad", "angry", "fearful", "surprised")


def test_between_corpora_calm_counts_as_neutral_where_nobody_acted_it() -> None:
    told = np.array([[0.2, 0.4, 0.3, 0.0, 0.0, 0.0, 0.1, 0.0], [0.1, 0.0, 0.3, 0.2, 0.0, 0.0, 0.4, 0.0]])
    before = told.copy()
    emotions, read = metrics.between_corpora(np.array([NEUTRAL, HAPPY]), told, SPOKEN_IN_NEMO, LABELS)
    assert emotions.tolist() == [NEUTRAL, HAPPY]
    assert read[0].tolist() == pytest.approx([0.6, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0])
    # Disgust, which the corpus doesn't have, can't be the answer.
    assert read[1].tolist() == pytest.approx([0.1, 0.0, 0.3, 0.2, 0.0, 0.0, 0.0, 0.0])
    assert metrics.accuracy(emotions, read) == 1.0
    assert np.array_equal(told, before)


def test_between_corpora_what_training_lacked_is_left_out() -> None:
    # Tested on RAVDESS, trained on voices without calm and disgust: calm stays calm, and goes.
    told = np.full((4, 8), 0.125)
    told[:, CALM] = 0.3
    emotions, read = metrics.between_corpora(np.array([NEUTRAL, CALM, 6, SAD]), told, LABELS, SPOKEN_IN_NEMO)
    assert emotions.tolist() == [NEUTRAL, SAD]
    assert read.tolist() == [[0.125, 0.0, 0.125, 0.125, 0.125, 0.125, 0.0, 0.125]] * 2


@pytest.mark.parametrize("right", [6, 7, 9])
def test_temperature_has_its_closed_form(right: int) -> None:
    # With logits of `size` for what was told and 0 for seven others, and `right` of 10 clips right, the best p of what
    # was told is right / 10: exp(size / T) / (exp(size / T) + 7) = p.
    told = [NEUTRAL] * 10
    emotions = [NEUTRAL] * right + [CALM] * (10 - right)
    share = right / 10
    expected = 4.0 / math.log(7 * share / (1 - share))
    assert metrics.fit_temperature([judged(emotions, logits_of(told))]) == pytest.approx(expected, rel=1e-3)


def test_temperature_is_fitted_over_all_folds_and_stays_in_its_bounds() -> None:
    told = [NEUTRAL] * 5
    halves = [judged([NEUTRAL] * 5, logits_of(told)), judged([NEUTRAL] * 2 + [CALM] * 3, logits_of(told), fold=1)]
    expected = 4.0 / math.log(7 * 0.7 / 0.3)
    assert metrics.fit_temperature(halves) == pytest.approx(expected, rel=1e-3)
    # All right: the colder the better, until confidence can't be told from certainty.
    assert 0.05 <= metrics.fit_temperature(halves[:1]) < 0.2
    assert metrics.fit_temperature([judged([CALM] * 5, logits_of(told))]) == pytest.approx(10.0, rel=1e-3)


def test_a_folds_temperature_is_fitted_without_it() -> None:
    told = [NEUTRAL] * 10
    folds = [judged([NEUTRAL] * (5 + k) + [CALM] * (5 - k), logits_of(told), fold=k) for k in range(5)]
    before = metrics.cross_fitted_temperatures(folds)
    assert before[2] == pytest.approx(metrics.fit_temperature([*folds[:2], *folds[3:]]))
    changed = [*folds[:2], judged([CALM] * 10, logits_of(told), fold=2), *folds[3:]]
    after = metrics.cross_fitted_temperatures(changed)
    assert after[2] == before[2]
    assert all(after[k] > before[k] + 0.1 for k in (0, 1, 3, 4))


def test_bootstrap_draws_speakers() -> None:
    emotions = np.array([NEUTRAL, CALM] * 10)
    told = answers([NEUTRAL, CALM] * 5 + [CALM, NEUTRAL] * 5)
    two = metrics.bootstrap(emotions, told, np.array(["a"] * 10 + ["b"] * 10))
    # One speaker all right, one all wrong: a quarter of the draws holds only the one, a quarter only the other.
    assert two == {"accuracy": [0.0, 1.0], "uar": [0.0, 1.0]}
    one = metrics.bootstrap(emotions, told, np.array(["a"] * 20))
    assert one == {"accuracy": [0.5, 0.5], "uar": [0.5, 0.5]}


def test_bootstrap_has_the_width_of_the_binomial() -> None:
    # 100 speakers with one clip each, half of them right: the share's standard deviation is sqrt(0.25 / 100).
    emotions = np.zeros(100, dtype=np.int64)
    told = answers([NEUTRAL, CALM] * 50)
    speakers = np.array([f"s{number}" for number in range(100)])
    low, high = metrics.bootstrap(emotions, told, speakers)["accuracy"]
    assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.011)
    assert high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.011)
    assert metrics.bootstrap(emotions, told, speakers) == metrics.bootstrap(emotions, told, speakers)


def three_windows() -> Judged:
    """Clip 0 with two windows that hold sound and one that doesn't, clip 1 with one, clip 2 with a silent one."""
    return Judged(
        fold=3,
        keys=np.array(["a", "b", "c"]),
        emotions=np.array([NEUTRAL, CALM, SAD]),
        speakers=np.array(["1", "2", "3"]),
        channels=np.array(["speech", "song", "speech"]),
        window_clip=np.array([0, 0, 0, 1, 2]),
        sound_s=np.array([3.0, 1.0, 0.0, 2.0, 0.0]),
        logits=np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32) * 3,
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_windows_are_joined_as_the_app_joins_them(temperature: float) -> None:
    one = three_windows()
    rows = recognizer.probabilities(one.logits, temperature)
    told = one.probabilities(temperature)
    assert told[0] == pytest.approx(windows.join(rows[:2], [3.0, 1.0]))
    assert told[0] == pytest.approx(0.75 * rows[0] + 0.25 * rows[1])
    assert told[1] == pytest.approx(rows[3])
    # Nothing was heard, so nothing is told.
    assert told[2].tolist() == [0.125] * 8
    assert told.sum(axis=1) == pytest.approx(np.ones(3))


def test_a_subset_keeps_its_own_windows() -> None:
    one = three_windows()
    part = one.subset(one.channels == "speech")
    assert (part.fold, part.keys.tolist(), part.emotions.tolist(), part.speakers.tolist()) == (
        3,
        ["a", "c"],
        [NEUTRAL, SAD],
        ["1", "3"],
    )
    assert part.window_clip.tolist() == [0, 0, 0, 1]
    assert part.sound_s.tolist() == [3.0, 1.0, 0.0, 0.0]
    assert part.logits.tolist() == one.logits[[0, 1, 2, 4]].tolist()
    assert part.probabilities(1.0).tolist() == one.probabilities(1.0)[[0, 2]].tolist()


def pooled(folds: Sequence[Judged]) -> tuple[npt.NDArray[np.int64], metrics.Probabilities]:
    """All folds' emotions and answers at temperature 1."""
    return np.concatenate([one.emotions for one in folds]), np.concatenate([one.probabilities(1.0) for one in folds])


def test_a_summary_holds_every_figure() -> None:
    told = [[NEUTRAL] * 4, [NEUTRAL, CALM], [CALM] * 2, [SAD] * 2, [NEUTRAL] * 2]
    true = [[NEUTRAL] * 3 + [CALM], [NEUTRAL, SAD], [CALM] * 2, [CALM] * 2, [NEUTRAL, SAD]]
    folds = [
        judged(emotions, logits_of(labels, 4.0 - fold), fold=fold, speakers=[str(fold + 9)] * len(emotions))
        for fold, (labels, emotions) in enumerate(zip(told, true, strict=True))
    ]
    figures = metrics.summary(folds, [1.0] * 5)
    assert figures["n"] == 12
    assert figures["accuracy"] == pytest.approx(7 / 12)
    # Neutral 5 of 5, calm 2 of 5, sad 0 of 2.
    assert figures["uar"] == pytest.approx((1.0 + 0.4 + 0.0) / 3)
    assert figures["recall"] == {
        "neutral": 1.0,
        "calm": 0.4,
        "happy": None,
        "sad": 0.0,
        "angry": None,
        "fearful": None,
        "disgust": None,
        "surprised": None,
    }
    assert [fold["accuracy"] for fold in figures["folds"]] == [0.75, 0.5, 1.0, 0.0, 0.5]
    assert [(fold["fold"], fold["speakers"], fold["n"]) for fold in figures["folds"]] == [
        (0, ["9"], 4),
        (1, ["10"], 2),
        (2, ["11"], 2),
        (3, ["12"], 2),
        (4, ["13"], 2),
    ]
    assert figures["mean"]["accuracy"] == pytest.approx(0.55)
    assert figures["std"]["accuracy"] == pytest.approx(np.std([0.75, 0.5, 1.0, 0.0, 0.5], ddof=1))
    assert figures["folds_1_to_4"]["accuracy"] == pytest.approx(4 / 8)
    assert figures["folds_1_to_4"]["uar"] == pytest.approx((1.0 + 0.5 + 0.0) / 3)
    assert np.array(figures["confusion"]).sum() == 12
    assert np.array(figures["confusion"])[CALM].tolist() == [1, 2, 0, 2, 0, 0, 0, 0]
    # The surer half are the six clips of folds 0 and 1, of which four are right.
    assert figures["accuracy_surer_half"] == pytest.approx(4 / 6)
    confidence = [math.exp(4 - fold) / (math.exp(4 - fold) + 7) for fold in range(5)]
    gaps = [4 * abs(0.75 - confidence[0]), 2 * abs(0.5 - confidence[1])]
    gaps += [2 * abs(1.0 - confidence[2]), 2 * abs(0.0 - confidence[3]), 2 * abs(0.5 - confidence[4])]
    assert figures["ece"] == pytest.approx(sum(gaps) / 12)
    assert figures["reliability"] == metrics.reliability(*pooled(folds))
    assert figures["coverage"] == metrics.coverage_curve(*pooled(folds))
    assert len(figures["coverage"]) == 20
    assert set(figures["interval_95"]) == {"accuracy", "uar"}
    assert figures["interval_95"]["accuracy"][0] < 7 / 12 < figures["interval_95"]["accuracy"][1]
