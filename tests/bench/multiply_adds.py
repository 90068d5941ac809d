"""How many multiplications, each with its addition, a network makes of an input: counted from its ONNX graph.

Only convolutions and matrix products count, which make up nearly all; biases, activations and pooling don't.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx import helper, shape_inference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Shapes = Mapping[str, Sequence[int] | None]

UNCOUNTED = frozenset(
    {
        *("Attention", "ConvInteger", "DeformConv", "DFT", "Einsum", "GRU", "LSTM", "MatMulInteger", "QLinearConv"),
        *("QLinearMatMul", "RNN", "STFT", "If", "Loop", "Scan"),
    }
)
"""Operations that multiply much, or hold graphs of their own, and that `count` has no rule for."""


def count(model: onnx.ModelProto, inputs: Mapping[str, Sequence[int]]) -> int:
    """Multiply-adds of one run.

    Args:
        model: of any batch size and length; isn't changed.
        inputs: the shape of each input.

    Raises:
        ValueError: an operation that there is no rule for, or one whose shapes don't follow from those of the inputs.
    """
    fixed = with_shapes(model, inputs)
    shapes = _shapes(fixed.graph)
    return sum(_of(node, shapes) for node in fixed.graph.node)


def with_shapes(model: onnx.ModelProto, inputs: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy in which every shape that follows from those of the inputs is told."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]  # those for any batch and length
    for port in fixed.graph.input:
        if port.name in inputs:
            kind = port.type.tensor_type.elem_type
            port.CopyFrom(helper.make_tensor_value_info(port.name, kind, list(inputs[port.name])))
    return shape_inference.infer_shapes(_simplified(fixed), strict_mode=True, data_prop=True)


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what only computes shapes, through which the inference above loses its way; by ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "model.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        simple = onnx.load(options.optimized_model_filepath)
    del simple.graph.value_info[:]
    return simple


def _shapes(graph: onnx.GraphProto) -> Shapes:
    """By the tensor's name; None where a dimension isn't known."""
    found: dict[str, Sequence[int] | None] = {weights.name: tuple(weights.dims) for weights in graph.initializer}
    for port in (*graph.input, *graph.value_info, *graph.output):
        tensor = port.type.tensor_type
        known = tensor.HasField("shape") and all(size.HasField("dim_value") for size in tensor.shape.dim)
        found.setdefault(port.name, tuple(size.dim_value for size in tensor.shape.dim) if known else None)
    return found


def _of(node: onnx.NodeProto, shapes: Shapes) -> int:
    if node.op_type in UNCOUNTED or node.domain not in {"", "ai.onnx"}:
        raise ValueError(f"{node.domain or 'ONNX'}'s {node.op_type} isn't counted: give it a rule")
    if node.op_type == "Conv":  # weights (M, C / group, ...): each output is a sum over all but the first
        return _size(node.output[0], shapes) * math.prod(_shape(node.input[1], shapes)[1:])
    if node.op_type == "ConvTranspose":  # weights (C, M / group, ...): each input goes into all but the first
        return _size(node.input[0], shapes) * math.prod(_shape(node.input[1], shapes)[1:])
    if node.op_type == "MatMul":
        return _size(node.output[0], shapes) * _shape(node.input[0], shapes)[-1]
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return _size(node.output[0], shapes) * _shape(node.input[0], shapes)[0 if transposed else 1]
    return 0


def _shape(name: str, shapes: Shapes) -> Sequence[int]:
    shape = shapes.get(name)
    if shape is None:
        raise ValueError(f"the shape of {name!r} isn't known")
    return shape


def _size(name: str, shapes: Shapes) -> int:
    return math.prod(_shape(name, shapes))
