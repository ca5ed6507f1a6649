"""Class maps of every route on held-out scenes, beside what needs no model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_bench.every_route import EveryRoute
from t2s_bench.nano.truth import CLASS_ID, HeldOut
from t2s_rt.evaluation import ConfusionMatrix, colour_kmeans, largest_class
from t2s_rt.prompts import PromptPack
from t2s_rt.routes import ROUTES, RouteName
from t2s_rt.synthetic import CLASSES

__all__ = ["BASELINES", "COSTLY", "MapFigures", "to_truth"]

COSTLY: tuple[RouteName, ...] = ("points", "masks")
"""Routes that decode hundreds of prompts a tile; they are judged on some of the scenes only."""

BASELINES = {
    "kmeans": "colour k-means, clusters named by the truth",
    "largest": "everything is the most frequent class",
}


def to_truth(pack: PromptPack) -> NDArray[np.uint8]:
    """Class of the truth by label of a map; 0 stays 0."""
    return np.array([0, *(CLASS_ID[entry.name] for entry in pack.classes)], np.uint8)


class MapFigures:
    """Confusion matrices of routes and baselines."""

    def __init__(self) -> None:
        names = [entry.name for entry in CLASSES]
        self._maps = {name: ConfusionMatrix(names) for name in ("kmeans", *ROUTES)}

    def add(
        self, routes: EveryRoute, pack: PromptPack, scene: HeldOut, *, every: bool = True
    ) -> dict[RouteName, NDArray[np.uint8]]:
        """Count one scene with all routes, or without the costly ones; returns their labels."""
        truth = scene.truth
        self._maps["kmeans"].add(truth.classes, colour_kmeans(truth.image, truth.classes))
        table = to_truth(pack)
        wanted = [route for route in routes.routes if every or route not in COSTLY]
        found = routes.label(truth.image, pack, scene.spec.gsd, wanted)
        for route, labels in found.items():
            self._maps[route].add(truth.classes, table[labels])
        return found

    def record(self) -> dict[str, Any]:
        """``miou`` over the named classes and ``iou`` by class, of each map."""
        named = list(range(1, len(CLASSES)))
        kmeans = self._maps["kmeans"]
        largest = ConfusionMatrix.of(kmeans.names, largest_class(kmeans.counts, named))
        maps = {**self._maps, "largest": largest}
        return {
            "miou": {name: matrix.miou(named) for name, matrix in maps.items()},
            "iou": {name: _iou(matrix) for name, matrix in maps.items()},
        }


def _iou(matrix: ConfusionMatrix) -> dict[str, float | None]:
    values = matrix.iou().tolist()
    return {n: v if v == v else None for n, v in zip(matrix.names, values, strict=True)}
