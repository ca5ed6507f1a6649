"""Refitters: new weights for an engine, or its own back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tests.doubles.tensorrt_double.basics import report
from tests.doubles.tensorrt_double.names import (
    ICudaEngine,
    ILogger,
    ParserError,
    TensorLocation,
    Weights,
)
from tests.doubles.tensorrt_double.network import read_model
from tests.doubles.tensorrt_double.pybind import (
    Buffer,
    CStr,
    Object,
    UInt,
    only,
)

__all__ = ["TEMPLATES"]


class Refitter(Object):
    """Gives an engine new weights, or its own back."""

    _engine: Any
    _logger: Any
    _values: dict[str, Any]
    _threads: int

    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        self._engine, self._logger, self._values, self._threads = engine, logger, {}, 1
        if not engine.refittable:
            report(logger, "ERROR", "createInferRefitter: the engine is not refittable")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def _names(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            t.name: tuple(t.dims)
            for t in self._engine._plan.model.proto.graph.initializer
            if t.data_type in (1, 10) and len(t.dims)
        }
        return found

    def set_named_weights__1(self, name: CStr, weights: Weights) -> bool:
        return self._set(name, weights)

    def set_named_weights__2(self, name: CStr, weights: Weights, location: TensorLocation) -> bool:
        return self._set(name, weights)

    def _set(self, name: str, weights: Any) -> bool:
        shape = self._names().get(name)
        if shape is None or weights.size != int(np.prod(shape, dtype=np.int64)):
            report(self._logger, "ERROR", f"IRefitter::setNamedWeights: Error Code 3 ({name})")
            return False
        self._values[name] = np.array(weights.numpy())
        return True

    def get_all_weights(self) -> list[str]:
        return list(self._names())

    def get_missing_weights(self) -> list[str]:
        return [n for n in self._engine._plan.stripped if n not in self._values]

    def refit_cuda_engine(self) -> bool:
        plan = self._engine._plan
        if self.get_missing_weights():
            report(
                self._logger,
                "ERROR",
                f"IRefitter::refitCudaEngine: Error Code 3 (missing {self.get_missing_weights()})",
            )
            return False
        model = plan.model.replace(self._values)
        if plan.refit == "identical" and model.digests() != plan.digests:
            self._device.faults.append("refit of an engine for identical weights with others")
        self._engine._plan = replace(plan, model=model, stripped={})
        self._values = {}
        return True

    @only(since="10")
    def refit_cuda_engine_async(self, stream_handle: UInt) -> bool:
        self._device.stream(stream_handle)
        return self.refit_cuda_engine()

    @property
    def max_threads(self) -> int:
        return self._threads

    @max_threads.setter
    def max_threads(self, value: int) -> None:
        self._threads = value

    @property
    def logger(self) -> ILogger:
        return self._logger


class OnnxParserRefitter(Object):
    """Takes the weights for a refit from an ONNX file."""

    _refitter: Any
    _logger: Any
    _errors: list[Any]

    def __init__(self, refitter: Refitter, logger: ILogger) -> None:
        self._refitter, self._logger, self._errors = refitter, logger, []

    def refit_from_bytes(self, model: Buffer, path: None | CStr = None) -> bool:
        folder, _, _ = (path or "").rpartition("/")
        return self._refit(bytes(model), folder)

    def refit_from_file(self, model: str) -> bool:
        self._errors.clear()
        try:
            with open(model, "rb") as stream:
                content = stream.read()
        except OSError as error:
            report(self._logger, "ERROR", f"Failed to open file: {model}: {error}")
            return False
        return self._refit(content, model.rpartition("/")[0])

    def _refit(self, content: bytes, folder: str) -> bool:
        self._errors.clear()
        model = read_model(self, content, folder)
        if model is None:
            return False
        found = model.weights()
        names = self._refitter._names()
        if not names.keys() <= found.keys():
            return False
        return all(
            self._refitter._set(name, self._trt.Weights(np.ascontiguousarray(found[name])))
            for name in names
        )

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()


only(since="10")(OnnxParserRefitter)

TEMPLATES: tuple[type, ...] = (Refitter, OnnxParserRefitter)
