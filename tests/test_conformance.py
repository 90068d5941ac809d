"""Every place where the network may run keeps one protocol: here, behind gRPC, behind HTTP, on a real model server.

SER_OVMS names a running OpenVINO Model Server that serves the model that ships (grpc://HOST:PORT/NAME; see
docs/model-server.md); without it, the last one is skipped.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ser_core
from ser_core import bundle, features, recognizer
from ser_core.backends import OpenVinoBackend
from ser_core.config import CONTRACT, FeatureConfig
from ser_core.emotions import LABELS
from ser_core.errors import SerError
from tests import bundles, sounds
from tests.golden import make as golden
from tests.kserve.server import Server
from train import model_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from ser_core.backends import Backend, Output
    from ser_core.recognizer import Recognizer

CONFIG = FeatureConfig()
CLOSE = 1e-5
"""By which a probability or an attention may differ: batches of another size round otherwise."""
SIZES = (1, 2, 7, 15, 16, 17, 33, 40)
LENGTHS = range(CONFIG.min_frames, 640, CONFIG.frame_step)

pytestmark = bundles.needs_shipped


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves the model that ships, in its own precision."""
    folder, opened = tmp_path_factory.mktemp("models"), bundle.read(bundles.SHIPPED)
    model_server.write(opened, opened.precision, folder)
    with Server(folder) as running:
        yield running


@pytest.fixture(scope="module", params=["local", "grpc", "http", pytest.param("real server", marks=pytest.mark.ovms)])
def judge(request: pytest.FixtureRequest) -> Iterator[Recognizer]:
    """A recogniser whose network runs there."""
    if request.param == "local":
        yield ser_core.load()
        return
    if request.param == "real server":
        url = os.environ.get("SER_OVMS")
        if not url:
            pytest.skip("SER_OVMS names no OpenVINO Model Server that serves the model that ships")
    else:
        url = request.getfixturevalue("server").url(request.param, bundle.outline(bundles.SHIPPED).name)
    found = ser_core.load(backend=url)
    assert found.tier is not None
    yield found
    found.tier.close()


@pytest.fixture(scope="module")
def here() -> Backend:
    opened = bundle.read(bundles.SHIPPED)
    return OpenVinoBackend(opened.model_path(opened.precision), CONFIG.n_mels)


@pytest.fixture(scope="module")
def voices() -> npt.NDArray[np.float32]:
    """Forty windows that are all different: float32 (40, 1, n_mels, 320)."""
    made = [
        features.log_mel(sounds.voice(3.2, pitch=90.0 + 3.0 * seed, level=0.1 + 0.02 * seed, seed=seed), CONFIG)
        for seed in range(40)
    ]
    return np.stack([one[:, :320] for one in made])[:, np.newaxis]


def assert_alike(found: Output, expected: Output) -> None:
    assert found.logits.dtype == found.attention.dtype == np.float32
    assert found.logits.shape == expected.logits.shape
    ours, theirs = (recognizer.probabilities(one.logits, 1.0) for one in (expected, found))
    np.testing.assert_allclose(theirs, ours, atol=CLOSE)
    np.testing.assert_allclose(found.attention, expected.attention, atol=CLOSE)


@pytest.mark.parametrize("size", SIZES)
def test_batches_of_every_size_are_answered_row_by_row(
    judge: Recognizer, here: Backend, voices: npt.NDArray[np.float32], size: int
) -> None:
    batch = np.resize(voices, (size, *voices.shape[1:]))
    output = judge.backend.infer(batch)
    assert output.logits.shape == (size, len(LABELS))
    assert output.attention.shape == (size, batch.shape[3] // CONTRACT.attention_stride)
    np.testing.assert_allclose(output.attention.sum(axis=1), 1.0, atol=1e-3)
    assert_alike(output, here.infer(batch))


def test_every_length_is_answered(judge: Recognizer, here: Backend) -> None:
    for frames in LENGTHS:
        batch = np.random.default_rng(frames).uniform(-1, 1, (2, 1, CONFIG.n_mels, frames)).astype(np.float32)
        assert_alike(judge.backend.infer(batch), here.infer(batch))


@pytest.mark.parametrize("name", golden.SOUNDS)
def test_a_recording_is_judged_as_here(judge: Recognizer, shipped: Recognizer, name: str) -> None:
    found, expected = (one.predict(golden.SOUNDS[name][0]) for one in (judge, shipped))
    assert (found.state, found.label) == (expected.state, expected.label)
    assert found.model == expected.model
    assert found.probabilities == pytest.approx(expected.probabilities, abs=CLOSE)
    for ours, theirs in zip(expected.windows, found.windows, strict=True):
        assert theirs.probabilities == pytest.approx(ours.probabilities, abs=CLOSE)
        np.testing.assert_allclose(theirs.attention, ours.attention, atol=CLOSE)


def test_a_sound_without_a_voice_has_no_emotion_anywhere(judge: Recognizer) -> None:
    assert judge.predict(sounds.noise(2.0), 16_000).state == "no_speech"


def test_threads_get_their_own_answers(judge: Recognizer, here: Backend, voices: npt.NDArray[np.float32]) -> None:
    batches = [voices[first : first + 1 + first % 3] for first in range(len(voices) - 3)]
    expected = [here.infer(batch) for batch in batches]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(judge.backend.infer, batches))
    for output, ours in zip(found, expected, strict=True):
        assert_alike(output, ours)


@pytest.mark.parametrize(
    "shape", [(1, 1, CONFIG.n_mels + 1, 192), (1, 2, CONFIG.n_mels, 192), (1, CONFIG.n_mels, 192)], ids=str
)
def test_what_is_no_batch_is_refused_and_the_next_one_answered(
    judge: Recognizer, here: Backend, shape: tuple[int, ...]
) -> None:
    wrong: Any = np.zeros(shape, np.float32)
    with pytest.raises((SerError, RuntimeError)):
        judge.backend.infer(wrong)
    batch = np.zeros((1, 1, CONFIG.n_mels, 192), np.float32)
    assert_alike(judge.backend.infer(batch), here.infer(batch))
