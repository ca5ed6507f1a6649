"""The detector on held-out scenes: AP50 pooled, by ground resolution and by season; false boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_bench.nano.truth import DETECTED, HeldOut
from t2s_rt.evaluation import DetectionTally, box_iou
from t2s_rt.models import Models
from t2s_rt.prompts import PromptPack
from t2s_rt.routes import RouteSettings
from t2s_rt.routes.painting import nms

__all__ = ["BANDS", "BoxFigures", "detect_scene"]

BANDS = ((0.05, 0.1), (0.1, 0.2), (0.2, 0.4), (0.4, 1.0))
"""Ground resolutions in metres per pixel, each from the first, the second excluded."""


def _band(gsd: float) -> str:
    for low, high in BANDS[:-1]:
        if gsd < high:
            return f"{low:g} to {high:g} m"
    return f"{BANDS[-1][0]:g} to {BANDS[-1][1]:g} m"


def detect_scene(
    models: Models, pack: PromptPack, scene: HeldOut
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """All queries of a scene's tiles: boxes ``[N, 4]`` in scene pixels, scores ``[N, K]``.

    As in the runtime, a box counts for the tile that owns its centre and is cut at the scene's
    edge; what lies in the padding is nobody's.
    """
    assert models.detector is not None  # opened for it
    boxes, scores = [], []
    for tile, image in scene.working.tiles():
        found = models.detector.detect(image, pack)
        in_scene = scene.working.to_scene(found.boxes, tile)
        mine = scene.working.owners(in_scene) == tile.index
        boxes.append(in_scene[mine])
        scores.append(found.scores[mine])
    height, width = scene.truth.classes.shape
    edges = np.array([width, height, width, height], np.float32)
    return np.clip(np.concatenate(boxes), 0, edges), np.concatenate(scores)


class BoxFigures:
    """Tallies of every detected class.

    Args:
        pack: the classes, each with the score from which its boxes are shown.
    """

    def __init__(self, pack: PromptPack) -> None:
        shown = {c.name: RouteSettings().threshold(c, "detector") for c in pack.classes}
        self._pack = pack
        self._pooled = {name: DetectionTally(threshold=shown[name]) for name in DETECTED}
        self._queries = {name: DetectionTally() for name in DETECTED}
        self._parts: dict[str, dict[str, dict[str, DetectionTally]]] = {"band": {}, "season": {}}

    def add(self, models: Models, scene: HeldOut) -> None:
        """Count one scene."""
        boxes, scores = detect_scene(models, self._pack, scene)
        names = [entry.name for entry in self._pack.classes]
        for name in DETECTED:
            truth, ignored = scene.boxes(name)
            # detections of ignored objects leave with them; boxes are what they are judged by
            taken = np.zeros(len(boxes), bool)
            if len(ignored):
                taken = box_iou(boxes, ignored).max(1) >= 0.5
                if len(truth):
                    taken &= box_iou(boxes, truth).max(1) < 0.5
            own, own_scores = boxes[~taken], scores[~taken, names.index(name)]
            self._queries[name].add(own, own_scores, truth, ignored)
            # as the boxes and fused routes do tile by tile: one box of those that overlap is kept
            kept = nms(own, own_scores, RouteSettings().box_nms_iou)
            self._pooled[name].add(own[kept], own_scores[kept], truth, ignored)
            for kind, value in (("band", _band(scene.spec.gsd)), ("season", scene.season)):
                tally = self._parts[kind].setdefault(value, {}).setdefault(name, DetectionTally())
                tally.add(own[kept], own_scores[kept], truth, ignored)

    def false_boxes(self, threshold: float) -> dict[str, float]:
        """Boxes of at least this score per scene that lacks the class, by class."""
        return {name: tally.false_boxes(threshold) for name, tally in self._pooled.items()}

    def record(self) -> dict[str, Any]:
        """JSON-ready figures by class; ``ap50_by_band`` and ``ap50_by_season`` beside them."""
        classes = {
            name: {
                "ap50": scores.ap,
                "ap50_without_nms": self._queries[name].scores().ap,
                "recall50": scores.recall,
                "objects": scores.objects,
                "false_per_absent_image": scores.false_per_absent_image,
                "absent_images": scores.absent_images,
            }
            for name, tally in self._pooled.items()
            for scores in (tally.scores(),)
        }
        parts = {f"by_{kind}": _parts(tallies) for kind, tallies in self._parts.items()}
        return {"classes": classes, **parts}


def _parts(tallies: Mapping[str, Mapping[str, DetectionTally]]) -> dict[str, dict[str, Any]]:
    """AP50 and number of objects by part of the scenes and class."""
    return {
        part: {
            name: {"ap50": scores.ap if scores.objects else None, "objects": scores.objects}
            for name, tally in classes.items()
            for scores in (tally.scores(),)
        }
        for part, classes in sorted(tallies.items())
    }
