"""The part of the CUDA runtime that a session needs, through cuda-python.

Why cuda-python: NVIDIA maintains it, its calls are the CUDA runtime's own in every CUDA 12 and 13,
it works in the primary context that TensorRT, ONNX Runtime and torch use too, and it needs no
compiler. Its functions answer with tuples whose first item is an error code; here each becomes a
value or an error that says what to do.

Addresses and handles are plain integers: that is what TensorRT takes, and what both layouts of
cuda-python (``cuda.bindings.runtime`` since 12.6, ``cuda.cudart`` before) accept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from numpy.typing import NDArray

from t2s_rt.errors import BackendError, MissingExtraError

__all__ = ["Cuda", "CudaError", "CudaVersions", "Direction"]

Direction = Literal["HostToDevice", "DeviceToHost", "DeviceToDevice"]

_LAYOUTS = ("cuda.bindings.runtime", "cuda.cudart")
_UNLOADING = "cudaErrorCudartUnloading"
_NO_DEVICE = ("cudaErrorNoDevice", "cudaErrorInvalidDevice")
_DRIVER = (
    "cudaErrorInsufficientDriver",
    "cudaErrorStubLibrary",
    "cudaErrorSystemDriverMismatch",
    "cudaErrorCompatNotSupportedOnDevice",
)
_MIB = 1 << 20


class CudaError(BackendError):
    """A call of the CUDA runtime failed.

    Args:
        message: for the user.
        name: CUDA's name of the error, e.g. ``cudaErrorMemoryAllocation``.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class CudaVersions:
    """Versions as (major, minor).

    Attributes:
        driver: newest CUDA that the driver serves; None where there is no driver.
        runtime: that cuda-python brings.
    """

    driver: tuple[int, int] | None
    runtime: tuple[int, int]

    def __str__(self) -> str:
        driver = "none" if self.driver is None else "{}.{}".format(*self.driver)
        return "driver for CUDA {}, runtime CUDA {}.{}".format(driver, *self.runtime)


