"""What TensorRT 8.6 (JetPack 6.0) needs instead of strong typing.

8.6 chooses the type of every layer by itself, among those that its flags allow. To have it compute
what the graph says, float16 is allowed, and each layer that is float32 in the graph is pinned to
float32 under OBEY_PRECISION_CONSTRAINTS. The names used here are gone from TensorRT 11.
"""

from __future__ import annotations

from typing import Any

from t2s_rt.errors import BackendError

__all__ = ["ask_for_precision", "explicit_batch", "float32_layers"]


def explicit_batch() -> Any:
    """The flag that an imported graph needs; later releases know nothing else."""
    import tensorrt as trt

    return trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH


def ask_for_precision(network: Any, config: Any, precision: str) -> None:
    """Allow a graph's types, and pin what is float32 in it.

    A float32 graph that stores its weights as float16 needs that too.

    Args:
        network: with the graph imported.
        config: of the build.
        precision: of the graph.
    """
    import tensorrt as trt

    if precision == "fp32" and not _holds_float16(network):
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in float32_layers(network):
        layer.precision = trt.DataType.FLOAT
        for index in range(layer.num_outputs):
            if layer.get_output(index).dtype == trt.DataType.FLOAT:
                layer.set_output_type(index, trt.DataType.FLOAT)


def _holds_float16(network: Any) -> bool:
    """Whether a constant or a cast makes float16: without strong typing nothing else says so."""
    import tensorrt as trt

    layers = (network.get_layer(index) for index in range(network.num_layers))
    return any(
        layer.get_output(number).dtype == trt.DataType.HALF
        for layer in layers
        if layer.type in (trt.LayerType.CONSTANT, trt.LayerType.CAST)
        for number in range(layer.num_outputs)
    )


def float32_layers(network: Any) -> list[Any]:
    """The layers that compute in float32, by the types that flow from inputs, constants and casts.

    The network's own account cannot be trusted here: without strong typing a tensor between two
    layers may read float32 whatever the graph says.

    Raises:
        BackendError: a network that is not in topological order.
    """
    import tensorrt as trt

    floats = (trt.DataType.FLOAT, trt.DataType.HALF)
    types = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        types[tensor.name] = tensor.dtype
    sources = (trt.LayerType.CONSTANT, trt.LayerType.CAST)
    pinned = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = [layer.get_output(number) for number in range(layer.num_outputs)]
        if layer.type in sources:
            types |= {tensor.name: tensor.dtype for tensor in outputs}
            continue
        inputs = [layer.get_input(number) for number in range(layer.num_inputs)]
        names = [tensor.name for tensor in inputs if tensor is not None]
        unknown = [name for name in names if name not in types]
        if unknown:
            raise BackendError(
                f"expected the layers of the network in order, found {layer.name!r} before what "
                f"makes {unknown[0]!r}; build this graph with --precision fp32"
            )
        seen = {types[name] for name in names} & set(floats)
        kind = trt.DataType.FLOAT if seen == {trt.DataType.FLOAT} else None
        for tensor in outputs:
            floating = tensor.dtype in floats
            types[tensor.name] = (kind or trt.DataType.HALF) if floating and seen else tensor.dtype
        if kind is not None and any(tensor.dtype in floats for tensor in outputs):
            pinned.append(layer)
    return pinned
