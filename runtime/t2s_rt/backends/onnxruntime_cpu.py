"""ONNX Runtime's CPU provider.

Settings, each for a reason: sequential execution (the graphs are chains, parallel branches only
fight for cores); one inter-op thread; no spinning (several sessions are open at once, and idle
threads would burn the cores that the active one needs); log severity 4, fatal only (an error is
raised as well, and its text reaches the user once, through ours).
"""

from __future__ import annotations

from typing import Any

from t2s_rt.backends.base import Session
from t2s_rt.backends.device import Array
from t2s_rt.backends.options import BackendOptions
from t2s_rt.bundle import GraphEntry
from t2s_rt.errors import BackendError, BundleError, MissingExtraError

__all__ = ["OnnxRuntimeCpuSession"]

_TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(float)": "float32",
    "tensor(bool)": "bool",
}
_QUIET = 4


class OnnxRuntimeCpuSession(Session):
    """A graph on ONNX Runtime's CPU provider.

    Args:
        entry: the graph; external data is found beside its file.
        options: its ``threads`` count; None of them leaves it to ONNX Runtime (one per core).
        reason: why this backend was chosen.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BackendError: ONNX Runtime refuses the graph.
        BundleError: the file's inputs or outputs are not those of the manifest.
    """

    backend = "onnxruntime-cpu"

    def __init__(
        self,
        entry: GraphEntry,
        options: BackendOptions | None = None,
        reason: str = "asked for",
    ) -> None:
        super().__init__(entry, reason)
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("the ONNX Runtime backend", "onnxruntime", "cpu") from error
        threads = (options or BackendOptions()).threads
        settings = onnxruntime.SessionOptions()
        settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        settings.intra_op_num_threads = threads or 0
        settings.inter_op_num_threads = 1
        settings.log_severity_level = _QUIET
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._version: str = onnxruntime.__version__
        self._threads = threads
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(entry.path), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library's classes share no base below Exception
            raise BackendError(
                f"{entry.path}: ONNX Runtime {self._version} cannot load this graph "
                f"({_first_line(error)})"
            ) from error
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = _QUIET
        self._check_file()

    def describe(self) -> str:
        """One line: role, precision, library version, threads and reason."""
        threads = "one thread per core" if self._threads is None else f"{self._threads} threads"
        return f"{super().describe()}, ONNX Runtime {self._version}, {threads}"

    def _run(self, feeds: dict[str, Array], keep: frozenset[str]) -> dict[str, Array]:
        names = [spec.name for spec in self.outputs]
        try:
            return dict(zip(names, self._session.run(names, feeds, self._options), strict=True))
        except Exception as error:  # as above
            raise BackendError(
                f"{self.entry.role}: ONNX Runtime failed ({_first_line(error)})"
            ) from error

    def _close(self) -> None:
        self._session = None

    def _check_file(self) -> None:
        """The file's own names and dtypes must be those that the manifest promised."""
        for side, specs, nodes in (
            ("inputs", self.inputs, self._session.get_inputs()),
            ("outputs", self.outputs, self._session.get_outputs()),
        ):
            found = {node.name: _TYPES.get(node.type, node.type) for node in nodes}
            expected = {spec.name: spec.dtype for spec in specs}
            if found != expected:
                raise BundleError(
                    f"{self.entry.path}: bundle.json promises the {side} {_show(expected)}, "
                    f"the file has {_show(found)}; export the bundle again"
                )


def _show(tensors: dict[str, str]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in tensors.items())


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
