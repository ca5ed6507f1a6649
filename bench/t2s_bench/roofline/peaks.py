"""What this machine can do through ONNX Runtime: a large matrix product, and a large copy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Peaks", "measure_peaks"]

_SIDE = 2048
_FLOATS = 1 << 25


@dataclass(frozen=True)
class Peaks:
    """Best of several passes.

    Attributes:
        flops: multiplications and additions a second of a float32 matrix product.
        bandwidth: bytes a second, read and written, of a float32 negation.
    """

    flops: float
    bandwidth: float


def measure_peaks(threads: int, repeat: int = 7) -> Peaks:
    """Measure the peaks of ``threads`` threads; takes some seconds and 0.4 GB."""
    rng = np.random.default_rng(0)
    square = [rng.standard_normal((_SIDE, _SIDE), dtype=np.float32) for _ in range(2)]
    product = _fastest("MatMul", square, threads, repeat)
    vector = rng.standard_normal(_FLOATS, dtype=np.float32)
    copy = _fastest("Neg", [vector], threads, repeat)
    return Peaks(2 * _SIDE**3 / product, 2 * vector.nbytes / copy)


def _fastest(op: str, arrays: list[Any], threads: int, repeat: int) -> float:
    """Seconds of the fastest run of a graph of one operator, its output's memory reused."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    names = [f"input_{index}" for index in range(len(arrays))]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in zip(names, arrays, strict=True)
    ]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, arrays[0].shape)
    graph = helper.make_graph([helper.make_node(op, names, ["output"])], op, inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for name, array in zip(names, arrays, strict=True):
        binding.bind_cpu_input(name, array)
    result = np.empty(arrays[0].shape, np.float32)
    binding.bind_output("output", "cpu", 0, np.float32, result.shape, result.ctypes.data)
    best = float("inf")
    for _ in range(1 + repeat):
        start = time.perf_counter()
        session.run_with_iobinding(binding)
        best = min(best, time.perf_counter() - start)
    return best
