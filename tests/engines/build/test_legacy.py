"""TensorRT 8.6: types by flag, and float32 islands pinned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doubles import Control, tensorrt_double

onnx = pytest.importorskip("onnx", reason="the doubles read graphs with onnx")

from tests.engines.build.old_network import Layer, LayerType, attach  # noqa: E402
from tests.engines.build.test_builder import build  # noqa: E402

from t2s_engines.build.legacy import ask_for_precision, float32_layers  # noqa: E402
from t2s_engines.graphs.float32 import float_types  # noqa: E402
from t2s_rt.bundle import Bundle  # noqa: E402
from t2s_rt.errors import BackendError, UsageError  # noqa: E402


@pytest.fixture
def old() -> Iterator[tuple[Control, Any, list[Layer]]]:
    with tensorrt_double("8.6") as double:
        import tensorrt as trt

        yield double, trt, attach(trt)


Old = tuple[Control, Any, list[Layer]]


@pytest.mark.parametrize("role", ["clip_image", "mask_decoder", "detector"])
def test_float16_is_allowed_and_what_is_float32_in_the_graph_is_pinned(
    old: Old, nano: Bundle, tmp_path: Path, role: str
) -> None:
    double, trt, layers = old
    (result,), told = build(nano, tmp_path, role)
    made = double.builds[-1]
    assert made["plan"].flags == ["FP16", "TF32", "OBEY_PRECISION_CONSTRAINTS"]
    assert made["network"]._flags == 1  # EXPLICIT_BATCH
    assert told.parts == []  # nothing reports steps in 8.6
    pinned = {layer.name for layer in layers if layer.precision == trt.DataType.FLOAT}
    # the oracle: types that ONNX itself infers, which the network does not tell
    assert pinned == set(float_types(result.engine.entry.path).float32_nodes)
    for layer in layers:
        if layer.name in pinned:
            assert set(layer.output_types.values()) == {trt.DataType.FLOAT}
        else:
            assert layer.precision is None and not layer.output_types
    assert 0 < len(pinned) < sum(layer.type is LayerType.OTHER for layer in layers)


def test_float16_weights_of_a_float32_graph_are_allowed_and_no_layer_computes_in_it(
    old: Old, nano: Bundle, tmp_path: Path
) -> None:
    double, trt, layers = old
    (result,), _ = build(nano, tmp_path, "clip_image", precision="fp32")
    assert float_types(result.engine.entry.path).float16
    assert double.builds[-1]["plan"].flags == ["FP16", "TF32", "OBEY_PRECISION_CONSTRAINTS"]
    floats = {layer.name for layer in layers if layer.precision == trt.DataType.FLOAT}
    assert floats == set(float_types(result.engine.entry.path).float32_nodes)


def test_a_graph_without_float16_needs_no_flag(old: Old) -> None:
    config = Config()
    ask_for_precision(_Network([]), config, "fp32")
    assert config.flags == []


def test_options_that_8_6_lacks(old: Old, nano: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--strip-weights"):
        build(nano, tmp_path, "clip_image", strip_weights=True)
    assert old[0].builds == []


class Config:
    """A configuration that keeps the names of its flags."""

    def __init__(self) -> None:
        self.flags: list[str] = []

    def set_flag(self, flag: Any) -> None:
        self.flags.append(flag.name)


class _Network:
    """A network of given layers."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.num_layers, self.num_inputs = len(layers), 0

    def get_layer(self, index: int) -> Layer:
        return self.layers[index]


def test_layers_out_of_order_are_refused_rather_than_guessed(old: Old) -> None:
    from tests.engines.build.old_network import Edge

    _, trt, _ = old
    late = Edge("late", trt.DataType.FLOAT)
    layer = Layer("first", LayerType.OTHER, [late], [Edge("out", trt.DataType.FLOAT)])
    with pytest.raises(BackendError, match=r"found 'first' before what makes 'late'"):
        float32_layers(_Network([layer]))


def test_int8_needs_its_own_flag(old: Old) -> None:
    config = Config()
    ask_for_precision(_Network([]), config, "int8")
    assert config.flags == ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"]
