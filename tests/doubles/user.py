"""What a user of TensorRT does, for tests of the double: build, load, run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.trt.doubled import small_model

__all__ = ["Heard", "build", "load", "run"]


class Heard:
    """A logger's messages."""

    def __init__(self, trt: Any) -> None:
        texts: list[str] = []

        class Keeper(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()

            def log(self, severity: Any, msg: str) -> None:
                if severity <= trt.ILogger.ERROR:
                    texts.append(msg)

        self.texts = texts
        self.logger = Keeper()

    def __contains__(self, words: str) -> bool:
        return any(words in text for text in self.texts)


def build(
    heard: Heard,
    content: bytes | None = None,
    *,
    flags: tuple[str, ...] = (),
    profile: tuple[tuple[int, ...], ...] | None = ((1, 3), (2, 3), (4, 3)),
    typed: bool = True,
    **settings: Any,
) -> Any:
    """Build the small model as a user does; None where the builder gives none."""
    import tensorrt as trt

    builder = trt.Builder(heard.logger)
    kinds = trt.NetworkDefinitionCreationFlag.__members__
    kind = kinds.get("STRONGLY_TYPED") if typed else None
    network = builder.create_network(1 << int(kind if kind is not None else 0))
    parser = trt.OnnxParser(network, heard.logger)
    assert parser.parse(content or small_model()), parser.get_error(0).desc()
    config = builder.create_builder_config()
    for name in flags:
        config.set_flag(trt.BuilderFlag.__members__[name])
    for name, value in settings.items():
        setattr(config, name, value)
    if profile:
        shapes = builder.create_optimization_profile()
        shapes.set_shape("x", *profile)
        assert config.add_optimization_profile(shapes) == 0
    return builder.build_serialized_network(network, config)


def load(heard: Heard, plan: Any, **settings: Any) -> Any:
    import tensorrt as trt

    runtime = trt.Runtime(heard.logger)
    for name, value in settings.items():
        setattr(runtime, name, value)
    return runtime.deserialize_cuda_engine(plan)


def run(engine: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run an engine once on a stream of its own, and clean up."""
    from cuda.bindings import runtime as rt

    context = engine.create_execution_context()
    assert context.set_input_shape("x", x.shape)
    y = np.zeros(tuple(context.get_tensor_shape("y")), np.float32)
    _, stream = rt.cudaStreamCreate()
    places = [rt.cudaMalloc(array.nbytes)[1] for array in (x, y)]
    for name, place in zip("xy", places, strict=True):
        assert context.set_tensor_address(name, place)
    kinds = rt.cudaMemcpyKind
    rt.cudaMemcpyAsync(places[0], x, x.nbytes, kinds.cudaMemcpyHostToDevice, stream)
    assert context.execute_async_v3(stream)
    rt.cudaMemcpyAsync(y, places[1], y.nbytes, kinds.cudaMemcpyDeviceToHost, stream)
    assert rt.cudaStreamSynchronize(stream) == (0,)
    for place in places:
        rt.cudaFree(place)
    rt.cudaStreamDestroy(stream)
    return y
