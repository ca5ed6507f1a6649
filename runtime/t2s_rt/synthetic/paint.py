"""Draws one block of a scene: an index of items per pixel, and the picture before the sensor.

Every drawn polygon is an item; the canvas holds item numbers, and tables give each item's class,
instance and texture. Class map and instance map are therefore always consistent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from t2s_rt.synthetic import textures
from t2s_rt.synthetic.geometry import Polygon
from t2s_rt.synthetic.layout import SHADOW
from t2s_rt.synthetic.plan import Building, Car, Facet, Ground, Mark, Plan, Thing, Tree
from t2s_rt.synthetic.spec import BUILDING, CAR, OTHER, TREE, SceneSpec
from t2s_rt.synthetic.style import CANOPY, Colour, Material, Style

_NONE: Colour = (0, 0, 0)
_PLAIN = Material(_NONE, _NONE, 0, 0, 0, 2)
_SNOW = Material((196, 202, 212), (240, 242, 244), 6, 10, 50, 2)
_LEAVES = Material(_NONE, _NONE, 0, 0, 0, 7, mottle=6)
_ROW_WAVE = np.array(
    [round(64 * math.sin(2 * math.pi * k / 256)) for k in range(256)], np.int16
)
Int32 = npt.NDArray[np.int32]


class Item(NamedTuple):
    """Table row of one drawn polygon."""

    class_id: int
    instance: int
    crowd: bool
    material: Material
    height: float = 0.0


NOBODY = Item(OTHER, 0, False, _PLAIN)


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
        return np.rint(np.array(points) * self.scale - self.origin).astype(np.int32)

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
            raise MemoryError("too many objects in one block; use a smaller gsd")
        return len(self.items) - 1

    def near(self, x: float, y: float, reach: float) -> bool:
        """Whether something at a world point may touch the block."""
        x0, y0, x1, y1 = self.box
        return x0 - reach < x < x1 + reach and y0 - reach < y < y1 + reach

    def overlaps(self, points: Polygon, reach: float = 0.0) -> bool:
        """Whether a polygon's box, grown by `reach`, meets the block."""
        x0, y0, x1, y1 = self.box
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        return (
            min(xs) < x1 + reach
            and max(xs) > x0 - reach
            and min(ys) < y1 + reach
            and max(ys) > y0 - reach
        )

    def fill(self, target: npt.NDArray[np.generic], pts: Int32, value: float | Colour) -> None:
        """Fill a polygon without anti-aliasing."""
        cv2.fillPoly(target, [pts], value, cv2.LINE_8, 4)  # type: ignore[call-overload]

    def paint(self, pts: Int32, colour: Colour) -> None:
        """Fill an anti-aliased polygon into the picture."""
        cv2.fillPoly(self.image, [pts], colour, cv2.LINE_AA, 4)

    def line(self, pts: Int32, colour: Colour, width: float) -> None:
        """Draw a line `width` metres wide; thinner than a pixel it fades instead."""
        px = width / self.gsd
        if px < 0.18:
            return
        cv2.polylines(self.image, [pts], False, colour, max(1, round(px)), cv2.LINE_AA, 4)


def draw_ground(block: Block, plans: list[tuple[int, Plan]], extra: list[Plan]) -> None:
    """Fill the canvas with all ground polygons, then compose their textures."""
    rows: list[tuple[int, Ground, Int32]] = []
    stages = len(plans[0][1].ground) if plans else 0
    for stage in range(stages):
        for base, plan in [*plans, *((0, p) for p in extra)]:
            for g in plan.ground[stage]:
                if not block.overlaps(g.points, 25.0 if g.lift else 0.0):
                    continue
                pts = block.pixels(g.points)
                instance = base + g.instance if g.instance else 0
                index = block.add(g.class_id, instance, g.crowd, g.material)
                block.fill(block.canvas, pts, index)
                if g.rows[1] and g.rows[1] / block.gsd > 2.2:
                    rows.append((index, g, pts))
                if g.lift:
                    _lift_shadow(block, g, pts)
    _compose(block, rows)


def _lift_shadow(block: Block, g: Ground, pts: Int32) -> None:
    _sweep(block, pts, min(g.lift, 12.0))
    block.fill(block.shadow, pts, 0)


