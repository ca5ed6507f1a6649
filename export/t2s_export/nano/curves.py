"""Training curves: a run's JSON-lines log as a PNG."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

__all__ = ["draw_curves", "read_log"]

_SMOOTHING = 15


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a log; a broken last line (an interrupted run) is left out."""
    lines: list[dict[str, float]] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def _smooth(values: list[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Running mean over a few log lines, shorter at the ends."""
    kernel = np.ones(min(_SMOOTHING, len(values)))
    total = np.convolve(values, kernel, "same")
    result: np.ndarray[tuple[int], np.dtype[np.float64]] = total / np.convolve(
        np.ones(len(values)), kernel, "same"
    )
    return result


def draw_curves(log: Path, png: Path, title: str) -> None:
    """Draw loss and validation figures of ``log`` over training minutes into ``png``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = read_log(log)
    steps = [line for line in lines if "loss" in line]
    validations = [line for line in lines if any(k.startswith("val_") for k in line)]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    if steps:
        minutes = [line["minutes"] for line in steps]
        losses = [line["loss"] for line in steps]
        left.plot(minutes, losses, color="0.8", linewidth=0.8)
        left.plot(minutes, _smooth(losses), color="tab:blue", label="loss")
        left.set_yscale("log")
    left.set_xlabel("training minutes")
    left.set_ylabel("loss")
    left.set_title(title)
    names = sorted({k for line in validations for k in line if k.startswith("val_")})
    for name in names:
        points = [(line["minutes"], line[name]) for line in validations if name in line]
        label = name.removeprefix("val_")
        right.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    right.set_ylim(0, 1)
    right.set_xlabel("training minutes")
    right.set_title("validation scenes (averaged weights)")
    right.grid(alpha=0.3)
    if names:
        right.legend(fontsize=7)
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=110)
