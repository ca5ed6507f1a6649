"""Networks and the ONNX parser."""

from __future__ import annotations

import os
from typing import Any

from tests.doubles.tensorrt_double.basics import report, shape_of
from tests.doubles.tensorrt_double.model import Model, Tensor
from tests.doubles.tensorrt_double.names import (
    Builder,
    DataType,
    Dims,
    ErrorCode,
    ILogger,
    NetworkDefinitionCreationFlag,
    OnnxParserFlag,
    TensorLocation,
)
from tests.doubles.tensorrt_double.pybind import Buffer, CStr, Object, UInt, make, number, only

from t2s_engines.preflight.releases import find_release, operators

__all__ = ["TEMPLATES", "read_model"]

_TABLE = {"8.6": "8.6", "10.3": "10.1", "10.13": "10.16", "11.4": "11.1"}
"""Which state of the parser's own operator table stands for a release."""


class ITensor(Object):
    """An input or output of a network."""

    _tensor: Tensor
    _input: bool
    _network: Any

    @property
    def name(self) -> str:
        return self._tensor.name

    @name.setter
    def name(self, value: CStr) -> None:
        raise NotImplementedError("the double keeps the names of the ONNX file")

    @property
    def shape(self) -> Dims:
        return shape_of(self._trt, self._tensor.dims)

    @shape.setter
    def shape(self, value: Dims) -> None:
        raise NotImplementedError("the double keeps the shapes of the ONNX file")

    @property
    def dtype(self) -> DataType:
        return self._trt.DataType.__members__[self._tensor.dtype]

    @dtype.setter
    @only(until="11")
    def dtype(self, value: DataType) -> None:
        if value != self.dtype:
            raise NotImplementedError("the double keeps the types of the ONNX file")

    @property
    def location(self) -> TensorLocation:
        return self._trt.TensorLocation.DEVICE

    @location.setter
    def location(self, value: TensorLocation) -> None:
        if value != self._trt.TensorLocation.DEVICE:
            raise NotImplementedError("the double keeps all tensors on the device")

    @property
    def is_network_input(self) -> bool:
        return self._input

    @property
    def is_network_output(self) -> bool:
        return not self._input

    @property
    def is_shape_tensor(self) -> bool:
        return False

    @property
    def is_execution_tensor(self) -> bool:
        return True


class INetworkDefinition(Object):
    """A network; in the double a parser fills it."""

    _builder: Any
    _flags: int
    _name: str
    _model: Model | None

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, value: CStr) -> None:
        self._name = value

    @property
    def num_layers(self) -> int:
        return len(self._model.proto.graph.node) if self._model else 0

    @property
    def num_inputs(self) -> int:
        return len(self._model.inputs) if self._model else 0

    @property
    def num_outputs(self) -> int:
        return len(self._model.outputs) if self._model else 0

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return number(self._release)[0] == 8 and not self._flags & 1

    def get_input(self, index: int) -> ITensor | None:
        found: ITensor | None = self._at(self._model.inputs if self._model else [], index, True)
        return found

    def get_output(self, index: int) -> ITensor | None:
        found: ITensor | None = self._at(self._model.outputs if self._model else [], index, False)
        return found

    def _at(self, tensors: list[Tensor], index: int, is_input: bool) -> Any:
        if not 0 <= index < len(tensors):
            report(self._builder._logger, "ERROR", "Error Code 3: API Usage Error (bad index)")
            return None
        return make(self._trt.ITensor, _tensor=tensors[index], _input=is_input, _network=self)

    @property
    @only(since="10")
    def flags(self) -> int:
        return self._flags

    @only(since="10")
    def get_flag(self, flag: NetworkDefinitionCreationFlag) -> bool:
        return bool(self._flags & 1 << int(flag))

    @property
    @only(since="10")
    def builder(self) -> Builder:
        return self._builder

    def __len__(self) -> int:
        return self.num_layers

    def _strong(self) -> bool:
        """Whether precisions are the graph's own; 11 knows nothing else."""
        major = number(self._release)[0]
        return major >= 11 or (major >= 10 and bool(self._flags & 2))


