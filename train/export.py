"""`python -m train export`: torch -> ONNX -> OpenVINO IR (FP16, INT8), parity-checked, sealed as a bundle."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ser_core import bundle, recognizer
from ser_core.backends import OpenVinoBackend
from ser_core.bundle import METRICS, MODEL_FILES, Calibration
from ser_core.config import CONTRACT, FeatureConfig
from ser_core.errors import SerError
from train import recipe, splits
from train.cache import FeatureCache
from train.pretrained import FOLDER
from train.run import Run
from train.runs import ORIGIN, load_network

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import openvino as ov
    from torch import nn

    from ser_core.features import LogMel

TOLERANCE = 2e-3
"""The most by which a probability may differ between torch, ONNX and FP16 IR."""

_EXACT = ["ReduceMean", "ReduceSum", "Sigmoid", "Multiply", "Divide", "Sqrt", "Subtract", "Tanh"]
"""Operations that INT8 leaves alone: the pooling, which squares, weighs and sums, and the gates of
squeeze-and-excitation. They cost next to nothing, and rounding them off changed the labels of twice as many clips."""
_FEW = 16
"""Outputs of a layer that ends in classes."""

CALIBRATION_CLIPS = 300
PARITY_CLIPS = 200
LICENCE = "CC-BY-NC-SA-4.0"
"""Of weights trained on RAVDESS and nEMO, whose terms these are."""


class ExportError(SerError):
    """An exported network that doesn't answer like the one that was trained."""


def to_onnx(network: nn.Module, path: Path) -> None:
    """Write the network as ONNX with the contract's names, any batch size and any multiple of `frame_step` frames."""
    from torch.export import Dim

    config = FeatureConfig()
    blocks = Dim("blocks", min=config.min_frames // config.frame_step, max=4096)
    example = torch.zeros(2, 1, config.n_mels, config.min_frames)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            path,
            input_names=[CONTRACT.input],
            output_names=[CONTRACT.logits, CONTRACT.attention],
            dynamic_shapes=({0: Dim("batch", min=1, max=4096), 3: config.frame_step * blocks},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def convert(network: nn.Module, folder: Path, calibration: Sequence[LogMel]) -> None:
    """Write a network in all precisions under the names of `MODEL_FILES`.

    Args:
        network: in eval mode, on the CPU.
        folder: where the files go.
        calibration: float32 (n_mels, n_frames) spectrograms that training heard, for INT8's ranges (NNCF's
            post-training quantisation with its accuracy-preserving mixed preset).
    """
    import nncf
    import openvino as ov
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters

    onnx = folder / MODEL_FILES["fp32"][0]
    to_onnx(network, onnx)
    ov.save_model(ov.Core().read_model(onnx), folder / MODEL_FILES["fp16"][0], compress_to_fp16=True)
    dataset = nncf.Dataset([spectrogram[np.newaxis, np.newaxis] for spectrogram in calibration])
    # NNCF wants the uncompressed network.
    exact = ov.Core().read_model(onnx)
    quantised = nncf.quantize(
        exact,
        dataset,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        # Keeps what self-attention is sensitive to; convolutions don't mind.
        model_type=nncf.ModelType.TRANSFORMER,
        # Its smoothing puts multiplications in front of the layers, which then take 1.4 times as long.
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=-1)
        ),
        ignored_scope=nncf.IgnoredScope(
            names=[CONTRACT.logits, CONTRACT.attention, *_left_alone(exact)], types=_EXACT, validate=False
        ),
    )
    ov.save_model(quantised, folder / MODEL_FILES["int8"][0], compress_to_fp16=True)


def _left_alone(model: ov.Model) -> list[str]:
    """The layers that end in a few values for a clip or a step, and the products of activations with each other that
    self-attention makes. Rounded off, the former changed three times as many labels; the latter gain no time.
    """
    found = []
    for layer in model.get_ordered_ops():
        kind = layer.get_type_name()
        if kind not in {"MatMul", "Convolution"}:
            continue
        axis, few = (1, 1) if kind == "Convolution" else (-1, _FEW)
        features = layer.output(0).partial_shape[axis]
        if layer.input(1).get_partial_shape().is_dynamic or (features.is_static and features.get_length() <= few):
            found.append(layer.get_friendly_name())
    return found


def calibration_set(cache: FeatureCache, indices: Sequence[int], count: int = CALIBRATION_CLIPS) -> list[LogMel]:
    """`count` clips drawn from `indices` with a fixed seed: float32 (n_mels, n_frames), filled up as the app does."""
    chosen = np.random.default_rng(0).permutation(np.asarray(indices))[:count]
    return [cache.network_input(int(index)) for index in chosen]


@dataclass(frozen=True)
class Parity:
    """How far one precision is from torch over the same clips.

    Attributes:
        clips: how many were compared.
        probability: the largest difference of any probability.
        attention: the largest difference of any attention weight.
        labels: clips whose label differs, although torch's leads by more than `TOLERANCE`.
    """

    clips: int
    probability: float
    attention: float
    labels: int


def parity(network: nn.Module, folder: Path, spectrograms: Sequence[LogMel], temperature: float) -> dict[str, Parity]:
    """Compare each exported precision, and ONNX in ONNX Runtime, with torch, as the app reads them.

    Args:
        network: in eval mode.
        folder: of the exported files.
        spectrograms: float32 (n_mels, n_frames) each.
        temperature: of the bundle.

    Raises:
        ExportError: ONNX or FP16 is further off than `TOLERANCE`; INT8 is reported but may differ.
    """
    reference = [_torch(network, one) for one in spectrograms]
    onnx = _onnxruntime(folder / MODEL_FILES["fp32"][0], spectrograms)
    found = {"onnxruntime": _compare(reference, onnx, temperature)}
    for precision, names in MODEL_FILES.items():
        outputs = recognizer.infer(OpenVinoBackend(folder / names[0], FeatureConfig().n_mels), spectrograms)
        found[precision] = _compare(reference, [(one.logits, one.attention) for one in outputs], temperature)
    for name, one in found.items():
        if name != "int8" and (max(one.probability, one.attention) > TOLERANCE or one.labels):
            raise ExportError(
                f"{name} differs from torch by {one.probability:.1e} in probability, {one.attention:.1e} in attention "
                f"and in {one.labels} labels of {one.clips}; at most {TOLERANCE:.0e} and none are accepted."
            )
    return found


