"""What a cell of the world emits: ground polygons, markings, buildings, trees, vehicles, things.

Districts are laid out in plan coordinates (straight lines, right angles). A `Plan` bends them by
the world's smooth warp while collecting, so that long roads and field edges curve together while
buildings and cars stay rigid. All stored coordinates are world metres.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from math import hypot, sin
from typing import NamedTuple

from t2s_rt.synthetic.geometry import Point, Polygon, centre
from t2s_rt.synthetic.palettes import Colour
from t2s_rt.synthetic.style import Material, Style

Box = tuple[float, float, float, float]


class Ground(NamedTuple):
    """A flat polygon with its class; `instance` 0 if it is no object of its own.

    `rows` is (angle, period in metres, strength) of crop rows or (0, 0, 0); `lift` is the height
    in metres from which the polygon casts a shadow (closed canopy, hedges), 0 for none.
    """

    points: Polygon
    material: Material
    class_id: int
    instance: int = 0
    rows: tuple[float, float, int] = (0.0, 0.0, 0)
    crowd: bool = False
    lift: float = 0.0


class Mark(NamedTuple):
    """A painted line: points, width in metres, colour, closed or filled polygon."""

    points: Polygon
    width: float
    colour: Colour
    filled: bool = False


class Facet(NamedTuple):
    """A part of a roof: polygon and colour; `line` > 0 draws it as a line of that width (m)."""

    points: Polygon
    colour: Colour
    line: float = 0.0
    size: float = 9.0


class Building(NamedTuple):
    """A building: outline, facets in drawing order, height in metres.

    `ribs` is (period in metres, angle to the outline's first side, strength) of tiles or seams.
    """

    outline: Polygon
    facets: list[Facet]
    height: float
    instance: int
    material: Material
    ribs: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Tree(NamedTuple):
    """A crown: centre, radius and height in metres, index of colour ramp, shape variant."""

    x: float
    y: float
    radius: float
    height: float
    ramp: int
    variant: int
    instance: int


class Car(NamedTuple):
    """A car: centre, heading, length and width in metres, colour, kind of body."""

    x: float
    y: float
    angle: float
    length: float
    width: float
    colour: Colour
    body: int
    instance: int


class Thing(NamedTuple):
    """Something of no class: outline, facets, height (0 casts no shadow)."""

    outline: Polygon
    facets: list[Facet]
    height: float


OVERHANG = 26.0
"""Metres by which a shadow or a wide line reaches beyond its ground polygon, at most."""
STAGES = 8
"""Ground polygons are drawn by stage: base, parcels, yards, water banks, water, roads, islands."""


class Plan:
    """Collects what one cell emits; see the module's docstring for the two frames."""

    def __init__(self, style: Style, rnd: random.Random, view: Box) -> None:
        """Start an empty plan that keeps what lies in `view` (world metres)."""
        self.style = style
        self.rnd = rnd
        self.view = view
        self.next_id = 1
        self.last_id = CELL_IDS
        self.ground: list[list[Ground]] = [[] for _ in range(STAGES)]
        self.marks: list[Mark] = []
        self.buildings: list[Building] = []
        self.trees: list[Tree] = []
        self.cars: list[Car] = []
        self.things: list[Thing] = []
        self.keep_out: list[tuple[float, float, float]] = []
        (a, *_), (b, *_), (c, *_), (d, *_) = style.warp
        x0, y0, x1, y1 = view
        x, y = abs(a) + abs(c), abs(b) + abs(d)
        self._unbent = x0 - x, y0 - y, x1 + x, y1 + y
        x, y = x + OVERHANG, y + OVERHANG
        self._reach = x0 - x, y0 - y, x1 + x, y1 + y
        self._own = random.Random()

    def own_stream(self, seed: int) -> random.Random:
        """The stream of one object; the next object's call seeds it anew."""
        self._own.seed(seed)
        return self._own

    def new_id(self) -> int:
        """Next free instance id of this part; the last one is shared by any overflow."""
        value = self.next_id
        self.next_id = min(value + 1, self.last_id - 1)
        return value

    def sees(self, x: float, y: float, radius: float) -> bool:
        """Whether a disc (world metres) meets the view."""
        x0, y0, x1, y1 = self.view
        return x0 - radius < x < x1 + radius and y0 - radius < y < y1 + radius

    def parts(self, polygons: list[Polygon]) -> Iterator[Polygon]:
        """Yield the polygons (plan coordinates) that may meet the view.

        Each has a random stream and a range of ids of its own, so that leaving one out changes
        nothing in the others; one more of both is kept for what is emitted afterwards. The stream
        is the same object throughout, seeded anew for each part.
        """
        rnd, first, last = self.rnd, self.next_id, self.last_id
        stride = (last - first) // (len(polygons) + 1)
        seeds = [rnd.getrandbits(62) for _ in range(len(polygons) + 1)]
        for k, poly in enumerate(polygons):
            if len(poly) < 2:
                continue
            x, y = centre(poly)
            reach = max(math.hypot(px - x, py - y) for px, py in poly) * 1.25 + 3.0
            wx, wy = warp_point(self.style, x, y)
            if not self.sees(wx, wy, reach) or not self._box_sees(poly, wx - x, wy - y, reach):
                continue
            rnd.seed(seeds[k])
            self.next_id, self.last_id = first + k * stride, first + (k + 1) * stride
            yield poly
        rnd.seed(seeds[-1])
        self.next_id, self.last_id = first + len(polygons) * stride, last

    def _box_sees(self, poly: Polygon, dx: float, dy: float, reach: float) -> bool:
        """Whether a polygon's box, moved as its centre is bent, may meet the view.

        ``reach``, about its radius, bounds how much further its corners are bent.
        """
        x0, y0, x1, y1 = self.view
        xs, ys = [p[0] for p in poly], [p[1] for p in poly]
        slack = 0.35 * reach + 3.0
        return (
            min(xs) + dx - slack < x1
            and max(xs) + dx + slack > x0
            and min(ys) + dy - slack < y1
            and max(ys) + dy + slack > y0
        )

    def spot(self, x: float, y: float, radius: float) -> Point | None:
        """World coordinates of a point (plan coordinates) in view and free for a disc, or None."""
        x0, y0, x1, y1 = self._unbent
        if not (x0 < x < x1 and y0 < y < y1):
            return None
        wx, wy = warp_point(self.style, x, y)
        if not self.sees(wx, wy, 0.0) or not self.free(wx, wy, radius):
            return None
        return wx, wy

    def warp(self, x: float, y: float) -> Point:
        """Plan coordinates to world coordinates."""
        return warp_point(self.style, x, y)

    def meets(self, points: Polygon) -> bool:
        """Whether a polygon or polyline (plan coordinates) may touch the view; false is certain.

        Cheaper than bending it: no corner moves further than the sum of the waves.
        """
        x0, y0, x1, y1 = self._reach
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        return min(xs) < x1 and max(xs) > x0 and min(ys) < y1 and max(ys) > y0

    def bend(self, points: Polygon, closed: bool = True, step: float = 22.0) -> Polygon:
        """Warp a polygon or polyline, with points inserted: no edge is longer than ``step``."""
        # warp_point written out: most corners pass here
        (a, ka, pa), (b, kb, pb), (c, kc, pc), (d, kd, pd) = self.style.warp
        out: Polygon = []
        line = [*points, points[0]] if closed else points
        for (ax, ay), (bx, by) in zip(line, line[1:], strict=False):
            ex, ey = bx - ax, by - ay
            pieces = int(hypot(ex, ey) / step + 0.999) or 1
            for k in range(pieces):
                x, y = ax + ex * k / pieces, ay + ey * k / pieces
                out.append(
                    (
                        x + a * sin(ka * y + pa) + c * sin(kc * (x + y) + pc),
                        y + b * sin(kb * x + pb) + d * sin(kd * (x - y) + pd),
                    )
                )
        if not closed:
            out.append(warp_point(self.style, *points[-1]))
        return out

    def place(self, x: float, y: float, angle: float) -> tuple[float, float, float]:
        """Warp a rigid object's position and heading."""
        wx, wy = warp_point(self.style, x, y)
        ax, ay = warp_point(self.style, x + math.cos(angle), y + math.sin(angle))
        return wx, wy, math.atan2(ay - wy, ax - wx)

    def free(self, x: float, y: float, radius: float) -> bool:
        """Whether a disc (world metres) is clear of the river and the reserved discs."""
        river = self.style.river
        if not river and not self.keep_out:
            return True
        if river and abs(river_offset(self.style, x, y)[0]) < river * 0.62 + 3.0 + radius:
            return False
        return all(math.hypot(x - u, y - v) > radius + r for u, v, r in self.keep_out)

    def add_ground(
        self,
        stage: int,
        points: Polygon,
        material: Material,
        class_id: int,
        instance: int = 0,
        rows: tuple[float, float, int] = (0.0, 0.0, 0),
        crowd: bool = False,
        lift: float = 0.0,
    ) -> None:
        """Add a flat polygon given in plan coordinates."""
        if len(points) >= 3 and self.meets(points):
            bent = self.bend(points)
            self.ground[stage].append(Ground(bent, material, class_id, instance, rows, crowd, lift))


CELL_IDS = 16384
EDGE_IDS = 1024
RIVER_IDS = 256


def warp_point(style: Style, x: float, y: float) -> Point:
    """Bend plan coordinates by four smooth shear waves."""
    (a, ka, pa), (b, kb, pb), (c, kc, pc), (d, kd, pd) = style.warp
    return (
        x + a * sin(ka * y + pa) + c * sin(kc * (x + y) + pc),
        y + b * sin(kb * x + pb) + d * sin(kd * (x - y) + pd),
    )


RIVER_SPACING = 900.0


def river_offset(style: Style, x: float, y: float) -> tuple[float, int]:
    """Distance across the nearest river's axis (metres, signed, approximate) and its number."""
    c, s = math.cos(style.angle * 1.7), math.sin(style.angle * 1.7)
    u, v = x * c + y * s, y * c - x * s
    v -= river_axis(style, u)
    number = math.floor(v / RIVER_SPACING + 0.5)
    return v - number * RIVER_SPACING, number


def river_axis(style: Style, u: float) -> float:
    """Lateral position of the river's axis at the distance `u` along it."""
    phase = style.seed % 97 * 0.37
    return (
        42.0 * math.sin(u / 131.0 + phase)
        + 95.0 * math.sin(u / 420.0 + 2.1 * phase)
        + 14.0 * math.sin(u / 47.0 + 0.7 * phase)
    )


def river_line(style: Style, number: int, u0: float, u1: float, step: float = 10.0) -> Polygon:
    """Points of a river's axis (world metres) on a fixed grid along it that covers [u0, u1]."""
    c, s = math.cos(style.angle * 1.7), math.sin(style.angle * 1.7)
    out: Polygon = []
    for k in range(math.floor(u0 / step) - 1, math.ceil(u1 / step) + 2):
        u = k * step
        v = river_axis(style, u) + number * RIVER_SPACING
        out.append((u * c - v * s, u * s + v * c))
    return out
