"""ONNX Runtime's CUDA provider."""

from __future__ import annotations

from typing import Any

from t2s_rt.backends.onnxruntime.binding import BindingSession, changing_sizes
from t2s_rt.backends.onnxruntime.library import Provider, import_onnxruntime
from t2s_rt.backends.onnxruntime.placement import (
    CPU,
    RECORD_PLACEMENT,
    REFUSE_FALLBACK,
    Placement,
)
from t2s_rt.backends.onnxruntime.providers import (
    CUDA,
    load_gpu_libraries,
    require_provider,
    why_not_loaded,
)
from t2s_rt.backends.options import BackendOptions
from t2s_rt.bundle import GraphEntry
from t2s_rt.errors import BackendError

__all__ = ["OnnxRuntimeCudaSession", "cuda_provider"]


def cuda_provider(options: BackendOptions, graph: bool = False) -> Provider:
    """The CUDA provider with its options.

    ``kSameAsRequested``: the default arena doubles with every growth, which over calls of
    different sizes ends at a multiple of what is needed. ``use_tf32`` off: float32 graphs are the
    reference, and TF32 rounds their products to 10 bits; speed is what fp16 graphs are for.

    Args:
        options: ``device_index`` and ``memory_limit`` count.
        graph: record a CUDA graph.
    """
    settings = {
        "device_id": str(options.device_index),
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
    }
    if options.memory_limit is not None:
        settings["gpu_mem_limit"] = str(options.memory_limit)
    if graph:
        settings["enable_cuda_graph"] = "1"
    return CUDA, settings


class OnnxRuntimeCudaSession(BindingSession):
    """A graph on ONNX Runtime's CUDA provider.

    Args:
        entry: the graph.
        options: all but ``graph_cache`` count.
        reason: why this backend was chosen.

    Attributes:
        placement: which provider took how many nodes; None before ONNX Runtime 1.24, which does
            not tell.

    Raises:
        MissingExtraError: onnxruntime-gpu is not installed.
        BackendError: the provider is not in the installed package, or does not come up, or
            nodes fell back to the CPU and ``allow_cpu_fallback`` is false.
    """

    backend = "onnxruntime-cuda"
    main_provider = CUDA

    def __init__(
        self,
        entry: GraphEntry,
        options: BackendOptions | None = None,
        reason: str = "asked for",
    ) -> None:
        self._chosen = options or BackendOptions()
        self.placement: Placement | None = None
        onnxruntime = import_onnxruntime("cuda")
        require_provider(onnxruntime, self.main_provider, self.backend)
        load_gpu_libraries(onnxruntime)
        super().__init__(
            entry,
            self._chosen,
            reason,
            memory="cuda",
            providers=self._provider_list(entry, onnxruntime),
            extra="cuda",
        )

    def describe(self) -> str:
        """One line: role, precision, versions, which provider took how many nodes, and reason."""
        told = "placement not told" if self.placement is None else self.placement.describe()
        return f"{super().describe()}, {told}"

    def _provider_list(self, entry: GraphEntry, onnxruntime: Any) -> list[Provider]:
        graph = self._chosen.cuda_graph and not changing_sizes(entry)
        return [cuda_provider(self._chosen, graph), CPU]

    def _configure(self, settings: Any) -> None:
        settings.add_session_config_entry(RECORD_PLACEMENT, "1")
        tells = hasattr(self._library.InferenceSession, "get_provider_graph_assignment_info")
        if not self._chosen.allow_cpu_fallback and not tells:
            settings.add_session_config_entry(REFUSE_FALLBACK, "1")

    def _create(self, settings: Any) -> Any:
        try:
            return super()._create(settings)
        except BackendError as error:
            # without TensorRT's libraries its provider fails here, in words of no use
            reason = why_not_loaded(self.main_provider, self.device_index)
            if reason is None:
                raise
            raise self._unusable(reason) from error

    def _unusable(self, reason: str) -> BackendError:
        return BackendError(
            f"{self.backend}: ONNX Runtime {self._version} cannot use its "
            f"{self.main_provider} ({reason}); run t2s-rt doctor"
        )

    def _check_providers(self) -> None:
        if self.main_provider not in self._session.get_providers():
            reason = why_not_loaded(self.main_provider, self.device_index)
            raise self._unusable(
                reason or "its libraries load and the driver answers; it gave no reason"
            )
        self.placement = Placement.of(self._session)
        if self.placement is None or self._chosen.allow_cpu_fallback:
            return
        if self.placement.fallen:
            raise BackendError(
                f"{self.entry.path}: expected every operator on the GPU, found "
                f"{self.placement.describe()}; allow the fallback to the CPU, or take a release "
                "of ONNX Runtime that has them"
            )
