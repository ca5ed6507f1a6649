"""What a calibration found, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["thresholds_table"]


def thresholds_table(record: Mapping[str, Any]) -> str:
    """Thresholds of every class and route, and what they gain on the tiles they come from."""
    routes = record["routes"]
    lines = [
        f"| {record['title']} {record['split']}, {record['tiles']} tiles | "
        + " | ".join(f"route {route}" for route in routes)
        + " |",
        "|" + "---|" * (1 + len(routes)),
    ]
    for name in next(iter(routes.values()))["classes"]:
        cells = (_cell(found["classes"][name], found["default"]) for found in routes.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for title, key in (("mIoU with the defaults", "before"), ("mIoU with these", "after")):
        cells = (f"{found[f'miou_{key}']:.3f}" for found in routes.values())
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [
        "",
        "The mIoU is that of the tiles which the thresholds were fitted to: judge them on others "
        "(`t2s-rt eval --pack`).",
    ]
    return "\n".join(lines)


def _cell(value: float, default: float) -> str:
    return f"{value:g} (default)" if value == default else f"{value:g}"
