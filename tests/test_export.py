"""A trained network -> a bundle that the app loads, and that answers as the network does."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import openvino
import pytest
import torch

import ser_core
from ser_core import audio, bundle, recognizer, windows
from ser_core.bundle import MODEL_FILES
from ser_core.config import CONTRACT, FeatureConfig
from ser_core.emotions import LABELS
from tests import sounds
from tests.train_data import LONG_CLIP, ROOT, Pipeline, train
from train import export, networks, recipe
from train.cache import FeatureCache
from train.export import ExportError
from train.networks.ensemble import Ensemble
from train.networks.reader import Reader, Together
from train.run import Run
from train.runs import load_network

if TYPE_CHECKING:
    from pathlib import Path

    from ser_core.prediction import Precision

CONFIG = FeatureConfig()
CLIPS = 24 + 12
"""Of one's own recordings and of nEMO: all train the network that ships."""


@pytest.fixture(scope="module")
def network(made: Pipeline) -> torch.nn.Module:
    return load_network(Run(recipe.load(str(made.recipe)), None), made.runs)[0]


@pytest.fixture(scope="module")
def shipped(made: Pipeline) -> bundle.Bundle:
    return bundle.read(made.bundle)


def run_export(made: Pipeline, metrics: Path, out: Path) -> int:
    where = ("--cache", made.cache, "--runs", made.runs, "--metrics", metrics, "--out", out)
    return train("export", "--config", made.recipe, *where)


def test_the_bundle_is_whole(shipped: bundle.Bundle, made: Pipeline) -> None:
    models = {name for names in MODEL_FILES.values() for name in names}
    assert set(shipped.files) == models | {"metrics.json", "LICENSE.md"}
    assert {path.name for path in made.bundle.iterdir()} == set(shipped.files) | {"bundle.json"}
    assert (shipped.name, shipped.version, shipped.licence) == ("synthetic", "0.1.0", "CC-BY-NC-SA-4.0")
    assert shipped.features == CONFIG
    assert (made.bundle / "LICENSE.md").read_text() == (ROOT / "train" / "LICENSE-weights.md").read_text()


