"""What nano is asked to reach on held-out scenes, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from t2s_bench.nano.truth import DETECTED
from t2s_rt.routes import ROUTES

__all__ = ["Floor", "floors"]

_AP50 = {"building": 0.85, "tree": 0.85, "car": 0.75}
_FALSE_BOXES, _MASK_IOU, _DENSE, _FUSED, _SYNONYM = 0.3, 0.85, 0.55, 0.70, 0.9
_SWAPPED = 0.05
"""AP50 of another class than the one asked for that counts as nothing."""


@dataclass(frozen=True)
class Floor:
    """One promise.

    Attributes:
        measure: what is measured.
        value: found; NaN where there was nothing to measure.
        limit: to be reached.
        least: whether the value must be at least the limit; else it must stay below it.
    """

    measure: str
    value: float
    limit: float
    least: bool = True

    @property
    def reached(self) -> bool:
        """Whether the promise holds; what was not measured is not reached."""
        return self.value >= self.limit if self.least else self.value < self.limit

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'at least' if self.least else 'under'} {self.limit:.2f}"


def floors(record: Mapping[str, Any]) -> list[Floor]:
    """Every promise with its value in a record of ``bench nano``."""
    classes, masks = record["detector"]["classes"], record["mask_iou_from_true_boxes"]
    miou = {name: _number(value) for name, value in record["miou"].items()}
    found = [
        Floor(f"AP50 {name}", _number(classes[name]["ap50"]), _AP50[name]) for name in DETECTED
    ]
    found += [
        Floor(
            f"false boxes per image without a {name}",
            _number(classes[name]["false_per_absent_image"]),
            _FALSE_BOXES,
            least=False,
        )
        for name in DETECTED
    ]
    single = max(miou[route] for route in ROUTES if route != "fused")
    text = record["text"]
    return [
        *found,
        Floor("mask IoU from true boxes", _number(masks["all"]), _MASK_IOU),
        Floor("dense mIoU", miou["dense"], _DENSE),
        Floor("fused mIoU", miou["fused"], _FUSED),
        Floor("fused mIoU less the best single route's", miou["fused"] - single, 0.0),
        Floor("AP50 of what was not asked for", _swapped(text), _SWAPPED, least=False),
        Floor("least IoU of a synonym's map with its class's", _synonym(text), _SYNONYM),
    ]


def _swapped(text: Mapping[str, Any]) -> float:
    """Highest AP50 of a class that the caption does not name."""
    values = [
        _number(value)
        for asked, found in text["swapped"].items()
        for name, value in found.items()
        if name != asked
    ]
    return max(values)


def _synonym(text: Mapping[str, Any]) -> float:
    """Lowest IoU over the synonyms; one whose class was never found counts as unknown."""
    return min(_number(entry["iou"]) for entry in text["synonyms"].values())


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
