"""Which GPU this is, in the attributes that decide whether a plan fits it."""

from __future__ import annotations

from t2s_rt.backends.tensorrt.cuda import Cuda
from t2s_rt.plans import DeviceIdentity

__all__ = ["device_identity"]

_MEMORY_STEP = 64 << 20


def device_identity(cuda: Cuda) -> DeviceIdentity:
    """Ask CUDA for a device's identity; creates no context on it.

    Raises:
        CudaError: there is no such device, or its driver does not answer.
    """
    properties = cuda.properties()
    name = properties.name
    if isinstance(name, bytes):
        name = name.split(b"\0")[0].decode(errors="replace")
    return DeviceIdentity(
        name=str(name).strip(),
        compute_capability=(
            cuda.attribute("ComputeCapabilityMajor"),
            cuda.attribute("ComputeCapabilityMinor"),
        ),
        multiprocessors=cuda.attribute("MultiProcessorCount"),
        memory=int(properties.totalGlobalMem) // _MEMORY_STEP * _MEMORY_STEP,
        integrated=bool(cuda.attribute("Integrated")),
    )
