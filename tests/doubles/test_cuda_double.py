"""The simulated GPU catches what a real one would answer with silence."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.doubles import Control, MisuseError, tensorrt_double


@pytest.fixture
def double() -> Iterator[Control]:
    with tensorrt_double(check=False) as control:
        yield control


@pytest.fixture
def rt(double: Control) -> Any:
    from cuda.bindings import runtime

    return runtime


def ok(answer: tuple[Any, ...]) -> Any:
    code, *values = answer
    assert code == 0, answer
    return values[0] if values else None


def pinned(rt: Any, count: int) -> tuple[int, np.ndarray[Any, np.dtype[np.float32]]]:
    """Page-locked memory for some float32, and an array over it."""
    where = ok(rt.cudaMallocHost(4 * count))
    raw = (ctypes.c_char * (4 * count)).from_address(where)
    return where, np.frombuffer(memoryview(raw).cast("B"), np.float32)


def test_nothing_runs_before_somebody_waits(rt: Any) -> None:
    kinds = rt.cudaMemcpyKind
    stream = ok(rt.cudaStreamCreateWithFlags(rt.cudaStreamNonBlocking))
    device = ok(rt.cudaMalloc(16))
    source, given = pinned(rt, 4)
    target, got = pinned(rt, 4)
    given[:] = 7
    ok(rt.cudaMemcpyAsync(device, source, 16, kinds.cudaMemcpyHostToDevice, stream))
    ok(rt.cudaMemcpyAsync(target, device, 16, kinds.cudaMemcpyDeviceToHost, stream))
    assert np.isnan(got).all()  # too early
    given[:] = 8  # overwritten too early: the copy reads page-locked memory when it runs
    ok(rt.cudaStreamSynchronize(stream))
    assert (got == 8).all()


def test_pageable_memory_is_staged_and_waits_as_in_cuda(rt: Any, double: Control) -> None:
    kinds = rt.cudaMemcpyKind
    device = ok(rt.cudaMalloc(16))
    given, got = np.full(4, 7, np.float32), np.zeros(4, np.float32)
    ok(rt.cudaMemcpyAsync(device, given, 16, kinds.cudaMemcpyHostToDevice, 0))
    given[:] = 8
    ok(rt.cudaMemcpyAsync(got, device, 16, kinds.cudaMemcpyDeviceToHost, 0))
    assert (got == 7).all()
    assert double.device.copies["pageable"] == 2


def test_streams_are_ordered_by_events_only(rt: Any) -> None:
    kinds = rt.cudaMemcpyKind
    first, second = (ok(rt.cudaStreamCreateWithFlags(1)) for _ in range(2))
    device = ok(rt.cudaMalloc(16))
    source, given = pinned(rt, 4)
    target, got = pinned(rt, 4)
    given[:] = 7
    ok(rt.cudaMemcpyAsync(device, source, 16, kinds.cudaMemcpyHostToDevice, first))
    ok(rt.cudaMemcpyAsync(target, device, 16, kinds.cudaMemcpyDeviceToHost, second))
    ok(rt.cudaStreamSynchronize(second))
    assert np.isnan(got).all()  # the second stream overtook the first
    event = ok(rt.cudaEventCreateWithFlags(rt.cudaEventDisableTiming))
    ok(rt.cudaEventRecord(event, first))
    ok(rt.cudaStreamWaitEvent(second, event, 0))
    ok(rt.cudaMemcpyAsync(target, device, 16, kinds.cudaMemcpyDeviceToHost, second))
    ok(rt.cudaStreamSynchronize(second))
    assert (got == 7).all()


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("twice", 1, "a second time"),
        ("host as device", 1, "freed host memory as device memory"),
        ("too long", 1, "no live allocation"),
        ("wrong way", 1, "direction"),
        ("after free", 700, "not inside a live allocation"),
        ("dead stream", 400, "no live stream"),
        ("dead graph", 1, "no live graph"),
    ],
)
def test_misuse_is_answered_with_cudas_code_and_remembered(
    rt: Any, double: Control, what: str, code: int, words: str
) -> None:
    kinds = rt.cudaMemcpyKind
    stream = ok(rt.cudaStreamCreate())
    device, host = ok(rt.cudaMalloc(16)), ok(rt.cudaMallocHost(32))
    up = kinds.cudaMemcpyHostToDevice
    if what == "twice":
        ok(rt.cudaFree(device))
        answer = rt.cudaFree(device)
    elif what == "host as device":
        answer = rt.cudaFree(host)
    elif what == "too long":
        answer = rt.cudaMemcpyAsync(device, host, 17, up, stream)
    elif what == "wrong way":
        answer = rt.cudaMemcpyAsync(host, device, 16, up, stream)
    elif what == "after free":
        ok(rt.cudaMemcpyAsync(device, host, 16, up, stream))
        double.device._drop(device, "device")  # as another thread might, without waiting
        answer = rt.cudaStreamSynchronize(stream)
        assert rt.cudaMalloc(8) == (700, None)  # nothing works any more, as on a GPU
    elif what == "dead stream":
        ok(rt.cudaStreamDestroy(stream))
        answer = rt.cudaStreamSynchronize(stream)
    else:
        answer = rt.cudaGraphLaunch(5, stream)
    assert answer == (code,)
    assert words in " ".join(double.device.faults)


def test_memory_ends(rt: Any, double: Control) -> None:
    assert rt.cudaMalloc(double.device.info.total_memory + 1)[0] == 2
    assert not double.device.faults  # being refused is no misuse


def test_a_graph_repeats_its_work_with_the_addresses_of_its_capture(rt: Any) -> None:
    kinds = rt.cudaMemcpyKind
    stream = ok(rt.cudaStreamCreateWithFlags(1))
    source, given = pinned(rt, 4)
    target, got = pinned(rt, 4)
    device = ok(rt.cudaMalloc(16))
    mode = rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    ok(rt.cudaStreamBeginCapture(stream, mode))
    ok(rt.cudaMemcpyAsync(device, source, 16, kinds.cudaMemcpyHostToDevice, stream))
    ok(rt.cudaMemcpyAsync(target, device, 16, kinds.cudaMemcpyDeviceToHost, stream))
    graph = ok(rt.cudaStreamEndCapture(stream))
    ready = ok(rt.cudaGraphInstantiate(graph, 0))
    ok(rt.cudaGraphDestroy(graph))
    ok(rt.cudaStreamSynchronize(stream))
    assert np.isnan(got).all()  # a capture runs nothing
    for value in (1, 2):
        given[:] = value
        ok(rt.cudaGraphLaunch(ready, stream))
        ok(rt.cudaStreamSynchronize(stream))
        assert (got == value).all()
    ok(rt.cudaFree(device))
    ok(rt.cudaGraphLaunch(ready, stream))
    assert rt.cudaStreamSynchronize(stream) == (700,)


@pytest.mark.parametrize("call", ["cudaStreamSynchronize", "cudaMalloc", "pageable"])
def test_what_a_capture_forbids_breaks_it(rt: Any, call: str) -> None:
    stream = ok(rt.cudaStreamCreateWithFlags(1))
    device = ok(rt.cudaMalloc(16))
    mode = rt.cudaStreamCaptureMode.cudaStreamCaptureModeGlobal
    ok(rt.cudaStreamBeginCapture(stream, mode))
    if call == "cudaStreamSynchronize":
        code = rt.cudaStreamSynchronize(stream)[0]
    elif call == "cudaMalloc":
        code = rt.cudaMalloc(16)[0]
    else:
        array = np.zeros(4, np.float32)
        kind = rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        code = rt.cudaMemcpyAsync(device, array, 16, kind, stream)[0]
    assert code == 900
    assert rt.cudaStreamEndCapture(stream) == (901, None)


def test_leaving_the_block_reports_what_is_still_alive() -> None:
    with pytest.raises(MisuseError) as caught, tensorrt_double():
        from cuda.bindings import runtime

        ok(runtime.cudaMalloc(24))
        ok(runtime.cudaStreamCreate())
    assert "device memory" in str(caught.value)
    assert "24 bytes" in str(caught.value)
    assert "stream" in str(caught.value)


def test_leaving_the_block_reports_misuse_that_the_code_ignored() -> None:
    with pytest.raises(MisuseError, match="no allocation"), tensorrt_double():
        from cuda.bindings import runtime

        runtime.cudaFree(12345)


def test_the_doubles_are_gone_afterwards() -> None:
    import sys

    before = {name for name in sys.modules if name.split(".")[0] in ("tensorrt", "cuda")}
    with tensorrt_double():
        assert "tensorrt" in sys.modules
    after = {name for name in sys.modules if name.split(".")[0] in ("tensorrt", "cuda")}
    assert after == before
