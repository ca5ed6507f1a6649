"""Backends: one seam to every inference library."""

from __future__ import annotations

from t2s_rt.backends.base import Session
from t2s_rt.backends.device import Array, CudaArrayLike, DeviceArray, Feed, is_device_array
from t2s_rt.backends.fake import FakeSession, fake_device_array, fake_entry
from t2s_rt.backends.onnxruntime import (
    BindingSession,
    OnnxRuntimeCpuSession,
    OnnxRuntimeCudaSession,
    OnnxRuntimeTensorrtSession,
)
from t2s_rt.backends.options import BackendOptions
from t2s_rt.backends.registry import (
    BACKENDS,
    AutoBackend,
    BackendKind,
    choose_backend,
    open_session,
)
from t2s_rt.backends.tensorrt import TensorRtSession

__all__ = [
    "BACKENDS",
    "Array",
    "AutoBackend",
    "BackendKind",
    "BackendOptions",
    "BindingSession",
    "CudaArrayLike",
    "DeviceArray",
    "FakeSession",
    "Feed",
    "OnnxRuntimeCpuSession",
    "OnnxRuntimeCudaSession",
    "OnnxRuntimeTensorrtSession",
    "Session",
    "TensorRtSession",
    "choose_backend",
    "fake_device_array",
    "fake_entry",
    "is_device_array",
    "open_session",
]
