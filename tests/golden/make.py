"""Make the golden values again, from the root of the project.

After the model in assets/model was replaced:

    python -m tests.golden.make

After the way from sound to features was changed on purpose (the shipped model then no longer fits, and is to be
trained again):

    python -m tests.golden.make --features

Look at what changed before you commit it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile as sf

from ser_core import audio, bundle
from ser_core.backends import OpenVinoBackend
from ser_core.config import FeatureConfig
from ser_core.recognizer import infer, probabilities
from ser_core.windows import stretches
from tests import sounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ser_core.features import LogMel
    from ser_core.prediction import Precision

HERE = Path(__file__).resolve().parent
SOUNDS = {"short": (HERE / "short.flac", 22_050), "long": (HERE / "long.flac", 16_000)}
"""A stereo clip of one window, resampled on the way; and a recording of several windows, one of them with a pause."""
FEATURES = HERE / "features.npz"
PROBABILITIES = HERE / "probabilities.json"
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
"""INT8 is left out: its sums depend on the processor's instructions."""


def make_sounds() -> None:
    """Write the two sounds as 16-bit FLAC, so that no later change of NumPy's sine or random numbers moves them."""
    path, rate = SOUNDS["short"]
    left, right = sounds.voice(2.4, rate, pitch=170.0), sounds.voice(2.4, rate, pitch=170.0, level=0.2, seed=1)
    sf.write(path, np.stack([left, right], axis=1), rate, subtype="PCM_16")
    path, rate = SOUNDS["long"]
    voices = [sounds.voice(2.5, rate, pitch=220.0, level=0.8), sounds.silence(1.0), sounds.voice(3.0, rate, level=0.03)]
    sf.write(path, np.concatenate(voices), rate, subtype="PCM_16")


def features_of(name: str) -> list[LogMel]:
    """The spectrograms of a sound's windows, float32 (n_mels, n_frames) each, as the network is given them."""
    sound = audio.read(SOUNDS[name][0])
    return [part.spectrogram for part in stretches(sound.samples, FeatureConfig()) if part.spectrogram is not None]


def stored_features() -> dict[str, list[LogMel]]:
    """What `features_of` gave when the golden values were made."""
    with np.load(FEATURES) as stored:
        return {name: [stored[key] for key in sorted(stored.files) if key.startswith(f"{name}-")] for name in SOUNDS}


def probabilities_of(spectrograms: Sequence[LogMel], precision: Precision) -> npt.NDArray[np.float64]:
    """What the shipped model says of each: float64 (n, 8), before its calibration."""
    backend = OpenVinoBackend(bundle.read(bundle.BUNDLED).model_path(precision), FeatureConfig().n_mels)
    return probabilities(np.concatenate([output.logits for output in infer(backend, spectrograms)]), 1.0)


def make_features() -> None:
    """Write `FEATURES` from the sounds, which are made again, too."""
    make_sounds()
    arrays = {f"{name}-{i}": one for name in SOUNDS for i, one in enumerate(features_of(name))}
    np.savez_compressed(FEATURES, **arrays)  # type: ignore[arg-type]  # its stubs take the names for its options


def make_probabilities() -> None:
    """Write `PROBABILITIES` from the stored features and the model in assets/model."""
    shipped, stored = bundle.read(bundle.BUNDLED), stored_features()
    found: dict[str, Any] = {
        "model": {"name": shipped.name, "version": shipped.version, "revision": shipped.revision},
        "probabilities": {
            precision: {name: np.round(probabilities_of(stored[name], precision), 6).tolist() for name in SOUNDS}
            for precision in PRECISIONS
        },
    }
    PROBABILITIES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """The command above."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.make", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--features", action="store_true", help="make sounds and features again, not the probabilities")
    if parser.parse_args().features:
        make_features()
    else:
        make_probabilities()
    return 0


if __name__ == "__main__":
    sys.exit(main())
