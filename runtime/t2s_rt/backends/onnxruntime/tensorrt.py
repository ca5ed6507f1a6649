"""ONNX Runtime's TensorRT provider: the same typed graphs, engines built at first use.

No precision flag is set: since TensorRT 9 the provider then builds a strongly typed network
(onnxruntime/core/providers/tensorrt/tensorrt_execution_provider.cc, since release 1.18), so that
the graph's own types decide. With TensorRT 8.6 the network is weakly typed and float16 graphs
would be computed in float32.

The provider's cache knows a graph by the names of its nodes, not by its weights, and an engine by
the GPU's architecture, not by the release that built it. So each graph's content and each pair of
releases has a folder of its own here.

Engines that ``t2s-rt build`` made and ``t2s-rt verify`` signed are the business of the backend
``tensorrt``; this one is never chosen by itself.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from t2s_rt.backends.onnxruntime.binding import changing_sizes
from t2s_rt.backends.onnxruntime.cuda import OnnxRuntimeCudaSession, cuda_provider
from t2s_rt.backends.onnxruntime.library import Provider
from t2s_rt.backends.onnxruntime.placement import CPU
from t2s_rt.backends.onnxruntime.providers import TENSORRT
from t2s_rt.backends.options import BackendOptions
from t2s_rt.bundle import GraphEntry
from t2s_rt.caches import cache_folder
from t2s_rt.errors import OutputError
from t2s_rt.plans import input_profiles

__all__ = ["OnnxRuntimeTensorrtSession", "tensorrt_provider"]

_LIBRARIES = ("libnvinfer.so.10", "libnvinfer.so.11", "libnvinfer.so.8", "libnvinfer.so")


class OnnxRuntimeTensorrtSession(OnnxRuntimeCudaSession):
    """A graph on ONNX Runtime's TensorRT provider; what that lacks goes to CUDA.

    The first session of a graph builds its engine, which takes minutes for a large one; it and
    the builder's timings are kept in the cache.

    Args:
        entry: a graph that flies; text encoders have no profile.
        options: as for the CUDA provider; ``memory_limit`` is also the builder's workspace.
        reason: why this backend was chosen.

    Raises:
        MissingExtraError, BackendError: as for the CUDA provider.
        OutputError: the cache folder cannot be made.
    """

    backend = "onnxruntime-tensorrt"
    main_provider = TENSORRT

    def _provider_list(self, entry: GraphEntry, onnxruntime: Any) -> list[Provider]:
        root = cache_folder("onnxruntime-tensorrt")
        releases = f"onnxruntime-{onnxruntime.__version__}.tensorrt-{_release()}"
        folder = root / releases / f"{entry.role}.{entry.precision}.{entry.content_sha256[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"expected a cache folder that can be written, found {folder} "
                f"({error.strerror}); set T2S_CACHE"
            ) from error
        return [tensorrt_provider(entry, self._chosen, folder), cuda_provider(self._chosen), CPU]


def tensorrt_provider(entry: GraphEntry, options: BackendOptions, folder: Path) -> Provider:
    """The TensorRT provider with its options.

    Args:
        entry: the graph; profiles are given where it has dynamic sizes.
        options: ``device_index``, ``memory_limit`` and ``cuda_graph`` count.
        folder: for engines; the builder's timings lie one level above, shared by all graphs of
            these releases.

    Raises:
        BackendError: a graph that no engine is built for.
    """
    settings = {
        "device_id": str(options.device_index),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder.parent),
    }
    profiles = [profile for profile in input_profiles(entry) if profile.dynamic]
    if profiles:
        for word, name in (("min", "least"), ("opt", "usual"), ("max", "greatest")):
            settings[f"trt_profile_{word}_shapes"] = ",".join(
                f"{profile.name}:{'x'.join(str(size) for size in getattr(profile, name))}"
                for profile in profiles
            )
    if options.cuda_graph and not changing_sizes(entry):
        settings["trt_cuda_graph_enable"] = "1"
    if options.memory_limit is not None:
        settings["trt_max_workspace_size"] = str(options.memory_limit)
    return TENSORRT, settings


def _release() -> str:
    """TensorRT's full version as its library says it, e.g. ``10.13.3``."""
    for name in _LIBRARIES:
        try:
            number = int(ctypes.CDLL(name).getInferLibVersion())
        except (OSError, AttributeError):
            continue
        # 8603 is 8.6.3; since 10.0 two digits each: 101303 is 10.13.3
        if number >= 100000:
            return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
        return f"{number // 1000}.{number // 100 % 10}.{number % 100}"
    return "unknown"
