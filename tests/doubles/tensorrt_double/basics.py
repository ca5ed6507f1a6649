"""Value classes and the interfaces that a user derives from."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from tests.doubles.tensorrt_double.names import (
    AnyList,
    AnyTuple,
    DataType,
    Severity,
    ndarray,
)
from tests.doubles.tensorrt_double.pybind import CStr, Object, UInt, make

__all__ = ["TEMPLATES", "host_memory", "notify", "numpy_type", "report", "shape_of", "truth"]


class Dims(Object):
    """A shape of up to 8 dimensions; -1 is dynamic."""

    MAX_DIMS = 8
    _values: tuple[int, ...]
    __hash__ = None  # type: ignore[assignment]

    def init__1(self) -> None:
        self._values = ()

    def init__2(self, shape: list[int]) -> None:
        if len(shape) > 8:
            raise ValueError(f"Input length {len(shape)}. Max expected length is 8")
        self._values = tuple(shape)

    def __str__(self) -> str:
        return str(self._values)

    def __repr__(self) -> str:
        return str(self._values)

    def eq__1(self, arg0: AnyList) -> bool:
        return self._values == tuple(arg0)

    def eq__2(self, arg0: AnyTuple) -> bool:
        return self._values == arg0

    def __len__(self) -> int:
        return len(self._values)

    def getitem__1(self, arg0: int) -> int:
        if not -len(self._values) <= arg0 < len(self._values):
            raise IndexError("Out of bounds")
        return self._values[arg0]

    def getitem__2(self, arg0: slice) -> AnyTuple:
        return self._values[arg0]

    def __setitem__(self, arg0: int, arg1: int) -> None:
        if not -len(self._values) <= arg0 < len(self._values):
            raise IndexError("Out of bounds")
        values = list(self._values)
        values[arg0] = arg1
        self._values = tuple(values)


_NUMPY = {
    **{"FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32},
    **{"BOOL": np.bool_, "UINT8": np.uint8, "INT64": np.int64},
}


def numpy_type(dtype: Any) -> type:
    """The numpy type of a DataType.

    Raises:
        TypeError: numpy has none.
    """
    found = _NUMPY.get(getattr(dtype, "name", ""))
    if found is None:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return found


class Weights(Object):
    """An array of weights; it holds a reference to the numpy array it was made of."""

    _array: Any
    _dtype: Any

    def init__1(self, type: DataType = None) -> None:
        self._dtype = self._trt.DataType.FLOAT if type is None else type
        self._array = np.zeros(0, numpy_type(self._dtype))

    def init__2(self, type: DataType, ptr: UInt, count: int) -> None:
        self._dtype = type
        kind = np.dtype(numpy_type(type))
        raw = ctypes.string_at(ptr, count * kind.itemsize) if ptr else bytes(count * kind.itemsize)
        self._array = np.frombuffer(raw, kind)

    def init__3(self, a: ndarray) -> None:
        names = [name for name, kind in _NUMPY.items() if a.dtype == kind]
        if not names or names[0] not in self._trt.DataType.__members__:
            raise ValueError(
                f"[TRT] [E] Could not implicitly convert NumPy data type: {a.dtype.kind}"
                f"{8 * a.dtype.itemsize} to TensorRT."
            )
        if not a.flags.c_contiguous:
            raise ValueError(
                "Could not convert non-contiguous NumPy array to Weights. Please use "
                "numpy.ascontiguousarray() to fix this."
            )
        self._dtype = self._trt.DataType.__members__[names[0]]
        self._array = a.reshape(-1)

    @property
    def dtype(self) -> DataType:
        return self._dtype

    @property
    def size(self) -> int:
        return int(self._array.size)

    @property
    def nbytes(self) -> int:
        return int(self._array.nbytes)

    def numpy(self) -> object:
        return self._array

    def __len__(self) -> int:
        return int(self._array.size)


class ILogger(Object):
    """The interface of loggers; override ``log``."""

    def __init__(self) -> None:
        pass

    def log(self, severity: Severity, msg: CStr) -> None:
        _virtual(self, "ILogger", "log", severity, msg)


class Logger(Object):
    """Prints to standard output."""

    _min_severity: Any

    def __init__(self, min_severity: Severity = None) -> None:
        self._min_severity = self._trt.ILogger.WARNING if min_severity is None else min_severity

    @property
    def min_severity(self) -> Severity:
        return self._min_severity

    @min_severity.setter
    def min_severity(self, value: Severity) -> None:
        self._min_severity = value

    def log(self, severity: Severity, msg: CStr) -> None:
        if severity <= self._min_severity:
            letter = "FEWIV"[int(severity)]
            print(f"{time.strftime('[%m/%d/%Y-%H:%M:%S]')} [TRT] [{letter}] {msg}", flush=True)


class IProgressMonitor(Object):
    """The interface of progress monitors; override all three methods."""

    def __init__(self) -> None:
        pass

    def phase_start(self, phase_name: CStr, parent_phase: None | CStr, num_steps: int) -> None:
        _virtual(self, "IProgressMonitor", "phase_start", phase_name, parent_phase, num_steps)

    def step_complete(self, phase_name: CStr, step: int) -> bool:
        return truth(_virtual(self, "IProgressMonitor", "step_complete", phase_name, step))

    def phase_finish(self, phase_name: CStr) -> None:
        _virtual(self, "IProgressMonitor", "phase_finish", phase_name)


class IProfiler(Object):
    """The interface of profilers; override ``report_layer_time``."""

    def __init__(self) -> None:
        pass

    def report_layer_time(self, layer_name: CStr, ms: float) -> None:
        _virtual(self, "IProfiler", "report_layer_time", layer_name, ms)


class IOutputAllocator(Object):
    """The interface of output allocators."""

    def __init__(self) -> None:
        pass


class IErrorRecorder(Object):
    """The interface of error recorders."""

    def __init__(self) -> None:
        pass


class IHostMemory(Object):
    """Host memory that the library owns, read through the buffer protocol."""

    _dtype: Any

    @property
    def dtype(self) -> DataType:
        return self._dtype

    @property
    def nbytes(self) -> int:
        return ctypes.sizeof(self)  # type: ignore[arg-type]


TEMPLATES: tuple[type, ...] = (
    *(Dims, Weights, ILogger, Logger, IProgressMonitor, IProfiler, IOutputAllocator),
    *(IErrorRecorder, IHostMemory),
)


def host_memory(trt: ModuleType, content: bytes) -> Any:
    """An IHostMemory with some bytes.

    ctypes gives the buffer protocol on every Python; that a ctypes array also counts and iterates
    is taken away again, because the genuine class does neither.
    """
    size = max(len(content), 1)
    array: Any = ctypes.c_char * size
    hidden: dict[str, Any] = dict.fromkeys(("__len__", "__getitem__", "__setitem__", "__iter__"))
    hidden["__bool__"] = lambda self: True
    name, base = "IHostMemory", trt.IHostMemory

    class Meta(type(array), type(base)):  # type: ignore[misc]
        def __call__(cls, *args: Any) -> Any:
            return type(array).__call__(cls, *args)

    kind: Any = Meta(name, (base, array), {**hidden, "_released": True, "__init__": array.__init__})
    made = kind.from_buffer_copy(content.ljust(size, b"\0"))
    object.__setattr__(made, "_dtype", trt.DataType.INT8)
    return made


def report(logger: Any, severity: str, message: str) -> None:
    """Tell a logger, as the library does: what its Python code raises is printed and lost."""
    logger._trt._control.messages.append((severity, message))
    notify(logger, "log", logger._trt.ILogger.Severity.__members__[severity], message)


def notify(target: Any, method: str, *args: Any) -> Any:
    """Call a user's override, as the library does.

    Returns:
        What it returned; None if it raised. Even KeyboardInterrupt ends there: the bindings catch
        everything, print it and go on.
    """
    try:
        return getattr(target, method)(*args)
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        print(f"[ERROR] Exception caught in {method}(): {text}", file=sys.stderr)
        return None


def truth(value: Any) -> bool:
    """What the library takes an override's answer for: a number by truth, the rest for False."""
    if value is None or isinstance(value, (bool, int, float, np.generic)):
        return bool(value)
    print(
        "[ERROR] Exception caught in step_complete(): Unable to cast Python instance to C++ type",
        file=sys.stderr,
    )
    return False


_RUNNING = threading.local()


def _virtual(self: Any, base: str, method: str, *args: Any) -> Any:
    """A C++ call of a virtual method: the override's, unless the override is what calls."""
    running: set[tuple[int, str]] = _RUNNING.__dict__.setdefault("now", set())
    released = next(kind for kind in type(self).__mro__ if kind.__dict__.get("_released"))
    if getattr(type(self), method) is getattr(released, method) or (id(self), method) in running:
        print(
            f"[ERROR] Exception caught in {method}(): Tried to call pure virtual function "
            f'"{base}::{method}"',
            file=sys.stderr,
        )
        return None
    running.add((id(self), method))
    try:
        return notify(self, method, *args)
    finally:
        running.discard((id(self), method))


def shape_of(trt: ModuleType, values: Sequence[int]) -> Any:
    """A Dims."""
    return make(trt.Dims, _values=tuple(int(value) for value in values))
