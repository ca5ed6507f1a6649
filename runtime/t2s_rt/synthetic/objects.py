"""Draws what stands on the ground: markings, things, cars, roofs and crowns."""

from __future__ import annotations

import math

import cv2
import numpy as np

from t2s_rt.synthetic import textures
from t2s_rt.synthetic.canvas import NONE, PLAIN, Block, Int32, UInt8
from t2s_rt.synthetic.geometry import Polygon
from t2s_rt.synthetic.palettes import Colour
from t2s_rt.synthetic.plan import Building, Car, Facet, Mark, Plan, Thing, Tree
from t2s_rt.synthetic.shadows import sweep
from t2s_rt.synthetic.spec import BUILDING, CAR, OTHER, TREE
from t2s_rt.synthetic.style import Material

_LEAVES = Material(NONE, NONE, 0, 0, 0, 7, mottle=6)


def draw_marks(block: Block, plans: list[Plan]) -> None:
    """Road paint, bay lines, tram lines."""
    for plan in plans:
        for m in plan.marks:
            if block.overlaps(m.points):
                _draw_mark(block, m)


def _draw_mark(block: Block, m: Mark) -> None:
    if m.width / block.gsd >= 0.18:
        block.line(block.pixels(m.points), m.colour, m.width)


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
        sweep(block, block.pixels(thing.outline), thing.height)
    pts = block.pixels(thing.outline)
    block.fill(block.shadow, pts, 0)
    block.fill(block.canvas, pts, block.add(OTHER, 0, False, PLAIN))
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
    sweep(block, body, min(1.35, 3.0 / max(math.hypot(*block.style.shadow), 1e-6)))
    block.fill(block.shadow, body, 0)
    block.fill(block.canvas, body, block.add(CAR, base + car.instance, False, PLAIN))
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
        return block.pixels([(car.x + x * c - y * s, car.y + x * s + y * c) for x, y in local])

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


def _ramp(colours: tuple[Colour, Colour]) -> UInt8:
    dark, light = (np.array(c, np.int32) for c in colours)
    steps = np.arange(256, dtype=np.int32)[:, None]
    return (dark + (light - dark) * steps // 190).clip(0, 255).astype(np.uint8)[None]


def _draw_tree(block: Block, t: Tree, base: int, sun: tuple[int, int], ramp: UInt8) -> None:
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