class Cuda:
    """CUDA on one device. Every method may be called from any thread.

    Args:
        module: cuda-python's runtime module.
        index: which device.
    """

    def __init__(self, module: Any, index: int = 0) -> None:
        self._module = module
        self.index = index

    @classmethod
    def load(cls, index: int = 0) -> Cuda:
        """Import cuda-python and select a device.

        Raises:
            MissingExtraError: cuda-python is not installed.
            BackendError: it cannot be imported, or there is no usable device or driver.
        """
        cuda = cls(_import_runtime(), index)
        cuda.use()
        return cuda

    def use(self) -> None:
        """Make the device current in this thread: CUDA keeps that per thread."""
        self._call("cudaSetDevice", self.index, doing=f"selecting the CUDA device {self.index}")

    # what is there

    def versions(self) -> CudaVersions:
        """Versions of driver and runtime; works without a device."""
        driver = int(self._call("cudaDriverGetVersion", doing="asking for the driver's version"))
        runtime = int(self._call("cudaRuntimeGetVersion", doing="asking for the version of CUDA"))
        return CudaVersions(_version(driver) if driver else None, _version(runtime))

    def device_count(self) -> int:
        """Number of devices.

        Raises:
            CudaError: no driver, or none that serves this CUDA; also where there is no device.
        """
        return int(self._call("cudaGetDeviceCount", doing="counting the CUDA devices"))

    def properties(self) -> Any:
        """``cudaDeviceProp`` of the device."""
        doing = f"asking for the properties of the CUDA device {self.index}"
        return self._call("cudaGetDeviceProperties", self.index, doing=doing)

    def attribute(self, name: str) -> int:
        """An attribute of the device by the end of its name, e.g. ``MultiProcessorCount``."""
        key = getattr(self._module.cudaDeviceAttr, f"cudaDevAttr{name}")
        doing = f"asking for {name} of the CUDA device {self.index}"
        return int(self._call("cudaDeviceGetAttribute", key, self.index, doing=doing))

    def memory(self) -> tuple[int, int]:
        """Free bytes and all bytes of the device's memory."""
        free, total = self._call("cudaMemGetInfo", doing="asking for the free device memory")
        return int(free), int(total)

    def home_of(self, pointer: int) -> int | None:
        """The device whose memory an address lies in; None where it is no device memory.

        Managed memory counts as device memory: kernels read it.
        """
        doing = f"asking where the address {pointer:#x} lies"
        found = self._call("cudaPointerGetAttributes", pointer, doing=doing)
        kinds = self._module.cudaMemoryType
        on_device = (int(kinds.cudaMemoryTypeDevice), int(kinds.cudaMemoryTypeManaged))
        return int(found.device) if int(found.type) in on_device else None

    # memory

    def allocate(self, nbytes: int, what: str) -> int:
        """Device memory, aligned to 256 bytes at least; freed with :meth:`free`."""
        doing = f"allocating {_size(nbytes)} of device memory for {what}"
        return int(self._call("cudaMalloc", nbytes, doing=doing, nbytes=nbytes))

    def free(self, pointer: int) -> None:
        """Free device memory; waits for the work that uses it."""
        self._end("cudaFree", pointer, doing="freeing device memory")

    def allocate_pinned(self, nbytes: int, what: str) -> int:
        """Page-locked host memory, which copies can run from and to by themselves."""
        doing = f"allocating {_size(nbytes)} of page-locked host memory for {what}"
        return int(self._call("cudaMallocHost", nbytes, doing=doing, nbytes=nbytes))

    def free_pinned(self, pointer: int) -> None:
        """Free page-locked host memory."""
        self._end("cudaFreeHost", pointer, doing="freeing page-locked host memory")

    def copy(self, target: int, source: int, nbytes: int, way: Direction, stream: int) -> None:
        """Enqueue a copy between two addresses."""
        kind = getattr(self._module.cudaMemcpyKind, f"cudaMemcpy{way}")
        doing = f"copying {_size(nbytes)} ({way})"
        self._call("cudaMemcpyAsync", target, source, nbytes, kind, stream, doing=doing)

    def read(self, pointer: int, out: NDArray[Any], stream: int) -> None:
        """Fill a C-contiguous host array from device memory, behind all work on the stream."""
        self.use()
        self.copy(out.ctypes.data, pointer, out.nbytes, "DeviceToHost", stream)
        self.synchronize(stream)

    # streams and events

    def create_stream(self) -> int:
        """A stream that does not wait for the legacy default stream, nor that for it."""
        flags = self._module.cudaStreamNonBlocking
        return int(self._call("cudaStreamCreateWithFlags", flags, doing="creating a stream"))

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream; what is enqueued still runs."""
        self._end("cudaStreamDestroy", stream, doing="destroying a stream")

    def synchronize(self, stream: int) -> None:
        """Wait until all work on a stream is done; failures of that work appear here."""
        self._call("cudaStreamSynchronize", stream, doing="waiting for the GPU")

    def create_event(self) -> int:
        """An event for order alone, without timing."""
        flags = self._module.cudaEventDisableTiming
        return int(self._call("cudaEventCreateWithFlags", flags, doing="creating an event"))

    def destroy_event(self, event: int) -> None:
        """Destroy an event."""
        self._end("cudaEventDestroy", event, doing="destroying an event")

    def wait_for(self, stream: int, other: int, event: int) -> None:
        """Let a stream wait for what is on another one at this moment; the host does not wait."""
        self._call("cudaEventRecord", event, other, doing="recording an event")
        self._call("cudaStreamWaitEvent", stream, event, 0, doing="ordering two streams")

    # graphs

    def capture(self, enqueue: Callable[[int], None]) -> int:
        """Record what a function enqueues on the stream it is given, as an executable graph.

        The stream exists for the recording alone, so nobody else's work can fall into it; the
        mode forbids unsafe calls to this thread only, so that other sessions run on.

        Raises:
            CudaError: the work cannot be captured.
            BackendError: what ``enqueue`` raises.
        """
        with ExitStack() as made:
            with ExitStack() as scratch:
                stream = self.create_stream()
                scratch.callback(self.destroy_stream, stream)
                graph = self._record(stream, enqueue)
                scratch.callback(self._end, "cudaGraphDestroy", graph, doing="ending a capture")
                doing = "instantiating a CUDA graph"
                launchable = int(self._call("cudaGraphInstantiate", graph, 0, doing=doing))
                made.callback(self.destroy_graph, launchable)
            made.pop_all()  # all went well: the graph is the caller's
        return launchable

    def _record(self, stream: int, enqueue: Callable[[int], None]) -> Any:
        """Capture what a function enqueues; return the graph that is not yet executable."""
        mode = self._module.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode, doing="beginning a capture")
        try:
            enqueue(stream)
        except BaseException:
            self._abandon_capture(stream)
            raise
        return self._call("cudaStreamEndCapture", stream, doing="capturing a CUDA graph")

    def _abandon_capture(self, stream: int) -> None:
        """End a capture whose error is on its way already."""
        code, graph = self._module.cudaStreamEndCapture(stream)
        if int(code) == 0:
            self._end("cudaGraphDestroy", graph, doing="destroying a CUDA graph")
        else:
            self._module.cudaGetLastError()

    def launch_graph(self, graph: int, stream: int) -> None:
        """Enqueue an executable graph."""
        self._call("cudaGraphLaunch", graph, stream, doing="launching a CUDA graph")

    def destroy_graph(self, graph: int) -> None:
        """Destroy an executable graph."""
        self._end("cudaGraphExecDestroy", graph, doing="destroying a CUDA graph")

    # calls and their errors

    def _call(self, name: str, *arguments: Any, doing: str, nbytes: int | None = None) -> Any:
        """Call a function and return what stands behind its error code.

        Raises:
            CudaError: the code is an error.
            BackendError: cuda-python itself failed, e.g. it found no libcuda.
        """
        try:
            code, *values = getattr(self._module, name)(*arguments)
        except (RuntimeError, AttributeError) as error:
            raise BackendError(
                f"{doing}: cuda-python cannot call {name} ({error}); install a cuda-python of the "
                "same major version as the driver's CUDA"
            ) from error
        if int(code) != 0:
            raise self._error(code, doing, nbytes)
        return values[0] if len(values) == 1 else tuple(values)

    def _end(self, name: str, *arguments: Any, doing: str) -> None:
        """As :meth:`_call`, for giving back: at exit the driver may have taken all back itself."""
        try:
            self._call(name, *arguments, doing=doing)
        except CudaError as error:
            if error.name != _UNLOADING:
                raise

    def _error(self, code: Any, doing: str, nbytes: int | None) -> CudaError:
        name = _text(self._module.cudaGetErrorName(code)) or f"error {int(code)}"
        text = _text(self._module.cudaGetErrorString(code)) or "no text"
        # CUDA remembers it, and TensorRT would take it for a failure of its own
        self._module.cudaGetLastError()
        message = f"{doing}: CUDA says {name} ({text})"
        if name in _NO_DEVICE:
            message += f"; {self._devices()}"
        elif name in _DRIVER:
            message += f"; {self._drivers()}"
        elif name == "cudaErrorMemoryAllocation":
            message += f"; {self._shortage(nbytes)}"
        elif name not in ("cudaErrorCudartUnloading",):
            message += "; if it happens again, run t2s-rt doctor, and t2s-rt verify for this engine"
        return CudaError(message, name)

    def _devices(self) -> str:
        code, count = self._module.cudaGetDeviceCount()
        found = count if int(code) == 0 else 0
        return (
            f"expected the CUDA device {self.index}, found {found} devices; check the GPU and its "
            "driver with t2s-rt doctor and CUDA_VISIBLE_DEVICES, or use --backend onnxruntime-cpu"
        )

    def _drivers(self) -> str:
        driver = self._module.cudaDriverGetVersion()
        runtime = self._module.cudaRuntimeGetVersion()
        wanted = "{}.{}".format(*_version(int(runtime[1]))) if int(runtime[0]) == 0 else "this"
        number = int(driver[1]) if int(driver[0]) == 0 else 0
        if not number:
            return (
                f"expected an NVIDIA driver for CUDA {wanted}, found none; install the driver, or "
                "use --backend onnxruntime-cpu"
            )
        major, minor = _version(number)
        return (
            f"expected an NVIDIA driver for CUDA {wanted}, found one for CUDA {major}.{minor}; "
            f"update the driver, or install cuda-python and TensorRT for CUDA {major}"
        )

    def _shortage(self, nbytes: int | None) -> str:
        code, *values = self._module.cudaMemGetInfo()
        room = "unknown"
        if int(code) == 0:
            room = f"{_size(int(values[0]))} free of {_size(int(values[1]))}"
        wanted = "" if nbytes is None else f"wanted {nbytes} bytes ({_size(nbytes)}), "
        return (
            f"{wanted}{room}; close other programs that use the GPU, build with a smaller "
            "--batch, or take a smaller precision"
        )


def _import_runtime() -> Any:
    reasons = []
    for name in _LAYOUTS:
        try:
            return import_module(name)
        except ImportError as error:
            reasons.append(error)
    first = reasons[0]
    if all(isinstance(error, ModuleNotFoundError) for error in reasons):
        raise MissingExtraError("the TensorRT backend", "cuda-python", "tensorrt") from first
    broken = next(error for error in reasons if not isinstance(error, ModuleNotFoundError))
    raise BackendError(
        f"cuda-python is installed but cannot be imported ({broken}); install it again, for the "
        "CUDA version of the driver"
    ) from broken


def _version(number: int) -> tuple[int, int]:
    """13020 is 13.2."""
    return number // 1000, number % 1000 // 10


def _text(answer: tuple[Any, ...]) -> str:
    value = answer[1]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _size(nbytes: int) -> str:
    return f"{nbytes / _MIB:.1f} MiB" if nbytes >= _MIB else f"{nbytes} bytes"
