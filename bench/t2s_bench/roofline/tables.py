"""A record of ``bench roofline`` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t2s_bench.machine import one_line
from t2s_bench.markdown import table

__all__ = ["roofline_tables"]


def roofline_tables(record: Mapping[str, Any]) -> str:
    """Graphs, classes of operators in each, and what to gain next."""
    head = (
        f"{record['threads']} thread(s); peaks measured in the same run through the same runtime: "
        f"{record['peak_flops'] / 1e9:.0f} GFLOP/s (float32 matrix product), "
        f"{record['peak_bandwidth'] / 1e9:.1f} GB/s (copy). Single graphs, not a whole map."
    )
    wanted = any("target" in found for found in record["graphs"].values())
    shares = ("share of peak", "wanted") if wanted else ("share of peak",)
    graphs = table(
        ("graph", "rows", "GFLOP", "ms", *shares, "nodes in the file", "nodes that ran"),
        (
            (
                role,
                str(found["rows"]),
                f"{found['flops'] / 1e9:.2f}",
                f"{found['seconds'] * 1e3:.1f}",
                f"{found['share_of_peak']:.0%}",
                *([_target(found)] if wanted else []),
                str(found["nodes"]),
                str(found["nodes_run"]),
            )
            for role, found in record["graphs"].items()
        ),
    )
    classes = table(
        ("graph", "operators", "share of time", "share of peak FLOP/s", "share of peak GB/s"),
        (
            (
                role,
                name,
                f"{one['share_of_time']:.0%}",
                f"{one['share_of_peak_flops']:.0%}" if one["flops"] else "-",
                f"{one['share_of_peak_bandwidth']:.0%}",
            )
            for role, found in record["graphs"].items()
            for name, one in found["classes"].items()
            if one["share_of_time"] >= 0.01
        ),
    )
    gains = table(
        ("to gain next", "operator", "output", "nodes", "ms", "ms at the roof", "ms to gain"),
        (
            (
                gain["graph"],
                gain["op"],
                " x ".join(map(str, gain["output"])),
                str(gain["nodes"]),
                f"{gain['seconds'] * 1e3:.1f}",
                f"{gain['roof_s'] * 1e3:.1f}",
                f"{gain['gain_s'] * 1e3:.1f}",
            )
            for gain in record["gains"]
        ),
    )
    note = (
        "A share of peak GB/s above 100 % means that the data came from a cache. "
        f"`{record['command']}`; {one_line(record['machine'])}."
    )
    return "\n\n".join([head, graphs, classes, gains, note])


def _target(found: Mapping[str, Any]) -> str:
    """The share that is wanted, and whether it is reached; as the table rounds."""
    target = found.get("target")
    if target is None:
        return "-"
    reached = round(found["share_of_peak"], 2) >= target
    return f"{target:.0%}: {'reached' if reached else 'not reached'}"
