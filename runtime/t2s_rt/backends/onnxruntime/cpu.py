"""ONNX Runtime's CPU provider."""

from __future__ import annotations

from typing import Any

from t2s_rt.backends.base import Session
from t2s_rt.backends.device import Array
from t2s_rt.backends.onnxruntime.graph_cache import GraphCache
from t2s_rt.backends.onnxruntime.library import (
    check_file,
    create_session,
    failed,
    import_onnxruntime,
    run_options,
    session_options,
)
from t2s_rt.backends.options import BackendOptions
from t2s_rt.bundle import GraphEntry

__all__ = ["OnnxRuntimeCpuSession"]

_PROVIDERS = ("CPUExecutionProvider",)
_FLOAT16_WARNING = (
    "the CPU computes float16 graphs in float32: this is no faster than --precision fp32, and "
    "an overflow that a GPU would have does not show here"
)


class OnnxRuntimeCpuSession(Session):
    """A graph on ONNX Runtime's CPU provider.

    Args:
        entry: the graph; external data is found beside its file.
        options: ``threads`` (None: one per core), ``graph_cache`` and ``shrink_arena`` count.
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
        chosen = options or BackendOptions()
        onnxruntime = import_onnxruntime("cpu")
        self._version: str = onnxruntime.__version__
        self._threads = chosen.threads
        self._note = ""
        if chosen.graph_cache:
            cache = GraphCache(onnxruntime)
            self._session: Any = cache.open(entry, chosen, _PROVIDERS)
            self._note = f", {cache.note}"
        else:
            settings = session_options(onnxruntime, chosen, on_cpu=True)
            self._session = create_session(onnxruntime, str(entry.path), settings, _PROVIDERS)
        if entry.precision == "fp16":
            self.warnings = (_FLOAT16_WARNING,)
        self._options = run_options(onnxruntime, chosen, "cpu:0")
        check_file(entry, self._session)

    def describe(self) -> str:
        """One line: role, precision, library version, threads, graph cache and reason."""
        threads = "one thread per core" if self._threads is None else f"{self._threads} threads"
        return f"{super().describe()}, ONNX Runtime {self._version}, {threads}{self._note}"

    def _run(self, feeds: dict[str, Array], keep: frozenset[str]) -> dict[str, Array]:
        names = [spec.name for spec in self.outputs]
        try:
            return dict(zip(names, self._session.run(names, feeds, self._options), strict=True))
        except Exception as error:  # the library's classes share no base below Exception
            raise failed(self.entry, error) from error

    def _close(self) -> None:
        self._session = None
