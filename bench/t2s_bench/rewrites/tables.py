"""A record of ``bench rewrites`` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t2s_bench.machine import one_line
from t2s_bench.markdown import table

__all__ = ["rewrites_tables"]


def rewrites_tables(record: Mapping[str, Any]) -> str:
    """Every race, then dense CLIP by windows in a call."""
    races = table(
        ("graph", "rewrite", "places", "ms as it is", "ms rewritten", "ratio (95 %)", "1 - cosine"),
        (
            (
                one["graph"],
                one["rewrite"],
                "" if one["places"] is None else str(one["places"]),
                f"{one['plain']['p50_s'] * 1e3:.1f}",
                f"{one['rewritten']['p50_s'] * 1e3:.1f}",
                f"{one['ratio']:.2f} ({one['ratio_95'][0]:.2f} to {one['ratio_95'][1]:.2f})",
                f"{one['moved']:.0e}",
            )
            for one in record["races"]
        ),
    )
    windows = table(
        ("graph", "windows in a call", "ms a window"),
        (
            (role, count, f"{one['p50_s'] * 1e3:.1f}")
            for role, counts in record["windows"].items()
            for count, one in counts.items()
        ),
    )
    foot = (
        f"Bundle {record['bundle']}, {record['threads']} thread(s), in turns; a ratio below 1 is "
        f"faster; `t2s-rt bench rewrites`; {one_line(record['machine'])}."
    )
    return "\n\n".join(part for part in (races, windows if record["windows"] else "", foot) if part)
