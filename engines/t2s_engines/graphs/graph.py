"""An ONNX graph that is easy to edit: nodes in order, constants as arrays.

Protocol buffers hold at most 2 GiB and every whole-model function of ``onnx`` serialises, so
constants live outside the message as numpy arrays until the file is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from t2s_engines.errors import GraphError

__all__ = ["IR_VERSION", "Array", "Graph", "ValueType"]

Array = NDArray[np.generic]

IR_VERSION = 8
"""The file format version that belongs to opset 17; the parser of TensorRT 8.6 knows no newer."""
_IR_VERSIONS = {19: 9}
"""Of opsets that need a newer one."""

_INLINE_ELEMENTS = 1024
"""Constants above this many elements never describe a shape, so inference need not see them."""


@dataclass(frozen=True)
class ValueType:
    """Element type and shape of a value; a dimension is a size, a symbol, or None (unknown)."""

    elem_type: int
    shape: tuple[int | str | None, ...] | None


@dataclass
class Graph:
    """One graph in editable form.

    Attributes:
        nodes: operators in topological order.
        constants: arrays by value name.
        inputs: types of the graph's inputs, in order.
        outputs: types of the graph's outputs, in order.
        opset: version of the default operator set.
        shapes: shapes learnt while editing that inference alone would lose again.
    """

    nodes: list[onnx.NodeProto]
    constants: dict[str, Array]
    inputs: dict[str, ValueType]
    outputs: dict[str, ValueType]
    opset: int
    shapes: dict[str, ValueType] = field(default_factory=dict)

    @classmethod
    def from_model(cls, model: onnx.ModelProto) -> Graph:
        """Take a model apart; initialisers and Constant nodes become ``constants``.

        Raises:
            GraphError: the model holds functions, custom operator sets or sparse constants.
        """
        domains = {entry.domain: entry.version for entry in model.opset_import}
        if set(domains) != {""} or len(model.functions) or len(model.graph.sparse_initializer):
            raise GraphError(
                "expected a graph of the default operator set only, without functions or sparse "
                f"constants; found operator sets {sorted(domains)}, {len(model.functions)} "
                f"functions, {len(model.graph.sparse_initializer)} sparse constants; "
                "write the module with plain tensor operations"
            )
        constants = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        nodes = []
        for source in model.graph.node:
            if source.op_type == "Constant":
                constants[source.output[0]] = _constant_value(source)
                continue
            node = onnx.NodeProto()
            node.CopyFrom(source)
            nodes.append(node)
        inputs = {v.name: _value_type(v) for v in model.graph.input if v.name not in constants}
        outputs = {v.name: _value_type(v) for v in model.graph.output}
        return cls(nodes, constants, inputs, outputs, domains[""])

    def to_model(
        self,
        name: str,
        *,
        producer: str = "",
        producer_version: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> onnx.ModelProto:
        """Put the model together again.

        Args:
            name: the graph's name in the file.
            producer: what wrote the file.
            producer_version: its version.
            metadata: further facts, stored sorted by key.
        """
        graph = helper.make_graph(
            self.nodes,
            name,
            [_value_info(key, value) for key, value in self.inputs.items()],
            [_value_info(key, value) for key, value in self.outputs.items()],
            [
                numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), key)
                for key, value in self.constants.items()
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=_IR_VERSIONS.get(self.opset, IR_VERSION),
            producer_name=producer,
            producer_version=producer_version,
        )
        helper.set_model_props(model, dict(sorted((metadata or {}).items())))
        return model

    def types(self) -> dict[str, ValueType]:
        """Infer element type and shape of every value, constants included."""
        small = {k: v for k, v in self.constants.items() if v.size <= _INLINE_ELEMENTS}
        large = {k: _array_type(v) for k, v in self.constants.items() if k not in small}
        skeleton = Graph(self.nodes, small, {**self.inputs, **large}, self.outputs, self.opset)
        model = skeleton.to_model("skeleton")
        made = self.producers().keys() - self.outputs.keys()
        known = [_value_info(k, v) for k, v in self.shapes.items() if k in made]
        model.graph.value_info.extend(known)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        found = {v.name: _value_type(v) for v in inferred.value_info}
        return {
            **found,
            **{k: _array_type(v) for k, v in self.constants.items()},
            **self.inputs,
            **self.outputs,
        }

    def producers(self) -> dict[str, onnx.NodeProto]:
        """Which node makes each value."""
        return {name: node for node in self.nodes for name in node.output if name}

    def replace_uses(self, replacements: Mapping[str, str]) -> None:
        """Make every node read ``replacements[name]`` instead of ``name``; chains are followed."""

        def last(name: str) -> str:
            while name in replacements:
                name = replacements[name]
            return name

        for node in self.nodes:
            for index, name in enumerate(node.input):
                if name in replacements:
                    node.input[index] = last(name)

    def remove_dead(self) -> bool:
        """Take out nodes and constants that no output depends on; True if there were any."""
        needed = set(self.outputs)
        living = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                living.append(node)
                needed.update(node.input)
        before = len(self.nodes), len(self.constants)
        self.nodes = living[::-1]
        self.constants = {k: v for k, v in self.constants.items() if k in needed}
        return before != (len(self.nodes), len(self.constants))

    def drop_unused_constants(self) -> None:
        """Forget the constants that no node reads and that are no output."""
        used = {name for node in self.nodes for name in node.input} | set(self.outputs)
        self.constants = {name: value for name, value in self.constants.items() if name in used}

    def remove(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Take nodes out, by identity."""
        gone = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) not in gone]

    def operator_counts(self) -> Counter[str]:
        """How often each operator occurs."""
        return Counter(node.op_type for node in self.nodes)


def _constant_value(node: onnx.NodeProto) -> Array:
    """The array of a Constant node, whichever attribute holds it."""
    attribute = node.attribute[0]
    if attribute.name == "value":
        return numpy_helper.to_array(attribute.t)
    kinds = {"value_int": "int64", "value_ints": "int64"}
    kinds |= {"value_float": "float32", "value_floats": "float32"}
    if attribute.name not in kinds:
        raise GraphError(
            f"expected a Constant node that holds numbers, found {attribute.name!r} in "
            f"{node.name!r}; no contract has strings or sparse tensors"
        )
    return np.asarray(helper.get_attribute_value(attribute), dtype=kinds[attribute.name])


def _array_type(value: Array) -> ValueType:
    return ValueType(helper.np_dtype_to_tensor_dtype(value.dtype), tuple(value.shape))


def _value_type(info: onnx.ValueInfoProto) -> ValueType:
    tensor = info.type.tensor_type
    if info.type.WhichOneof("value") != "tensor_type":
        return ValueType(onnx.TensorProto.UNDEFINED, None)
    if not tensor.HasField("shape"):
        return ValueType(tensor.elem_type, None)
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        kind = dim.WhichOneof("value")
        if kind == "dim_value":
            dims.append(dim.dim_value)
        elif kind == "dim_param" and not dim.dim_param.startswith("unk__"):
            dims.append(dim.dim_param)
        else:
            dims.append(None)
    return ValueType(tensor.elem_type, tuple(dims))


def _value_info(name: str, value: ValueType) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, value.elem_type, value.shape)
