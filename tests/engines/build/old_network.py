"""Layers of a network in TensorRT 8.6, for the double: it keeps a model, and shows no layers.

Written from the headers of 8.6; no genuine module was at hand to check it. What matters is made as
unhelpful as it may be: between layers every floating tensor reads float32, whatever the graph says.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import TensorProto

__all__ = ["Layer", "LayerType", "attach"]


class LayerType(enum.Enum):
    """The kinds that matter."""

    CONSTANT = 0
    CAST = 1
    OTHER = 2


@dataclass
class Edge:
    """A tensor between layers."""

    name: str
    dtype: Any


@dataclass
class Layer:
    """A layer that remembers what it is told."""

    name: str
    type: LayerType
    inputs: list[Edge | None]
    outputs: list[Edge]
    precision: Any = None
    output_types: dict[int, Any] = field(default_factory=dict)

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_input(self, index: int) -> Edge | None:
        return self.inputs[index]

    def get_output(self, index: int) -> Edge:
        return self.outputs[index]

    def set_output_type(self, index: int, dtype: Any) -> None:
        self.output_types[index] = dtype


def attach(trt: Any) -> list[Layer]:
    """Give the double's networks layers.

    Returns:
        The layers of the network that is asked for some, filled when it is.
    """
    layers: list[Layer] = []

    def all_layers(network: Any) -> list[Layer]:
        if not layers:
            layers.extend(_layers(trt, network._model.proto))
        return layers

    trt.LayerType = LayerType
    trt.INetworkDefinition.num_layers = property(lambda network: len(all_layers(network)))
    trt.INetworkDefinition.get_layer = lambda network, index: all_layers(network)[index]
    return layers


def _layers(trt: Any, proto: onnx.ModelProto) -> list[Layer]:
    kinds = {
        TensorProto.FLOAT: trt.DataType.FLOAT,
        TensorProto.FLOAT16: trt.DataType.HALF,
        TensorProto.BOOL: trt.DataType.BOOL,
        TensorProto.UINT8: trt.DataType.UINT8,
    }
    whole = trt.DataType.INT32
    graph = onnx.shape_inference.infer_shapes(proto).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    edges = {value.name: Edge(value.name, kinds.get(types[value.name], whole)) for value in
             graph.input}  # fmt: skip
    layers = []
    for name, kind in constants.items():
        edges[name] = Edge(name, kinds.get(kind, whole))
        layers.append(Layer(name, LayerType.CONSTANT, [], [edges[name]]))
    for node in graph.node:
        outputs = []
        for name in node.output:
            kind = kinds.get(types.get(name, TensorProto.FLOAT), whole)
            if node.op_type not in ("Cast", "Constant") and kind == trt.DataType.HALF:
                kind = trt.DataType.FLOAT
            edges[name] = Edge(name, kind)
            outputs.append(edges[name])
        kind = {"Cast": LayerType.CAST, "Constant": LayerType.CONSTANT}.get(
            node.op_type, LayerType.OTHER
        )
        inputs = [edges[name] if name else None for name in node.input]
        layers.append(Layer(node.name, kind, inputs, outputs))
    return layers
