"""A plan that was loaded: runtime, engine and execution context with one owner.

TensorRT wants the context to go before the engine and the engine before the runtime; here this
holds however far the loading came.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from t2s_rt.backends.tensorrt.library import Library
from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import TensorSpec
from t2s_rt.errors import BackendError
from t2s_rt.plans import EngineFiles

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["Engine", "Tensor"]

Shape = tuple[int, ...]

_DTYPES = {"FLOAT": "float32", "UINT8": "uint8", "BOOL": "bool", "INT32": "int32"}
"""By TensorRT's names: the numbers behind them differ between releases."""
_PROFILE = 0
_REFIT_SINCE = 10


@dataclass(frozen=True)
class Tensor:
    """One input or output of an engine.

    Attributes:
        name: in the graph.
        dtype: of its elements.
        least: smallest shape of the profile; of an output the shape for the greatest inputs.
        greatest: largest shape.
    """

    name: str
    dtype: np.dtype[Any]
    least: Shape
    greatest: Shape

    @property
    def nbytes(self) -> int:
        """Bytes at the greatest shape."""
        return int(np.prod(self.greatest, dtype=np.int64)) * self.dtype.itemsize

    def show(self) -> str:
        """The profile for people: ``[1..4, 800, 800, 3]``."""
        sides = zip(self.least, self.greatest, strict=True)
        return "[{}]".format(", ".join(str(a) if a == b else f"{a}..{b}" for a, b in sides))


