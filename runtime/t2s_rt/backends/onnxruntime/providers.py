"""Is a GPU provider there, and if not, why not: what can be said before and after trying.

Before: from files alone, so that choosing a backend imports nothing. After: ONNX Runtime leaves a
provider that fails to load out of the session without an error; the reason is then asked of the
dynamic loader and of the driver.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from t2s_rt.backends.onnxruntime.driver import CudaDriver
from t2s_rt.backends.onnxruntime.library import first_line
from t2s_rt.errors import BackendError

__all__ = [
    "CUDA",
    "DEVICE_FILES",
    "TENSORRT",
    "device_missing",
    "load_gpu_libraries",
    "provider_missing",
    "require_provider",
    "why_not_loaded",
]

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
_FILES = {
    CUDA: "libonnxruntime_providers_cuda.so",
    TENSORRT: "libonnxruntime_providers_tensorrt.so",
}
_SHARED = "libonnxruntime_providers_shared.so"
DEVICE_FILES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/dxg")
"""Of a PC's driver, of Jetsons, of Windows' subsystem for Linux."""
_ADVICE = (
    "the packages onnxruntime and onnxruntime-gpu overwrite each other, so run: "
    "pip uninstall onnxruntime onnxruntime-gpu, then pip install 't2s-rt[cuda]'"
)


def provider_missing(provider: str) -> str | None:
    """Why the installed ONNX Runtime cannot have a provider, or None; imports nothing."""
    folder = _library_folder()
    if folder is None:
        return "onnxruntime-gpu is not installed"
    if (folder / _FILES[provider]).exists():
        return None
    return f"the installed onnxruntime has no {provider.removesuffix('ExecutionProvider')} provider"


def device_missing() -> str | None:
    """Why there is no NVIDIA GPU to use, or None; looks for the driver's files."""
    if any(Path(name).exists() for name in DEVICE_FILES):
        return None
    return "there is no NVIDIA device"


def require_provider(onnxruntime: Any, provider: str, backend: str) -> None:
    """Check that the library was built with a provider.

    Raises:
        BackendError: it was not; the message says what to install, and what never to install
            together.
    """
    found = onnxruntime.get_available_providers()
    if provider in found:
        return
    both = " beside onnxruntime-gpu" if _installed("onnxruntime-gpu") else ""
    raise BackendError(
        f"the backend {backend} needs ONNX Runtime's {provider}, found onnxruntime "
        f"{onnxruntime.__version__}{both} with {', '.join(found)}; {_ADVICE}"
    )


@lru_cache(maxsize=1)
def load_gpu_libraries(onnxruntime: Any) -> None:
    """Load CUDA's libraries from the wheels that NVIDIA publishes, where they are installed.

    ONNX Runtime finds libraries of a system's CUDA by itself, those of wheels only by this call
    (since 1.21). It prints what it did not find; that is said by us, once, where it matters.
    """
    onnxruntime.set_default_logger_severity(4)
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        with contextlib.redirect_stdout(io.StringIO()):
            preload()


def why_not_loaded(provider: str, device_index: int) -> str | None:
    """The reason for which a provider did not come up, in one line.

    None where its libraries load and the driver has the device. To be asked only when a session
    failed: asking loads the libraries.
    """
    folder = _library_folder()
    if folder is not None:
        try:
            for name in (_SHARED, _FILES[provider]):
                ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)
        except OSError as error:
            return first_line(error)
    try:
        CudaDriver(device_index)
    except BackendError as error:
        return first_line(error)
    return None


def _library_folder() -> Path | None:
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "capi"


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
