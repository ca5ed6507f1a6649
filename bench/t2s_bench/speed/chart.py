"""Where the time of a scene goes, and what routes cost by number of classes, as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2s_rt.errors import MissingExtraError, OutputError, UsageError

__all__ = ["draw_speed"]


def draw_speed(record: Mapping[str, Any], path: Path) -> None:
    """Draw stages of the scene and latency of the routes.

    Raises:
        UsageError: the record has neither.
        MissingExtraError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    panels = [part for part in ("scene", "routes") if part in record]
    if not panels:
        raise UsageError("expected a record with a scene or routes for a chart, found neither")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as cause:
        raise MissingExtraError("t2s-rt bench run --chart", "matplotlib", "export") from cause
    figure = Figure(figsize=(6.4 * len(panels), 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, part in zip(axes, panels, strict=True):
        (_draw_stages if part == "scene" else _draw_routes)(axis, record)
    figure.suptitle(f"{record['bundle']}, {record['machine']['cpu']}, {record['machine']['date']}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error


def _draw_stages(axis: Any, record: Mapping[str, Any]) -> None:
    stages = sorted(record["scene"]["stages_s"].items(), key=lambda item: item[1])
    axis.barh([name for name, _ in stages], [seconds for _, seconds in stages], color="#3b6ea5")
    axis.set_xlabel("seconds, summed over tiles and threads")
    axis.set_title(f"infer, route {record['route']}, {record['scene']['tiles']} tiles")


def _draw_routes(axis: Any, record: Mapping[str, Any]) -> None:
    for route, found in record["routes"].items():
        counts = sorted(int(count) for count in found)
        axis.plot(counts, [found[str(c)]["p50_s"] * 1e3 for c in counts], marker="o", label=route)
    axis.set_xlabel("classes")
    axis.set_ylabel("ms a tile, median")
    axis.set_ylim(bottom=0)
    axis.set_title("routes on one tile, encoders included")
    axis.legend()
