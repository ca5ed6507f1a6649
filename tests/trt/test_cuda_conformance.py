"""The double of cuda-python has the genuine package's names, parameters, values and answers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.doubles import tensorrt_double
from tests.trt.genuine import Genuine
from tests.trt.probe_cuda import answer, dump

CALLS = (
    "rt.cudaGetDeviceCount()",
    "rt.cudaMalloc(8)",
    "rt.cudaMalloc(size=8)",
    "rt.cudaMalloc(-8)",
    "rt.cudaMalloc('8')",
    "rt.cudaMalloc()",
    "rt.cudaMallocHost(8)",
    "rt.cudaHostAlloc(8, 0)",
    "rt.cudaHostAlloc(8)",
    "rt.cudaFree(0)",
    "rt.cudaFree(object())",
    "rt.cudaFree('0')",
    "rt.cudaFreeHost(0)",
    "rt.cudaMemcpyAsync(0, 0, 0, K.cudaMemcpyHostToDevice, 0)",
    "rt.cudaMemcpyAsync(0, np.zeros(3), 0, K.cudaMemcpyHostToDevice, 0)",
    "rt.cudaMemcpyAsync(0, b'abc', 0, K.cudaMemcpyHostToDevice, None)",
    "rt.cudaMemcpyAsync(np.uint64(0), 0, 0, K.cudaMemcpyHostToDevice, rt.cudaStream_t(0))",
    "rt.cudaMemcpyAsync(0, 0, 0, K.cudaMemcpyHostToDevice)",
    "rt.cudaMemcpyAsync(0, 0, 0, K.cudaMemcpyHostToDevice, 'stream')",
    "rt.cudaMemcpyAsync('x', 0, 0, K.cudaMemcpyHostToDevice, 0)",
    "rt.cudaMemsetAsync(0, 0, 0, 0)",
    "rt.cudaStreamCreate()",
    "rt.cudaStreamCreateWithFlags(rt.cudaStreamNonBlocking)",
    "rt.cudaStreamSynchronize(0)",
    "rt.cudaStreamQuery(0)",
    "rt.cudaStreamWaitEvent(0, 0)",
    "rt.cudaEventCreate()",
    "rt.cudaEventCreateWithFlags(rt.cudaEventDisableTiming)",
    "rt.cudaGraphInstantiate(0)",
    "rt.cudaGraphInstantiate(0, 0)",
    "rt.cudaGraphLaunch(0)",
    "rt.cudaStreamEndCapture(0)",
    "rt.cudaStreamBeginCapture(0)",
    "rt.cudaGetDeviceProperties(0)",
    "rt.cudaDeviceGetAttribute(rt.cudaDeviceAttr.cudaDevAttrMultiProcessorCount, 0)",
    "rt.cudaMemGetInfo()",
    "rt.cudaPointerGetAttributes(0)",
    "rt.cudaRuntimeGetVersion()",
    "rt.cudaDriverGetVersion()",
    "rt.cudaGetErrorName(rt.cudaError_t.cudaErrorMemoryAllocation)",
    "rt.cudaGetErrorString(rt.cudaError_t.cudaErrorMemoryAllocation)",
    "rt.cudaGetErrorName(rt.cudaError_t.cudaErrorStreamCaptureInvalidated)[1].decode()",
    "rt.cudaGetErrorString(rt.cudaError_t.cudaErrorIllegalAddress)[1].decode()",
    "rt.cudaDeviceGetStreamPriorityRange()",
    "rt.cudaDeviceSynchronize()",
    "repr(rt.cudaError_t(2))",
    "rt.cudaError_t(0) == 0",
    "int(rt.cudaStream_t(5))",
    "int(rt.cudaStream_t())",
    "rt.cudaStream_t(5) == rt.cudaStream_t(5)",
    "rt.cudaNope",
)
"""Every call without a device; what counts is whether it raises and how many items it answers."""


@pytest.fixture
def double() -> Any:
    with tensorrt_double(check=False):
        from cuda.bindings import runtime

        return runtime


def test_names_parameters_and_values_are_the_packages(genuine: Genuine, double: Any) -> None:
    real, mine = genuine.cuda("dump"), dump(double)
    assert not {n for n in mine["names"] if not n.startswith("_")} - set(real["names"])
    assert len(mine["functions"]) > 35
    for name, parameters in mine["functions"].items():
        assert parameters == real["functions"][name], name
    for name, members in mine["enums"].items():
        theirs = real["enums"][name]
        assert members == {key: theirs.get(key) for key in members}, name
    for name, value in mine["constants"].items():
        assert value == real["constants"][name], name


def test_calls_answer_alike(genuine: Genuine, double: Any, tmp_path: Path) -> None:
    table = tmp_path / "calls.json"
    table.write_text(json.dumps(CALLS), encoding="utf-8")
    real = genuine.cuda("calls", str(table))
    if real is None:
        pytest.skip("a GPU is here: the genuine calls would change its state")
    mine = {code: answer(code, double) for code in CALLS}
    wrong = {code: (mine[code], real[code]) for code in CALLS if mine[code] != real[code]}
    assert not wrong


@pytest.mark.parametrize("layout", ["bindings", "cudart"])
def test_both_layouts_hold_the_same_calls(layout: str, double: Any) -> None:
    present, absent = "cuda.bindings.runtime", "cuda.cudart"
    if layout == "cudart":
        present, absent = absent, present
    with tensorrt_double(layout=layout, check=False):
        with pytest.raises(ImportError):
            importlib.import_module(absent)
        assert dump(importlib.import_module(present)) == dump(double)
