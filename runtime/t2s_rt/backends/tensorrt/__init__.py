"""TensorRT as a backend: engines of ``t2s-rt build``, run through named tensors and cuda-python.

Nothing in this package imports ``tensorrt`` or ``cuda`` before a session, or a device, is asked
for.
"""

from __future__ import annotations

from t2s_rt.backends.tensorrt.cuda import Cuda, CudaError, CudaVersions
from t2s_rt.backends.tensorrt.device import device_identity
from t2s_rt.backends.tensorrt.library import Library, load_library
from t2s_rt.backends.tensorrt.session import TensorRtSession

__all__ = [
    "Cuda",
    "CudaError",
    "CudaVersions",
    "Library",
    "TensorRtSession",
    "device_identity",
    "load_library",
]
