"""Trees, rows, clumps, hedges and closed canopy."""

from __future__ import annotations

import math

from t2s_rt.synthetic.geometry import (
    Polygon,
    area,
    extent,
    inset,
    inside,
    rectangle,
)
from t2s_rt.synthetic.plan import Plan, Tree
from t2s_rt.synthetic.spec import TREE

VARIANTS = 9


def add_tree(plan: Plan, x: float, y: float, radius: float, ramp: int | None = None) -> None:
    """Plant a tree at plan coordinates unless river or roundabout are in the way."""
    rnd, style = plan.rnd, plan.style
    roll, variant, number = rnd.random(), rnd.random(), plan.new_id()
    index = int(rnd.random() * len(style.ramps))
    spot = plan.spot(x, y, radius * 0.6)
    if spot is None:
        return
    wx, wy = spot
    height = radius * (1.3 + 1.1 * roll)
    plan.trees.append(
        Tree(
            wx, wy, radius, height, index if ramp is None else ramp, int(variant * VARIANTS), number
        )
    )


def crown_radius(plan: Plan) -> float:
    """A plausible crown radius, 1.3 to 6 m."""
    return min(6.0, max(1.3, plan.rnd.lognormvariate(1.0, 0.38)))


def scatter(plan: Plan, poly: Polygon, per_hectare: float, clump: float = 0.4) -> None:
    """Scatter trees in a polygon, a share of them in clumps."""
    rnd = plan.rnd
    size = area(poly)
    mean = size / 10_000 * per_hectare
    count = int(mean + rnd.random())
    if not count:
        return
    xs, ys = [p[0] for p in poly], [p[1] for p in poly]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    ramp = rnd.randrange(len(plan.style.ramps))
    placed = 0
    for _ in range(count * 3):
        x, y = rnd.uniform(x0, x1), rnd.uniform(y0, y1)
        if not inside(poly, x, y):
            continue
        kind = ramp if rnd.random() < 0.5 else rnd.randrange(len(plan.style.ramps))
        add_tree(plan, x, y, crown_radius(plan), kind)
        placed += 1
        if rnd.random() < clump:
            for _ in range(rnd.randrange(1, 5)):
                r = crown_radius(plan)
                a, d = rnd.uniform(0, 6.283), rnd.uniform(2, 8)
                px, py = x + d * math.cos(a), y + d * math.sin(a)
                if inside(poly, px, py):
                    add_tree(plan, px, py, r, kind)
                    placed += 1
        if placed >= count:
            break


def row(
    plan: Plan, ax: float, ay: float, bx: float, by: float, pitch: float, radius: float
) -> None:
    """A row of trees of one kind along a segment."""
    rnd = plan.rnd
    length = math.hypot(bx - ax, by - ay)
    ramp = rnd.randrange(len(plan.style.ramps))
    keep = rnd.uniform(0.6, 1.0)
    for k in range(max(1, int(length / pitch))):
        if rnd.random() < keep:
            t = (k + 0.5) * pitch / max(length, 1e-6)
            j = rnd.uniform(-0.12, 0.12) * pitch
            x, y = ax + (bx - ax) * t + j, ay + (by - ay) * t + j
            add_tree(plan, x, y, radius * rnd.uniform(0.8, 1.2), ramp)


def hedge(plan: Plan, ax: float, ay: float, bx: float, by: float, width: float) -> None:
    """A clipped hedge: a thin strip of class tree."""
    length = math.hypot(bx - ax, by - ay)
    if length < 2:
        return
    angle = math.atan2(by - ay, bx - ax)
    strip = rectangle((ax + bx) / 2, (ay + by) / 2, length, width, angle)
    material = plan.rnd.choice(plan.style.canopy)
    plan.add_ground(3, strip, material, TREE, plan.new_id(), crowd=True, lift=1.6)


def belt(plan: Plan, ax: float, ay: float, bx: float, by: float, width: float) -> None:
    """A strip of wood between fields, its edge broken by single crowns."""
    length = math.hypot(bx - ax, by - ay)
    if length > 8:
        angle = math.atan2(by - ay, bx - ax)
        canopy(plan, rectangle((ax + bx) / 2, (ay + by) / 2, length, width, angle))


def orchard(plan: Plan, poly: Polygon, angle: float) -> None:
    """Trees on a regular grid."""
    rnd = plan.rnd
    u0, u1, v0, v1 = extent(poly, angle)
    pitch_u, pitch_v = rnd.uniform(3.6, 7.5), rnd.uniform(4.5, 9.0)
    radius = min(pitch_u, pitch_v) * rnd.uniform(0.3, 0.46)
    while (u1 - u0) * (v1 - v0) / (pitch_u * pitch_v) > 900:
        pitch_u, pitch_v, radius = pitch_u * 1.2, pitch_v * 1.2, radius * 1.2
    ramp = rnd.randrange(len(plan.style.ramps))
    c, s = math.cos(angle), math.sin(angle)
    inner = inset(poly, 2.0)
    if not inner:
        return
    v = v0 + pitch_v / 2
    while v < v1:
        u = u0 + pitch_u / 2
        while u < u1:
            if rnd.random() < 0.94:
                x = u * c - v * s + rnd.uniform(-0.3, 0.3)
                y = u * s + v * c + rnd.uniform(-0.3, 0.3)
                if inside(inner, x, y):
                    add_tree(plan, x, y, radius * rnd.uniform(0.75, 1.15), ramp)
            u += pitch_u
        v += pitch_v


def canopy(plan: Plan, poly: Polygon, fringe: bool = True) -> None:
    """Closed canopy: one crowd region, its edge broken by single crowns."""
    rnd = plan.rnd
    material = rnd.choice(plan.style.canopy)
    ramp = plan.style.canopy.index(material)
    height = rnd.uniform(6, 16)
    plan.add_ground(3, poly, material, TREE, plan.new_id(), crowd=True, lift=height)
    if not fringe:
        return
    count = len(poly)
    for i in range(count):
        (ax, ay), (bx, by) = poly[i], poly[(i + 1) % count]
        steps = min(30, int(math.hypot(bx - ax, by - ay) / 5.5))
        for k in range(steps):
            if rnd.random() < 0.8:
                t = (k + rnd.random()) / steps
                r = rnd.uniform(1.8, 4.2)
                x, y = ax + (bx - ax) * t, ay + (by - ay) * t
                add_tree(plan, x + rnd.uniform(-2, 2), y + rnd.uniform(-2, 2), r, ramp)
