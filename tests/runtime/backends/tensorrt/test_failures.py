"""Every call may fail: the error is ours, and nothing stays behind."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.doubles import Control, DeviceInfo, tensorrt_double
from tests.runtime.backends.tensorrt.conftest import Open
from tests.runtime.backends.tensorrt.graphs import decode, encode, image, prompts

from t2s_rt.backends import DeviceArray
from t2s_rt.backends.tensorrt import Cuda
from t2s_rt.errors import BackendError

_QUERIES = ("cudaGetErrorName", "cudaGetErrorString", "cudaGetLastError")
_UNKNOWN = 999


class Saboteur:
    """Counts the calls of the CUDA runtime and lets one of them fail without doing anything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.fails_at: int | None = None
        module = sys.modules["cuda.bindings.runtime"]
        self._code = module.cudaError_t(_UNKNOWN)
        for name in [n for n in dir(module) if n.startswith("cuda") and n not in _QUERIES]:
            function = getattr(module, name)
            if hasattr(function, "results"):
                monkeypatch.setattr(module, name, self._wrapped(name, function))

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) - 1 == self.fails_at:
                return self._code, *(None,) * function.results  # type: ignore[attr-defined]
            return function(*arguments)

        return call

    def arm(self, step: int | None) -> None:
        """Start to count again; the call of this number fails."""
        self.calls, self.fails_at = [], step


def _life(encoder: Open, decoder: Open, cuda_graph: bool) -> None:
    """Open two sessions, run them a few times over device memory, close them."""
    with encoder(cuda_graph=cuda_graph) as first, decoder(cuda_graph=cuda_graph) as second:
        for seed in (1, 2, 3) if cuda_graph else (1, 2):
            kept = first.run({"image": image(seed)}, keep=["image_embedding"])["image_embedding"]
            assert isinstance(kept, DeviceArray)
            try:
                found = second.run({"image_embedding": kept, **prompts(seed, 2)})
            finally:
                kept.release()
            expected = decode(encode(image(seed)), prompts(seed, 2))
            np.testing.assert_allclose(found["mask_logits"], expected, rtol=1e-5)


def _ends(call: str) -> bool:
    return "Free" in call or "Destroy" in call


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_a_failure_at_any_cuda_call_leaves_nothing_behind(
    double: Control,
    encoder: Open,
    decoder: Open,
    monkeypatch: pytest.MonkeyPatch,
    cuda_graph: bool,
) -> None:
    saboteur = Saboteur(monkeypatch)
    _life(encoder, decoder, cuda_graph)  # builds the engines too
    saboteur.arm(None)
    _life(encoder, decoder, cuda_graph)
    calls = list(saboteur.calls)
    assert len(set(calls)) > 12
    survived = []
    for step, call in enumerate(calls):
        saboteur.arm(step)
        try:
            _life(encoder, decoder, cuda_graph)
        except BackendError as error:
            assert "cudaErrorUnknown" in str(error), call
            assert "\n" not in str(error)
            del error
        else:
            survived.append(call)
        saboteur.arm(None)
        gc.collect()
        leaks = double.device.leaks()
        # what could not be given back is all that may be left
        assert len(leaks) <= (1 if _ends(call) else 0), (step, call, leaks)
        _give_back(double)
        assert not double.device.faults, (step, call)
    # only a graph is something that a session can do without
    assert set(survived) <= {
        *("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"),
        *("cudaStreamCreateWithFlags", "cudaStreamDestroy", "cudaGraphDestroy"),
    }
    assert bool(survived) == cuda_graph


def _give_back(double: Control) -> None:
    for kind in ("allocations", "streams", "events", "graphs", "execs"):
        getattr(double.device, kind).clear()


def _patched(control: Control, name: str, method: str, answer: Any) -> tuple[Any, Any]:
    kind = getattr(sys.modules["tensorrt"], name)
    before = getattr(kind, method)
    setattr(kind, method, lambda *arguments, **named: answer)
    return kind, before


