"""The CUDA runtime: both layouts of cuda-python, and errors that say what to do."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.doubles import Control, DeviceInfo, tensorrt_double

from t2s_rt.backends.tensorrt import Cuda, CudaError, device_identity
from t2s_rt.errors import BackendError, MissingExtraError


@pytest.mark.parametrize(
    ("layout", "cuda", "runtime"), [("bindings", 13020, (13, 2)), ("cudart", 12020, (12, 2))]
)
def test_both_layouts(layout: str, cuda: int, runtime: tuple[int, int]) -> None:
    with tensorrt_double("10.13", layout=layout, cuda=cuda):
        loaded = Cuda.load()
        versions = loaded.versions()
        assert versions.runtime == runtime
        assert versions.driver == (13, 0)
        assert str(versions) == f"driver for CUDA 13.0, runtime CUDA {runtime[0]}.{runtime[1]}"
        assert loaded.device_count() == 1
        free, total = loaded.memory()
        assert 0 < free <= total


def test_identity_is_what_decides_whether_a_plan_fits() -> None:
    info = DeviceInfo(
        name="Orin\0\0", compute_capability=(8, 7), sm_count=8, total_memory=(7 << 30) + 12345
    )
    with tensorrt_double("10.13", info=info):
        found = device_identity(Cuda.load())
    assert found.name == "Orin"
    assert found.compute_capability == (8, 7)
    assert found.architecture == "sm_87"
    assert found.multiprocessors == 8
    assert found.memory == 7 << 30  # rounded down to 64 MiB: the rest changes from boot to boot
    assert found.integrated


def test_memory_goes_there_and_back(double: Control) -> None:
    cuda = Cuda.load()
    stream = cuda.create_stream()
    pinned = cuda.allocate_pinned(400, "a test")
    place = cuda.allocate(400, "a test")
    assert place % 256 == 0
    assert cuda.home_of(place + 100) == 0
    assert cuda.home_of(pinned) is None
    out = np.empty(100, np.float32)
    assert cuda.home_of(out.ctypes.data) is None
    values = np.arange(100, dtype=np.float32)
    cuda.copy(place, values.ctypes.data, 400, "HostToDevice", stream)
    cuda.read(place, out, stream)
    np.testing.assert_array_equal(out, values)
    cuda.free(place)
    cuda.free_pinned(pinned)
    cuda.destroy_stream(stream)


def _hide(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Importing cuda-python fails with an error."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "cuda"]:
        monkeypatch.delitem(sys.modules, name)
    real = importlib.import_module

    def refuse(name: str, package: str | None = None) -> ModuleType:
        if name.partition(".")[0] == "cuda":
            raise error
        return real(name, package)

    monkeypatch.setattr("t2s_rt.backends.tensorrt.cuda.import_module", refuse)


def test_cuda_python_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, ModuleNotFoundError("No module named 'cuda'", name="cuda"))
    with pytest.raises(MissingExtraError, match=r"'cuda-python'.*pip install 't2s-rt\[tensorrt\]'"):
        Cuda.load()


def test_cuda_python_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, ImportError("libcudart.so.13: cannot open shared object file"))
    with pytest.raises(BackendError, match=r"cannot be imported \(libcudart.so.13: .*install it"):
        Cuda.load()


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (0, "expected an NVIDIA driver for CUDA 13.0, found none; install the driver"),
        (
            12020,
            "expected an NVIDIA driver for CUDA 13.0, found one for CUDA 12.2; update the driver, "
            "or install cuda-python and TensorRT for CUDA 12",
        ),
    ],
)
def test_a_driver_that_is_missing_or_too_old(driver: int, message: str) -> None:
    with tensorrt_double("10.13", info=DeviceInfo(driver_version=driver)) as double:
        double.device.fail["cudaSetDevice"] = 35
        with pytest.raises(CudaError, match=message) as caught:
            Cuda.load()
        assert caught.value.name == "cudaErrorInsufficientDriver"
        assert caught.value.exit_code == 5


def test_a_device_that_is_not_there() -> None:
    with tensorrt_double("10.13", check=False), pytest.raises(CudaError) as caught:
        Cuda.load(3)
    assert "expected the CUDA device 3, found 1 devices" in str(caught.value)
    assert "--backend onnxruntime-cpu" in str(caught.value)


def test_no_device_at_all(double: Control) -> None:
    double.device.fail |= {"cudaSetDevice": 100, "cudaGetDeviceCount": 100}
    with pytest.raises(CudaError, match="cudaErrorNoDevice .* found 0 devices"):
        Cuda.load()


def test_what_happens_at_exit_is_no_error(double: Control) -> None:
    cuda = Cuda.load()
    stream = cuda.create_stream()
    double.device.fail["cudaStreamDestroy"] = 4  # the driver has gone, and the stream with it
    cuda.destroy_stream(stream)
    double.device.fail.clear()
    double.device.streams.clear()


def test_an_error_does_not_stay_for_tensorrt_to_find() -> None:
    with tensorrt_double("10.13", info=DeviceInfo(total_memory=1 << 20)):
        cuda = Cuda.load()
        runtime: Any = sys.modules["cuda.bindings.runtime"]
        with pytest.raises(CudaError, match="cudaErrorMemoryAllocation .*a smaller precision"):
            cuda.allocate(2 << 20, "a test")
        assert int(runtime.cudaGetLastError()[0]) == 0


def test_a_library_that_cuda_python_cannot_load(
    double: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(sys.modules["cuda.bindings.runtime"], "cudaSetDevice", fail)
    with pytest.raises(BackendError, match="cudaSetDevice .Failed to dlopen libcuda"):
        Cuda.load()


def test_nothing_is_imported_before_it_is_needed() -> None:
    import subprocess

    code = (
        "import sys; from t2s_rt.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "import t2s_rt.backends.tensorrt, t2s_rt.models\n"
        "print([m for m in sys.modules if m.partition('.')[0] in ('cuda', 'tensorrt')])"
    )
    for arguments in (["--help"], ["infer", "--help"], ["build", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "tests.doubles.run", "10.13", "-c", _watching(code), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def _watching(code: str) -> str:
    """Modules that lie ready, but out of sight: importing one brings it back into sight."""
    return (
        "import importlib.abc, importlib.machinery, sys\n"
        "ready = {n: sys.modules.pop(n) for n in list(sys.modules)\n"
        "         if n.partition('.')[0] in ('cuda', 'tensorrt')}\n"
        "assert ready\n"
        "class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        return importlib.machinery.ModuleSpec(name, self) if name in ready else None\n"
        "    def create_module(self, spec): return ready[spec.name]\n"
        "    def exec_module(self, module): pass\n"
        "sys.meta_path.insert(0, Finder())\n" + code
    )
