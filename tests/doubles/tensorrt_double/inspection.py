"""What belongs to an engine: inspector, and how to serialise and run it."""

from __future__ import annotations

import json
from typing import Any

from tests.doubles.tensorrt_double.names import (
    ExecutionContextAllocationStrategy,
    IExecutionContext,
    LayerInformationFormat,
    SerializationFlag,
)
from tests.doubles.tensorrt_double.pybind import Object, UInt, only

__all__ = ["TEMPLATES", "EngineInspector", "IRuntimeConfig", "ISerializationConfig"]


class ISerializationConfig(Object):
    """What goes into a serialised engine."""

    _flags: int

    @property
    def flags(self) -> int:
        return self._flags

    @flags.setter
    def flags(self, value: UInt) -> None:
        self._flags = value

    def clear_flag(self, flag: SerializationFlag) -> bool:
        self._flags &= ~(1 << int(flag))
        return True

    def set_flag(self, flag: SerializationFlag) -> bool:
        self._flags |= 1 << int(flag)
        return True

    def get_flag(self, flag: SerializationFlag) -> bool:
        return bool(self._flags & 1 << int(flag))


class EngineInspector(Object):
    """Describes an engine's layers."""

    _engine: Any
    _context: Any

    @property
    def execution_context(self) -> None | IExecutionContext:
        return self._context

    @execution_context.setter
    def execution_context(self, value: None | IExecutionContext) -> None:
        self._context = value

    def _layer(self, index: int) -> Any:
        node = self._engine._plan.model.proto.graph.node[index]
        if self._engine._plan.verbosity != "DETAILED":
            return node.name or f"{node.op_type}_{index}"
        return {
            "Name": node.name or f"{node.op_type}_{index}",
            "LayerType": node.op_type,
            "Inputs": [{"Name": name} for name in node.input],
            "Outputs": [{"Name": name} for name in node.output],
        }

    def get_layer_information(self, layer_index: int, format: LayerInformationFormat) -> str:
        return json.dumps(self._layer(layer_index)) + "\n"

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        layers = [self._layer(index) for index in range(self._engine.num_layers)]
        if format == self._trt.LayerInformationFormat.ONELINE:
            return "\n".join(map(str, layers)) + "\n"
        plan = self._engine._plan
        names = [t.name for t in (*plan.model.inputs, *plan.model.outputs)]
        return json.dumps({"Layers": layers, "Bindings": names})


class IRuntimeConfig(Object):
    """How an execution context is made."""

    _strategy: Any

    def set_execution_context_allocation_strategy(
        self, strategy: ExecutionContextAllocationStrategy = None
    ) -> None:
        self._strategy = strategy

    def get_execution_context_allocation_strategy(self) -> ExecutionContextAllocationStrategy:
        return self._strategy or self._trt.ExecutionContextAllocationStrategy.STATIC


only(since="10")(ISerializationConfig)
only(since="10.10")(IRuntimeConfig)

TEMPLATES: tuple[type, ...] = (ISerializationConfig, EngineInspector, IRuntimeConfig)
