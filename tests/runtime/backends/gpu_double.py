"""ONNX Runtime as on a machine with a GPU, whose device memory is the host's.

It is the real module with a few classes derived from its own, so that names and arguments are the
real ones; graphs are really computed, by the CPU provider. What it adds is strictness: options
that the GPU package does not know are refused, as are mixed-up devices.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime as real

from t2s_rt.backends.onnxruntime.host_memory import plain_memory

KNOWN: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("provider_options.json").read_text()
)
CPU = "CPUExecutionProvider"
Value: Any = real.OrtValue
Binding: Any = real.IOBinding
Inference: Any = real.InferenceSession
Settings: Any = real.SessionOptions


def _on_host(device: str, index: int) -> tuple[str, int]:
    if (device, index) not in (("cuda", 0), ("cpu", 0)):
        raise RuntimeError(f"no such device {device}:{index}")
    return "cpu", 0


class GpuDouble(ModuleType):
    """The module.

    Args:
        fallen: operators that the main provider lacks.
        loads: providers that come up.
        version: of the library.
        tells: whether it says which node went where, as from release 1.24 on.

    Attributes:
        sessions: the providers of every session, as given.
        settings: the session entries, as given.
        preloaded: calls of ``preload_dlls``.
    """

    def __init__(
        self,
        fallen: tuple[str, ...] = (),
        loads: tuple[str, ...] = ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
        version: str = "1.31.1",
        tells: bool = True,
    ) -> None:
        super().__init__("onnxruntime")
        self.__version__ = version
        self.__spec__ = real.__spec__
        self.sessions: list[list[Any]] = []
        self.settings: dict[str, str] = {}
        self.preloaded = 0
        self.OrtValue = _value_class()
        self.SessionOptions = _settings_class(self)
        self.InferenceSession = _session_class(self, fallen, loads, tells)

    def __getattr__(self, name: str) -> Any:
        return getattr(real, name)

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", CPU]

    def set_default_logger_severity(self, severity: int) -> None:
        assert 0 <= severity <= 4

    def preload_dlls(self, cuda: bool = True, cudnn: bool = True, msvc: bool = True) -> None:
        print("Failed to load libcudnn.so.9")  # which the real one does
        self.preloaded += 1


class DriverDouble:
    """In place of the CUDA driver."""

    def __init__(self) -> None:
        self.waited: list[int] = []
        self.copied = 0

    def wait_for(self, stream: int) -> None:
        self.waited.append(stream)

    def copy(self, source: int, target: int, size: int) -> None:
        ctypes.memmove(target, source, size)
        self.copied += size

    def pinned(self, size: int) -> tuple[int, Callable[[], object]]:
        return plain_memory(size)


def _value_class() -> Any:
    class DoubleValue(Value):  # type: ignore[misc, unused-ignore]
        @classmethod
        def ortvalue_from_shape_and_type(
            cls, shape: Any, element_type: Any, device_type: str = "cpu", device_id: int = 0
        ) -> Any:
            place = _on_host(device_type, device_id)
            return super().ortvalue_from_shape_and_type(shape, element_type, *place)

        def numpy(self) -> Any:
            return super().numpy().copy()  # as from a device

    return DoubleValue


class DoubleBinding(Binding):  # type: ignore[misc, unused-ignore]
    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Any, ptr: int
    ) -> None:
        super().bind_input(name, *_on_host(device_type, device_id), element_type, shape, ptr)

    def bind_output(self, name: str, device_type: str, device_id: int, *rest: Any) -> None:
        super().bind_output(name, *_on_host(device_type, device_id), *rest)


def _settings_class(module: GpuDouble) -> Any:
    class DoubleSettings(Settings):  # type: ignore[misc, unused-ignore]
        def add_session_config_entry(self, key: str, value: str) -> None:
            if key not in KNOWN["session"]:
                raise RuntimeError(f"unknown session entry {key}")
            module.settings[key] = value
            if key != "session.disable_cpu_ep_fallback":  # here everything runs on the CPU
                super().add_session_config_entry(key, value)

    return DoubleSettings


def _session_class(
    module: GpuDouble, fallen: tuple[str, ...], loads: tuple[str, ...], tells: bool
) -> Any:
    class DoubleSession(Inference):  # type: ignore[misc, unused-ignore]
        def __init__(
            self, path: str, sess_options: Any, *, providers: list[Any], enable_fallback: int
        ) -> None:
            for item in providers:
                name, options = (item, {}) if isinstance(item, str) else item
                unknown = set(options) - set(KNOWN.get(name, []))
                if unknown or not all(isinstance(value, str) for value in options.values()):
                    raise RuntimeError(f"{name}: unknown provider options {unknown or options}")
            module.sessions.append(providers)
            super().__init__(path, sess_options, providers=[CPU], enable_fallback=enable_fallback)
            names = [item if isinstance(item, str) else item[0] for item in providers]
            self._names = [name for name in names if name == CPU or name in loads]

        def get_providers(self) -> list[str]:
            return self._names

        def io_binding(self) -> Any:
            return DoubleBinding(_AsCpu(self))

        def get_provider_graph_assignment_info(self) -> list[Any]:
            nodes = [
                node
                for part in super().get_provider_graph_assignment_info()
                for node in part.get_nodes()
            ]
            parts: dict[str, list[Any]] = {self._names[0]: [], CPU: []}
            for node in nodes:
                parts[CPU if node.op_type in fallen else self._names[0]].append(node)
            return [
                SimpleNamespace(ep_name=name, get_nodes=lambda part=part: part)
                for name, part in parts.items()
                if part
            ]

    return DoubleSession if tells else _Old(DoubleSession)


class _Old:
    """A class of sessions, and its objects, without what came with release 1.24."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _Old(self._inner(*args, **options))

    def __getattr__(self, name: str) -> Any:
        if name == "get_provider_graph_assignment_info":
            raise AttributeError(name)
        return getattr(self._inner, name)


class _AsCpu:
    """A session as the real IOBinding wants it."""

    def __init__(self, session: Any) -> None:
        self._sess = session._sess

    def get_providers(self) -> list[str]:
        return [CPU]
