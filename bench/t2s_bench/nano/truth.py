"""One held-out scene with everything that is judged against it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2s_bench.nano.working import WorkingScene
from t2s_rt.bundle import Bundle
from t2s_rt.synthetic import CLASSES, RenderedScene, SceneObject, SceneSpec, render, scene_spec
from t2s_rt.synthetic.style import world_style

__all__ = ["CLASS_ID", "DETECTED", "MIN_SIDE", "HeldOut"]

MIN_SIDE = 8
"""Objects whose visible part is shorter than this, in scene pixels, do not count."""
DETECTED = ("building", "tree", "car")
CLASS_ID = {entry.name: entry.id for entry in CLASSES}


@dataclass(frozen=True)
class HeldOut:
    """A rendered scene and how the models see it.

    Attributes:
        spec: what was rendered.
        truth: its pixels, class map and objects.
        working: the same at the bundle's resolution.
        season: of its world.
    """

    spec: SceneSpec
    truth: RenderedScene
    working: WorkingScene
    season: str

    @classmethod
    def of(cls, seed: int, size: int, bundle: Bundle) -> HeldOut:
        """Render the scene of a seed, ``size`` pixels square."""
        spec = scene_spec(seed, size)
        truth = render(spec)
        working = WorkingScene.of(truth.image, spec.gsd, bundle)
        return cls(spec, truth, working, world_style(seed).season)

    def objects(self, name: str) -> tuple[list[SceneObject], list[SceneObject]]:
        """Objects of a class that count, and those that count neither way."""
        own = [item for item in self.truth.objects if item.class_id == CLASS_ID[name]]
        counted = [item for item in own if not item.crowd and _side(item) >= MIN_SIDE]
        return counted, [item for item in own if item.crowd or _side(item) < MIN_SIDE]

    def boxes(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same as boxes xyxy ``[N, 4]`` in scene pixels."""
        counted, ignored = self.objects(name)
        return _stacked(counted), _stacked(ignored)


def _side(item: SceneObject) -> float:
    return float(max(item.box[2] - item.box[0], item.box[3] - item.box[1]))


def _stacked(items: list[SceneObject]) -> NDArray[np.float32]:
    return np.array([item.box for item in items], np.float32).reshape(-1, 4)
