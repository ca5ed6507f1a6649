"""A record of ``bench real`` as Markdown: for the terminal, the README and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t2s_bench.machine import one_line
from t2s_bench.markdown import table
from t2s_bench.real.verdicts import BASELINES, best_route, verdicts
from t2s_rt.routes import ROUTES

__all__ = ["real_caption", "real_tables", "verdict_table"]

_TITLES = {
    "kmeans": "colour k-means, clusters named by the truth",
    "largest": "everything is the most frequent class",
}


def real_caption(record: Mapping[str, Any]) -> str:
    """What the figures belong to, in one sentence."""
    count = sum(found["images"] for found in record["sets"].values())
    return (
        f"{count} real images that no training saw; `t2s-rt bench real DATA -o "
        f"bench/records/real.json`; {one_line(record['machine'])}."
    )


def verdict_table(record: Mapping[str, Any]) -> str:
    """Best route of every set beside the better baseline."""
    rows = [
        (
            found["title"],
            best_route(found),
            verdict.measure,
            _shown(verdict.value),
            _shown(verdict.baseline),
            "yes" if verdict.beaten else "no",
        )
        for found in record["sets"].values()
        for verdict in verdicts(found)
    ]
    return table(("set", "best route", "IoU of", "found", "best without a model", "beaten"), rows)


def real_tables(record: Mapping[str, Any]) -> str:
    """All figures: what is beaten, and IoU of every route and baseline on each set."""
    parts = [verdict_table(record)]
    for found in record["sets"].values():
        names = list(next(iter(found["maps"].values()))["iou"])
        rows = [
            (
                _TITLES.get(name, f"route {name}"),
                *(_shown(found["maps"][name]["iou"][c]) for c in names),
                _shown(found["maps"][name]["miou"]),
            )
            for name in (*ROUTES, *BASELINES)
        ]
        metres = ", ".join(f"{gsd:g}" for gsd in found["gsd"])
        head = f"{found['title']}: {found['images']} image(s) at {metres} m ({found['gsd_is']})"
        parts.append(table((head, *names, "mean"), rows))
    return "\n\n".join(parts)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
