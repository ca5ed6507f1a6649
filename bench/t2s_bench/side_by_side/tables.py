"""The race's tables: who takes how long, where the time goes, and whether results agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from t2s_bench.machine import one_line
from t2s_bench.markdown import table

__all__ = ["TARGETS", "reference_tables", "target"]

Row = dict[str, Any]

TARGETS: dict[tuple[str, int], dict[str, float]] = {
    ("full", 1): {"avx2": 1.5, "avx512f": 4.5},
    ("full", 7): {"avx2": 10.0, "avx512f": 25.0},
}
"""Times faster than the eager chain that the project wants, by size and classes, by CPU flag."""
_STAGES = ("text", "detector", "mask_encoder", "clip", "mask_decoder", "host")
_STAGE_HEADS = ("text", "detector", "SAM encoder", "CLIP", "SAM decoder", "rest")
_NAMES = {
    "ours": "t2s-rt",
    "eager": "reference, torch eager",
    "onnx": "reference, stock ONNX",
    "compile": "reference, torch.compile",
}
_CLIP_ROLES = ("clip_dense", "clip_patches", "clip_image")


def reference_tables(record: dict[str, Any]) -> str:
    """All tables of a record, and where each race was run."""
    rows = record["rows"]
    return "\n\n".join([_times(rows), _agreement(rows), *_remarks(rows)])


def target(row: Row) -> float | None:
    """How many times faster than the eager chain a row should be on its machine."""
    wanted = TARGETS.get((row["size"], row["classes"]), {})
    flags = row["machine"]["cpu_flags"]
    return next((wanted[flag] for flag in ("avx512f", "avx2") if wanted and flag in flags), None)


def _times(rows: list[Row]) -> str:
    head = ["race", "candidate", "median s (fastest, samples)"]
    head += ["t2s-rt is faster by, medians (fastest)"]
    head += [*_STAGE_HEADS, "encoder runs"]
    return table(head, [cells for row in rows for cells in _race(row)])


def _race(row: Row) -> Iterator[list[str]]:
    race = f"{row['size']}, {row['route']}, {row['classes']} class(es)"
    yield [race, _NAMES["ours"], *_candidate(row["ours"], "")]
    for name in (opponent for opponent in _NAMES if opponent in row["opponents"]):
        side = row["opponents"][name]
        if "unavailable" in side:
            yield [race, _NAMES[name], f"did not run: {side['unavailable']}", *[""] * 8]
            continue
        fastest = side["fastest"] / row["ours"]["fastest"]
        times = f"**{side['times']:.1f}** ({fastest:.1f})"
        if name == "eager" and (wanted := target(row)) is not None:
            reached = "reached" if side["times"] >= wanted else "not reached"
            times += f", target {wanted:g}: {reached}"
        yield [race, _NAMES[name], *_candidate(side, times)]


def _candidate(side: Row, times: str) -> list[str]:
    mark = ", disturbed" if side["disturbed"] else ""
    taken = f"{side['median']:.3g} ({side['fastest']:.3g}, {side['samples']}{mark})"
    stages = [f"{side['stages'][name]:.3g}" if name in side["stages"] else "" for name in _STAGES]
    return [taken, times, *stages, _encoder_runs(side["calls"])]


def _encoder_runs(calls: dict[str, int]) -> str:
    """Runs of the networks that see the whole image."""
    clip = sum(calls.get(name, 0) for name in ("clip", *_CLIP_ROLES))
    named = {
        "detector": calls.get("detector", 0),
        "SAM": calls.get("mask_encoder", 0),
        "CLIP": clip,
    }
    return ", ".join(f"{name} {count}" for name, count in named.items() if count)


def _agreement(rows: list[Row]) -> str:
    head = ["race", "boxes found, each class alone", "masks, same prompts: IoU least / median"]
    head += ["masks as shipped: IoU least / median", "boxes near, all classes in one caption"]
    head += ["CLIP, same crops: least cosine", "opponents' maps beside eager: least IoU"]
    return table(head, [_agreement_cells(row) for row in rows])


def _agreement_cells(row: Row) -> list[str]:
    found = row["agreement"]
    boxes, together = found.get("boxes"), found.get("together")
    others = {
        name: row["opponents"][name]["as_eager"]["least"]
        for name in _NAMES
        if name != "eager" and "as_eager" in row["opponents"].get(name, {})
    }
    return [
        f"{row['size']}, {row['route']}, {row['classes']} class(es)",
        f"{boxes['same']} of {boxes['of']}" if boxes else "",
        _spread(found.get("masks")),
        _spread(found.get("shipped")),
        f"{together['near']} of {together['of']}" if together else "",
        f"{found['clip_cosine']['least']:.6f}" if "clip_cosine" in found else "",
        ", ".join(f"{name} {least:.4f}" for name, least in others.items()),
    ]


def _spread(figures: dict[str, float] | None) -> str:
    if not figures or not figures["count"]:
        return ""
    return f"{figures['least']:.4f} / {figures['median']:.4f} ({figures['count']})"


def _remarks(rows: list[Row]) -> Iterator[str]:
    """What ran each part, and which command on which machine gave which rows; each once."""
    parts: dict[str, None] = {}
    sources: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        code = "; ".join(f"{part}: {text}" for part, text in sorted(row["code"].items()))
        parts[f"* {row['size']}, the reference's code: {code}."] = None
        for name, side in sorted(row["opponents"].items()):
            for part, text in sorted(side.get("runs", {}).items()):
                if "torch eager:" in text:
                    parts[f"* {row['size']}, {_NAMES[name]}, {part}: {text}."] = None
        where = f"{row['threads']} threads each; {one_line(row['machine'])}"
        races = sources.setdefault((row["command"], where), [])
        races.append(f"{row['size']} {row['route']} {row['classes']}")
    yield "\n".join(parts)
    yield "\n".join(
        f"* {', '.join(races)}: `{command}`; {where}."
        for (command, where), races in sources.items()
    )
