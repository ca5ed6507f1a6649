"""The ONNX model inside a plan: its borders, its weights, and running it.

Numbers are real: ONNX Runtime's CPU provider computes them, and what is float16 in the graph goes
through the rounding graph, so that an fp16 overflow shows as it would on a GPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, numpy_helper

__all__ = ["DTYPES", "Model", "Tensor"]

Array = NDArray[Any]

DTYPES: dict[int, str] = {
    **{TensorProto.FLOAT: "FLOAT", TensorProto.FLOAT16: "HALF", TensorProto.INT8: "INT8"},
    **{TensorProto.INT32: "INT32", TensorProto.BOOL: "BOOL", TensorProto.UINT8: "UINT8"},
    **{TensorProto.INT64: "INT64", TensorProto.BFLOAT16: "BF16"},
}
"""ONNX element types as names of DataType."""


@dataclass(frozen=True)
class Tensor:
    """An input or output; a dimension is a size, or a symbol."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def dims(self) -> tuple[int, ...]:
        """As TensorRT shows it: -1 for what is dynamic."""
        return tuple(-1 if isinstance(size, str) else size for size in self.shape)


class Model:
    """A parsed model.

    Args:
        proto: with its weights inside.
        narrow: int64 becomes int32, as TensorRT 8 does.

    Raises:
        ValueError: an input or output of a type that TensorRT lacks.
    """

    def __init__(self, proto: onnx.ModelProto, narrow: bool = False) -> None:
        self.proto = proto
        self.narrow = narrow
        weights = {tensor.name for tensor in proto.graph.initializer}
        self.inputs = [self._tensor(v) for v in proto.graph.input if v.name not in weights]
        self.outputs = [self._tensor(v) for v in proto.graph.output]
        self._session: Any = None
        self._shapes: dict[tuple[Any, ...], dict[str, tuple[int, ...]]] = {}

    @classmethod
    def read(cls, content: bytes, folder: str, narrow: bool) -> Model:
        """Parse a message and the weights in files beside it.

        Raises:
            ValueError: it is no ONNX, or of an unknown border type.
            OSError: a weight file is missing.
        """
        try:
            proto = onnx.load_model_from_string(content)
        except Exception as error:  # protobuf's classes share no base
            raise ValueError(f"Failed to parse the ONNX model: {error}") from error
        if not proto.graph.node and not proto.graph.output:
            raise ValueError("Failed to parse the ONNX model: it is empty")
        for tensor in proto.graph.initializer:
            if external_data_helper.uses_external_data(tensor):
                place = external_data_helper.ExternalDataInfo(tensor)
                path = Path(folder) / place.location
                if not path.is_file():
                    raise FileNotFoundError(f"Failed to open file: {path}")
                external_data_helper.load_external_data_for_tensor(tensor, folder)
                tensor.data_location = TensorProto.DEFAULT
                del tensor.external_data[:]
        return cls(proto, narrow)

    def _tensor(self, value: onnx.ValueInfoProto) -> Tensor:
        kind = value.type.tensor_type
        dtype = DTYPES.get(kind.elem_type)
        if dtype is None:
            raise ValueError(f"{value.name}: element type {kind.elem_type} is not supported")
        if dtype == "INT64" and self.narrow:
            dtype = "INT32"
        shape = tuple(
            (dim.dim_param or f"?{value.name}.{axis}") if dim.WhichOneof("value") != "dim_value"
            else dim.dim_value
            for axis, dim in enumerate(kind.shape.dim)
        )  # fmt: skip
        return Tensor(value.name, dtype, shape)

    @property
    def half(self) -> bool:
        """Whether anything in it is float16."""
        graph = self.proto.graph
        half = TensorProto.FLOAT16
        return (
            any(t.data_type == half for t in graph.initializer)
            or any(v.type.tensor_type.elem_type == half for v in (*graph.input, *graph.output))
            or any(a.name == "to" and a.i == half for n in graph.node for a in n.attribute)
        )

    # weights

    def weights(self) -> dict[str, Array]:
        """What a refit may change: the floating-point initialisers that are no scalars."""
        return {
            t.name: numpy_helper.to_array(t)
            for t in self.proto.graph.initializer
            if t.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16) and len(t.dims)
        }

    def digests(self) -> dict[str, str]:
        """SHA-256 of each refittable weight."""
        return {k: hashlib.sha256(v.tobytes()).hexdigest() for k, v in self.weights().items()}

    def strip(self) -> Model:
        """The same without the values of its refittable weights."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        names = self.weights().keys()
        for tensor in proto.graph.initializer:
            if tensor.name in names:
                for part in ("raw_data", "float_data", "int32_data"):
                    tensor.ClearField(part)
        return Model(proto, self.narrow)

    def replace(self, values: Mapping[str, Array]) -> Model:
        """The same with other weights."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        for tensor in proto.graph.initializer:
            if tensor.name in values:
                shaped = values[tensor.name].reshape(tuple(tensor.dims))
                tensor.CopyFrom(numpy_helper.from_array(shaped, tensor.name))
        return Model(proto, self.narrow)

    # running

    def session(self) -> Any:
        """ONNX Runtime's session; float16 is rounded as it is stored."""
        if self._session is None:
            import onnxruntime

            proto = self.proto
            if self.half:
                from t2s_engines.graphs.graph import Graph
                from t2s_engines.graphs.rounding import rounding_graph

                proto = rounding_graph(Graph.from_model(proto)).to_model("rounded")
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self._session = onnxruntime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        return self._session

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        wide = {v.name: v.type for v in self.session().get_inputs()}
        ready = {
            name: value.astype(np.int64) if wide[name] == "tensor(int64)" else value
            for name, value in feeds.items()
            if name in wide
        }
        names = [tensor.name for tensor in self.outputs]
        found = self.session().run(names, ready)
        return {
            tensor.name: value.astype(np.int32) if tensor.dtype == "INT32" else value
            for tensor, value in zip(self.outputs, found, strict=True)
        }

    def output_shapes(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for shapes of the inputs: by symbols, else by running on zeros."""
        key = tuple(sorted((name, tuple(shape)) for name, shape in shapes.items()))
        if key not in self._shapes:
            bound: dict[str, int] = {}
            for tensor in self.inputs:
                for size, actual in zip(tensor.shape, shapes[tensor.name], strict=True):
                    if isinstance(size, str):
                        bound[size] = actual
            free = {s for t in self.outputs for s in t.shape if isinstance(s, str)} - bound.keys()
            if free:
                zeros = {
                    t.name: np.zeros(tuple(shapes[t.name]), _numpy(t.dtype)) for t in self.inputs
                }
                self._shapes[key] = {k: v.shape for k, v in self.run(zeros).items()}
            else:
                self._shapes[key] = {
                    t.name: tuple(bound[s] if isinstance(s, str) else s for s in t.shape)
                    for t in self.outputs
                }
        return self._shapes[key]


def _numpy(dtype: str) -> Any:
    kinds = {
        **{"FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32},
        **{"BOOL": np.bool_, "UINT8": np.uint8, "INT64": np.int64},
    }
    return kinds[dtype]