_Answer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@torch.no_grad()
def _torch(network: nn.Module, one: LogMel) -> _Answer:
    logits, attention = network(torch.from_numpy(one)[None, None])
    return logits.numpy(), attention.numpy()


def _onnxruntime(path: Path, spectrograms: Sequence[LogMel]) -> list[_Answer]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [CONTRACT.logits, CONTRACT.attention]
    return [tuple(session.run(names, {CONTRACT.input: one[np.newaxis, np.newaxis]})) for one in spectrograms]


def _compare(reference: Sequence[_Answer], answers: Sequence[_Answer], temperature: float) -> Parity:
    expected = recognizer.probabilities(np.concatenate([logits for logits, _ in reference]), temperature)
    told = recognizer.probabilities(np.concatenate([logits for logits, _ in answers]), temperature)
    second, first = np.sort(expected, axis=1)[:, -2:].T
    other = (expected.argmax(axis=1) != told.argmax(axis=1)) & (first - second > TOLERANCE)
    return Parity(
        clips=len(reference),
        probability=float(np.abs(expected - told).max()),
        attention=max(float(np.abs(a - b).max()) for (_, a), (_, b) in zip(reference, answers, strict=True)),
        labels=int(other.sum()),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train export`."""
    parser.add_argument("--config", default="base", help="a recipe of train/configs, or a .yaml file (default: base)")
    parser.add_argument("--cache", type=Path, default=Path(".cache/features"), help="features made by `prepare`")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where `fit` put the network")
    parser.add_argument("--pretrained", type=Path, default=FOLDER, help="folder of pretrained weights")
    parser.add_argument("--metrics", type=Path, help="figures of its recipe (default: those that `evaluate` stored)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; replaced as a whole")
    parser.add_argument("--name", default="ser-residual", help="of the model")
    parser.add_argument("--version", default="0.1.0", help="of the model")
    # Never parsed here, see `train.__main__`: with it the command is another one.
    parser.add_argument("--model-server", metavar="DIR", help="instead of all this; --model-server DIR --help says how")


def run(args: argparse.Namespace) -> int:
    """Export the network that was trained on all speakers."""
    from train.evaluate import RESULTS

    chosen = recipe.load(args.config)
    one = Run(chosen, None)
    network, record = load_network(one, args.runs, args.pretrained)
    cache = FeatureCache.open(args.cache)
    figures = _figures(args.metrics or RESULTS / chosen.name / METRICS, chosen.hash)
    calibration = Calibration(figures["calibration"]["temperature"], figures["calibration"]["uncertain_below"])
    indices = one.split(cache).train
    with tempfile.TemporaryDirectory(dir=_parent(args.out)) as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        convert(network, folder, calibration_set(cache, indices))
        found = parity(
            network,
            folder,
            calibration_set(cache, indices, CALIBRATION_CLIPS + PARITY_CLIPS)[-PARITY_CLIPS:],
            calibration.temperature,
        )
        for name, values in found.items():
            print(
                f"{name} against torch on {values.clips} clips: probability {values.probability:.1e}, "
                f"attention {values.attention:.1e}, {values.labels} labels differ"
            )
        (folder / METRICS).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        shutil.copy(recipe.ROOT / "train" / "LICENSE-weights.md", folder / "LICENSE.md")
        sealed = bundle.write(
            folder,
            name=args.name,
            version=args.version,
            precision=figures["precision"],
            calibration=calibration,
            licence=LICENCE,
            training=_training(record, network, found),
        )
        _replace(args.out, folder)
    size = sum(one.size for one in sealed.files.values())
    print(f"{args.out}: {args.name} {args.version}, {figures['precision']}, {size / 2**20:.1f} MB")
    return 0


def _figures(path: Path, recipe_hash: str) -> dict[str, Any]:
    if not path.is_file():
        raise ExportError(f"{path} isn't there: a model ships with its figures, run `python -m train evaluate` first.")
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if figures["recipe_hash"] != recipe_hash:
        raise ExportError(
            f"The figures in {path} belong to recipe {figures['recipe_hash']}, the network to {recipe_hash}: "
            "evaluate again."
        )
    if len(figures["folds"]) < len(splits.ACTOR_FOLDS):
        raise ExportError(f"The figures in {path} are of folds {figures['folds']} alone: evaluate the others too.")
    return figures


def _training(record: dict[str, Any], network: nn.Module, found: dict[str, Parity]) -> dict[str, Any]:
    import nncf
    import onnx
    import openvino

    return {
        **{key: record[key] for key in ("recipe", *ORIGIN)},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "versions": {
            "openvino": openvino.__version__,
            "nncf": nncf.__version__,
            "onnx": onnx.__version__,
            "torch": torch.__version__,
        },
        "parity": {name: vars(values) for name, values in found.items()},
    }


def _parent(out: Path) -> Path:
    parent = out.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    return parent


def _replace(out: Path, folder: Path) -> None:
    # Renames only: whoever reads the folder finds the old bundle or the new one, never half of each.
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    folder.rename(out)
    shutil.rmtree(old, ignore_errors=True)