def test_the_bundle_says_how_it_was_made(shipped: bundle.Bundle, made: Pipeline, network: torch.nn.Module) -> None:
    chosen, training = recipe.load(str(made.recipe)), shipped.training
    assert training["recipe_hash"] == chosen.hash
    assert training["recipe"]["corpora"] == ["own", "nemo"]
    assert training["data_digest"] == FeatureCache.open(made.cache).digest
    assert training["train_clips"] == CLIPS
    assert training["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert set(training["versions"]) == {"openvino", "nncf", "onnx", "torch"}
    assert set(training["parity"]) == {"onnxruntime", "fp32", "fp16", "int8"}
    for name in ("onnxruntime", "fp32", "fp16"):
        assert training["parity"][name]["clips"] == CLIPS
        assert training["parity"][name]["probability"] <= export.TOLERANCE
        assert training["parity"][name]["labels"] == 0


def test_the_bundle_carries_its_figures(shipped: bundle.Bundle, made: Pipeline) -> None:
    stored = json.loads(made.figures.read_text(encoding="utf-8"))
    assert shipped.metrics() == stored
    assert shipped.precision == stored["precision"]
    assert shipped.calibration.temperature == stored["calibration"]["temperature"]
    assert shipped.calibration.uncertain_below == stored["calibration"]["uncertain_below"]
    assert 0.0 <= shipped.calibration.uncertain_below <= 1.0


@pytest.mark.parametrize("precision", ["fp32", "fp16", None])
@torch.no_grad()
def test_the_bundle_answers_as_the_network_does(
    made: Pipeline, shipped: bundle.Bundle, network: torch.nn.Module, precision: Precision | None
) -> None:
    loaded = ser_core.load(made.bundle, precision=precision)
    assert loaded.info.precision == (precision or shipped.precision)
    # INT8 on a network that learnt next to nothing is told by the share that all other precisions leave.
    tolerance = 0.15 if loaded.info.precision == "int8" else export.TOLERANCE
    for name in ("own/ben-sad.wav", "own/fay-surprised.wav"):
        path = made.data / name
        answer = loaded.predict(path)
        (part,) = windows.stretches(audio.read(path, sample_rate=16_000).samples, CONFIG)
        assert part.spectrogram is not None
        logits, attention = network(torch.from_numpy(part.spectrogram)[None, None])
        expected = recognizer.probabilities(logits.numpy(), shipped.calibration.temperature)[0]
        assert list(answer.probabilities) == list(LABELS)
        assert list(answer.probabilities.values()) == pytest.approx(expected, abs=tolerance)
        assert sum(answer.probabilities.values()) == pytest.approx(1.0)
        own = attention[0, : len(answer.windows[0].attention)].numpy()
        assert answer.windows[0].attention == pytest.approx(own / own.sum(), abs=tolerance)


def test_the_bundle_judges_long_recordings_and_silence(made: Pipeline) -> None:
    loaded = ser_core.load(made.bundle)
    assert loaded.metrics["recipe"] == "synthetic"
    assert len(loaded.predict(made.data / "own" / LONG_CLIP).windows) == 5
    silent = loaded.predict(sounds.silence(1.0), 16_000)
    assert (silent.state, silent.label, silent.probabilities) == ("no_speech", None, {})


@torch.no_grad()
def test_every_precision_takes_any_batch_and_length(made: Pipeline, network: torch.nn.Module) -> None:
    rng = np.random.default_rng(0)
    for size, frames in ((1, CONFIG.min_frames), (5, CONFIG.min_frames), (2, 320), (1, 608)):
        batch = (rng.random((size, 1, CONFIG.n_mels, frames)) * 2.0 - 1.0).astype(np.float32)
        logits, attention = (output.numpy() for output in network(torch.from_numpy(batch)))
        for precision in ("fp32", "fp16", "int8"):
            output = ser_core.load(made.bundle, precision=precision).backend.infer(batch)
            assert output.logits.shape == (size, 8)
            assert output.attention.shape == (size, frames // 8)
            assert output.attention.sum(axis=1) == pytest.approx(np.ones(size), abs=1e-4)
            if precision == "fp32":
                assert output.logits == pytest.approx(logits, abs=1e-4)
                assert output.attention == pytest.approx(attention, abs=1e-5)


@torch.no_grad()
def test_a_reader_beside_convolutions_takes_any_batch_and_length_too(tmp_path: Path) -> None:
    import onnxruntime

    torch.manual_seed(0)
    small = networks.build("residual", {"n_mels": CONFIG.n_mels, "channels": [16] * 4, "squeeze": False})
    together = Together(Ensemble([small]), Reader(CONFIG.n_mels, 1), 0.7, (0.4, 0.6)).eval()
    export.to_onnx(together, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for size, frames in ((1, CONFIG.min_frames), (5, CONFIG.min_frames), (3, 608)):
        batch = (rng.random((size, 1, CONFIG.n_mels, frames)) * 2.0 - 1.0).astype(np.float32)
        # Filled up with silence, as most of what is heard.
        batch[-1, :, :, frames - 50 :] = -1.0
        told = session.run([CONTRACT.logits, CONTRACT.attention], {CONTRACT.input: batch})
        for found, expected in zip(told, together(torch.from_numpy(batch)), strict=True):
            assert found == pytest.approx(expected.numpy(), abs=1e-4)
    exact = openvino.Core().read_model(tmp_path / "model.onnx")
    kept = {layer.get_friendly_name(): layer for layer in exact.get_ops()}
    shapes = [str(kept[name].output(0).partial_shape) for name in export._left_alone(exact)]
    # Of convolutions and reader the classes, of the former what weighs each step, of the latter whether it is sung, and
    # self-attention's two products.
    assert [shape for shape in shapes if shape.startswith("[?,6,?")] == ["[?,6,?,?]", "[?,6,?,64]"]
    assert (shapes.count("[?,8]"), shapes.count("[?,1]")) == (2, 1)
    assert len(shapes) == 6


def test_a_network_that_answers_otherwise_is_not_exported(made: Pipeline) -> None:
    cache = FeatureCache.open(made.cache)
    clips = export.calibration_set(cache, range(24), 4)
    torch.manual_seed(123)
    chosen = recipe.load(str(made.recipe)).network
    other = networks.build(chosen.name, {"n_mels": CONFIG.n_mels, **chosen.options}).eval()
    with torch.no_grad():
        for parameter in other.get_submodule("classifier").parameters():
            parameter.mul_(20.0)
    with pytest.raises(ExportError, match=r"onnxruntime differs from torch by .* labels of 4; at most 2e-03 and none"):
        export.parity(other, made.bundle, clips, 1.0)


@torch.no_grad()
def test_precisions_are_compared_as_the_app_reads_them(made: Pipeline, network: torch.nn.Module) -> None:
    """What matters is how far probabilities are apart once a temperature has made them sharper or flatter."""
    clips = export.calibration_set(FeatureCache.open(made.cache), range(CLIPS), 6)
    backend = ser_core.load(made.bundle, precision="int8").backend
    told = np.concatenate([output.logits for output in recognizer.infer(backend, clips)])
    exact = np.concatenate([network(torch.from_numpy(one)[None, None])[0].numpy() for one in clips])
    apart = []
    for temperature in (0.2, 1.0, 4.0):
        found = export.parity(network, made.bundle, clips, temperature)
        assert {name: one.clips for name, one in found.items()} == dict.fromkeys(("onnxruntime", *MODEL_FILES), 6)
        expected = recognizer.probabilities(exact, temperature) - recognizer.probabilities(told, temperature)
        assert found["int8"].probability == pytest.approx(np.abs(expected).max(), abs=1e-5)
        apart.append(found["int8"].probability)
    assert apart == sorted(apart, reverse=True)
    assert apart[0] > 2.0 * apart[1]


def test_the_calibration_set_is_drawn_alike_and_filled_up(made: Pipeline) -> None:
    cache = FeatureCache.open(made.cache)
    first, again = (export.calibration_set(cache, range(8, 24), 5) for _ in range(2))
    assert len(first) == 5
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(export.calibration_set(cache, range(8, 24))) == 16
    allowed = [cache.network_input(index) for index in range(8, 24)]
    for one in first:
        assert one.dtype == np.float32
        assert one.shape == (CONFIG.n_mels, CONFIG.min_frames)
        assert any(np.array_equal(one, other) for other in allowed if other.shape == one.shape)
    long_clip = [clip.key for clip in cache.clips].index(f"own/{LONG_CLIP}")
    frames = cache.spectrogram(long_clip).shape[1]
    filled = cache.network_input(long_clip)
    assert filled.shape == (CONFIG.n_mels, -(-frames // CONFIG.frame_step) * CONFIG.frame_step)
    assert filled.shape[1] > CONFIG.min_frames
    assert (filled[:, frames:] == -1.0).all()


def test_a_network_ships_only_with_its_own_figures(
    made: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert run_export(made, tmp_path / "metrics.json", out) == 1
    assert (
        "metrics.json isn't there: a model ships with its figures, run `python -m train evaluate`"
        in capsys.readouterr().err
    )
    stale = json.loads(made.figures.read_text(encoding="utf-8")) | {"recipe_hash": "0" * 12}
    (tmp_path / "metrics.json").write_text(json.dumps(stale), encoding="utf-8")
    assert run_export(made, tmp_path / "metrics.json", out) == 1
    now = recipe.load(str(made.recipe)).hash
    assert f"belong to recipe {'0' * 12}, the network to {now}: evaluate again." in capsys.readouterr().err
    assert not out.exists()


def test_a_bundle_is_replaced_as_a_whole_or_left(
    made: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The networks are taken from the exported bundle: converting them is what the other tests look at."""
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "left over.txt").write_text("old", encoding="utf-8")

    def fail(*_: object) -> None:
        raise ExportError("the conversion failed")

    monkeypatch.setattr(export, "convert", fail)
    assert run_export(made, made.figures, out) == 1
    assert "error: the conversion failed" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert [path.name for path in out.iterdir()] == ["left over.txt"]

    def copied(_network: torch.nn.Module, folder: Path, _calibration: object) -> None:
        for name in (name for names in MODEL_FILES.values() for name in names):
            shutil.copy(made.bundle / name, folder / name)

    monkeypatch.setattr(export, "convert", copied)
    assert run_export(made, made.figures, out) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert bundle.read(out).name == "ser-residual"
    assert not (out / "left over.txt").exists()
    assert f"onnxruntime against torch on {CLIPS} clips: probability " in capsys.readouterr().out
