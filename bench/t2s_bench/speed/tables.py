"""Records of speed as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t2s_bench.machine import one_line
from t2s_bench.markdown import table
from t2s_bench.speed.compare import Change

__all__ = ["change_table", "speed_headline", "speed_tables", "versus_text"]


def speed_headline(record: Mapping[str, Any]) -> str:
    """The scene from file to files, and routes on one tile: what a README has room for."""
    parts = [_scene(record)] if "scene" in record else []
    parts += [_routes(record)] if "routes" in record else []
    return "\n\n".join([*parts, _caption(record)])


def speed_tables(record: Mapping[str, Any]) -> str:
    """Every part that the record has."""
    parts = []
    if "scene" in record:
        parts += [_scene(record), _stages(record["scene"])]
    if "routes" in record:
        parts.append(_routes(record))
    if "graphs" in record:
        parts.append(_graphs(record))
    if "decoder_boxes" in record:
        parts.append(_boxes(record["decoder_boxes"]))
    return "\n\n".join([*parts, _caption(record)])


def _caption(record: Mapping[str, Any]) -> str:
    device = "".join(f"; {key} {value}" for key, value in record["device"].items())
    repeat = f"{_samples(record)} warm samples of each; `t2s-rt bench run`"
    return f"{repeat}; {one_line(record['machine'])}{device}."


def change_table(found: Sequence[Change]) -> str:
    """Old and new figures with their ratio; regressions are marked."""
    rows = (
        (
            change.name,
            _amount(change.old, change.unit),
            _amount(change.new, change.unit),
            f"{change.ratio:.2f}",
            "regressed" if change.regressed else "",
        )
        for change in found
    )
    return table(("figure", "then", "now", "ratio", ""), rows)


def versus_text(record: Mapping[str, Any]) -> str:
    """Both sides and their ratio."""
    rows = (
        (
            ", ".join(f"{k}={v}" for k, v in record[side]["settings"].items()) or "defaults",
            _ms(record[side]["p50_s"]),
            _ms(record[side]["p95_s"]),
            str(record[side]["samples"]),
        )
        for side in ("first", "second")
    )
    low, high = record["ratio_95"]
    return (
        table((f"route {record['route']}, one tile", "p50 ms", "p95 ms", "turns"), rows)
        + f"\n\nThe second takes {record['ratio']:.3f} of the first's time (95 % interval "
        f"{low:.3f} to {high:.3f}, median of the turns' ratios); {one_line(record['machine'])}."
    )


def _scene(record: Mapping[str, Any]) -> str:
    scene = record["scene"]
    head = (
        f"from file to files: {scene['size']} x {scene['size']} pixels, route {record['route']}, "
        f"{scene['classes']} classes, {scene['tiles']} tiles"
    )
    rows = [
        ("cold, models opened", f"{scene['cold_s']:.2f} s"),
        (f"warm, median of {scene['samples']}", f"{scene['p50_s']:.2f} s"),
        ("warm, p95 / p99", f"{scene['p95_s']:.2f} / {scene['p99_s']:.2f} s"),
        ("tiles a second", f"{scene['tiles_per_second']:.2f}"),
        ("km² a second", f"{scene['km2_per_second']:.4f}"),
        (
            "peak memory (before the models)",
            f"{scene['peak_rss_bytes'] / 1e9:.2f} GB ({scene['rss_before_bytes'] / 1e9:.2f} GB)",
        ),
    ]
    if scene["gpu_memory_bytes"] is not None:
        rows.append(("memory in use on the GPU", f"{scene['gpu_memory_bytes'] / 1e9:.2f} GB"))
    if scene["joules_per_scene"] is None:
        rows.append(("energy", "this device does not tell"))
    else:
        rows.append((f"energy ({scene['energy_source']})", f"{scene['joules_per_scene']:.1f} J"))
    return table((head, ""), rows)


def _stages(scene: Mapping[str, Any]) -> str:
    stages = sorted(scene["stages_s"].items(), key=lambda item: -item[1])
    total = sum(seconds for _, seconds in stages) or 1.0
    rows = [(name, f"{s:.3f}", f"{s / total:.0%}") for name, s in stages if s >= 5e-4]
    return table(("stage, summed over tiles and threads", "s", "share"), rows)


def _routes(record: Mapping[str, Any]) -> str:
    counts = sorted(next(iter(record["routes"].values())), key=int)
    rows = (
        (route, *(f"{_ms(found[c]['p50_s'])} / {_ms(found[c]['p95_s'])}" for c in counts))
        for route, found in record["routes"].items()
    )
    head = f"route, one {record['tile']} x {record['tile']} tile, p50 / p95 ms"
    return table((head, *(f"{count} class(es)" for count in counts)), rows)


def _graphs(record: Mapping[str, Any]) -> str:
    rows = (
        (
            f"{role} ({found['precision']})",
            str(found["rows"]),
            _ms(found["open_s"]),
            _ms(found["first_s"]),
            *(_ms(found[key]) for key in ("p50_s", "p95_s", "p99_s")),
        )
        for role, found in record["graphs"].items()
    )
    head = ("engine only: graph", "rows", "open ms", "first ms", "p50 ms", "p95 ms", "p99 ms")
    return table(head, rows)


def _boxes(found: Mapping[str, Any]) -> str:
    rows = [
        (count, _ms(one["p50_s"]), _ms(one["p95_s"]), _ms(one["p50_s"] / int(count)))
        for count, one in sorted(found.items(), key=lambda item: int(item[0]))
    ]
    return table(("boxes of one tile to masks", "p50 ms", "p95 ms", "ms a box"), rows)


def _samples(record: Mapping[str, Any]) -> int:
    if "scene" in record:
        return int(record["scene"]["samples"])
    part = record.get("graphs") or next(iter(record["routes"].values()))
    return int(next(iter(part.values()))["samples"])


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{_ms(value)} ms"
    return f"{value / 1e6:.0f} MB" if unit == "bytes" else f"{value:.1f} {unit}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}" if seconds < 1 else f"{seconds * 1e3:.0f}"
