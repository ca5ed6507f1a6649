"""A float graph with some layers as explicit Q/DQ: ONNX Runtime's quantiser, kept to those layers.

Two schemes, because the targets differ. *cpu*: uint8 activations with a zero point, int8 weights
per channel, int32 biases; outputs of convolutions are quantised too, since the provider has no
integer convolution without. Without VNNI the product of uint8 and int8 saturates at 16 bits, so
weights are held to 7 bits. *tensorrt*: int8 on both sides, symmetric, zero points 0, no Q/DQ on
biases or outputs; over a float16 graph scales are float16, which takes opset 19.

The quantiser works tensor by tensor: it would also feed quantised values to the residual sums that
read the same tensor, and quantised weights to float layers that share them. Layers therefore get
inputs and weights of their own first.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper

from t2s_calibration.int8.layers import Layer
from t2s_calibration.int8.ranges import Range
from t2s_engines.errors import GraphError
from t2s_engines.graphs.graph import Array, Graph
from t2s_engines.graphs.opset import HALF_QUANTISERS, at_opset

__all__ = ["TARGETS", "Scheme", "Target", "measured_outputs", "quantised"]

Target = Literal["cpu", "tensorrt"]
TARGETS: tuple[Target, ...] = ("cpu", "tensorrt")
_OWN = "/int8"
_HALF = np.dtype(np.float16)
_LIMIT = 2**31 - 2**20
"""Bytes that one message of protobuf may hold; the quantiser takes the graph as one."""


@dataclass(frozen=True)
class Scheme:
    """How numbers become 8 bits.

    Attributes:
        target: device that the graph is for.
        reduced: weights have 7 bits, for processors whose integer product saturates.
    """

    target: Target
    reduced: bool = False

    @property
    def symmetric(self) -> bool:
        """Whether activations have the zero point 0."""
        return self.target == "tensorrt"


def measured_outputs(layers: Sequence[Layer], scheme: Scheme) -> list[str]:
    """Values beside the layers' inputs whose ranges a scheme needs."""
    return [one.output for one in layers if one.kind == "Conv" and scheme.target == "cpu"]


def quantised(
    graph: Graph,
    layers: Sequence[Layer],
    chosen: Collection[str],
    ranges: Mapping[str, Range],
    scheme: Scheme,
) -> Graph:
    """The graph with some of its layers in int8.

    Args:
        graph: float32 or, for TensorRT, typed float16; not changed.
        layers: of this graph.
        chosen: names of the layers to quantise; none gives the graph as it is.
        ranges: of the layers' inputs by layer name, and of outputs by value name.
        scheme: see there.

    Raises:
        GraphError: the graph is too large for one message, or the quantiser refuses it.
    """
    wanted = [layer for layer in layers if layer.name in chosen]
    if not wanted:
        return graph
    if sum(value.nbytes for value in graph.constants.values()) > _LIMIT:
        raise GraphError("expected at most 2 GiB of weights to quantise, found more")
    parted, spans = _with_own_tensors(graph, wanted, ranges)
    for name in measured_outputs(wanted, scheme):
        spans[name] = ranges[name]
    half = {
        f"{layer.input}{_OWN}" for layer in wanted if graph.constants[layer.weight].dtype == _HALF
    }
    parted = at_opset(parted, HALF_QUANTISERS) if half else parted
    data = {
        # the scale takes the type of the range, and has to be that of the tensor
        name: np.array([span.low, span.high], np.float16 if name in half else np.float32)
        for name, span in spans.items()
    }
    model = _quantise(parted.to_model("int8"), [w.name for w in wanted], data, scheme)
    found = replace(_whole(Graph.from_model(model)), inputs=dict(graph.inputs))
    return replace(found, outputs=dict(graph.outputs))


def _with_own_tensors(
    graph: Graph, wanted: Sequence[Layer], ranges: Mapping[str, Range]
) -> tuple[Graph, dict[str, Range]]:
    """Layers read copies of their inputs and weights that nothing else reads."""
    by_name = {layer.name: layer for layer in wanted}
    constants, spans = dict(graph.constants), dict[str, Range]()
    made: set[str] = set()
    nodes = []
    for source in graph.nodes:
        layer = by_name.get(source.name)
        if layer is None:
            nodes.append(source)
            continue
        node = onnx.NodeProto()
        node.CopyFrom(source)
        # layers that read one tensor share its range, and with it one pair of nodes
        own = f"{layer.input}{_OWN}"
        if own not in made:
            made.add(own)
            nodes.append(helper.make_node("Identity", [layer.input], [own], name=own))
            spans[own] = ranges[layer.name]
        constants[f"{layer.name}{_OWN}/weight"] = constants[layer.weight]
        node.input[0], node.input[1] = own, f"{layer.name}{_OWN}/weight"
        if len(node.input) > 2 and node.input[2] in constants:
            constants[f"{layer.name}{_OWN}/bias"] = constants[node.input[2]]
            node.input[2] = f"{layer.name}{_OWN}/bias"
        nodes.append(node)
    found = replace(graph, nodes=nodes, constants=constants)
    found.drop_unused_constants()
    return found, spans


def _quantise(
    model: onnx.ModelProto, names: Sequence[str], spans: Mapping[str, Array], scheme: Scheme
) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    kinds = ["MatMul", "Gemm", "Conv"]
    options: dict[str, Any] = {
        "ActivationSymmetric": scheme.symmetric,
        "WeightSymmetric": True,
        "QuantizeBias": scheme.target == "cpu",
        "OpTypesToExcludeOutputQuantization": kinds if scheme.symmetric else kinds[:2],
    }
    data = {name: TensorData(lowest=low, highest=high) for name, (low, high) in spans.items()}
    activations = QuantType.QInt8 if scheme.symmetric else QuantType.QUInt8
    with _quiet():
        try:
            quantiser = QDQQuantizer(
                model, True, scheme.reduced, QuantType.QInt8, activations, data, list(names), [],
                kinds, options,
            )  # fmt: skip
            quantiser.quantize_model()
        except Exception as cause:  # it raises ValueError, RuntimeError and others
            raise GraphError(
                f"expected a graph that ONNX Runtime quantises, it refuses: {cause}"
            ) from cause
    found: onnx.ModelProto = quantiser.model.model
    return found


def _whole(graph: Graph) -> Graph:
    """Without the copies that :func:`_with_own_tensors` made of activations."""
    copies = {
        node.output[0]: node.input[0]
        for node in graph.nodes
        if node.op_type == "Identity" and node.output[0].endswith(_OWN)
    }
    graph.remove([n for n in graph.nodes if n.op_type == "Identity" and n.output[0] in copies])
    graph.replace_uses(copies)
    graph.nodes = _sorted(graph)
    graph.drop_unused_constants()
    return graph


def _sorted(graph: Graph) -> list[onnx.NodeProto]:
    """Nodes behind those that they read; the quantiser appends its own at the end.

    The order of the graph otherwise stays, and the quantiser's nodes stand where they are needed.
    """
    makers = graph.producers()
    done: set[int] = set()
    found: list[onnx.NodeProto] = []
    for last in graph.nodes:
        waiting = [last]
        while waiting:
            node = waiting[-1]
            before = [makers[name] for name in node.input if name in makers]
            missing = [one for one in before if id(one) not in done]
            if missing:
                waiting += missing[::-1]
                continue
            waiting.pop()
            if id(node) not in done:
                done.add(id(node))
                found.append(node)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser logs advice that does not fit graphs like these."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
