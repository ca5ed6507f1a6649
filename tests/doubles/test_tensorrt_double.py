"""The double of TensorRT computes, refuses what TensorRT refuses, and can be killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.doubles import (
    RELEASES,
    Control,
    DeviceInfo,
    tensorrt_double,
)
from tests.doubles.user import Heard, build, load, run
from tests.trt.doubled import small_model

ROOT = Path(__file__).parents[2]
X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(params=RELEASES)
def double(request: pytest.FixtureRequest) -> Iterator[Control]:
    with tensorrt_double(request.param) as control:
        yield control


@pytest.fixture
def ten() -> Iterator[Control]:
    with tensorrt_double("10.13") as control:
        yield control


def test_every_release_computes(double: Control) -> None:
    import tensorrt as trt

    heard = Heard(trt)
    engine = load(heard, build(heard))
    assert np.array_equal(run(engine, X), X @ WEIGHTS)
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    assert names == ["x", "y"]
    assert tuple(engine.get_tensor_shape("x")) == (-1, 3)
    assert [tuple(s) for s in engine.get_tensor_profile_shape("x", 0)] == [(1, 3), (2, 3), (4, 3)]
    assert not heard.texts


def test_half_precision_overflows_as_on_a_gpu(ten: Control) -> None:
    import tensorrt as trt

    heard = Heard(trt)
    engine = load(heard, build(heard, small_model(half=True, scale=1000)))
    y = run(engine, X)
    assert np.isinf(y).any()
    engine = load(heard, build(heard, small_model(scale=1000)))
    assert np.array_equal(run(engine, X), X @ (1000 * WEIGHTS))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"profile": None}, "no optimization profile has been defined"),
        ({"profile": ((1, 4), (1, 4), (1, 4))}, "static dimension of 3"),
        ({"flags": ("FP16",)}, "strongly typed"),
        ({"content": small_model(half=True), "typed": False}, "fp16 is not configured"),
    ],
)
def test_a_build_that_cannot_be_gives_none_and_says_why(
    ten: Control, arguments: dict[str, Any], words: str
) -> None:
    import tensorrt as trt

    heard = Heard(trt)
    assert build(heard, **arguments) is None
    assert words in heard


def test_an_unshifted_flag_makes_a_weak_network_on_10(ten: Control) -> None:
    import tensorrt as trt

    typed = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    assert not builder.create_network(typed).get_flag(typed)
    assert builder.create_network(1 << int(typed)).get_flag(typed)


def test_the_parser_names_what_it_does_not_know(ten: Control) -> None:
    import onnx
    import tensorrt as trt

    heard = Heard(trt)
    model = onnx.load_model_from_string(small_model())
    model.graph.node[1].op_type = "NeverHeardOf"
    network = trt.Builder(heard.logger).create_network(2)
    parser = trt.OnnxParser(network, heard.logger)
    assert not parser.parse(model.SerializeToString())
    error = parser.get_error(0)
    assert (error.node(), error.node_name(), error.node_operator()) == (
        1,
        "product",
        "NeverHeardOf",
    )
    assert not parser.parse(b"no model")
    assert not parser.parse_from_file("missing.onnx")
    assert parser.get_error(0).code() == trt.ErrorCode.MODEL_DESERIALIZE_FAILED
    assert network.num_inputs == 0


def test_shapes_outside_the_profile_are_refused(ten: Control) -> None:
    import tensorrt as trt

    heard = Heard(trt)
    context = load(heard, build(heard)).create_execution_context()
    assert context.infer_shapes() == ["x"]
    assert not context.set_input_shape("x", (5, 3))
    assert not context.set_input_shape("x", (2, 4))
    assert not context.set_input_shape("z", (2, 3))
    assert not context.execute_async_v3(0)
    assert context.set_input_shape("x", (4, 3))
    assert tuple(context.get_tensor_shape("y")) == (4, 4)
    assert not context.execute_async_v3(0)
    assert "Address is not set for tensor x" in heard


@pytest.mark.parametrize("damage", ["foreign", "cut", "changed", "empty"])
def test_a_damaged_plan_is_no_engine(ten: Control, damage: str) -> None:
    import tensorrt as trt

    heard = Heard(trt)
    plan = bytes(build(heard))
    broken = {
        "foreign": b"\x7fELF" + plan,
        "cut": plan[: len(plan) // 2],
        "changed": plan[:-9] + b"x" + plan[-8:],
        "empty": b"",
    }[damage]
    assert load(heard, broken) is None
    assert "Serialization" in heard


def test_a_plan_is_for_one_release_and_gpu() -> None:
    with tensorrt_double("10.13"):
        import tensorrt

        heard = Heard(tensorrt)
        plan = bytes(build(heard))
        compatible = bytes(build(heard, flags=("VERSION_COMPATIBLE",)))
        ampere = tensorrt.HardwareCompatibilityLevel.AMPERE_PLUS
        wide = bytes(build(heard, hardware_compatibility_level=ampere))
    with tensorrt_double("11.4"):
        import tensorrt

        heard = Heard(tensorrt)
        assert load(heard, plan) is None
        assert "Version tag does not match" in heard
    with tensorrt_double("10.3"):
        import tensorrt

        heard = Heard(tensorrt)
        assert load(heard, compatible) is None
        assert "host code is not allowed" in heard
        engine = load(heard, compatible, engine_host_code_allowed=True)
        assert np.array_equal(run(engine, X), X @ WEIGHTS)
        del engine
    with tensorrt_double("10.13", info=DeviceInfo(name="other", compute_capability=(8, 9))):
        import tensorrt

        heard = Heard(tensorrt)
        assert load(heard, plan) is None
        assert "incompatible device" in heard
        assert load(heard, wide) is not None


def test_a_stripped_plan_needs_its_weights_back(ten: Control, tmp_path: Path) -> None:
    import tensorrt as trt

    heard = Heard(trt)
    full, plan = bytes(build(heard)), bytes(build(heard, flags=("STRIP_PLAN",)))
    assert WEIGHTS.tobytes() in full
    assert WEIGHTS.tobytes() not in plan
    engine = load(heard, plan)
    refitter = trt.Refitter(engine, heard.logger)
    assert list(refitter.get_missing_weights()) == ["w"]
    assert not refitter.refit_cuda_engine()
    path = tmp_path / "small.onnx"
    path.write_bytes(small_model())
    assert trt.OnnxParserRefitter(refitter, heard.logger).refit_from_file(str(path))
    assert refitter.refit_cuda_engine()
    assert np.array_equal(run(engine, X), X @ WEIGHTS)
    # what such an engine serialises to has again no weights, unless it is asked for them
    config = engine.create_serialization_config()
    assert WEIGHTS.tobytes() not in bytes(engine.serialize_with_config(config))
    config.clear_flag(trt.SerializationFlag.EXCLUDE_WEIGHTS)
    assert WEIGHTS.tobytes() in bytes(engine.serialize_with_config(config))


def test_a_refit_for_identical_weights_with_others_is_a_fault() -> None:
    with tensorrt_double(check=False) as double:
        import tensorrt as trt

        heard = Heard(trt)
        engine = load(heard, build(heard, flags=("REFIT_IDENTICAL",)))
        refitter = trt.Refitter(engine, heard.logger)
        assert refitter.set_named_weights("w", np.ones(12, np.float32))
        assert refitter.refit_cuda_engine()
        assert double.device.faults == ["refit of an engine for identical weights with others"]


def monitor(trt: Any, calls: list[Any], until: int = 99) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            calls.append(("start", phase_name, parent_phase))

        def step_complete(self, phase_name: str, step: int) -> bool:
            calls.append(("step", phase_name, step))
            return len(calls) < until

        def phase_finish(self, phase_name: str) -> None:
            calls.append(("finish", phase_name))

    return Monitor()


def test_progress_comes_in_phases_and_false_cancels(ten: Control) -> None:
    import tensorrt as trt

    heard, calls, few = Heard(trt), list[Any](), list[Any]()
    assert build(heard, progress_monitor=monitor(trt, calls)) is not None
    open_phases: list[str] = []
    for kind, phase, *rest in calls:
        if kind == "start":
            assert rest == [open_phases[-1] if open_phases else None]
            open_phases.append(phase)
        elif kind == "finish":
            assert open_phases.pop() == phase
        else:
            assert phase == open_phases[-1]
    assert not open_phases
    assert build(heard, progress_monitor=monitor(trt, few, until=5)) is None
    assert "cancelled" in heard
    started = [entry[1] for entry in few if entry[0] == "start"]
    assert sorted(started) == sorted(entry[1] for entry in few if entry[0] == "finish")


@pytest.mark.parametrize("watched", [True, False])
def test_ctrl_c_waits_for_the_library(ten: Control, watched: bool) -> None:
    """With a monitor it is lost in a callback and cancels at best; without, it comes at the end."""
    import tensorrt as trt

    heard = Heard(trt)
    ten.step_seconds = 0.02
    sent = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    sent.start()
    try:
        if watched:
            build(heard, progress_monitor=monitor(trt, []))
        else:
            with pytest.raises(KeyboardInterrupt):
                build(heard)
    finally:
        sent.join()


def test_a_timing_cache_is_of_one_gpu_and_is_filled_once(ten: Control) -> None:
    import tensorrt as trt

    heard = Heard(trt)
    builder = trt.Builder(heard.logger)
    config = builder.create_builder_config()
    cache = config.create_timing_cache(b"")
    assert config.set_timing_cache(cache, False)
    network = builder.create_network(2)
    assert trt.OnnxParser(network, heard.logger).parse(small_model())
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, 3), (2, 3), (4, 3))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config)
    first = len(cache._entries)
    saved = bytes(cache.serialize())
    assert first
    assert builder.build_serialized_network(network, config)
    assert len(cache._entries) == first  # known kernels are not timed again
    assert config.create_timing_cache(saved) is not None
    assert config.create_timing_cache(saved[:-1]) is None
    with tensorrt_double(info=DeviceInfo(name="other")):
        import tensorrt

        config = tensorrt.Builder(Heard(tensorrt).logger).create_builder_config()
        cache = config.create_timing_cache(saved)
        assert not config.set_timing_cache(cache, False)
        assert config.set_timing_cache(cache, True)


def test_capture_needs_one_run_before(ten: Control) -> None:
    import tensorrt as trt
    from cuda.bindings import runtime as rt

    heard = Heard(trt)
    context = load(heard, build(heard)).create_execution_context()
    context.set_input_shape("x", (2, 3))
    _, place = rt.cudaMalloc(1024)
    context.set_tensor_address("x", place)
    context.set_tensor_address("y", place + 512)
    _, stream = rt.cudaStreamCreateWithFlags(1)
    mode = rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    rt.cudaStreamBeginCapture(stream, mode)
    assert not context.execute_async_v3(stream)
    assert rt.cudaStreamEndCapture(stream) == (901, None)
    assert context.execute_async_v3(stream)
    rt.cudaStreamSynchronize(stream)
    rt.cudaStreamBeginCapture(stream, mode)
    assert context.execute_async_v3(stream)
    code, graph = rt.cudaStreamEndCapture(stream)
    assert code == 0
    rt.cudaGraphDestroy(graph)
    rt.cudaFree(place)
    rt.cudaStreamDestroy(stream)


def test_reading_past_the_end_and_crooked_addresses_are_faults() -> None:
    with tensorrt_double(check=False) as double:
        import tensorrt as trt
        from cuda.bindings import runtime as rt

        heard = Heard(trt)
        context = load(heard, build(heard)).create_execution_context()
        context.set_input_shape("x", (2, 3))
        _, place = rt.cudaMalloc(24)
        context.set_tensor_address("x", place)
        context.set_tensor_address("y", place + 8)
        assert context.execute_async_v3(0)
        assert rt.cudaStreamSynchronize(0) == (700,)
        assert "not aligned" in double.device.faults[0]
        assert "tensor y: 32 bytes" in double.device.faults[1]
