"""One case of the catalogue to one row of the record, and what the row must hold."""

from __future__ import annotations

import dataclasses
import gc
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from t2s_bench.machine import peak_memory_bytes
from t2s_bench.models.graphs import open_graph, run_graph, with_selection
from t2s_engines.timing import interleave
from t2s_rt.contracts import TEXT_ROLES

if TYPE_CHECKING:
    from t2s_bench.reference.case import Case
    from t2s_engines.graphs.graph import Graph

__all__ = ["STAGE_COSINE", "faults", "prove"]

THREADS = 2
STAGE_COSINE = 0.999999
"""Smallest cosine of a stage that was given the original's own tensors: rounding alone."""
_LEAST_SPREAD = 1e-3
"""Standard deviation over the largest value below which a stage counts as constant."""


def prove(case: Case, *, repeat: int | None) -> dict[str, Any]:
    """Export a case's module, run the file and compare it with the original.

    Args:
        case: its module is gone afterwards.
        repeat: clean samples of each side to time; None leaves timing out.

    Returns:
        JSON-ready figures; see ``faults`` for what they have to hold.
    """
    start = time.perf_counter()
    exported = case.export()
    seconds = time.perf_counter() - start
    gc.collect()
    row: dict[str, Any] = {
        "graph": case.graph,
        "role": case.role,
        "what": case.what,
        "export_s": round(seconds, 2),
        "nodes": len(exported.graph.nodes),
        "stages": {name: _rounded(found) for name, found in case.stages.items()},
    }
    with tempfile.TemporaryDirectory(prefix="t2s-models-") as folder:
        path = Path(folder) / "graph.onnx"
        row["bytes"] = _save(exported.graph, path)
        graph, feeds = exported.graph, case.feeds
        if case.selected is None:
            found = run_graph(path, feeds, THREADS)
        else:
            graph, selected, scores = with_selection(graph)
            feeds = {**feeds, selected: case.selected}
            found = _run_beside(graph, Path(folder), feeds)
            assert case.scores is not None  # a case with a selection says what it ranked
            row["selection"] = _selection(case.scores, found[scores], case.selected)
        row["onnx"] = _compare(case, found)
        if case.role not in TEXT_ROLES:
            half = _rounding_graph(graph, exported.graph)
            row["fp16"] = _half_figures(case, found, _run_beside(half, Path(folder), feeds))
            del half
        del graph
        del exported
        gc.collect()
        if repeat is not None:
            row["timing"] = _timing(case, path, repeat)
    row["peak_rss_bytes"] = peak_memory_bytes()
    return row


def _save(graph: Graph, path: Path) -> int:
    """Write a graph; bytes of all its files."""
    from t2s_engines.graphs.files import save_model

    files = save_model(graph.to_model("proof"), path)
    return sum(file.stat().st_size for file in files)


def _rounded(found: Any) -> dict[str, float]:
    """Figures with the digits that mean something."""
    return {
        "max_abs": float(f"{found.max_abs:.3g}"),
        "cosine": round(found.cosine, 9),
        "largest": float(f"{found.largest:.4g}"),
        "spread": float(f"{found.spread:.3g}"),
    }


