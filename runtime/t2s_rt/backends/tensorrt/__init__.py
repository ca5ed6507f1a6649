"""TensorRT as a backend: engines of ``t2s-rt build``, run through named tensors and cuda-python.

Nothing in this package imports ``tensorrt`` or ``cuda`` before a session, or a device, is asked
for.
"""

from __future__ import annotations

from t2s_rt.backends.tensorrt.cuda import Cuda, CudaError, CudaVersions
from t2s_rt.backends.tensorrt.device import device_identity

__all__ = ["Cuda", "CudaError", "CudaVersions", "device_identity"]
