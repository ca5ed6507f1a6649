"""Export one graph module through the TorchScript exporter, and clean what comes out.

The TorchScript exporter and not ``dynamo=True``: on the same modules it gives graphs that ONNX
Runtime and TensorRT 8.6 read, and fewer nodes after cleaning (docs of the project, export).
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper
from torch.jit._trace import TracerWarning

import t2s_rt
from t2s_engines.graphs.graph import Graph, ValueType
from t2s_export.errors import ExportError
from t2s_export.graphs.cleanup import clean
from t2s_export.graphs.operators import check_operators
from t2s_rt.contracts import CONTRACTS, OPSET, GraphContract, Role, TensorSpec

__all__ = ["DYNAMIC_SYMBOLS", "PRODUCER", "ExportedGraph", "export_graph", "run_module"]

PRODUCER = "t2s-rt"
DYNAMIC_SYMBOLS = frozenset({"B", "L", "N", "P", "T"})
"""Symbols of the contracts that stay symbols in a file; all others are sizes there."""


@dataclass(frozen=True)
class ExportedGraph:
    """A clean graph and the concrete form of its contract.

    Attributes:
        role: what it does.
        graph: nodes and constants.
        inputs: the contract's inputs with sizes in place of every symbol that is fixed.
        outputs: likewise.
    """

    role: Role
    graph: Graph
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def to_model(self) -> onnx.ModelProto:
        """The ONNX message; the same module gives the same bytes."""
        return self.graph.to_model(
            self.role,
            producer=PRODUCER,
            producer_version=t2s_rt.__version__,
            metadata={"role": self.role},
        )


def export_graph(
    role: Role, module: torch.nn.Module, example: Mapping[str, torch.Tensor]
) -> ExportedGraph:
    """Turn ``module`` into a graph that fulfils the contract of ``role``.

    Args:
        role: which contract.
        module: its ``forward`` takes the contract's inputs in order and returns its outputs in
            order. It is switched to evaluation for the export and back afterwards.
        example: one tensor per input, of the contract's dtypes; dynamic dimensions should have
            sizes above 1 that differ from each other and from every fixed size.

    Returns:
        The cleaned graph, checked against the contract and the operators of TensorRT 8.6 to 11.

    Raises:
        ExportError: the module's inputs or outputs do not fit the contract.
        OperatorError: the graph needs an operator that some TensorRT release cannot import.
    """
    contract = CONTRACTS[role]
    results = run_module(role, module, example)
    inputs = _concrete(contract.inputs, example)
    outputs = _concrete(contract.outputs, results)
    model = _trace(contract, module, tuple(example[spec.name] for spec in contract.inputs))
    graph = Graph.from_model(model)
    _check_border(role, graph, contract)
    graph.inputs = {spec.name: _border(spec) for spec in inputs}
    graph.outputs = {spec.name: _border(spec) for spec in outputs}
    clean(graph, {name: name for name in module.state_dict()})
    check_operators(graph)
    return ExportedGraph(role, graph, inputs, outputs)


def run_module(
    role: Role, module: torch.nn.Module, feeds: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Run ``module`` in evaluation on named inputs and name its outputs after the contract.

    Raises:
        ExportError: an input is missing, or the number of outputs is another.
    """
    contract = CONTRACTS[role]
    missing = [spec.name for spec in contract.inputs if spec.name not in feeds]
    if missing:
        raise ExportError(f"expected inputs for {role}: {missing} are missing; found {list(feeds)}")
    with _evaluating(module), torch.no_grad():
        returned = module(*(feeds[spec.name] for spec in contract.inputs))
    results: Sequence[torch.Tensor] = (
        (returned,) if isinstance(returned, torch.Tensor) else tuple(returned)
    )
    if len(results) != len(contract.outputs):
        raise ExportError(
            f"expected {len(contract.outputs)} outputs of {role} "
            f"({[spec.name for spec in contract.outputs]}), found {len(results)}"
        )
    return {spec.name: value for spec, value in zip(contract.outputs, results, strict=True)}


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each submodule's own mode again afterwards."""
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes.items():
            child.training = mode


def _trace(
    contract: GraphContract, module: torch.nn.Module, args: tuple[torch.Tensor, ...]
) -> onnx.ModelProto:
    """Run the TorchScript exporter; through a folder, because it spills weights above 2 GiB."""
    dynamic = {
        spec.name: {axis: size for axis, size in enumerate(spec.shape) if size in DYNAMIC_SYMBOLS}
        for spec in (*contract.inputs, *contract.outputs)
    }
    with tempfile.TemporaryDirectory(prefix="t2s-export-") as folder, _evaluating(module):
        path = Path(folder) / "graph.onnx"
        with torch.no_grad(), warnings.catch_warnings():
            # the exporter announces its own deprecation, and warns of every Python number that
            # it makes a constant: parity on other sizes proves which of them are right
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", TracerWarning)
            # what it does not fold (the sizes of a Pad), the clean-up does
            warnings.filterwarnings("ignore", "Constant folding", UserWarning)
            torch.onnx.export(
                module,
                args,
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=[spec.name for spec in contract.inputs],
                output_names=[spec.name for spec in contract.outputs],
                dynamic_axes={name: axes for name, axes in dynamic.items() if axes},
                do_constant_folding=True,
            )
        return onnx.load(path)


def _concrete(
    specs: Sequence[TensorSpec], tensors: Mapping[str, torch.Tensor]
) -> tuple[TensorSpec, ...]:
    """Put sizes in place of fixed symbols, and check the rest against the tensors."""
    concrete = []
    for spec in specs:
        tensor = tensors[spec.name]
        dtype = str(tensor.dtype).removeprefix("torch.")
        fits = len(tensor.shape) == len(spec.shape) and all(
            isinstance(size, str) or size == found
            for size, found in zip(spec.shape, tensor.shape, strict=False)
        )
        if dtype != spec.dtype or not fits:
            raise ExportError(
                f"expected {spec.name} to be {spec.dtype} {list(spec.shape)}, "
                f"found {dtype} {list(tensor.shape)}; change the module or the example"
            )
        shape = tuple(
            size if size in DYNAMIC_SYMBOLS else int(found)
            for size, found in zip(spec.shape, tensor.shape, strict=True)
        )
        concrete.append(TensorSpec(spec.name, spec.dtype, shape, spec.meaning))
    return tuple(concrete)


def _check_border(role: Role, graph: Graph, contract: GraphContract) -> None:
    """Compare names and element types of the exported graph with the contract."""
    for side, specs, found in (
        ("inputs", contract.inputs, graph.inputs),
        ("outputs", contract.outputs, graph.outputs),
    ):
        expected = [(spec.name, _border(spec).elem_type) for spec in specs]
        actual = [(name, value.elem_type) for name, value in found.items()]
        if expected != actual:
            raise ExportError(
                f"expected {side} of {role} to be {expected} (name, ONNX type), found {actual}"
            )


def _border(spec: TensorSpec) -> ValueType:
    return ValueType(helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape)
