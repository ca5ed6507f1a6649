"""What nano's best route beats on real images, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from t2s_rt.routes import ROUTES

__all__ = ["BASELINES", "Verdict", "best_route", "verdicts"]

BASELINES = ("kmeans", "largest")
_CLASSES = ("building", "forest", "tree", "low vegetation", "vegetation", "water")
"""Classes that a newcomer looks at first, by the names of all sets."""


@dataclass(frozen=True)
class Verdict:
    """One comparison.

    Attributes:
        measure: what is compared: ``mean`` or a class.
        value: IoU of the best route.
        baseline: the higher one of the baselines.
    """

    measure: str
    value: float
    baseline: float

    @property
    def beaten(self) -> bool:
        """Whether the route is better than both baselines."""
        return self.value > self.baseline


def best_route(found: Mapping[str, Any]) -> str:
    """The route of the highest mIoU on a set."""
    return max(ROUTES, key=lambda route: found["maps"][route]["miou"] or 0.0)


def verdicts(found: Mapping[str, Any]) -> list[Verdict]:
    """Mean and telling classes of a set; classes in neither truth nor map are left out."""
    maps = found["maps"]
    best = maps[best_route(found)]
    rows = [Verdict("mean", best["miou"] or 0.0, max(maps[b]["miou"] or 0.0 for b in BASELINES))]
    for name in _CLASSES:
        value = best["iou"].get(name)
        if value is not None:
            rows.append(Verdict(name, value, max(maps[b]["iou"][name] or 0.0 for b in BASELINES)))
    return rows
