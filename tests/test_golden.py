"""The way holds still: stored sound -> stored features -> stored probabilities (`python -m tests.golden.make`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ser_core
from ser_core import bundle, windows
from ser_core.config import FeatureConfig
from ser_core.emotions import LABELS
from tests import bundles
from tests.golden import make

if TYPE_CHECKING:
    from ser_core.prediction import Precision

AGAIN = "the model in assets/model was replaced: run `python -m tests.golden.make` and look at what changed"

# Of 2, the features' range: 0.004 dB. Processors and versions of FFT, resampler and decoder differ by less.
FEATURE_TOLERANCE = 1e-4
PROBABILITY_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """The stored probabilities, which must be those of the model that is there."""
    if not make.PROBABILITIES.is_file():
        pytest.fail(f"{make.PROBABILITIES.name} is missing: run `python -m tests.golden.make`")
    stored: dict[str, Any] = json.loads(make.PROBABILITIES.read_text(encoding="utf-8"))
    assert stored["model"]["revision"] == bundle.read(bundle.BUNDLED).revision, AGAIN
    return stored


@pytest.mark.parametrize(("name", "count"), [("short", 1), ("long", 5)])
def test_sound_to_features(name: str, count: int) -> None:
    stored = make.stored_features()[name]
    made = make.features_of(name)
    assert len(made) == len(stored) == count
    for one, golden_one in zip(made, stored, strict=True):
        assert one.shape == golden_one.shape
        np.testing.assert_allclose(one, golden_one, atol=FEATURE_TOLERANCE)


def test_the_stored_features_are_worth_holding() -> None:
    """No silence, and not all alike: a way that has lost the sound would not pass by them."""
    config = FeatureConfig()
    for spectrograms in make.stored_features().values():
        for one in spectrograms:
            assert one.dtype == np.float32
            assert one.shape[0] == config.n_mels
            assert one.max() == 1.0
            assert one.min() == -1.0
            assert one.std() > 0.2


@bundles.needs_shipped
@pytest.mark.parametrize("name", make.SOUNDS)
@pytest.mark.parametrize("precision", make.PRECISIONS)
def test_features_to_probabilities(golden: dict[str, Any], name: str, precision: Precision) -> None:
    told = make.probabilities_of(make.stored_features()[name], precision)
    np.testing.assert_allclose(told, golden["probabilities"][precision][name], atol=PROBABILITY_TOLERANCE)


@bundles.needs_shipped
@pytest.mark.parametrize("name", make.SOUNDS)
@pytest.mark.parametrize("precision", make.PRECISIONS)
def test_sound_to_probabilities(golden: dict[str, Any], name: str, precision: Precision) -> None:
    """The whole way, with the calibration that the stored values are without."""
    recognizer = ser_core.load(precision=precision)
    prediction = recognizer.predict(make.SOUNDS[name][0])
    stored = np.array(golden["probabilities"][precision][name])
    calibrated = stored ** (1.0 / recognizer.calibration.temperature)
    calibrated /= calibrated.sum(axis=1, keepdims=True)
    voiced = [window for window in prediction.windows if window.sound is not None]
    for window, row in zip(voiced, calibrated, strict=True):
        np.testing.assert_allclose(list(window.probabilities.values()), row, atol=5 * PROBABILITY_TOLERANCE)
    durations = [window.sound.duration_s for window in voiced if window.sound is not None]
    joined = windows.join(calibrated, durations)
    assert tuple(prediction.probabilities) == LABELS
    np.testing.assert_allclose(list(prediction.probabilities.values()), joined, atol=5 * PROBABILITY_TOLERANCE)
