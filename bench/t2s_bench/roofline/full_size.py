"""The roofline of official models at full size: random weights, graph by graph."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_bench.machine import describe_machine
from t2s_bench.models.measure import cases
from t2s_bench.reference.case import Case
from t2s_bench.reference.written import write_graph
from t2s_bench.roofline.measure import graph_roofline, largest_gains, roofline_record
from t2s_bench.roofline.peaks import Peaks, measure_peaks
from t2s_rt.limits import PROMPTS_PER_CPU_CALL

__all__ = ["TARGETS", "measure_full_size", "target_of"]

TARGETS = {
    "clip": 0.90,
    "mask_encoder": 0.80,
    "mobile_sam mask_encoder": 0.65,
    "detector": 0.60,
    "mask_decoder": 0.55,
}
"""Share of the peak that the project wants, by the longest key that a graph's name holds."""
_CLIP_GRAPHS = ("clip_dense", "clip_image")


def measure_full_size(
    models: Sequence[str], *, threads: int = 1, repeat: int = 5
) -> dict[str, Any]:
    """Account for the time of official models' graphs, each exported with random weights.

    Args:
        models: keys of :data:`t2s_bench.models.measure.MODELS`.
        threads: within an operator.
        repeat: timed runs of each graph.

    Returns:
        A record as :func:`t2s_bench.roofline.measure.measure_roofline` makes it, graphs named
        ``MODEL ROLE`` and with the share that is wanted.

    Raises:
        MissingOriginalError: an original package, which the weights come through, is missing.
    """
    graphs: dict[str, dict[str, Any]] = {}
    gains: list[dict[str, Any]] = []
    peaks = measure_peaks(threads)
    for model in models:
        with tempfile.TemporaryDirectory(prefix="t2s-roofline-") as folder:
            for case in cases(model, Path(folder)):
                name = f"{model} {case.graph}"
                if _wanted(case):
                    graphs[name], found = _measure(case, Path(folder), peaks, threads, repeat)
                    graphs[name]["target"] = target_of(name)
                    gains += [{"graph": name, **gain} for gain in found]
                del case
                gc.collect()
    return roofline_record(
        peaks,
        threads,
        graphs,
        gains,
        bundle=None,
        command=f"t2s-rt bench roofline --models {','.join(models)}",
        machine=describe_machine(),
    )


def _wanted(case: Case) -> bool:
    """Every role once, as a map with boxes needs it; text is embedded beforehand."""
    if case.role.startswith("clip"):
        return case.graph in _CLIP_GRAPHS
    return case.role in ("detector", "mask_encoder") or case.graph == "mask_decoder, boxes"


def target_of(name: str) -> float | None:
    """The share that :data:`TARGETS` wants of a graph ``MODEL ROLE``."""
    return next(
        (TARGETS[key] for key in sorted(TARGETS, key=len, reverse=True) if key in name), None
    )


def _measure(
    case: Case, folder: Path, peaks: Peaks, threads: int, repeat: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    feeds = _as_called(case.feeds)
    entry = write_graph(case.export(), folder, _side(feeds))
    try:
        record, nodes = graph_roofline(entry, feeds, peaks, threads, repeat)
    finally:
        for file in entry.files:
            (folder / file.path).unlink()
    rows = feeds["point_coords" if "point_coords" in feeds else next(iter(feeds))].shape[0]
    return {**record, "rows": rows}, largest_gains(nodes, peaks)


def _as_called(feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The same inputs with as many prompts as the runtime hands the decoder in one call."""
    if "point_coords" not in feeds:
        return feeds
    each = ("point_coords", "point_labels")
    return {k: v[:PROMPTS_PER_CPU_CALL] if k in each else v for k, v in feeds.items()}


def _side(feeds: dict[str, NDArray[Any]]) -> tuple[int, int] | None:
    image = feeds.get("image", np.zeros(0))
    return (image.shape[1], image.shape[2]) if image.ndim == 4 else None