class Engine:
    """A plan in TensorRT, ready to be enqueued. Not safe for several threads at once.

    Args:
        library: TensorRT.
        entry: the graph that the plan was built from.
        files: the plan, checked against its sidecar by the caller.

    Attributes:
        inputs: by name, in the order of the graph's record.
        outputs: by name, likewise.

    Raises:
        BackendError: TensorRT refuses the plan, or its tensors are not those of the graph.
    """

    def __init__(self, library: Library, entry: GraphEntry, files: EngineFiles) -> None:
        self._library = library
        self._entry = entry
        self._files = files
        self._runtime: trt.Runtime | None = None
        self._engine: trt.ICudaEngine | None = None
        self._context: trt.IExecutionContext | None = None
        self._shapes: dict[str, Shape] = {}
        try:
            self._load()
            self.inputs = {spec.name: self._input(spec) for spec in entry.inputs}
            self._context = self._make_context()
            self._set_shapes({name: tensor.greatest for name, tensor in self.inputs.items()})
            self.outputs = {spec.name: self._output(spec) for spec in entry.outputs}
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free context, engine and runtime, in this order; a second call does nothing."""
        self._context = None
        self._engine = None
        self._runtime = None

    # running

    def set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        """Set the shapes of all inputs.

        Raises:
            BackendError: one of them lies outside the profile.
        """
        for name, shape in shapes.items():
            self._check_profile(self.inputs[name], shape)
        self._set_shapes(shapes)

    def output_shape(self, name: str) -> Shape:
        """The shape of an output for the inputs' shapes."""
        return _shape(self._live_context.get_tensor_shape(name))

    def bind(self, name: str, pointer: int) -> None:
        """Say where a tensor lies in device memory."""
        self._library.forget()
        if not self._live_context.set_tensor_address(name, pointer):
            raise BackendError(
                f"{self._entry.role}: TensorRT refuses the address of {name}"
                f"{self._library.complaint()}"
            )

    def enqueue(self, stream: int) -> None:
        """Put one run on a stream; returns before it is done."""
        self._library.forget()
        if not self._live_context.execute_async_v3(stream):
            raise BackendError(
                f"{self._entry.role}: TensorRT {self._library.version} failed to enqueue the "
                f"engine {self._files.folder.name}{self._library.complaint()}; run t2s-rt verify, "
                "and t2s-rt build again if it fails there too"
            )

    @property
    def _live_engine(self) -> trt.ICudaEngine:
        if self._engine is None:
            raise BackendError(f"{self._entry.role}: the engine is closed")
        return self._engine

    @property
    def _live_context(self) -> trt.IExecutionContext:
        if self._context is None:
            raise BackendError(f"{self._entry.role}: the engine is closed")
        return self._context

    def _check_profile(self, tensor: Tensor, shape: Shape) -> None:
        sizes = zip(tensor.least, shape, tensor.greatest, strict=True)
        if not all(least <= size <= greatest for least, size, greatest in sizes):
            raise BackendError(
                f"{self._entry.role}, input {tensor.name}: expected {tensor.show()} as the "
                f"profile of the engine {self._files.folder.name} says, found {list(shape)}; send "
                "less in one call, or run t2s-rt build with a greater --batch"
            )

    def _set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        self._library.forget()
        for name, shape in shapes.items():
            if self._shapes.get(name) == shape:
                continue
            self._shapes.pop(name, None)
            if not self._live_context.set_input_shape(name, shape):
                raise BackendError(
                    f"{self._entry.role}, input {name}: TensorRT refuses the shape {list(shape)}; "
                    f"the profile says {self.inputs[name].show()}{self._library.complaint()}"
                )
            self._shapes[name] = shape

    # loading

    def _load(self) -> None:
        options = self._files.sidecar.key.get("options")
        options = options if isinstance(options, Mapping) else {}
        stripped = bool(options.get("strip_weights"))
        if stripped and self._library.release[0] < _REFIT_SINCE:
            raise BackendError(
                f"{self._files.plan}: a plan without weights needs TensorRT {_REFIT_SINCE} or "
                f"newer, found {self._library.version}; build without --strip-weights"
            )
        self._runtime = self._library.create_runtime()
        if options.get("version_compatible"):
            # such a plan carries code of its own that runs on the host: only after its hash
            self._runtime.engine_host_code_allowed = True
        self._library.forget()
        # mapped, not read: the weights of a large plan need not lie in memory twice
        with (
            open(self._files.plan, "rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as plan,
        ):
            self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BackendError(
                f"{self._files.plan}: TensorRT {self._library.version} cannot load this plan"
                f"{self._library.complaint()}; run t2s-rt build again, on this device"
            )
        if stripped:
            self._refit()
        self._check_names()

    def _refit(self) -> None:
        """Give a plan without weights those of its graph."""
        import tensorrt as trt

        logger = self._library.logger
        refitter: trt.Refitter | None = None
        parser: trt.OnnxParserRefitter | None = None
        self._library.forget()
        try:
            refitter = trt.Refitter(self._live_engine, logger)
            parser = trt.OnnxParserRefitter(refitter, logger)
            fault = ""
            if not parser.refit_from_file(str(self._entry.path)):
                errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
                fault = " | ".join(errors) or "no reason given"
            elif missing := list(refitter.get_missing_weights()):
                fault = f"{len(missing)} weights are missing, e.g. {missing[0]}"
            elif not refitter.refit_cuda_engine():
                fault = "the engine refuses the weights"
            if fault:
                raise BackendError(
                    f"{self._files.plan}: cannot be given the weights of {self._entry.path} "
                    f"({fault}){self._library.complaint()}; run t2s-rt build again"
                )
        finally:
            # a traceback may keep this frame, and both must go before the engine
            del parser, refitter

    def _make_context(self) -> trt.IExecutionContext:
        self._library.forget()
        context = self._live_engine.create_execution_context()
        if context is None:
            raise BackendError(
                f"{self._entry.role}: TensorRT {self._library.version} cannot make an execution "
                f"context of {self._files.folder.name}{self._library.complaint()}; most often the "
                "device's memory is full: close other programs, or build with a smaller --batch"
            )
        return context

    def _check_names(self) -> None:
        """The plan's inputs and outputs must be those of the manifest."""
        import tensorrt as trt

        mode = trt.TensorIOMode
        count = self._live_engine.num_io_tensors
        names = [str(self._live_engine.get_tensor_name(index)) for index in range(count)]
        for side, specs, wanted in (
            ("inputs", self._entry.inputs, mode.INPUT),
            ("outputs", self._entry.outputs, mode.OUTPUT),
        ):
            found = {name for name in names if self._live_engine.get_tensor_mode(name) == wanted}
            expected = {spec.name for spec in specs}
            if found != expected:
                raise self._alien(
                    f"expected the {side} {', '.join(sorted(expected))}, "
                    f"found {', '.join(sorted(found)) or 'none'}"
                )

    def _input(self, spec: TensorSpec) -> Tensor:
        declared = self._declared(spec)
        if -1 not in declared:
            return Tensor(spec.name, np.dtype(spec.dtype), declared, declared)
        least, _, greatest = self._live_engine.get_tensor_profile_shape(spec.name, _PROFILE)
        return Tensor(spec.name, np.dtype(spec.dtype), _shape(least), _shape(greatest))

    def _output(self, spec: TensorSpec) -> Tensor:
        self._declared(spec)
        greatest = self.output_shape(spec.name)
        if any(size < 0 for size in greatest):
            raise self._alien(
                f"expected the shape of {spec.name} to follow from the inputs' shapes, found "
                f"{list(greatest)}"
            )
        return Tensor(spec.name, np.dtype(spec.dtype), greatest, greatest)

    def _declared(self, spec: TensorSpec) -> Shape:
        """A tensor's shape in the plan, -1 for dynamic sizes, checked against the manifest."""
        import tensorrt as trt

        name = spec.name
        found = self._live_engine.get_tensor_dtype(name).name
        if _DTYPES.get(found) != spec.dtype:
            raise self._alien(f"expected {name} as {spec.dtype}, found TensorRT's {found}")
        if self._live_engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise self._alien(f"expected {name} in device memory, found a shape tensor")
        shape = _shape(self._live_engine.get_tensor_shape(name))
        fits = len(shape) == len(spec.shape) and all(
            isinstance(size, str) or size == mine
            for size, mine in zip(spec.shape, shape, strict=True)
        )
        if not fits:
            wanted = ", ".join(str(size) for size in spec.shape)
            raise self._alien(f"expected {name} as [{wanted}], found {list(shape)}")
        return shape

    def _alien(self, difference: str) -> BackendError:
        return BackendError(
            f"{self._files.plan}: this plan is not of the graph {self._entry.path.name}: "
            f"{difference}; run t2s-rt build again"
        )


def _shape(dims: Any) -> Shape:
    return tuple(int(size) for size in dims)
