"""What a synthetic scene is: its classes, seeds, specification and rendered form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from t2s_rt.synthetic.geometry import mix_keys

GENERATOR_VERSION = "1.2.0"

HELD_OUT_SEEDS = range(900_000, 900_200)
"""Seeds of the 200 scenes that no training ever sees."""

TRAINING_SEEDS = range(0, 800_000)
"""Seeds for training, disjoint from HELD_OUT_SEEDS."""

SALT_SPEC = 1


@dataclass(frozen=True, slots=True)
class SceneClass:
    """One class of the truth: id in the class map, name, kind and display colour (RGB)."""

    id: int
    name: str
    kind: Literal["thing", "stuff", "other"]
    colour: tuple[int, int, int]


CLASSES: tuple[SceneClass, ...] = (
    SceneClass(0, "other", "other", (0, 0, 0)),
    SceneClass(1, "building", "thing", (220, 50, 47)),
    SceneClass(2, "road", "stuff", (150, 150, 150)),
    SceneClass(3, "tree", "thing", (20, 110, 40)),
    SceneClass(4, "water", "stuff", (38, 110, 210)),
    SceneClass(5, "car", "thing", (255, 220, 0)),
    SceneClass(6, "low vegetation", "stuff", (130, 200, 90)),
    SceneClass(7, "field", "stuff", (222, 184, 110)),
    SceneClass(8, "bare ground", "stuff", (160, 110, 70)),
    SceneClass(9, "parking lot", "stuff", (190, 120, 200)),
    SceneClass(10, "pavement", "stuff", (235, 180, 190)),
)

OTHER, BUILDING, ROAD, TREE, WATER, CAR, LOW_VEGETATION, FIELD, BARE, PARKING, PAVEMENT = range(11)


@dataclass(frozen=True, slots=True)
class SceneSpec:
    """A window on a synthetic world.

    `origin_x`, `origin_y` place the outer top-left corner of the top-left pixel in the world of
    this seed, in metres, x to the right and y downwards; `gsd` is metres per pixel.
    """

    seed: int
    height: int
    width: int
    gsd: float
    origin_x: float
    origin_y: float


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One instance that is visible in a rendered window.

    `box` is float32 [4] xyxy in window pixels, tight on the visible pixels; `pixels` counts them.
    `crowd` marks a region without single objects (closed canopy, hedge); `cut` that the object
    touches the edge of the window.
    """

    id: int
    class_id: int
    box: npt.NDArray[np.float32]
    pixels: int
    crowd: bool
    cut: bool


@dataclass(frozen=True, slots=True)
class RenderedScene:
    """Pixels and truth of a window.

    `image` uint8 [H, W, 3] RGB; `classes` uint8 [H, W]; `instances` int32 [H, W], 0 where there is
    none, ids unique in the scene; `crs` like "EPSG:32632"; `transform` the six coefficients
    a, b, c, d, e, f of the window's affine (x = a·col + b·row + c, y = d·col + e·row + f).
    Classes and instances are exact for the image before the sensor's blur.
    """

    image: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.int32]
    objects: tuple[SceneObject, ...]
    crs: str
    transform: tuple[float, float, float, float, float, float]


def georeference(spec: SceneSpec) -> tuple[str, float, float]:
    """CRS and map coordinates of the scene's top-left corner: UTM zone, easting and northing."""
    value = mix_keys(SALT_SPEC, 7, spec.seed)
    zone = 32601 + value % 60
    easting = 300_000 + (value >> 8) % 400_000
    northing = 1_000_000 + (value >> 32) % 7_000_000
    return f"EPSG:{zone}", float(easting), float(northing)