@pytest.mark.parametrize(
    ("kind", "method", "answer", "message"),
    [
        ("Runtime", "deserialize_cuda_engine", None, "engine.plan: TensorRT .* cannot load this"),
        ("ICudaEngine", "create_execution_context", None, "cannot make an execution context"),
        ("IExecutionContext", "set_input_shape", False, "input image: TensorRT refuses the shape"),
    ],
)
def test_tensorrt_refuses_while_a_session_opens(
    every_release: Control, encoder: Open, kind: str, method: str, answer: Any, message: str
) -> None:
    encoder().close()
    owner, before = _patched(every_release, kind, method, answer)
    with pytest.raises(BackendError, match=message) as caught:
        encoder()
    setattr(owner, method, before)
    # although the traceback is alive
    assert caught.tb is not None
    assert not every_release.device.leaks()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("set_tensor_address", "TensorRT refuses the address of image"),
        ("execute_async_v3", "failed to enqueue the engine mask_encoder.*; run t2s-rt verify"),
    ],
)
def test_tensorrt_refuses_a_run(
    every_release: Control, encoder: Open, method: str, message: str
) -> None:
    with encoder() as session:
        owner, before = _patched(every_release, "IExecutionContext", method, False)
        with pytest.raises(BackendError, match=message):
            session.run({"image": image(1)}, keep=["image_embedding"])
        setattr(owner, method, before)
        found = session.run({"image": image(2)})["image_embedding"]
    np.testing.assert_array_equal(found, encode(image(2)))


def test_a_failed_run_leaves_nothing_enqueued(
    double: Control, encoder: Open, decoder: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its feeds are the caller's again: work that still reads them would read what comes next."""
    real = Cuda.copy

    def copy(self: Cuda, target: int, source: int, nbytes: int, way: Any, stream: int) -> None:
        if way == "DeviceToHost":
            raise BackendError("planted")
        real(self, target, source, nbytes, way, stream)

    with encoder() as first, decoder() as second:
        kept = first.run({"image": image(1)}, keep=["image_embedding"])["image_embedding"]
        with monkeypatch.context() as patch:
            patch.setattr(Cuda, "copy", copy)
            with pytest.raises(BackendError, match="planted"):
                second.run({"image_embedding": kept, **prompts(1, 2)}, keep=["iou"])
        assert not any(stream.queue for stream in double.device.streams.values())
        found = second.run({"image_embedding": kept, **prompts(2, 2)})["mask_logits"]
        assert isinstance(kept, DeviceArray)
        kept.release()
    np.testing.assert_allclose(found, decode(encode(image(1)), prompts(2, 2)), rtol=1e-5)


def test_what_tensorrt_says_is_in_the_message(
    double: Control, encoder: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder().close()
    trt = sys.modules["tensorrt"]

    def refuse(self: Any, plan: Any) -> None:
        self.logger.log(trt.ILogger.Severity.INFO, "chatter")
        severity = trt.ILogger.Severity.ERROR
        self.logger.log(severity, "Serialization assertion\nmagicTag failed.")

    kind = trt.Runtime
    before = kind.deserialize_cuda_engine
    kind.deserialize_cuda_engine = refuse
    with pytest.raises(BackendError) as caught:
        encoder()
    kind.deserialize_cuda_engine = before
    assert "TensorRT says: Serialization assertion magicTag failed.;" in str(caught.value)
    assert "chatter" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_full_device_says_how_much_was_wanted(encoder: Open) -> None:
    with tensorrt_double("10.13", info=DeviceInfo(total_memory=64 << 20)) as double:
        encoder().close()
        ballast = double.device.allocate((64 << 20) - 2000)
        with pytest.raises(BackendError) as caught:
            encoder()
        double.device.free(ballast)
    text = str(caught.value)
    assert "cudaErrorMemoryAllocation" in text
    assert "device memory for image_embedding" in text
    assert "wanted 3072 bytes" in text
    assert "free of 64.0 MiB" in text


def test_a_graph_that_cannot_be_captured_is_noted(double: Control, encoder: Open) -> None:
    with encoder(cuda_graph=True) as session:
        double.device.fail["cudaStreamEndCapture"] = 901
        for seed in range(4):
            found = session.run({"image": image(seed)})["image_embedding"]
            np.testing.assert_array_equal(found, encode(image(seed)))
        double.device.fail.clear()
        assert "no CUDA graph: capturing a CUDA graph: CUDA says" in session.describe()
        assert "cudaErrorStreamCaptureInvalidated" in session.describe()
    assert double.device.copies.get("graph", 0) == 0
    double.device.graphs.clear()


def test_an_engine_that_refuses_capture_runs_plainly(
    double: Control, encoder: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with encoder(cuda_graph=True) as session:
        kind: Any = sys.modules["tensorrt"].IExecutionContext
        plain = kind.execute_async_v3

        def only_live(self: Any, stream_handle: int) -> bool:
            if double.device.stream(stream_handle).capture is not None:
                return False
            return bool(plain(self, stream_handle))

        monkeypatch.setattr(kind, "execute_async_v3", only_live)
        for seed in range(4):
            found = session.run({"image": image(seed)})["image_embedding"]
            np.testing.assert_array_equal(found, encode(image(seed)))
        assert "no CUDA graph: mask_encoder: TensorRT" in session.describe()