class ParserError(Object):
    """One complaint of the parser."""

    _code: str
    _desc: str
    _node: int
    _node_name: str
    _operator: str

    def code(self) -> ErrorCode:
        return self._trt.ErrorCode.__members__[self._code]

    def desc(self) -> str:
        return self._desc

    def file(self) -> str:
        return "ModelImporter.cpp"

    def line(self) -> int:
        return 1

    def func(self) -> str:
        return "parseNode"

    def node(self) -> int:
        return self._node

    @only(since="10")
    def node_name(self) -> str:
        return self._node_name

    @only(since="10")
    def node_operator(self) -> str:
        return self._operator

    @only(since="10")
    def local_function_stack(self) -> list[str]:
        return []

    @only(since="10")
    def local_function_stack_size(self) -> int:
        return 0

    def __str__(self) -> str:
        return f"In node {self._node} (parseNode): {self._code}: {self._desc}"

    def __repr__(self) -> str:
        return str(self)


def read_model(self: Any, content: bytes, folder: str) -> Model | None:
    """Parse a model for a parser or its refitter; errors go to ``self._errors`` and the logger."""
    release = number(self._release)
    try:
        model = Model.read(content, folder, narrow=release[0] == 8)
    except OSError as error:
        _complain(self, "MODEL_DESERIALIZE_FAILED", str(error))
        return None
    except ValueError as error:
        _complain(self, "MODEL_DESERIALIZE_FAILED", str(error))
        return None
    table = _TABLE[".".join(self._release.split(".")[:2])]
    known = operators(table)
    for index, node in enumerate(model.proto.graph.node):
        if node.op_type not in known or node.domain not in ("", "ai.onnx"):
            _complain(
                self,
                "UNSUPPORTED_NODE",
                f"No importer registered for op: {node.op_type}",
                index,
                node.name,
                node.op_type,
            )
    opset = max(entry.version for entry in model.proto.opset_import if not entry.domain)
    if opset > find_release(table).opsets[1]:
        report(
            self._logger,
            "WARNING",
            f"ModelImporter.cpp: The ONNX model uses opset {opset}, newer than this parser's",
        )
    return None if self._errors else model


def _complain(
    self: Any, code: str, text: str, node: int = -1, name: str = "", operator: str = ""
) -> None:
    if code not in self._trt.ErrorCode.__members__:
        code = "INTERNAL_ERROR"
    self._errors.append(
        make(
            self._trt.ParserError,
            _code=code,
            _desc=text,
            _node=node,
            _node_name=name,
            _operator=operator,
        )
    )
    report(self._logger, "ERROR", f"ModelImporter.cpp: {text}")


class OnnxParser(Object):
    """Reads an ONNX file into a network."""

    _network: Any
    _logger: Any
    _errors: list[Any]
    _flags: int

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger, self._errors, self._flags = network, logger, [], 0
        # instance normalisation is native by default since 10
        self._flags = 1 if number(self._release)[0] >= 10 else 0

    def parse(self, model: Buffer, path: None | CStr = None) -> bool:
        return self._parse(bytes(model), os.path.dirname(path or ""))

    def parse_from_file(self, model: str) -> bool:
        self._errors.clear()
        try:
            with open(model, "rb") as stream:
                content = stream.read()
        except OSError:
            _complain(self, "MODEL_DESERIALIZE_FAILED", f"Failed to open file: {model}")
            return False
        return self._parse(content, os.path.dirname(model))

    def _parse(self, content: bytes, folder: str) -> bool:
        self._errors.clear()
        if self._network.has_implicit_batch_dimension:
            _complain(
                self,
                "INVALID_VALUE",
                "This version of the ONNX parser only supports TensorRT INetworkDefinitions with "
                "an explicit batch dimension.",
            )
            return False
        model = read_model(self, content, folder)
        if model is None:
            return False
        self._network._model = model
        return True

    def supports_operator(self, op_name: CStr) -> bool:
        return op_name in operators(_TABLE[".".join(self._release.split(".")[:2])])

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]  # type: ignore[no-any-return]

    def clear_errors(self) -> None:
        self._errors.clear()

    @property
    def flags(self) -> int:
        return self._flags

    @flags.setter
    def flags(self, value: UInt) -> None:
        self._flags = value

    def clear_flag(self, flag: OnnxParserFlag) -> None:
        self._flags &= ~(1 << int(flag))

    def set_flag(self, flag: OnnxParserFlag) -> None:
        self._flags |= 1 << int(flag)

    def get_flag(self, flag: OnnxParserFlag) -> bool:
        return bool(self._flags & 1 << int(flag))

    def get_used_vc_plugin_libraries(self) -> list[str]:
        return []


TEMPLATES: tuple[type, ...] = (ITensor, INetworkDefinition, ParserError, OnnxParser)
