"""ONNX Runtime's providers behind the seam: CPU, CUDA and TensorRT."""

from __future__ import annotations

from t2s_rt.backends.onnxruntime.binding import BindingSession
from t2s_rt.backends.onnxruntime.cpu import OnnxRuntimeCpuSession
from t2s_rt.backends.onnxruntime.cuda import OnnxRuntimeCudaSession
from t2s_rt.backends.onnxruntime.tensorrt import OnnxRuntimeTensorrtSession

__all__ = [
    "BindingSession",
    "OnnxRuntimeCpuSession",
    "OnnxRuntimeCudaSession",
    "OnnxRuntimeTensorrtSession",
]