def _cut(case: Case, found: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The outputs of the contract; of logits the tokens that are none of the padding."""
    outputs = {name: found[name] for name in case.expected}
    if case.role == "detector":
        real = case.feeds["text_token_mask"][0].astype(bool)
        outputs["logits"] = outputs["logits"][:, :, real]
    return outputs


def _compare(case: Case, found: dict[str, NDArray[Any]]) -> dict[str, Any]:
    from t2s_bench.reference.stages import figures

    record = {}
    for name, value in _cut(case, found).items():
        limit = case.limits[name]
        record[name] = {
            **_rounded(figures(case.expected[name], value)),
            "least_cosine": limit.cosine,
            "most_abs": limit.max_abs,
        }
    return record


def _run_beside(
    graph: Graph, folder: Path, feeds: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Run a variant of the graph from a file that is gone afterwards."""
    path = folder / "variant.onnx"
    _save(graph, path)
    found = run_graph(path, feeds, THREADS)
    for file in folder.glob("variant.onnx*"):
        file.unlink()
    return found


def _selection(
    theirs: NDArray[Any], ours: NDArray[Any], selected: NDArray[Any]
) -> dict[str, float]:
    """How good our own selection is by the original's own scores, and how much of it is shared."""
    loss, shared = 0.0, 1.0
    for expected, found, kept in zip(theirs, ours, selected, strict=True):
        own = np.argsort(-found, kind="stable")[: len(kept)]
        difference = np.sort(expected[kept])[::-1] - np.sort(expected[own])[::-1]
        loss = max(loss, float(np.abs(difference).max()))
        shared = min(shared, len(np.intersect1d(own, kept)) / len(kept))
    return {
        "score_max_abs": float(f"{np.abs(theirs - ours).max():.3g}"),
        "score_loss": float(f"{loss:.3g}"),
        "shared": round(shared, 5),
    }


def _rounding_graph(graph: Graph, exported: Graph) -> Graph:
    """The rounding graph of the fp16 form with the islands that hold for any weights.

    Args:
        graph: to convert; for a detector with its selection given.
        exported: the same as exported: its TopK says which scores are ranked.
    """
    from t2s_engines.graphs.rounding import rounding_graph
    from t2s_export.precision import islands_by_rule, typed_float16

    return rounding_graph(typed_float16(graph, islands_by_rule(exported)))


def _half_figures(
    case: Case, single: dict[str, NDArray[Any]], half: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    """The fp16 graph, every fp16 value rounded, against the fp32 graph."""
    from t2s_bench.reference.stages import figures

    expected, found = _cut(case, single), _cut(case, half)
    return {
        name: {
            **_rounded(figures(expected[name], found[name])),
            "least_cosine": case.limits[name].half_cosine,
        }
        for name in expected
    }


def _timing(case: Case, path: Path, repeat: int) -> dict[str, Any]:
    """The original in eager torch and the file on ONNX Runtime, in turn, two threads each."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    session = open_graph(path, THREADS)
    try:
        timings = interleave(
            {
                "torch": case.opponent,
                "onnxruntime": lambda: session.run(None, case.feeds),
            },
            repeat,
        )
    finally:
        torch.set_num_threads(before)
    return {
        "threads": THREADS,
        **{name: dataclasses.asdict(timing) for name, timing in timings.items()},
        "times_faster": round(timings["torch"].median / timings["onnxruntime"].median, 2),
    }


def faults(row: dict[str, Any]) -> list[str]:
    """Sentences on every figure of a row that misses its limit; empty if all hold."""
    found = []
    for name, stage in row["stages"].items():
        if stage["cosine"] < STAGE_COSINE:
            found.append(f"stage {name}: cosine {stage['cosine']}, expected {STAGE_COSINE}")
    for name, output in row["onnx"].items():
        if output["cosine"] < output["least_cosine"]:
            found.append(f"{name}: cosine {output['cosine']}, expected {output['least_cosine']}")
        if output["most_abs"] is not None and output["max_abs"] > output["most_abs"]:
            found.append(f"{name}: off by {output['max_abs']}, expected {output['most_abs']}")
    for name, figures in (*row["stages"].items(), *row["onnx"].items()):
        if figures["spread"] < _LEAST_SPREAD * figures["largest"]:
            found.append(
                f"{name}: the expected values are constant, so that agreement says nothing"
            )
    for name, half in row.get("fp16", {}).items():
        if half["cosine"] < half["least_cosine"]:
            found.append(
                f"{name} in fp16: cosine {half['cosine']}, expected {half['least_cosine']}"
            )
    return [f"{row['model']} {row['graph']}: {sentence}" for sentence in found]
