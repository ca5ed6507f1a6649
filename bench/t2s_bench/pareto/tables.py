"""A record of ``bench pareto`` as Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2s_bench.machine import one_line
from t2s_bench.markdown import table
from t2s_rt.errors import MissingExtraError, OutputError

__all__ = ["PRECISIONS", "draw_pareto", "pareto_table"]

PRECISIONS = ("fp32", "fp16", "int8")

_MARKS = {"fp32": "o", "int8": "s"}
_COLOURS = ("#3b6ea5", "#c2571a", "#3f8f4f", "#7a4fa3", "#8a8a2b")


def pareto_table(record: Mapping[str, Any]) -> str:
    """mIoU, what it loses against fp32, and the time of a scene."""
    rows = []
    for route, found in record["routes"].items():
        base = found["precisions"]["fp32"]["miou"]
        for precision in PRECISIONS:
            one = found["precisions"][precision]
            lost = 100 * (base - one["miou"])
            ratio = found["int8_time"]
            gain = (
                f"{1 / ratio['ratio']:.2f} ({1 / ratio['high']:.2f} to {1 / ratio['low']:.2f})"
                if precision == "int8"
                else "1" if precision == "fp32" else "a GPU's to tell"
            )  # fmt: skip
            time = "-" if one["seconds"] is None else f"{1e3 * one['seconds']:.0f}"
            rows.append((route, precision, f"{one['miou']:.4f}", f"{lost:+.2f}", time, gain))
    head = ("route", "precision", "mIoU", "points lost", "ms a scene", "times faster (95 %)")
    bits = " and ".join(str(bits) for bits in record["weight_bits"])
    return (
        table(head, rows)
        + f"\n\n{record['bundle']} on {record['scenes']} held-out scenes of {record['size']} x "
        f"{record['size']} pixels, generator {record['generator_version']}; int8 with {bits}-bit "
        "weights, calibrated on other scenes; fp16 by its rounding graphs, which say what it costs "
        f"and not how fast it is; `t2s-rt bench pareto --routes {','.join(record['routes'])} "
        f"--limit {record['scenes']} -o bench/records/pareto.json`; "
        f"{one_line(record['machine'])}."
    )


def draw_pareto(record: Mapping[str, Any], path: Path) -> None:
    """Draw mIoU over the time of a scene: a line from fp32 to int8 for each route.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as cause:
        raise MissingExtraError("t2s-rt bench pareto --chart", "matplotlib", "export") from cause
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axis = figure.subplots()
    for colour, (route, found) in zip(_COLOURS, record["routes"].items(), strict=False):
        timed = {p: one for p, one in found["precisions"].items() if one["seconds"] is not None}
        x = [1e3 * one["seconds"] for one in timed.values()]
        y = [one["miou"] for one in timed.values()]
        axis.plot(x, y, color=colour, linewidth=1, label=route)
        for precision, across, up in zip(timed, x, y, strict=True):
            axis.plot(across, up, _MARKS[precision], color=colour)
            # int8 lies close to the left of fp32: one label below its mark, the other above
            place, side = ((-4, -13), "right") if precision == "int8" else ((4, 5), "left")
            axis.annotate(
                precision,
                (across, up),
                xytext=place,
                textcoords="offset points",
                ha=side,
                fontsize=8,
            )
        half = found["precisions"]["fp16"]["miou"]
        axis.axhline(half, color=colour, linewidth=0.6, linestyle=":")
    every = [one for found in record["routes"].values() for one in found["precisions"].values()]
    axis.set_ylim(0, 1.12 * max(one["miou"] for one in every))
    axis.set_xlim(0, 1.12e3 * max(one["seconds"] or 0.0 for one in every))
    axis.set_xlabel("ms a scene, median")
    axis.set_ylabel("mIoU, held-out scenes")
    machine = record["machine"]
    axis.set_title(
        f"{record['bundle']} on {machine['cpu']}, {machine['date']}; dotted: fp16, rounding graph",
        fontsize=9,
    )
    axis.legend(title="route", loc="center left", bbox_to_anchor=(1.0, 0.5))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
