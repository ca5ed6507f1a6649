"""TensorRT itself: its exact version, its messages, and the runtime that loads plans."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from t2s_rt.errors import BackendError, MissingExtraError

if TYPE_CHECKING:
    import tensorrt

__all__ = ["Library", "load_library", "on_a_jetson"]

_OLDEST = (8, 6)
_SKIPPED = 9
"""TensorRT 9 was for language models on servers; it came with no JetPack."""
_TYPED_SINCE = (10, 3)
_NEWEST_MAJOR = 11
_KEPT_MESSAGES = 64
_SHOWN_MESSAGES = 3
_JETSON_MARKS = ("/etc/nv_tegra_release", "/proc/device-tree/model")


@dataclass(frozen=True)
class Library:
    """An imported TensorRT.

    Attributes:
        trt: the module.
        version: of the exact build where it can be had, e.g. ``10.3.0.30``.
        logger: hears TensorRT's messages; one for the process, as TensorRT wants it.
        note: a warning about this release for the user; empty where there is none.
    """

    trt: Any
    version: str
    logger: Any
    note: str = ""

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version."""
        return _release(self.version)

    def create_runtime(self) -> tensorrt.Runtime:
        """What loads plans.

        Raises:
            BackendError: TensorRT finds no usable driver or core library.
        """
        import tensorrt as trt

        self.forget()
        try:
            return trt.Runtime(self.logger)
        except TypeError as error:
            # pybind11 says "factory function returned nullptr": no driver, or an unfit library
            raise BackendError(
                f"TensorRT {self.version} cannot create its runtime: there is no usable NVIDIA "
                f"driver, or libnvinfer does not fit the bindings ({error}){self.complaint()}; "
                "run t2s-rt doctor --backend tensorrt"
            ) from error

    def forget(self) -> None:
        """Drop the messages of this thread, before a call whose messages matter."""
        self.logger.take()

    def complaint(self) -> str:
        """What TensorRT said in this thread, for the end of an error message; forgets it."""
        messages = self.logger.take()[-_SHOWN_MESSAGES:]
        return f"; TensorRT says: {' | '.join(messages)}" if messages else ""


def load_library() -> Library:
    """Import TensorRT.

    Raises:
        MissingExtraError: it is not installed.
        BackendError: it cannot be imported, or its release is one that t2s-rt does not serve.
    """
    try:
        import tensorrt as trt
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "tensorrt":
            remedy = _JETSON_REMEDY if on_a_jetson() else None
            need = "the TensorRT backend"
            raise MissingExtraError(need, "tensorrt", "tensorrt", remedy) from error
        raise BackendError(
            f"TensorRT is installed but cannot be imported ({error}); its Python package and its "
            "libraries must be of one release: run t2s-rt doctor --backend tensorrt"
        ) from error
    version = _full_version(trt)
    return Library(trt, version, _logger(trt), _check_release(version))


_JETSON_REMEDY = (
    "on a Jetson it comes with JetPack: run sudo apt install python3-libnvinfer, and make the "
    "virtual environment with python3 -m venv --system-site-packages"
)


def on_a_jetson() -> bool:
    """Whether this machine is a Jetson, by the files that JetPack leaves."""
    if platform.machine() != "aarch64":
        return False
    for name in _JETSON_MARKS:
        try:
            text = Path(name).read_bytes()
        except OSError:
            continue
        if name == _JETSON_MARKS[0] or b"NVIDIA" in text:
            return True
    return False


def _check_release(version: str) -> str:
    """Refuse releases that cannot work; return a warning about those nobody tried."""
    release = _release(version)
    if release < _OLDEST or release[0] == _SKIPPED:
        raise BackendError(
            f"expected TensorRT 8.6, 10.3 or newer of 10, or 11, found {version}; on a Jetson "
            "install JetPack 6.0 or newer, elsewhere run: pip install 't2s-rt[tensorrt]'"
        )
    if (10,) <= release < _TYPED_SINCE:
        return f"TensorRT {version} is older than 10.3, the first of 10 that t2s-rt was made for"
    if release[0] > _NEWEST_MAJOR:
        return f"TensorRT {version} is newer than this t2s-rt, which knows 8.6, 10 and 11"
    return ""


def _release(version: str) -> tuple[int, int]:
    parts = version.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError) as error:
        raise BackendError(f"expected TensorRT's version as numbers, found {version!r}") from error


def _full_version(trt: Any) -> str:
    """The version with its build number, which NVIDIA's system packages leave out in Python."""
    version = str(trt.__version__)
    if version.count(".") != 2:
        return version
    name = f"libnvinfer.so.{version.split('.')[0]}"
    try:
        # only the library that the import has loaded, never another one
        library = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        build = int(library.getInferLibBuildVersion())
    except (OSError, AttributeError):
        return version
    return f"{version}.{build}"


_LOGGERS: WeakKeyDictionary[ModuleType, Any] = WeakKeyDictionary()
_LOGGERS_LOCK = threading.Lock()


def _logger(module: ModuleType) -> Any:
    """The one logger: TensorRT keeps the first it is given, for all of the process."""
    with _LOGGERS_LOCK:
        found = _LOGGERS.get(module)
        if found is None:
            found = _LOGGERS[module] = _make_logger()
        return found


def _make_logger() -> Any:
    """A logger that keeps warnings and errors for our own messages and prints none."""
    import tensorrt as trt

    least = int(trt.ILogger.Severity.WARNING)

    class Messages(trt.ILogger):  # type: ignore[misc, unused-ignore]
        """Keeps messages by thread: sessions of other threads fail for reasons of their own."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._kept: deque[tuple[int, str]] = deque(maxlen=_KEPT_MESSAGES)
            # reentrant: the collector may end a TensorRT object, which speaks, at any moment
            self._lock = threading.RLock()

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            """Called by TensorRT, from any of its threads; must not raise."""
            if int(severity) <= least:
                text = " ".join(str(msg).split())
                with self._lock:
                    self._kept.append((threading.get_ident(), text))

        def take(self) -> list[str]:
            """The messages of this thread, oldest first; they are gone afterwards."""
            me = threading.get_ident()
            with self._lock:
                kept = list(self._kept)
                self._kept.clear()
                self._kept.extend(entry for entry in kept if entry[0] != me)
            return [text for thread, text in kept if thread == me]

    return Messages()
