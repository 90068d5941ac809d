"""The eight emotions and the reading that merges four of them."""

from __future__ import annotations

import numpy as np
import pytest

from ser_core.emotions import COLOURS, EMOTIONS, LABELS, NEGATIVE, NEGATIVE_LABEL, merge_negative

FIVE = ["neutral", "calm", "happy", "negative", "surprised"]


def test_the_order_is_that_of_ravdess() -> None:
    assert LABELS == ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    assert tuple(COLOURS) == EMOTIONS


def test_four_are_merged_and_four_stay() -> None:
    eight = dict(zip(LABELS, [0.05, 0.1, 0.15, 0.2, 0.25, 0.125, 0.0625, 0.0625], strict=True))
    before = dict(eight)
    assert merge_negative(eight) == {
        "neutral": 0.05,
        "calm": 0.1,
        "happy": 0.15,
        "negative": pytest.approx(0.6375),
        "surprised": 0.0625,
    }
    assert eight == before


@pytest.mark.parametrize("label", LABELS)
def test_what_is_certain_stays_certain(label: str) -> None:
    merged = merge_negative({name: float(name == label) for name in LABELS})
    assert list(merged) == FIVE
    assert max(merged, key=merged.__getitem__) == (NEGATIVE_LABEL if label in NEGATIVE else label)
    assert sum(merged.values()) == 1.0


def test_the_sum_stays() -> None:
    for row in np.random.default_rng(0).dirichlet(np.full(8, 0.3), 200):
        merged = merge_negative(dict(zip(LABELS, row.tolist(), strict=True)))
        assert sum(merged.values()) == pytest.approx(sum(row), abs=1e-12)


def test_where_nothing_was_judged_nothing_is_told() -> None:
    assert merge_negative({}) == {}
