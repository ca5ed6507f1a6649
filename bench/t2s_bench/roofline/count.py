"""The work of a node: multiplications and additions, bytes, and its class of operators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from t2s_bench.roofline.profile import NodeRun, Tensor
from t2s_rt.errors import InternalError

__all__ = ["CLASSES", "bytes_moved", "flops", "op_class", "with_weights"]

_MATRIX = ("MatMul", "FusedMatMul", "Gemm", "MatMulInteger", "MatMulIntegerToFloat",
           "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm")  # fmt: skip
_CONV = ("Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger")

CLASSES: dict[str, tuple[str, ...]] = {
    "matrix products": _MATRIX,
    "convolutions": (*_CONV, "ConvTranspose"),
    "softmax": ("Softmax", "LogSoftmax"),
    "normalisation": (
        "LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization",
        "InstanceNormalization", "GroupNormalization", "BatchNormalization", "LpNormalization",
    ),
    "activations": (
        "Gelu", "BiasGelu", "FastGelu", "QuickGelu", "Erf", "Relu", "Sigmoid", "Tanh", "Exp",
        "LeakyRelu", "HardSigmoid", "Softplus",
    ),
    "sampling": ("GridSample", "Resize", "RoiAlign", "AveragePool", "MaxPool"),
    "quantisation": ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
    "layout": (
        "Transpose", "Reshape", "Concat", "Split", "Slice", "Gather", "GatherND",
        "GatherElements", "ScatterND", "ScatterElements", "Expand", "Squeeze", "Unsqueeze",
        "Flatten", "Tile", "Pad", "ReorderInput", "ReorderOutput", "Identity", "Shape",
        "DepthToSpace", "SpaceToDepth", "MemcpyFromHost", "MemcpyToHost",
    ),
    "reductions": (
        "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd", "TopK",
        "ArgMax", "ArgMin", "CumSum", "NonZero",
    ),
}  # fmt: skip
"""Operators by class; all others are ``elementwise``."""

_CLASS_OF = {op: name for name, ops in CLASSES.items() for op in ops}
_SIZES = {
    "float": 4, "float16": 2, "bfloat16": 2, "double": 8, "int8": 1, "uint8": 1, "bool": 1,
    "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
}  # fmt: skip


def op_class(op: str) -> str:
    """Class of an operator."""
    return _CLASS_OF.get(op, "elementwise")


def flops(node: NodeRun) -> int:
    """Multiplications and additions of matrix products and convolutions; other nodes count 0.

    A multiplication and its addition are two, and biases are not counted, as in torch's counter
    (``torch.utils.flop_counter``). All of it follows from the shapes: an operand's two last axes
    hold the summed length once.

    Raises:
        InternalError: shapes that the operator cannot have.
    """
    if node.op in _MATRIX:
        return _product(node)
    if node.op in _CONV:
        weight = next(t for t in node.inputs[1:] if len(t.shape) >= 3)
        return 2 * math.prod(node.outputs[0].shape) * math.prod(weight.shape[1:])
    if node.op == "ConvTranspose":
        return 2 * math.prod(node.inputs[0].shape) * math.prod(node.inputs[1].shape[1:])
    if node.op == "Einsum":
        raise InternalError(f"{node.name}: an Einsum's work does not follow from its shapes")
    return 0


def bytes_moved(node: NodeRun) -> int:
    """Bytes of all that enters and leaves a node, each counted once."""
    return sum(_size(tensor) for tensor in (*node.inputs, *node.outputs))


def with_weights(node: NodeRun, file: Mapping[str, NodeRun]) -> NodeRun:
    """A node with the weights that ONNX Runtime packed, which its profile leaves out.

    Args:
        node: that ran.
        file: nodes of the file by name, profiled without packing.
    """
    if op_class(node.op) not in ("matrix products", "convolutions"):
        return node
    axes = 2 if node.op in _MATRIX else 3
    # a bias that is left must not be taken for the weights; a product with a vector has no packed
    if any(len(t.shape) >= axes for t in node.inputs[1:]) or _with_vector(node):
        return node
    same = file.get(node.name)
    if same is not None and len(same.inputs) > 1:
        return replace(node, inputs=(node.inputs[0], *same.inputs[1:]))
    if node.op in _MATRIX:
        out = node.outputs[0].shape
        weight = Tensor(node.inputs[0].dtype, (_summed(node), out[-1]))
        return replace(node, inputs=(node.inputs[0], weight, *node.inputs[1:]))
    raise InternalError(f"{node.name}: the weights of a {node.op} are in neither profile")


def _with_vector(node: NodeRun) -> bool:
    left, out = node.inputs[0].shape, node.outputs[0].shape
    return len(left) == 1 or len(out) < len(left)


def _product(node: NodeRun) -> int:
    work = 2 * math.prod(node.outputs[0].shape)
    return work * (node.inputs[0].shape[-1] if _with_vector(node) else _summed(node))


def _summed(node: NodeRun) -> int:
    """The summed length, which both operands hold."""
    out = node.outputs[0].shape
    left = _lengths(node.inputs[0].shape, out[-2], math.prod(out[:-1]), len(out))
    right = next((t.shape for t in node.inputs[1:2] if len(t.shape) >= 2), None)
    if right is not None:
        other = _lengths(right, out[-1], math.prod(out[:-2]) * out[-1], len(out))
        left = [length for length in left if length in other]
    if not left:
        raise InternalError(
            f"{node.name}: expected shapes of a matrix product, found {_shapes(node.inputs)} "
            f"to {_shapes(node.outputs)}"
        )
    return left[0]


def _lengths(shape: tuple[int, ...], own: int, whole: int, axes: int) -> list[int]:
    """Summed lengths that an operand may have.

    Transposed or not, its two last axes are that length and its ``own`` of the output's. Where
    ONNX Runtime moved an axis of the batch between them (FusedMatMul's ``transBatchA``), all of
    it is that length and the ``whole`` of the output's that it decides.
    """
    if not own or not whole:
        return [0]
    found = [pair // own] if (pair := shape[-2] * shape[-1]) % own == 0 else []
    if len(shape) == axes and math.prod(shape) % whole == 0:
        found.append(math.prod(shape) // whole)
    return found


def _size(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * _SIZES.get(tensor.dtype, 4)


def _shapes(tensors: Sequence[Tensor]) -> list[list[int]]:
    return [list(tensor.shape) for tensor in tensors]