def _lookup(values: list[int], index: npt.NDArray[np.intp]) -> npt.NDArray[np.int16]:
    """Table values per pixel; int16 [S, S]."""
    return np.take(np.array(values, np.int16), index, mode="clip")


def _compose(block: Block, rows: list[tuple[int, Ground, Int32]]) -> None:
    """Mix each item's dark and light colour by its noise."""
    size = block.size
    shift_y, shift_x = block.row + block.style.seed * 131, block.col + block.style.seed * 71
    materials = [item.material for item in block.items]
    index = block.canvas.astype(np.intp)

    def band(name: str, values: list[int]) -> npt.NDArray[np.int16]:
        tile = textures.periodic(textures.noise_tile(name), shift_y, shift_x, size, size)
        part = _lookup(values, index)
        part *= tile
        return part

    mix = band("fine", [m.fine for m in materials])
    mix += band("medium", [m.medium for m in materials])
    mix >>= 1
    coarse = [m.coarse for m in materials]
    large = band("coarse", coarse)
    large += band("broad", [c // 2 for c in coarse])
    large >>= 1
    mix += large
    mix >>= 5
    mix += 128
    for number, g, pts in rows:
        _add_wave(block, mix, number, pts, g.rows)
    _add_canopy(block, materials, mix)
    np.clip(mix, 0, 255, out=mix)
    if block.style.snow < 900:
        _add_snow(block, materials)
        materials = [item.material for item in block.items]
        index = block.canvas.astype(np.intp)
    for channel in range(3):
        value = _lookup([m.light[channel] - m.dark[channel] for m in materials], index)
        value *= mix
        value >>= 8
        value += _lookup([m.dark[channel] for m in materials], index)
        block.image[..., channel] = value


def _add_wave(
    block: Block,
    target: npt.NDArray[np.int16],
    index: int,
    pts: Int32,
    rows: tuple[float, float, int],
) -> None:
    """Add a plane wave (angle of its crests, period in metres, strength) to one item's pixels."""
    size = block.size
    x0, y0 = (max(0, int(v) // 16 - 1) for v in pts.min(axis=0))
    x1, y1 = (min(size, int(v) // 16 + 2) for v in pts.max(axis=0))
    if x1 <= x0 or y1 <= y0:
        return
    angle, period, strength = rows
    k = 65536.0 * block.gsd / period
    cu, cv = round(-math.sin(angle) * k), round(math.cos(angle) * k)
    # 32-bit wrap-around is harmless: only the low bits of the phase count
    xs = np.arange(block.col + x0, block.col + x1, dtype=np.int64) * cu
    ys = np.arange(block.row + y0, block.row + y1, dtype=np.int64) * cv
    phase = (ys[:, None].astype(np.int32) + xs[None, :].astype(np.int32)) >> 8
    fade = min(1.0, (period / block.gsd - 2.0) / 3.0)
    wave = (_ROW_WAVE * round(strength * fade)) >> 6
    part = target[y0:y1, x0:x1]
    hit = block.canvas[y0:y1, x0:x1] == index
    np.add(part, np.take(wave, phase & 255), out=part, where=hit)


def _add_snow(block: Block, materials: list[Material]) -> None:
    """Patches of snow on open ground: they belong to no class."""
    y, x = block.row + block.style.seed * 13, block.col + block.style.seed * 7
    size = block.size
    depth = textures.periodic(textures.noise_tile("coarse"), y, x, size, size).astype(np.int16)
    depth += textures.periodic(textures.noise_tile("medium"), y, x, size, size) // 4
    open_ground = np.take(np.array([m.snow for m in materials]), block.canvas)
    number = block.add(OTHER, 0, False, _SNOW)
    np.copyto(block.canvas, np.uint16(number), where=open_ground & (depth > block.style.snow))


def _add_canopy(block: Block, materials: list[Material], mix: npt.NDArray[np.int16]) -> None:
    flags = np.array([m.pattern == CANOPY for m in materials])
    if not flags.any():
        return
    hit = flags[block.canvas]
    if not hit.any():
        return
    want = (3.8 + block.style.seed % 7 * 0.7) / block.gsd
    sizes = textures.CANOPY_SIZES
    diameter = min(sizes, key=lambda d: abs(math.log(d / want)))
    size = block.size
    h, gx, gy = (
        np.asarray(textures.periodic(t, block.row, block.col, size, size), np.int16)
        for t in textures.canopy_relief(diameter)
    )
    sx, sy = round(64 * block.style.sun[0]), round(64 * block.style.sun[1])
    light = h + h // 3 - 92 - ((gx * sx + gy * sy) >> 6)
    np.add(mix, light, out=mix, where=hit)


def draw_marks(block: Block, plans: list[Plan]) -> None:
    """Road paint, bay lines, tram lines."""
    for plan in plans:
        for m in plan.marks:
            if block.overlaps(m.points):
                _draw_mark(block, m)


def _draw_mark(block: Block, m: Mark) -> None:
    if m.width / block.gsd >= 0.18:
        block.line(block.pixels(m.points), m.colour, m.width)


def _offset(block: Block, height: float) -> Int32:
    """Displacement of a shadow cast from a height, in 1/16 pixel."""
    dx, dy = block.style.shadow
    h = min(height, SHADOW / max(math.hypot(dx, dy), 1e-6))
    return np.rint(np.array([dx * h, dy * h]) * block.scale).astype(np.int32)


def _sweep(
    block: Block,
    pts: Int32,
    height: float,
    target: npt.NDArray[np.uint8] | None = None,
    value: int = 255,
) -> None:
    """Shadow of a prism on flat ground."""
    mask = block.shadow if target is None else target
    top = pts + _offset(block, height)
    count = len(pts)
    for i in range(count):
        k = (i + 1) % count
        side = np.array([pts[i], pts[k], top[k], top[i]])
        cv2.fillConvexPoly(mask, side, value, cv2.LINE_8, 4)
    block.fill(mask, top, value)


def draw_low(block: Block, plans: list[tuple[int, Plan]]) -> None:
    """Cars and things with their shadows; they lie beneath the shadows of what is taller."""
    for base, plan in plans:
        for thing in plan.things:
            if block.overlaps(thing.outline, 8.0):
                _draw_thing(block, thing)
        for car in plan.cars:
            if block.near(car.x, car.y, 8.0):
                _draw_car(block, car, base)


def _draw_thing(block: Block, thing: Thing) -> None:
    if thing.height > 0.2:
        _sweep(block, block.pixels(thing.outline), thing.height)
    pts = block.pixels(thing.outline)
    block.fill(block.shadow, pts, 0)
    block.fill(block.canvas, pts, block.add(OTHER, 0, False, _PLAIN))
    _draw_facets(block, thing.facets)


def _draw_facets(block: Block, facets: list[Facet]) -> None:
    for f in facets:
        if f.size < 1.4 * block.gsd:
            continue
        pts = block.pixels(f.points)
        if f.line:
            block.line(pts, f.colour, f.line)
        else:
            block.paint(pts, f.colour)


def _car_outline(car: Car, grow: float = 0.0) -> Polygon:
    u, v = car.length / 2 + grow, car.width / 2 + grow
    c, s = math.cos(car.angle), math.sin(car.angle)
    local = (
        (-u, -0.8 * v),
        (-u + 0.3, -v),
        (u - 0.5, -v),
        (u, -0.62 * v),
        (u, 0.62 * v),
        (u - 0.5, v),
        (-u + 0.3, v),
        (-u, 0.8 * v),
    )
    return [(car.x + x * c - y * s, car.y + x * s + y * c) for x, y in local]


def _draw_car(block: Block, car: Car, base: int) -> None:
    body = block.pixels(_car_outline(car))
    _sweep(block, body, min(1.35, 3.0 / max(math.hypot(*block.style.shadow), 1e-6)))
    block.fill(block.shadow, body, 0)
    block.fill(block.canvas, body, block.add(CAR, base + car.instance, False, _PLAIN))
    block.paint(body, car.colour)
    if block.gsd > 0.62:
        return
    lum = sum(car.colour)
    glass: Colour = (34, 40, 48) if lum > 150 else (70, 80, 92)
    w = car.width

    def part(u0: float, u1: float, w0: float, w1: float) -> Int32:
        c, s = math.cos(car.angle), math.sin(car.angle)
        u0, u1 = u0 * car.length, u1 * car.length
        local = ((u0, -w0 * w), (u1, -w1 * w), (u1, w1 * w), (u0, w0 * w))
        return block.pixels(
            [(car.x + x * c - y * s, car.y + x * s + y * c) for x, y in local]
        )

    if car.body == 2:
        block.paint(part(0.34, 0.44, 0.42, 0.36), glass)
        return
    front, rear = (0.2, -0.3) if car.body == 0 else (0.2, -0.42)
    block.paint(part(front - 0.11, front, 0.36, 0.42), glass)
    block.paint(part(rear, rear + 0.1, 0.40, 0.35), glass)
    if block.gsd < 0.35:
        lift = 1.12 if lum < 600 else 0.94
        roof = tuple(min(252, int(c * lift + 5)) for c in car.colour)
        block.paint(part(rear + 0.1, front - 0.11, 0.35, 0.35), (roof[0], roof[1], roof[2]))


def cast_shadows(block: Block, plans: list[tuple[int, Plan]]) -> None:
    """Shadows of buildings and trees on everything drawn so far."""
    for _, plan in plans:
        for b in plan.buildings:
            if block.overlaps(b.outline, SHADOW + 2):
                _sweep(block, block.pixels(b.outline), b.height)
        for t in plan.trees:
            if block.near(t.x, t.y, SHADOW):
                value = 140 if block.style.leafless else 255
                _tree_shadow(block, t, 0.0, block.shadow, value)
    if block.shadow.any():
        _darken(block, cv2.blur(block.shadow, (3, 3)))


def _darken(block: Block, mask: npt.NDArray[np.uint8]) -> None:
    factors = np.array(block.style.shadow_factor, np.int32)
    steps = np.arange(256, dtype=np.int32)[:, None]
    table = (255 - steps * (256 - factors)[None, :] // 255).astype(np.uint8)[None]
    light = cv2.LUT(cv2.merge([mask] * 3), table).astype(np.uint16)
    light += 1
    light *= block.image
    light >>= 8
    block.image = light.astype(np.uint8)


def _tree_shadow(
    block: Block, t: Tree, ground: float, target: npt.NDArray[np.uint8], value: int
) -> None:
    """A crown's shadow on a plane at the height `ground`: discs along the crown's height."""
    centre = block.pixels([(t.x, t.y)])[0]
    radius = t.radius * block.scale
    for share, wide in ((0.35, 0.86), (0.65, 0.92), (0.95, 0.6)):
        height = t.height * share - ground
        if height <= 0 or (share != 0.65 and radius < 28):
            continue
        x, y = (int(v) for v in centre + _offset(block, height))
        cv2.circle(target, (x, y), max(8, round(radius * wide)), value, -1, cv2.LINE_8, 4)


def shade_tops(block: Block, plans: list[tuple[int, Plan]]) -> None:
    """Shadows that tall buildings and trees cast on lower roofs and crowns.

    The mask holds the caster's height (quarter metres); a pixel is shaded if its own item is
    at least 2.5 m lower. The plane that receives is taken at 4 m.
    """
    casters: list[tuple[float, Building | Tree]] = []
    for _, plan in plans:
        casters += [
            (b.height, b)
            for b in plan.buildings
            if b.height > 7.0 and block.overlaps(b.outline, SHADOW + 2)
        ]
        casters += [
            (t.height, t) for t in plan.trees if t.height > 7.0 and block.near(t.x, t.y, SHADOW)
        ]
    if not casters:
        return
    mask = np.zeros((block.size, block.size), np.uint8)
    for height, caster in sorted(casters, key=lambda c: c[0]):
        value = min(250, int(height * 4))
        if isinstance(caster, Building):
            _sweep(block, block.pixels(caster.outline), height - 4.0, mask, value)
        else:
            _tree_shadow(block, caster, 4.0, mask, value)
    heights = [min(250, int(t.height * 4)) for t in block.items]
    own = np.take(np.array(heights, np.uint8), block.canvas)
    hit = (mask > cv2.add(own, 10)) & (own > 0)
    if hit.any():
        _darken(block, cv2.blur(hit.astype(np.uint8) * np.uint8(255), (3, 3)))


def draw_buildings(block: Block, plans: list[tuple[int, Plan]]) -> None:
    """Roofs in order of height."""
    todo: list[tuple[float, int, Building]] = []
    for base, plan in plans:
        todo += [(b.height, base, b) for b in plan.buildings if block.overlaps(b.outline)]
    for _, base, b in sorted(todo, key=lambda t: (t[0], t[1], t[2].instance)):
        pts = block.pixels(b.outline)
        number = block.add(BUILDING, base + b.instance, False, b.material, b.height)
        block.fill(block.canvas, pts, number)
        if b.ribs[0] / block.gsd > 2.2:
            block.ribbed.append((number, b, pts))
        _draw_facets(block, b.facets)


def draw_trees(block: Block, plans: list[tuple[int, Plan]]) -> None:
    """Crowns in order of height."""
    todo: list[tuple[float, int, Tree]] = []
    for base, plan in plans:
        todo += [
            (t.height, base, t) for t in plan.trees if block.near(t.x, t.y, t.radius + block.gsd)
        ]
    sun = round(64 * block.style.sun[0]), round(64 * block.style.sun[1])
    ramps = [_ramp(c) for c in block.style.ramps]
    for _, base, t in sorted(todo, key=lambda q: (q[0], q[1], q[2].instance)):
        _draw_tree(block, t, base, sun, ramps[t.ramp])


def _ramp(colours: tuple[Colour, Colour]) -> npt.NDArray[np.uint8]:
    dark, light = (np.array(c, np.int32) for c in colours)
    steps = np.arange(256, dtype=np.int32)[:, None]
    return (dark + (light - dark) * steps // 190).clip(0, 255).astype(np.uint8)[None]


def _draw_tree(
    block: Block, t: Tree, base: int, sun: tuple[int, int], ramp: npt.NDArray[np.uint8]
) -> None:
    d = max(2, round(2.15 * t.radius / block.gsd))
    if d > 14:  # few distinct sizes keep the cache of sprites useful
        d += -d % (2 if d < 40 else 4)
    x0 = math.floor(t.x / block.gsd - block.left - d / 2 + 0.5)
    y0 = math.floor(t.y / block.gsd - block.top - d / 2 + 0.5)
    a, b = max(0, -x0), max(0, -y0)
    c, e = min(d, block.size - x0), min(d, block.size - y0)
    if c <= a or e <= b:
        return
    light, mask = textures.crown_sprite(t.variant, d, sun[0], sun[1], block.style.leafless)
    light, mask = light[b:e, a:c], mask[b:e, a:c]
    if a or b or c < d or e < d:
        light, mask = np.ascontiguousarray(light), np.ascontiguousarray(mask)
    index = block.add(TREE, base + t.instance, False, _LEAVES, t.height)
    hit = mask > 0
    np.copyto(block.canvas[y0 + b : y0 + e, x0 + a : x0 + c], np.uint16(index), where=hit)
    colours = cv2.LUT(light, ramp)
    np.copyto(block.image[y0 + b : y0 + e, x0 + a : x0 + c], colours, where=hit[..., None])


def add_grain(block: Block) -> None:
    """Brightness texture of every item, fine and medium."""
    size = block.size
    materials = [item.material for item in block.items]
    y, x = block.row + block.style.seed * 17, block.col + block.style.seed * 29
    index = block.canvas.astype(np.intp)
    total = _lookup([m.grain for m in materials], index)
    total *= textures.periodic(textures.noise_tile("fine"), y, x, size, size)
    mottle = _lookup([m.mottle for m in materials], index)
    mottle *= textures.periodic(textures.noise_tile("medium"), y, x, size, size)
    total += mottle
    total >>= 6
    for number, b, pts in block.ribbed:
        (ax, ay), (bx, by) = b.outline[:2]
        angle = math.atan2(by - ay, bx - ax)
        _add_wave(block, total, number, pts, (angle + b.ribs[1], b.ribs[0], int(b.ribs[2])))
    block.image = cv2.add(block.image, cv2.merge([total] * 3), dtype=cv2.CV_8U)


__all__ = [
    "NOBODY",
    "Block",
    "Item",
    "add_grain",
    "cast_shadows",
    "draw_buildings",
    "draw_ground",
    "draw_low",
    "draw_marks",
    "draw_trees",
    "shade_tops",
]
