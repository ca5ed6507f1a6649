"""What is known about GPU providers without a GPU, and the CUDA driver through a stub of it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from t2s_rt.backends.onnxruntime import providers
from t2s_rt.backends.onnxruntime.driver import CudaDriver
from t2s_rt.backends.onnxruntime.placement import Placement
from t2s_rt.backends.onnxruntime.providers import (
    CUDA,
    TENSORRT,
    device_missing,
    provider_missing,
    why_not_loaded,
)
from t2s_rt.bundle import NANO_ROOT, load_bundle
from t2s_rt.errors import BackendError

STUB = """
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
int depth = 0, context = 0, waited = 0, freed = 0;
int cuInit(unsigned flags) { return flags ? 1 : 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 40 + ordinal; return 0; }
int cuDevicePrimaryCtxRetain(void **c, int device) { context = device; *c = &context; return 0; }
int cuCtxPushCurrent_v2(void *c) { depth++; return c == &context ? 0 : 201; }
int cuCtxPopCurrent_v2(void **c) { depth--; *c = &context; return 0; }
int cuStreamSynchronize(void *stream) { waited = (int)(size_t)stream; return depth == 1 ? 0 : 201; }
int cuMemcpyDtoD_v2(unsigned long long to, unsigned long long from, size_t size) {
  memcpy((void *)(size_t)to, (void *)(size_t)from, size); return depth == 1 ? 0 : 201; }
int cuMemHostAlloc(void **p, size_t size, unsigned flags) {
  if (size > 1u << 20) return 2;
  *p = malloc(size); return flags == 1 && depth == 1 ? 0 : 1; }
int cuMemFreeHost(void *p) { free(p); freed++; return depth == 1 ? 0 : 201; }
int cuGetErrorName(int code, const char **text) {
  *text = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_INVALID_VALUE"; return 0; }
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A driver library that checks its arguments, compiled from STUB."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "stub.c").write_text(STUB)
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), "stub.c"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "libcuda.so.1"


def test_the_driver_waits_copies_and_lends_locked_memory(stub: Path) -> None:
    driver = CudaDriver(1, str(stub))
    library = ctypes.CDLL(str(stub))

    def value(name: str) -> int:
        return ctypes.c_int.in_dll(library, name).value

    assert value("context") == 41
    driver.wait_for(7)
    assert value("waited") == 7
    pointer, free = driver.pinned(64)
    ctypes.memset(pointer, 5, 64)
    source, target = (ctypes.c_ubyte * 8)(*range(8)), (ctypes.c_ubyte * 8)()
    driver.copy(ctypes.addressof(source), ctypes.addressof(target), 8)
    assert bytes(target) == bytes(range(8))
    assert value("waited") == 1  # the copy is over, not only begun
    free()
    assert (value("freed"), value("depth")) == (1, 0)


def test_the_drivers_refusals_name_the_call(stub: Path) -> None:
    with pytest.raises(BackendError, match="expected a GPU with the index 2, found 2 GPUs"):
        CudaDriver(2, str(stub))
    driver = CudaDriver(0, str(stub))
    with pytest.raises(BackendError, match="cuMemHostAlloc gave CUDA_ERROR_OUT_OF_MEMORY"):
        driver.pinned(2 << 20)
    driver.wait_for(1)  # and the context was popped


def test_no_driver_at_all(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="expected NVIDIA's driver, found none that loads"):
        CudaDriver(0, str(tmp_path / "libcuda.so.1"))


def test_providers_are_told_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModuleSpec("onnxruntime", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(providers, "find_spec", lambda name: spec)
    assert provider_missing(CUDA) == "the installed onnxruntime has no CUDA provider"
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").touch()
    assert provider_missing(CUDA) is None
    assert provider_missing(TENSORRT) == "the installed onnxruntime has no Tensorrt provider"
    monkeypatch.setattr(providers, "find_spec", lambda name: None)
    assert provider_missing(CUDA) == "onnxruntime-gpu is not installed"


def test_devices_are_told_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "DEVICE_FILES", (str(tmp_path / "nvidiactl"),))
    assert device_missing() == "there is no NVIDIA device"
    (tmp_path / "nvidiactl").touch()
    assert device_missing() is None


def test_a_missing_library_is_named_by_the_loader(
    stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider linked to a library that is not there, as with CUDA's own."""
    capi = tmp_path / "capi"
    capi.mkdir()
    compiler = str(shutil.which("cc"))
    (tmp_path / "empty.c").write_text("int nothing;")
    for name, more in (
        ("libcublas_double.so.13", []),
        (providers._SHARED, []),
        (providers._FILES[CUDA], ["-Wl,--no-as-needed", "libcublas_double.so.13"]),
    ):
        place = tmp_path if "double" in name else capi
        soname = f"-Wl,-soname,{name}"
        command = [compiler, "-shared", "-fPIC", soname, "-o", str(place / name), "empty.c", *more]
        subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "libcublas_double.so.13").unlink()
    monkeypatch.setattr(providers, "_library_folder", lambda: capi)
    reason = why_not_loaded(CUDA, 0)
    assert reason is not None
    assert reason.startswith("libcublas_double.so.13: cannot open shared object")


def test_placement_of_a_real_session() -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    path = load_bundle(NANO_ROOT).graph("mask_decoder").path
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    if not hasattr(session, "get_provider_graph_assignment_info"):
        assert Placement.of(session) is None
        return
    placement = Placement.of(session)
    assert placement is not None
    assert set(placement.providers) == {"CPUExecutionProvider"}
    assert placement.fallen["Softmax"] >= 1
    assert "Add" not in placement.fallen
    total = placement.providers["CPUExecutionProvider"]
    assert total == sum(placement.fallen.values()) + placement.shape_work
    assert placement.describe().startswith(f"{total} nodes on CPU (")
