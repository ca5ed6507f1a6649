"""Export a module for a test, with the exporter and opset that bundles use."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import onnx
import onnxruntime
import torch
from torch import Tensor, nn

__all__ = ["export_onnx", "operators", "session"]


def export_onnx(
    graph: nn.Module,
    inputs: tuple[Tensor, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    dynamic: dict[str, dict[int, str]],
) -> bytes:
    """Trace a module into a serialised ONNX model of opset 17.

    Args:
        graph: the module.
        inputs: example inputs.
        names: input names.
        outputs: output names.
        dynamic: names of the dynamic axes of each input and output.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # the TorchScript exporter says that it is the old one; it is the one meant
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.onnx.export(
            graph,
            inputs,
            buffer,  # type: ignore[arg-type]
            opset_version=17,
            dynamo=False,
            input_names=list(names),
            output_names=list(outputs),
            dynamic_axes=dynamic,
        )
    return buffer.getvalue()


def session(model: bytes) -> onnxruntime.InferenceSession:
    """Load a serialised model on the CPU."""
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def operators(model: bytes) -> set[str]:
    """Operator types of a serialised model."""
    return {node.op_type for node in onnx.load_from_string(model).graph.node}
