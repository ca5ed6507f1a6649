"""The roofline of every graph that ``infer`` runs, as one record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from t2s_bench.inputs import default_pack, largest_calls
from t2s_bench.machine import describe_machine
from t2s_bench.roofline.count import bytes_moved, flops, op_class, with_weights
from t2s_bench.roofline.peaks import Peaks, measure_peaks
from t2s_bench.roofline.profile import NodeRun, profile_graph
from t2s_engines.verify.tiles import synthetic_tiles
from t2s_rt.backends import open_session
from t2s_rt.bundle import GraphEntry, load_bundle

__all__ = ["graph_roofline", "largest_gains", "measure_roofline", "roofline_record"]

_BACKEND = "onnxruntime-cpu"
_MOST_GAINS = 20


def measure_roofline(
    bundle_path: Path | None = None,
    *,
    threads: int = 1,
    repeat: int = 5,
    roles: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Account for the time of each graph on ONNX Runtime's CPU provider.

    Every graph is run with what ``infer`` feeds it for one synthetic tile; of several calls (the
    decoder's chunks of prompts) the one with the most rows.

    Args:
        bundle_path: of the bundle; the embedded one by default. Its fp32 graphs are measured.
        threads: within an operator.
        repeat: timed runs of each graph.
        roles: only these.

    Returns:
        A JSON-ready record: peaks, and for every graph work, time and share of the peaks, in all
        and by class of operators; and the nodes with the most to gain.

    Raises:
        UsageError: the bundle has no default pack or none of the roles.
        BackendError: ONNX Runtime refuses a graph.
    """
    bundle = load_bundle(bundle_path)
    calls = largest_calls(bundle, default_pack(bundle), synthetic_tiles(bundle, 1)[0], roles)
    peaks = measure_peaks(threads)
    graphs: dict[str, Any] = {}
    gains: list[dict[str, Any]] = []
    for role, (call, count) in track(sorted(calls.items()), "graphs", transient=True):
        graphs[role], nodes = graph_roofline(
            bundle.graph(role, "fp32"), call.feeds, peaks, threads, repeat
        )
        graphs[role].update(rows=len(call), calls_per_tile=count)
        gains += [{"graph": role, **gain} for gain in largest_gains(nodes, peaks)]
    return roofline_record(
        peaks,
        threads,
        graphs,
        gains,
        bundle=bundle.name,
        command="t2s-rt bench roofline",
        machine=describe_machine(),
    )


def roofline_record(
    peaks: Peaks,
    threads: int,
    graphs: Mapping[str, Any],
    gains: Sequence[dict[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    """The record of some graphs, with what is most to gain in any of them."""
    return {
        "what": "share of the machine's peaks by graph and class of operators, fp32",
        "backend": _BACKEND,
        "threads": threads,
        "peak_flops": peaks.flops,
        "peak_bandwidth": peaks.bandwidth,
        "graphs": dict(graphs),
        "gains": sorted(gains, key=lambda gain: -gain["gain_s"])[:_MOST_GAINS],
        **more,
    }


def graph_roofline(
    entry: GraphEntry,
    feeds: Mapping[str, NDArray[Any]],
    peaks: Peaks,
    threads: int,
    repeat: int,
) -> tuple[dict[str, Any], list[NodeRun]]:
    """One graph: its work as the file has it, its time, and classes of what really ran.

    Returns:
        The record, and the nodes that ran.
    """
    path = entry.path
    plain = profile_graph(path, feeds, optimised=False, threads=threads, repeat=0)
    by_name = {node.name: node for node in plain}
    ran = profile_graph(path, feeds, threads=threads, repeat=repeat)
    nodes = [with_weights(node, by_name) for node in ran]
    seconds = _latency(entry, feeds, threads, repeat)
    work = sum(flops(node) for node in plain)
    total = sum(node.seconds for node in nodes)
    classes: dict[str, list[NodeRun]] = {}
    for node in nodes:
        classes.setdefault(op_class(node.op), []).append(node)
    record = {
        "flops": work,
        "seconds": seconds,
        "share_of_peak": work / seconds / peaks.flops,
        "profiled_seconds": total,
        "nodes": len(plain),
        "nodes_run": len(nodes),
        "classes": {
            name: _class_record(members, total, peaks)
            for name, members in sorted(
                classes.items(), key=lambda item: -sum(n.seconds for n in item[1])
            )
        },
    }
    return record, nodes


def _class_record(nodes: Sequence[NodeRun], total: float, peaks: Peaks) -> dict[str, float]:
    seconds = max(sum(node.seconds for node in nodes), 1e-9)
    work = sum(flops(node) for node in nodes)
    moved = sum(bytes_moved(node) for node in nodes)
    return {
        "seconds": seconds,
        "share_of_time": seconds / max(total, 1e-9),
        "flops": work,
        "bytes": moved,
        "share_of_peak_flops": work / seconds / peaks.flops,
        "share_of_peak_bandwidth": moved / seconds / peaks.bandwidth,
    }


def largest_gains(nodes: Sequence[NodeRun], peaks: Peaks) -> list[dict[str, Any]]:
    """Time above the roof by operator and shape: what a perfect kernel, or none, would save."""
    groups: dict[tuple[str, tuple[int, ...]], list[NodeRun]] = {}
    for node in nodes:
        groups.setdefault((node.op, node.outputs[0].shape if node.outputs else ()), []).append(node)
    found = []
    for (op, shape), members in groups.items():
        seconds = sum(node.seconds for node in members)
        roof = sum(
            max(flops(node) / peaks.flops, bytes_moved(node) / peaks.bandwidth) for node in members
        )
        found.append(
            {
                "op": op,
                "output": list(shape),
                "nodes": len(members),
                "seconds": seconds,
                "roof_s": roof,
                "gain_s": seconds - roof,
            }
        )
    return found


def _latency(
    entry: GraphEntry, feeds: Mapping[str, NDArray[Any]], threads: int, repeat: int
) -> float:
    """Median seconds of a call through the runtime's own session, without the profiler."""
    with open_session(entry, _BACKEND, threads=threads) as session:
        session.run(dict(feeds))
        times = []
        for _ in range(max(1, repeat)):
            start = time.perf_counter()
            session.run(dict(feeds))
            times.append(time.perf_counter() - start)
    return float(np.median(times))
