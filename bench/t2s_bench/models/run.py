"""The command ``bench models``: rows to the screen and into the record as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from t2s_bench.machine import one_line
from t2s_bench.models.measure import DEFAULT_MODELS, measure_models, merge_record, rounded_half
from t2s_bench.models.prove import faults
from t2s_rt.errors import InternalError

__all__ = ["run_models"]


def run_models(only: str | None, *, timings: bool, repeat: int, output: Path | None) -> None:
    """Prove models and print a line for each graph.

    Args:
        only: names separated by commas; None takes those that are quick.
        timings: also time each graph beside the original.
        repeat: clean samples of each.
        output: a record that the rows are merged into, one by one.

    Raises:
        UsageError: a model that is not known, or a file that is no record.
        MissingOriginalError: a package to compare with is not installed.
        InternalError: a figure misses its limit.
    """
    names = [name.strip() for name in only.split(",")] if only else list(DEFAULT_MODELS)
    command = f"t2s-rt bench models --only {','.join(names)}"
    command += f" --repeat {repeat}" if timings else " --no-timings"
    wrong: list[str] = []
    for index, row in enumerate(
        measure_models(names, timings=timings, repeat=repeat, command=command, half=rounded_half)
    ):
        if index == 0:
            click.echo(one_line(row["machine"]))
        click.echo(_line(row))
        wrong += faults(row)
        if output is not None:
            merge_record(output, [row])
    if wrong:
        raise InternalError(
            "expected every figure within its limit, found:\n" + "\n".join(f"  {x}" for x in wrong)
        )


def _line(row: dict[str, Any]) -> str:
    figures = [
        f"{name} cosine {output['cosine']:.7f} max abs {output['max_abs']:.2g}"
        for name, output in row["onnx"].items()
    ]
    stage = min(row["stages"].values(), key=lambda s: s["cosine"])["cosine"]
    text = (
        f"{row['model']} {row['graph']}: {row['nodes']} nodes, {row['bytes'] / 1e6:.0f} MB, "
        f"exported in {row['export_s']:.0f} s; {'; '.join(figures)}; "
        f"{len(row['stages'])} stages, least cosine {stage:.7f}"
    )
    timing = row.get("timing")
    if timing:
        text += (
            f"; torch {timing['torch']['median'] * 1e3:.0f} ms, ONNX Runtime "
            f"{timing['onnxruntime']['median'] * 1e3:.0f} ms"
        )
    return text
