"""This runtime's side: a route on one tile, as ``infer`` runs it, with the race's numbers."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from t2s_bench.side_by_side import COUNT, GRID, RaceRoute
from t2s_bench.side_by_side.phrases import word_pack
from t2s_rt.bundle import load_bundle
from t2s_rt.prompts import PromptPack
from t2s_rt.prompts.pack import unit_rows
from t2s_rt.routes import RouteSettings, load_route
from t2s_rt.routes.boxes import Candidates, select
from t2s_rt.routes.features import TileFeatures
from t2s_rt.routes.proposals import Proposals, propose

if TYPE_CHECKING:
    from t2s_bench.reference.race_models import RaceModels
    from t2s_rt.routes.result import TileResult

__all__ = ["Ours", "planted"]

_SEED = 7
_RANDOM_SCALE = 100.0


class Ours:
    """A route of this runtime on one image.

    Thresholds are set beforehand so that as many boxes or masks pass as on the other side, and
    what the reference has not (NMS, limits on sizes) is off.

    Args:
        models: of both sides.
        route: which way.
        words: the classes, embedded for nano.
        image: uint8 ``[H, W, 3]`` RGB.

    Attributes:
        features: of the last run.
        result: of the last run.
        stages: seconds of every run by stage.
        calls: of the last run, by role.
    """

    def __init__(
        self, models: RaceModels, route: RaceRoute, words: PromptPack, image: NDArray[np.uint8]
    ) -> None:
        self._race = models
        self._models, self._route, self.image = models.models_for(route), route, image
        self._run = load_route(route)
        self.settings = RouteSettings(
            box_nms_iou=1.0,
            cross_class_iou=1.0,
            max_box_share=1.0,
            min_box_side=0.0,
            max_components=COUNT,
            grid=GRID,
            mask_iou=0.0,
            mask_stability=0.0,
            mask_nms_iou=1.0,
            min_mask_pixels=0,
        )
        self.pack = models.pack(words)
        features = self.look()
        if route == "boxes":
            self.pack = _count_boxes(self.pack, features.detections.scores)
        elif not models.trained:
            grid = features.dense.surgery if route == "points" else features.dense.patch
            assert grid is not None  # clip_dense was opened for this route
            self.pack = planted(self.pack, grid)
        if route == "masks":
            iou = self.proposals(features).iou
            least = float(iou[min(COUNT, len(iou)) - 1]) if len(iou) else 0.0
            self.settings = dataclasses.replace(self.settings, mask_iou=least)
        self.stages: list[dict[str, float]] = []
        self.restart()

    def restart(self) -> None:
        """Forget the times."""
        self.stages.clear()

    def look(self, pack: PromptPack | None = None) -> TileFeatures:
        """Features of the image that no encoder has seen yet."""
        valid = np.ones(self.image.shape[:2], bool)
        return TileFeatures(self._models, self.image, valid, pack or self.pack)

    def __call__(self) -> None:
        """Run the route once, encoders included."""
        self._race.calls.clear()
        self.features = self.look()
        start = time.perf_counter()
        self.result: TileResult = self._run(self.features, self.pack, self.settings)
        total = time.perf_counter() - start
        stages = self.features.timings
        self.stages.append({**stages, "host": total - sum(stages.values())})
        self.calls: Counter[str] = Counter(self._race.calls)

    def candidates(self, features: TileFeatures, pack: PromptPack) -> Candidates:
        """The boxes that a run decodes."""
        return select(features.detections, pack, self.settings, features.shape)

    def alone(self, index: int) -> Candidates:
        """The best boxes of one class in a caption of its own."""
        pack = self._race.pack(word_pack(load_bundle(), (self.pack.names[index],)))
        features = self.look(pack)
        return self.candidates(features, _count_boxes(pack, features.detections.scores))

    def proposals(self, features: TileFeatures) -> Proposals:
        """SAM's masks of the grid, best first."""
        return propose(features, self.settings, self.settings.grid, features.valid)


def _count_boxes(pack: PromptPack, scores: NDArray[np.float32]) -> PromptPack:
    """The pack with detector thresholds that :data:`COUNT` boxes of each class reach."""
    best = np.sort(scores, axis=0)[::-1][min(COUNT, len(scores)) - 1]
    classes = tuple(
        dataclasses.replace(item, thresholds={**item.thresholds, "detector": float(least)})
        for item, least in zip(pack.classes, best, strict=True)
    )
    return dataclasses.replace(pack, classes=classes)


def planted(pack: PromptPack, grid: NDArray[np.float32]) -> PromptPack:
    """A pack whose classes are in the image, for CLIP weights that mean nothing.

    Each class's embedding is the mean of a strip of the image, so that every class is found
    somewhere; competing words and the redundant text point anywhere. Thresholds are 0.

    Args:
        pack: the classes.
        grid: float32 ``[gh, gw, D]``, unit length, of the image.
    """
    rng = np.random.default_rng(_SEED)
    width = grid.shape[-1]
    strips = np.array_split(grid.reshape(-1, width), len(pack.classes))
    classes = tuple(
        dataclasses.replace(item, thresholds={**item.thresholds, "points": 0.0, "masks": 0.0})
        for item in pack.classes
    )
    return dataclasses.replace(
        pack,
        classes=classes,
        class_embeddings=tuple(unit_rows(strip.mean(0, keepdims=True)) for strip in strips),
        other_embeddings=unit_rows(rng.standard_normal((len(pack.other_words), width))),
        redundant_embedding=unit_rows(rng.standard_normal((1, width)))[0],
        logit_scale=_RANDOM_SCALE,
    )
