"""The tables of docs/models.md from the record."""

from __future__ import annotations

import math
from typing import Any

from t2s_bench.machine import one_line

__all__ = ["headline_table", "models_table", "stages_table"]

Row = dict[str, Any]


def models_table(record: dict[str, Any]) -> str:
    """A line for each graph, then where each model was measured."""
    rows: list[Row] = record["rows"]
    halves = any("fp16" in row for row in rows)
    head = ["model", "graph", "nodes", "MB", "export, s", "stages", "cosine", "max abs"]
    head += ["fp16 cosine"] if halves else []
    head += ["torch, ms", "ONNX Runtime, ms", "times"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cells(row, halves))} |" for row in rows]
    return "\n".join([*lines, "", *_sources(rows)])


def _cells(row: Row, halves: bool) -> list[str]:
    stages, outputs = row["stages"].values(), row["onnx"].values()
    return [
        row["model"],
        f"{row['graph']}: {row['what']}",
        str(row["nodes"]),
        f"{row['bytes'] / 1e6:.0f}",
        f"{row['export_s']:.0f}",
        f"{len(stages)}: {_nines(min(s['cosine'] for s in stages))}",
        _nines(min(output["cosine"] for output in outputs)),
        f"{max(output['max_abs'] for output in outputs):.1e}",
        *([_half(row)] if halves else []),
        *_times(row),
    ]


def _half(row: Row) -> str:
    half = row.get("fp16")
    return _nines(min(output["cosine"] for output in half.values())) if half else ""


def _nines(cosine: float) -> str:
    """A cosine as its distance from one, which is what can be told apart."""
    distance = 1.0 - cosine
    return "> 1 - 1e-9" if distance < 1e-9 else f"1 - {distance:.0e}"


def _times(row: Row) -> list[str]:
    timing = row.get("timing")
    if not timing:
        return ["", "", ""]
    cells = []
    for name in ("torch", "onnxruntime"):
        side = timing[name]
        mark = " (disturbed)" if side["disturbed"] else ""
        cells.append(f"{side['fastest'] * 1e3:.0f} / {side['median'] * 1e3:.0f}{mark}")
    return [*cells, f"{timing['times_faster']:.1f}"]


def _sources(rows: list[Row]) -> list[str]:
    """Which command on which machine gave which rows, each said once."""
    told: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        names = told.setdefault((row["command"], one_line(row["machine"])), [])
        if row["model"] not in names:
            names.append(row["model"])
    return [
        f"* {', '.join(names)}: `{command}`; {where}" for (command, where), names in told.items()
    ]


_HEADLINE = {
    ("sam_vit_b", "mask_encoder"): "SAM ViT-B image encoder",
    ("sam_vit_b", "mask_decoder, boxes"): "SAM mask decoder",
    ("mobile_sam", "mask_encoder"): "MobileSAM image encoder",
    ("swin_t", "detector, grid_sample"): "Grounding DINO Swin-T, GridSample",
    ("swin_t", "detector, gather"): "Grounding DINO Swin-T, gather",
    ("ViT-B-16", "clip_image"): "CLIP ViT-B/16",
    ("ViT-B-16", "clip_dense"): "CLIP ViT-B/16, dense and surgery",
}
"""The graphs of the README's table, and what they are called there."""


def headline_table(record: dict[str, Any]) -> str:
    """The graphs that most bundles hold, in few columns."""
    rows = {(row["model"], row["graph"]): row for row in record["rows"]}
    chosen = [(name, rows[key]) for key, name in _HEADLINE.items() if key in rows]
    lines = [
        "| graph | nodes | cosine | fp16 cosine | torch, ms | ONNX Runtime, ms | times faster |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in chosen:
        cosine = _nines(min(output["cosine"] for output in row["onnx"].values()))
        torch, runtime, times = _times(row)
        cells = (f"{name}: {row['what']}", str(row["nodes"]), cosine, _half(row))
        lines.append(f"| {' | '.join((*cells, torch, runtime, times))} |")
    return "\n".join([*lines, "", *_sources([row for _, row in chosen])])


def stages_table(record: dict[str, Any]) -> str:
    """The worst stage of every graph by difference over the largest value."""
    lines = [
        "| model | graph | stages | worst stage | max abs | of values up to | cosine |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        stages = row["stages"]
        name = max(stages, key=lambda key: _relative(stages[key]))
        worst = stages[name]
        lines.append(
            f"| {row['model']} | {row['graph']} | {len(stages)} | {name} | {worst['max_abs']:.1e} "
            f"| {worst['largest']:.3g} | {_nines(min(s['cosine'] for s in stages.values()))} |"
        )
    return "\n".join(lines)


def _relative(stage: dict[str, float]) -> float:
    return stage["max_abs"] / stage["largest"] if stage["largest"] else math.inf
