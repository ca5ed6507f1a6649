"""Every rewrite against the graph as it is, in turns, on what ``infer`` feeds it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from t2s_bench.inputs import default_pack, largest_calls
from t2s_bench.machine import describe_machine
from t2s_bench.rewrites.forms import fused_attention, tanh_gelu, to_model
from t2s_bench.speed.samples import interleaved, latency, ratio_interval, summary
from t2s_engines.verify.calls import Call
from t2s_engines.verify.tiles import synthetic_tiles
from t2s_rt.bundle import GraphEntry, load_bundle
from t2s_rt.evaluation.agreement import cosine

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from t2s_engines.graphs.graph import Graph

__all__ = ["measure_rewrites"]

_FORMS: Mapping[str, Callable[[Graph], int]] = {
    "attention fused (MultiHeadAttention)": fused_attention,
    "Gelu by tanh": tanh_gelu,
}
_LEVELS = {"no optimiser": "ORT_DISABLE_ALL", "basic optimiser only": "ORT_ENABLE_BASIC"}
_ALL = "ORT_ENABLE_ALL"
_WINDOWS = (1, 3, 9)
"""Windows of dense CLIP in a call."""

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Variant:
    """A way to run a graph: its name, the file, the optimiser's level and how often it applies."""

    name: str
    path: Path
    level: str
    places: int | None


def measure_rewrites(
    bundle_path: Path | None = None,
    *,
    threads: int = 1,
    repeat: int = 15,
    roles: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Race every rewrite of every graph against the graph as ``infer`` opens it.

    Args:
        bundle_path: of the bundle; the embedded one by default. Its fp32 graphs are measured.
        threads: within an operator.
        repeat: turns of each race.
        roles: only these.

    Returns:
        A JSON-ready record: per graph and rewrite the ratio of the times (below 1 is faster) with
        its 95 % interval and how far the outputs move; and dense CLIP's time by windows in a call.

    Raises:
        UsageError: the bundle has no default pack or none of the roles.
    """
    bundle = load_bundle(bundle_path)
    calls = largest_calls(bundle, default_pack(bundle), synthetic_tiles(bundle, 1)[0], roles)
    races = []
    windows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="t2s-rewrites-") as folder:
        for role, (call, _) in track(sorted(calls.items()), "graphs", transient=True):
            entry = bundle.graph(role, "fp32")
            for variant in _variants(entry, Path(folder)):
                races.append({"graph": role, **_race(entry, variant, call.feeds, threads, repeat)})
            if role in ("clip_dense", "clip_patches"):
                windows[role] = _by_windows(entry, call, threads, repeat)
    return {
        "what": "rewrites of graphs on ONNX Runtime's CPU provider, fp32",
        "bundle": bundle.name,
        "threads": threads,
        "races": races,
        "windows": windows,
        "machine": describe_machine(),
    }


def _variants(entry: GraphEntry, folder: Path) -> Iterator[_Variant]:
    """Every way to run a graph in which something differs."""
    import onnx

    from t2s_engines.graphs.files import save_model
    from t2s_engines.graphs.graph import Graph

    for name, level in _LEVELS.items():
        yield _Variant(name, entry.path, level, None)
    for name, rewrite in _FORMS.items():
        graph = Graph.from_model(onnx.load(entry.path))
        if places := rewrite(graph):
            path = folder / f"{entry.role}.{rewrite.__name__}.onnx"
            save_model(to_model(graph), path)
            yield _Variant(name, path, _ALL, places)


def _race(
    entry: GraphEntry, variant: _Variant, feeds: Feeds, threads: int, repeat: int
) -> dict[str, Any]:
    plain = _session(entry.path, _ALL, threads)
    other = _session(variant.path, variant.level, threads)
    run, rerun = partial(plain.run, None, dict(feeds)), partial(other.run, None, dict(feeds))
    first, second = interleaved(run, rerun, repeat)
    ratio, low, high = ratio_interval(first, second)
    return {
        "rewrite": variant.name,
        "places": variant.places,
        "plain": summary(first),
        "rewritten": summary(second),
        "ratio": ratio,
        "ratio_95": [low, high],
        "moved": max(1.0 - cosine(a, b) for a, b in zip(run(), rerun(), strict=True)),
    }


def _by_windows(entry: GraphEntry, call: Call, threads: int, repeat: int) -> dict[str, Any]:
    """Seconds a window by windows in a call."""
    session = _session(entry.path, _ALL, threads)
    (name, rows), *rest = call.feeds.items()
    assert not rest  # an image and nothing else
    found = {}
    for count in _WINDOWS:
        feeds = {name: np.resize(rows, (count, *rows.shape[1:]))}
        run = partial(session.run, None, feeds)
        found[str(count)] = {"p50_s": latency(run, repeat)["p50_s"] / count}
    return found


def _session(path: Path, level: str, threads: int) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
