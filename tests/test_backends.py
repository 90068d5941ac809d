"""The network behind `infer`: the contract is checked when it is loaded, and every precision gives torch's answer."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import openvino as ov
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import ser_core
from ser_core import backends, bundle, features, recognizer
from ser_core.backends import THREADS, OpenVinoBackend, Requests
from ser_core.bundle import MODEL_FILES
from ser_core.config import CONTRACT, FeatureConfig
from ser_core.emotions import LABELS
from ser_core.errors import BundleError, SerError
from tests import bundles, sounds

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from ser_core.features import LogMel
    from ser_core.prediction import Precision

CONFIG = FeatureConfig()
TOLERANCE = 2e-3
"""The most by which a probability may differ between torch, ONNX and FP16 IR."""


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def spectrograms(count: int = 12) -> list[LogMel]:
    """Voices of several pitches, lengths and levels, as the network meets them."""
    made = []
    for seed in range(count):
        voice = sounds.voice(1.5 + 0.3 * seed, pitch=90.0 + 12.0 * seed, level=0.05 + 0.07 * seed, seed=seed)
        spectrogram = features.log_mel(voice, CONFIG)
        made.append(features.pad(spectrogram, features.padded_frames(spectrogram.shape[1], CONFIG)))
    return made


# The contract.


def test_output_of_the_small_network(tmp_path: Path) -> None:
    """Against the same arithmetic in NumPy."""
    model = bundles.network()
    backend = OpenVinoBackend(saved(tmp_path, model), CONFIG.n_mels)
    batch = np.random.default_rng(0).uniform(-1, 1, (3, 1, CONFIG.n_mels, 224)).astype(np.float32)
    output = backend.infer(batch)
    weights = onnx.numpy_helper.to_array(model.graph.initializer[3])
    np.testing.assert_allclose(output.logits, batch[:, 0].mean(axis=2) @ weights, atol=1e-5)
    energy = np.exp(batch[:, 0].mean(axis=1).reshape(3, -1, CONTRACT.attention_stride).mean(axis=2))
    np.testing.assert_allclose(output.attention, energy / energy.sum(axis=1, keepdims=True), atol=1e-6)
    assert output.logits.dtype == output.attention.dtype == np.float32


@pytest.mark.parametrize("renamed", ["input", "logits", "attention"])
def test_other_names_are_refused_naming_both_sides(tmp_path: Path, renamed: str) -> None:
    path = saved(tmp_path, bundles.network(names={renamed: "something"}))
    with pytest.raises(BundleError) as caught:
        OpenVinoBackend(path, CONFIG.n_mels)
    message = str(caught.value)
    assert "'something'" in message
    assert f"needs '{CONTRACT.input}' and '{CONTRACT.logits}', '{CONTRACT.attention}'" in message


def test_a_further_input_is_refused(tmp_path: Path) -> None:
    model = bundles.network()
    model.graph.input.append(onnx.helper.make_tensor_value_info("pitch", onnx.TensorProto.FLOAT, ["batch", 8]))
    model.graph.node[2].output[0] = "plain"
    model.graph.node.append(onnx.helper.make_node("Add", ["plain", "pitch"], [CONTRACT.logits]))
    with pytest.raises(BundleError, match=r"has the inputs \['log_mel', 'pitch'\].* needs 'log_mel'"):
        OpenVinoBackend(saved(tmp_path, model), CONFIG.n_mels)


def test_another_number_of_bands_or_emotions_is_refused(tmp_path: Path) -> None:
    for model, told in ((bundles.network(n_mels=128), "128 mel bands"), (bundles.network(emotions=7), "7 emotions")):
        with pytest.raises(BundleError, match=rf"{told}.*80 bands and it knows 8 emotions"):
            OpenVinoBackend(saved(tmp_path, model), CONFIG.n_mels)


def test_another_number_of_axes_is_refused(tmp_path: Path) -> None:
    model = bundles.network()
    model.graph.node[-1].output[0] = "squeezed"
    model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["squeezed", "channel"], [CONTRACT.attention]))
    shape = onnx.helper.make_tensor_value_info(CONTRACT.attention, onnx.TensorProto.FLOAT, ["batch", 1, "steps"])
    model.graph.output[1].CopyFrom(shape)
    with pytest.raises(BundleError, match=r"has 4, 2, 3 axes at .* needs 4, 2, 2"):
        OpenVinoBackend(saved(tmp_path, model), CONFIG.n_mels)


@pytest.mark.parametrize("content", [b"", b"no network", bytes(4000)], ids=["empty", "text", "zeros"])
@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_what_is_no_network_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"OpenVINO {ov.__version__[:6]}.* can't load {name} .* Export the model"):
        OpenVinoBackend(tmp_path / name, CONFIG.n_mels)


def test_an_ir_without_its_weights_is_refused(tmp_path: Path) -> None:
    path = bundles.make(tmp_path).model_path("fp16")
    path.with_suffix(".bin").unlink()
    with pytest.raises(BundleError, match=r"can't load model-fp16\.xml"):
        OpenVinoBackend(path, CONFIG.n_mels)


# Any network.


def test_requests_give_the_outputs_in_the_order_asked_for(tmp_path: Path) -> None:
    """Without the contract, which is the emotion network's alone: voices are found by another one."""
    requests = Requests(saved(tmp_path, bundles.network(n_mels=8, emotions=3, names={"input": "picture"})))
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 1, 8, 64)).astype(np.float32)
    logits, attention = requests.infer({"picture": batch}, [CONTRACT.logits, CONTRACT.attention])
    assert (logits.shape, attention.shape) == ((2, 3), (2, 64 // CONTRACT.attention_stride))
    (again,) = requests.infer({"picture": batch}, [CONTRACT.attention])
    np.testing.assert_array_equal(again, attention)


def test_requests_are_refused_by_their_check(tmp_path: Path) -> None:
    def check(model: ov.Model) -> None:
        assert len(model.outputs) == 2
        raise BundleError("It is none of ours.")

    with pytest.raises(BundleError, match="none of ours"):
        Requests(saved(tmp_path, bundles.network()), check)


# Batches.


def test_infer_judges_alike_lengths_together_and_keeps_the_order() -> None:
    backend = bundles.MeanBackend()
    made = spectrograms(6)
    made = [made[i] for i in (5, 0, 3, 1, 4, 2, 0, 5)]
    together = recognizer.infer(backend, made)
    assert len(backend.shapes) == len({one.shape[1] for one in made})
    assert sum(shape[0] for shape in backend.shapes) == len(made)
    for one, output in zip(made, together, strict=True):
        alone = bundles.MeanBackend().infer(one[np.newaxis, np.newaxis])
        np.testing.assert_allclose(output.logits, alone.logits, atol=1e-5)
        np.testing.assert_allclose(output.attention, alone.attention, atol=1e-5)


def test_infer_splits_what_is_too_much_for_one_batch() -> None:
    backend = bundles.MeanBackend()
    made = list(np.random.default_rng(0).uniform(-1, 1, (70, CONFIG.n_mels, 192)).astype(np.float32))
    outputs = recognizer.infer(backend, made)
    assert [shape[0] for shape in backend.shapes] == [32, 32, 6]
    for one, output in zip(made, outputs, strict=True):
        expected = bundles.MeanBackend().infer(one[np.newaxis, np.newaxis])
        np.testing.assert_allclose(output.logits, expected.logits, atol=1e-5)


def test_infer_of_nothing_asks_nothing() -> None:
    backend = bundles.MeanBackend()
    assert recognizer.infer(backend, []) == []
    assert backend.shapes == []


def test_the_network_meets_few_sizes_of_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO keeps memory for each one that it met."""
    backend = OpenVinoBackend(saved(tmp_path, bundles.network()), CONFIG.n_mels)
    asked, met = backend._requests.infer, set()

    def infer(inputs: dict[str, npt.NDArray[np.float32]], names: list[str]) -> list[npt.NDArray[np.float32]]:
        met.add(len(inputs[CONTRACT.input]))
        return asked(inputs, names)

    monkeypatch.setattr(backend._requests, "infer", infer)
    made = np.random.default_rng(0).uniform(-1, 1, (32, 1, CONFIG.n_mels, 128)).astype(np.float32)
    logits, attention = asked({CONTRACT.input: made}, [CONTRACT.logits, CONTRACT.attention])
    for count in range(1, 33):
        output = backend.infer(made[:count])
        np.testing.assert_allclose(output.logits, logits[:count], atol=1e-5)
        np.testing.assert_allclose(output.attention, attention[:count], atol=1e-5)
    assert len(met) <= 3


# Many threads.


class SlowRequest:
    """An infer request that is away for a moment, and remembers if it was ever shared."""

    def __init__(self, log: list[str]) -> None:
        self._log, self._lock = log, threading.Lock()

    def infer(
        self, inputs: dict[str, npt.NDArray[np.float32]], *, share_outputs: bool
    ) -> dict[str, npt.NDArray[np.float32]]:
        if not self._lock.acquire(blocking=False):
            self._log.append("shared")
            raise RuntimeError("Infer Request is busy")
        time.sleep(0.002)
        self._log.append("done")
        self._lock.release()
        count = len(inputs[CONTRACT.input])
        return {CONTRACT.logits: np.zeros((count, 8), np.float32), CONTRACT.attention: np.ones((count, 1), np.float32)}


def test_no_request_is_ever_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    backend = OpenVinoBackend(saved(tmp_path, bundles.network()), CONFIG.n_mels)
    log: list[str] = []
    pool: Any = backend._requests._pool
    assert pool.qsize() == 3
    for _ in range(3):
        pool.get()
        pool.put(SlowRequest(log))
    batch = np.zeros((1, 1, CONFIG.n_mels, 192), np.float32)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: backend.infer(batch), range(40)))
    assert log == ["done"] * 40
    assert pool.qsize() == 3


@pytest.mark.parametrize(("asked", "threads", "requests"), [("1", 1, 1), ("2", 2, 2), ("9", 9, 3)])
def test_the_environment_bounds_threads_and_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, threads: int, requests: int
) -> None:
    batch = np.random.default_rng(0).uniform(-1, 1, (3, 1, CONFIG.n_mels, 192)).astype(np.float32)
    path = saved(tmp_path, bundles.network())
    free = OpenVinoBackend(path, CONFIG.n_mels).infer(batch)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setenv(THREADS, asked)
    backend = OpenVinoBackend(path, CONFIG.n_mels)
    np.testing.assert_allclose(backend.infer(batch).logits, free.logits, atol=1e-5)
    pool: Any = backend._requests._pool
    assert pool.qsize() == requests
    compiled = pool.get().get_compiled_model()
    # OpenVINO starts no more of them than there are cores for.
    assert compiled.get_property("INFERENCE_NUM_THREADS") in {threads, min(threads, len(os.sched_getaffinity(0)))}
    assert not compiled.get_property("ENABLE_CPU_PINNING")


@pytest.mark.parametrize("asked", [None, ""])
def test_without_a_bound_openvino_has_its_own_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None
) -> None:
    given: list[dict[str, Any]] = []
    compile_model = ov.Core.compile_model

    def compiled(core: ov.Core, model: ov.Model, device: str, options: dict[str, Any]) -> Any:
        given.append(options)
        return compile_model(core, model, device, options)

    monkeypatch.setattr(ov.Core, "compile_model", compiled)
    monkeypatch.delenv(THREADS, raising=False)
    if asked is not None:
        monkeypatch.setenv(THREADS, asked)
    requests = Requests(saved(tmp_path, bundles.network()))
    assert given == [{"INFERENCE_PRECISION_HINT": "f32"}]
    assert requests._pool.qsize() == os.cpu_count()


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5", "²"])
def test_a_bound_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv(THREADS, asked)
    with pytest.raises(SerError, match="SER_THREADS must be a number of threads from 1 on, not"):
        Requests(saved(tmp_path, bundles.network()))


def test_a_request_that_fails_comes_back_to_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    backend = OpenVinoBackend(saved(tmp_path, bundles.network()), CONFIG.n_mels)
    with pytest.raises(RuntimeError):
        backend.infer(np.zeros((1, 1, CONFIG.n_mels + 1, 192), np.float32))
    assert backend.infer(np.zeros((1, 1, CONFIG.n_mels, 192), np.float32)).logits.shape == (1, 8)


def test_an_answer_outlives_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request's buffers are used again; the answer must not lie in them."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    backend = OpenVinoBackend(saved(tmp_path, bundles.network()), CONFIG.n_mels)
    first = backend.infer(np.full((1, 1, CONFIG.n_mels, 192), 0.5, np.float32))
    kept = first.logits.copy()
    backend.infer(np.full((1, 1, CONFIG.n_mels, 192), -0.5, np.float32))
    np.testing.assert_array_equal(first.logits, kept)


# The network that ships, whatever its weights: torch = ONNX Runtime = ONNX = FP16 IR.


def answers_of_openvino(precision: Precision, made: list[LogMel]) -> tuple[Any, list[Any]]:
    backend = OpenVinoBackend(bundle.read(bundles.SHIPPED).model_path(precision), CONFIG.n_mels)
    outputs = recognizer.infer(backend, made)
    return np.concatenate([one.logits for one in outputs]), [one.attention for one in outputs]


def answers_of_onnxruntime(made: list[LogMel]) -> tuple[Any, list[Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(bundles.SHIPPED / MODEL_FILES["fp32"][0])
    names = [CONTRACT.logits, CONTRACT.attention]
    outputs = [session.run(names, {CONTRACT.input: one[np.newaxis, np.newaxis]}) for one in made]
    return np.concatenate([logits for logits, _ in outputs]), [attention for _, attention in outputs]


def answers_of_torch(made: list[LogMel]) -> tuple[Any, list[Any]]:
    """The networks of `train.networks` with the weights of the ONNX file.

    The exporter folds a batch norm into the convolution before it. Here the folded convolution gets its weights back,
    and the norm behind it nothing but the bias to add. A linear layer it writes as a product, whose matrix has no name,
    and a sum, whose bias has one.
    """
    import torch

    from tests.bench.network import torch_network

    graph = onnx.load(bundles.SHIPPED / MODEL_FILES["fp32"][0]).graph
    stored = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    for node in (node for node in graph.node if node.op_type == "Add"):
        for product, bias in (node.input, reversed(node.input)):
            if bias.endswith(".bias") and product in products:
                stored[f"{bias.removesuffix('.bias')}.weight"] = stored[products[product]].T
    network = torch_network(bundle.read(bundles.SHIPPED).training)
    state = network.state_dict()
    norms = {name: one for name, one in network.named_modules() if isinstance(one, torch.nn.BatchNorm2d)}
    for name in state:
        if name in stored:
            state[name] = stored[name]
    for name, norm in norms.items():
        convolution = _before(name)
        if f"{convolution}.weight_bias" in stored:
            state[f"{name}.bias"] = stored[f"{convolution}.weight_bias"]
            state[f"{name}.weight"] = torch.full_like(norm.weight, 1.0)
            state[f"{name}.running_mean"] = torch.zeros_like(norm.weight)
            state[f"{name}.running_var"] = torch.full_like(norm.weight, 1.0 - norm.eps)
        else:
            assert f"{name}.running_mean" in stored, f"{name} is neither folded nor stored"
    network.load_state_dict(state)
    with torch.no_grad():
        outputs = [network(torch.from_numpy(one)[None, None]) for one in made]
    return np.concatenate([logits.numpy() for logits, _ in outputs]), [attention.numpy() for _, attention in outputs]


def _before(norm: str) -> str:
    """The convolution that a batch norm of the residual network follows: norm_2 -> convolution_2, 1 -> 0."""
    head, _, tail = norm.rpartition(".")
    return f"{head}.{tail.replace('norm', 'convolution') if tail.startswith('norm') else int(tail) - 1}"


@bundles.needs_shipped
@pytest.mark.parametrize("other", ["torch", "onnxruntime", "fp16"])
def test_the_shipped_network_answers_alike_everywhere(other: str) -> None:
    made = spectrograms()
    logits, attention = answers_of_openvino("fp32", made)
    if other == "torch":
        told, listened = answers_of_torch(made)
    elif other == "onnxruntime":
        told, listened = answers_of_onnxruntime(made)
    else:
        told, listened = answers_of_openvino("fp16", made)
    ours, theirs = recognizer.probabilities(logits, 1.0), recognizer.probabilities(told, 1.0)
    np.testing.assert_allclose(theirs, ours, atol=TOLERANCE)
    for one, two in zip(listened, attention, strict=True):
        np.testing.assert_allclose(one, two, atol=TOLERANCE)
    # Answers that are all the same would agree in any case.
    assert np.ptp(ours, axis=0).max() > 10 * TOLERANCE


@bundles.needs_shipped
def test_int8_stays_near() -> None:
    made = spectrograms()
    full, _ = answers_of_openvino("fp32", made)
    small, attention = answers_of_openvino("int8", made)
    difference = np.abs(recognizer.probabilities(full, 1.0) - recognizer.probabilities(small, 1.0))
    assert 0.0 < difference.mean() < 0.05
    np.testing.assert_allclose([float(one.sum()) for one in attention], 1.0, atol=1e-4)


@bundles.needs_shipped
def test_batches_of_the_shipped_network_give_what_single_ones_do() -> None:
    backend = OpenVinoBackend(bundle.read(bundles.SHIPPED).model_path("fp32"), CONFIG.n_mels)
    made = spectrograms(5)
    made = [*made, *(one[:, ::-1].copy() for one in made)]
    for one, together in zip(made, recognizer.infer(backend, made), strict=True):
        alone = backend.infer(one[np.newaxis, np.newaxis])
        np.testing.assert_allclose(
            recognizer.probabilities(together.logits, 1.0), recognizer.probabilities(alone.logits, 1.0), atol=1e-5
        )
        np.testing.assert_allclose(together.attention, alone.attention, atol=1e-5)


@bundles.needs_shipped
def test_the_export_was_checked_on_real_clips() -> None:
    """`python -m train export` compares every precision with torch on real clips and keeps what it found."""
    parity = bundle.read(bundles.SHIPPED).training["parity"]
    assert set(parity) == {"onnxruntime", "fp32", "fp16", "int8"}
    for name in ("onnxruntime", "fp32", "fp16"):
        assert parity[name]["clips"] >= 200
        assert parity[name]["probability"] <= TOLERANCE
        assert parity[name]["attention"] <= TOLERANCE
        assert parity[name]["labels"] == 0


@bundles.needs_shipped
def test_the_shipped_network_keeps_the_contract() -> None:
    for precision in MODEL_FILES:
        backend = ser_core.load(precision=precision).backend
        output = backend.infer(np.stack([features.pad(one[:, :160], 192) for one in spectrograms(3)])[:, np.newaxis])
        assert output.logits.shape == (3, len(LABELS))
        assert output.attention.shape == (3, 192 // CONTRACT.attention_stride)
        assert output.attention.min() >= 0.0
        np.testing.assert_allclose(output.attention.sum(axis=1), 1.0, atol=1e-4)


# For many at once.


def test_what_is_loaded_for_many_files_gives_the_same_answers(
    shipped: recognizer.Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spectrograms(6)
    expected = recognizer.infer(shipped.backend, made)
    monkeypatch.setattr("ser_core.backends._hint", {})  # put back when the test is over
    with threadpool_limits():  # likewise
        backends.prefer_throughput()
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
        found = recognizer.infer(ser_core.load().backend, made)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-5)
        np.testing.assert_allclose(one.attention, other.attention, atol=1e-5)
