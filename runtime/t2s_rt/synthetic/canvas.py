"""One block of a scene while it is drawn: item numbers per pixel, picture and shadow mask.

Every drawn polygon is an item; the canvas holds item numbers, and tables give each item's class,
instance and texture. Class map and instance map are therefore always consistent.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from t2s_rt.errors import UsageError
from t2s_rt.synthetic.geometry import Polygon
from t2s_rt.synthetic.palettes import Colour
from t2s_rt.synthetic.plan import Building
from t2s_rt.synthetic.spec import OTHER, SceneSpec
from t2s_rt.synthetic.style import Material, Style

NONE: Colour = (0, 0, 0)
PLAIN = Material(NONE, NONE, 0, 0, 0, 2)
Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]


class Item(NamedTuple):
    """Table row of one drawn polygon."""

    class_id: int
    instance: int
    crowd: bool
    material: Material
    height: float = 0.0


NOBODY = Item(OTHER, 0, False, PLAIN)


class Block:
    """A square of scene pixels with its origin, canvas, picture and shadow mask."""

    def __init__(self, style: Style, spec: SceneSpec, row: int, col: int, size: int) -> None:
        """Prepare a block whose top-left pixel is (row, col) of the scene grid."""
        gsd = spec.gsd
        self.style = style
        self.gsd = gsd
        self.row, self.col, self.size = row, col, size
        self.scale = 16.0 / gsd
        # the scene's origin in 1/16 px, rounded once so that all blocks share one grid
        left, top = round(spec.origin_x * self.scale), round(spec.origin_y * self.scale)
        self.left, self.top = left / 16.0 + col, top / 16.0 + row
        self.origin = np.array([left + col * 16 + 8, top + row * 16 + 8], np.float64)
        self._origin = float(self.origin[0]), float(self.origin[1])
        self.canvas = np.zeros((size, size), np.uint16)
        self.image = np.zeros((size, size, 3), np.uint8)
        self.shadow = np.zeros((size, size), np.uint8)
        self.ribbed: list[tuple[int, Building, Int32]] = []
        self.items: list[Item] = [Item(OTHER, 0, False, style.bare[0])]
        self.box = (
            self.left * gsd,
            self.top * gsd,
            (self.left + size) * gsd,
            (self.top + size) * gsd,
        )

    def pixels(self, points: Polygon) -> Int32:
        """World metres to 1/16 pixel of the block, for cv2's shift=4."""
        pts: npt.NDArray[np.float64] = np.array(points, np.float64)
        pts *= self.scale
        pts -= self.origin
        return np.rint(pts).astype(np.int32)

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        """One point as :meth:`pixels` gives it; for many calls with a single point."""
        left, top = self._origin
        return round(x * self.scale - left), round(y * self.scale - top)

    def add(
        self,
        class_id: int,
        instance: int,
        crowd: bool,
        material: Material,
        height: float = 0.0,
    ) -> int:
        """Register an item; returns its number."""
        self.items.append(Item(class_id, instance, crowd, material, height))
        if len(self.items) > 65_000:
            raise UsageError(
                "expected at most 65,000 drawn objects in a block of 512 x 512 pixels, found more; "
                "use a smaller gsd"
            )
        return len(self.items) - 1

    def near(self, x: float, y: float, reach: float) -> bool:
        """Whether something at a world point may touch the block."""
        x0, y0, x1, y1 = self.box
        return x0 - reach < x < x1 + reach and y0 - reach < y < y1 + reach

    def overlaps(self, points: Polygon, reach: float = 0.0) -> bool:
        """Whether a polygon's box, grown by `reach`, meets the block."""
        x0, y0, x1, y1 = self.box
        x, y = points[0]
        if x0 - reach < x < x1 + reach and y0 - reach < y < y1 + reach:
            return True  # most are decided by their first corner
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        return (
            min(xs) < x1 + reach
            and max(xs) > x0 - reach
            and min(ys) < y1 + reach
            and max(ys) > y0 - reach
        )

    def fill(
        self, target: UInt8 | npt.NDArray[np.uint16], pts: Int32, value: float | Colour
    ) -> None:
        """Fill a polygon without anti-aliasing."""
        cv2.fillPoly(target, [pts], value, cv2.LINE_8, 4)

    def paint(self, pts: Int32, colour: Colour) -> None:
        """Fill an anti-aliased polygon into the picture."""
        cv2.fillPoly(self.image, [pts], colour, cv2.LINE_AA, 4)

    def line(self, pts: Int32, colour: Colour, width: float) -> None:
        """Draw a line `width` metres wide; thinner than a pixel it fades instead."""
        px = width / self.gsd
        if px < 0.18:
            return
        cv2.polylines(self.image, [pts], False, colour, max(1, round(px)), cv2.LINE_AA, 4)
