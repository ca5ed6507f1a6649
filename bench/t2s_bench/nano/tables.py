"""A record of ``bench nano`` as Markdown: for the terminal, the README and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t2s_bench.machine import one_line
from t2s_bench.markdown import table
from t2s_bench.nano.floors import floors
from t2s_bench.nano.maps import BASELINES, COSTLY
from t2s_bench.nano.truth import DETECTED

__all__ = ["accuracy_caption", "accuracy_tables", "floors_table"]


def accuracy_caption(record: Mapping[str, Any]) -> str:
    """What the figures belong to, in one sentence."""
    size = record["size"]
    return (
        f"{record['scenes']} held-out scenes of {size} x {size} pixels (words and the "
        f"routes {' and '.join(COSTLY)}: {record['some_scenes']} of them), "
        f"generator {record['generator_version']}; "
        f"`t2s-rt bench nano --limit {record['scenes']} -o bench/records/nano.json`; "
        f"{one_line(record['machine'])}."
    )


def floors_table(record: Mapping[str, Any]) -> str:
    """Every floor with its figure."""
    return table(
        ("measure", "found", "floor", "reached"),
        (
            (floor.measure, _shown(floor.value, 3), floor.wanted, "yes" if floor.reached else "no")
            for floor in floors(record)
        ),
    )


def accuracy_tables(record: Mapping[str, Any]) -> str:
    """All figures: floors, IoU of every route, AP50 by resolution and season, words."""
    parts = [
        floors_table(record),
        _iou(record),
        _masks(record),
        _parts("AP50 by ground resolution", record["detector"]["by_band"]),
        _parts("AP50 by season", record["detector"]["by_season"]),
        _detector(record["detector"]["classes"]),
        _words(record["text"]),
    ]
    return "\n\n".join(parts)


def _iou(record: Mapping[str, Any]) -> str:
    names = [name for name in record["iou"]["dense"] if name != "other"]
    order = sorted(record["miou"], key=lambda name: (name not in BASELINES, record["miou"][name]))
    rows = [
        (
            BASELINES.get(name, f"route {name}"),
            *(_shown(record["iou"][name][c], 2) for c in names),
            _shown(record["miou"][name], 3),
        )
        for name in reversed(order)
    ]
    return table(("IoU", *names, "mean"), rows)


def _masks(record: Mapping[str, Any]) -> str:
    ways = (
        ("SAM", "mask_iou_from_true_boxes"),
        ("an ellipse in the box, without a look at the image", "mask_iou_of_ellipses"),
    )
    rows = [(way, *(_shown(record[key][n], 3) for n in (*DETECTED, "all"))) for way, key in ways]
    return table(("mask IoU from true boxes", *DETECTED, "all"), rows)


def _parts(title: str, parts: Mapping[str, Any]) -> str:
    rows = [
        (part, *(f"{_shown(found[n]['ap50'], 2)} of {found[n]['objects']}" for n in DETECTED))
        for part, found in parts.items()
    ]
    return table((title, *DETECTED), rows)


def _detector(classes: Mapping[str, Any]) -> str:
    keys = (
        ("AP50 of all queries, without NMS", "ap50_without_nms"),
        ("recall of all queries", "recall50"),
    )
    rows = [(title, *(_shown(classes[n][key], 3) for n in DETECTED)) for title, key in keys]
    return table(("detector", *DETECTED), rows)


def _words(text: Mapping[str, Any]) -> str:
    swapped = table(
        ("AP50 when only this is asked for", *(f"of every {name}" for name in DETECTED)),
        [
            (asked, *(_shown(found[name], 2) for name in DETECTED))
            for asked, found in text["swapped"].items()
        ],
    )
    synonyms = table(
        ("synonym", *(f"{entry['word']} for {name}" for name, entry in text["synonyms"].items())),
        [("IoU of their maps", *(_shown(e["iou"], 2) for e in text["synonyms"].values()))],
    )
    return f"{swapped}\n\n{synonyms}"


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"
