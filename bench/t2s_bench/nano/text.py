"""Whether words decide what is found: swapped captions, and synonyms.

Each of building, tree and car is asked for alone; AP50 of what is found is taken against the
truth of all three. A detector that looks at the image only would find the same whatever the
caption. A synonym is put in the place of its class's name, the other classes staying, and the two
maps of the fused route are compared class by class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_bench.every_route import EveryRoute
from t2s_bench.nano.boxes import detect_scene
from t2s_bench.nano.truth import DETECTED, HeldOut
from t2s_rt.bundle import Bundle
from t2s_rt.evaluation import DetectionTally
from t2s_rt.prompts import PromptPack, build_pack
from t2s_rt.routes import RouteSettings
from t2s_rt.routes.painting import nms
from t2s_rt.synthetic import CLASSES

__all__ = ["SYNONYMS", "TextFigures"]

SYNONYMS = {
    "building": "house",
    "road": "street",
    "tree": "forest",
    "water": "lake",
    "car": "vehicle",
    "low vegetation": "grass",
}


class TextFigures:
    """What captions and synonyms change.

    Args:
        bundle: under test; it must know the words.
    """

    def __init__(self, bundle: Bundle) -> None:
        names = [entry.name for entry in CLASSES[1:]]
        self._alone = {name: _pack(bundle, [name]) for name in DETECTED}
        self._plain = _pack(bundle, names)
        self._other = _pack(bundle, [SYNONYMS.get(name, name) for name in names])
        self._tallies = {asked: {name: DetectionTally() for name in DETECTED} for asked in DETECTED}
        self._both = np.zeros(len(names), np.int64)
        self._either = np.zeros(len(names), np.int64)
        self._names = names

    def add(self, routes: EveryRoute, scene: HeldOut) -> None:
        """Count one scene."""
        for asked, pack in self._alone.items():
            boxes, scores = detect_scene(routes.models, pack, scene)
            kept = nms(boxes, scores[:, 0], RouteSettings().box_nms_iou)
            for name in DETECTED:
                truth, ignored = scene.boxes(name)
                self._tallies[asked][name].add(boxes[kept], scores[kept, 0], truth, ignored)
        image, gsd = scene.truth.image, scene.spec.gsd
        first = routes.label(image, self._plain, gsd, ("fused",))["fused"]
        second = routes.label(image, self._other, gsd, ("fused",))["fused"]
        self._compare(first, second)

    def _compare(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> None:
        for index in range(len(self._names)):
            a, b = first == index + 1, second == index + 1
            self._both[index] += np.count_nonzero(a & b)
            self._either[index] += np.count_nonzero(a | b)

    def record(self) -> dict[str, Any]:
        """``swapped``: AP50 by class asked for and class of the truth; ``synonyms``: IoU of maps.

        IoU is None where neither word found anything.
        """
        shares = {
            name: float(both / either) if either else None
            for name, both, either in zip(self._names, self._both, self._either, strict=True)
        }
        return {
            "swapped": {
                asked: {name: _ap(tally) for name, tally in tallies.items()}
                for asked, tallies in self._tallies.items()
            },
            "synonyms": {
                name: {"word": word, "iou": shares[name]} for name, word in SYNONYMS.items()
            },
        }


def _pack(bundle: Bundle, names: list[str]) -> PromptPack:
    return build_pack(bundle, ", ".join(names), use_bank=False)


def _ap(tally: DetectionTally) -> float | None:
    scores = tally.scores()
    return scores.ap if scores.objects else None
