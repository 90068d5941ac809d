"""Whether a model that runs elsewhere is the bundle's own: what the server says of it, and how it answers a probe.

A server tells names and shapes of a model, but not which weights it runs, and a model of another version has the same
shapes. So it is asked about a few fixed spectrograms, and held to what the bundle's weights answer here.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from ser_core.config import CONTRACT, FeatureConfig
from ser_core.emotions import LABELS
from ser_core.errors import BundleError
from ser_core.recognizer import probabilities

if TYPE_CHECKING:
    import numpy.typing as npt

    from ser_core.backends import Backend, Output
    from ser_core.kserve import Metadata
    from ser_core.prediction import Precision

TOLERANCE: dict[Precision, float] = {"fp32": 0.01, "fp16": 0.01, "int8": 0.1}
"""How far the answers to the probe may lie apart, see `distance`. Measured with the model that ships, 0.4.0: FP16 on a
processor of another kind 0.00; INT8 without VNNI against with it 0.04, and against FP16 0.04 to 0.06; 0.3.0 in any
precision 0.21 to 0.25."""

_ROUNDS = 4
_WIDTHS = 4
_RANKS = (4, 2, 2)


def spectrograms(config: FeatureConfig) -> npt.NDArray[np.float32]:
    """The probe: float32 (16, 1, n_mels, min_frames) in [-1, 1], the same everywhere and ever.

    Harmonics of a wandering pitch over a sloping floor, as near to a voice as it takes for a network to be of more than
    one mind: where it is sure, so is another version, and of the same.
    """
    rng = np.random.default_rng(2020)
    band, frame = np.arange(config.n_mels)[:, np.newaxis], np.arange(config.min_frames)[np.newaxis]
    made = []
    for _, width in itertools.product(range(_ROUNDS), range(_WIDTHS)):
        spacing = 5.0 + 2.0 * width + 1.5 * np.sin(2 * np.pi * frame / rng.uniform(40.0, 120.0))
        harmonics = np.cos(2 * np.pi * band / spacing) * np.exp(-band / (30.0 + 15.0 * width))
        syllables = np.abs(np.sin(np.pi * frame / rng.uniform(15.0, 45.0)))
        made.append(harmonics * syllables - 0.6 * band / config.n_mels + 0.1 * rng.standard_normal(harmonics.shape))
    return np.stack(made)[:, np.newaxis].clip(-1.0, 1.0).astype(np.float32)


def distance(found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> float:
    """Mean total variation between rows of probabilities (n, 8): 0 where all are alike, 1 where none agree at all.

    A mean, since INT8 on another kind of processor moves a single probability as far as another training may.
    """
    return float(np.abs(found - expected).sum(axis=1).mean() / 2)


class Probe:
    """Holds a server to a bundle.

    Args:
        local: the bundle's own weights; asked once, here.
        config: of the bundle's features.
        temperature: of its calibration.
        precision: of the weights.
        name: of the model, for messages.

    Attributes:
        batch: what is asked.
    """

    def __init__(
        self, local: Backend, config: FeatureConfig, temperature: float, precision: Precision, name: str
    ) -> None:
        self._n_mels, self._temperature = config.n_mels, temperature
        self._precision, self._name = precision, name
        self.batch = spectrograms(config)
        self._expected = probabilities(local.infer(self.batch).logits, temperature)

    def check(self, output: Output) -> None:
        """Raise BundleError where the probe isn't answered as the bundle answers it."""
        apart, most = (
            distance(probabilities(output.logits, self._temperature), self._expected),
            TOLERANCE[self._precision],
        )
        if apart > most:
            raise BundleError(
                f"The model server runs another model than {self._name} in {self._precision.upper()}: on a fixed probe "
                f"their probabilities lie {apart:.3f} apart, at most {most} are accepted. Serve this very bundle "
                "(python -m train export --model-server), or name the bundle that is served."
            )

    def check_metadata(self, told: Metadata) -> None:
        """Raise BundleError where the server's model doesn't keep the contract; the message names both sides."""
        inputs, outputs = told.inputs, told.outputs
        if set(inputs) != {CONTRACT.input} or not {CONTRACT.logits, CONTRACT.attention} <= set(outputs):
            raise BundleError(
                f"The served model has the inputs {sorted(inputs)} and the outputs {sorted(outputs)}; this version "
                f"needs {CONTRACT.input!r} and {CONTRACT.logits!r}, {CONTRACT.attention!r}. Serve another one."
            )
        tensors = (inputs[CONTRACT.input], outputs[CONTRACT.logits], outputs[CONTRACT.attention])
        if any(one.datatype != "FP32" for one in tensors) or tuple(len(one.shape) for one in tensors) != _RANKS:
            found = ", ".join(f"{one.datatype} with {len(one.shape)} axes" for one in tensors)
            raise BundleError(
                f"The served model has {found} at {CONTRACT.input!r}, {CONTRACT.logits!r}, {CONTRACT.attention!r}; "
                "this version needs FP32 with 4, 2, 2. Serve another one."
            )
        bands, classes = tensors[0].shape[2], tensors[1].shape[1]
        if bands not in {-1, self._n_mels} or classes not in {-1, len(LABELS)}:
            raise BundleError(
                f"The served model takes {bands} mel bands and answers {classes} emotions; this version's features "
                f"have {self._n_mels} bands and it knows {len(LABELS)} emotions. Serve another one."
            )
