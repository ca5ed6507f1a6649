"""Dense districts: perimeter blocks about courtyards, and paved squares between them."""

from __future__ import annotations

import math

from t2s_rt.synthetic import vegetation
from t2s_rt.synthetic.buildings import add_building
from t2s_rt.synthetic.geometry import Polygon, area, centre, inset, main_direction, subdivide
from t2s_rt.synthetic.plan import Plan
from t2s_rt.synthetic.spec import LOW_VEGETATION, PAVEMENT
from t2s_rt.synthetic.urban import edge_trees, lawn
from t2s_rt.synthetic.vehicles import parking_lot


def dense(plan: Plan, quad: Polygon) -> None:
    """Perimeter blocks: rows of attached buildings about a courtyard."""
    rnd = plan.rnd
    angle = main_direction(quad)
    plan.add_ground(1, quad, plan.style.paving, PAVEMENT)
    lane = rnd.uniform(7, 12)
    for block in plan.parts(subdivide(quad, rnd, rnd.uniform(2500, 6500), angle)):
        inner = inset(block, lane / 2)
        if len(inner) < 3 or area(inner) < 300:
            continue
        depth = rnd.uniform(10, 15)
        plan.add_ground(2, inset(block, 1.2) or block, plan.style.paving, PAVEMENT)
        if rnd.random() < 0.08:
            _square(plan, inner)
            continue
        court = inset(inner, depth)
        if len(court) >= 3 and area(court) > 120:
            _courtyard(plan, court, angle)
        storeys = rnd.uniform(11, 22)
        for i in range(len(inner)):
            _frontage(plan, inner, i, depth, storeys)


def _square(plan: Plan, square: Polygon) -> None:
    """A paved square between the blocks, with trees or cars on it, or empty."""
    rnd = plan.rnd
    plan.add_ground(3, square, rnd.choice((plan.style.paving, plan.style.street)), PAVEMENT)
    roll = rnd.random()
    if roll < 0.4:
        vegetation.scatter(plan, square, 30)
    elif roll < 0.7:
        edge_trees(plan, square)


def _courtyard(plan: Plan, court: Polygon, angle: float) -> None:
    rnd = plan.rnd
    roll = rnd.random()
    if roll < 0.55:
        plan.add_ground(3, court, lawn(plan), LOW_VEGETATION)
        vegetation.scatter(plan, court, 90)
    elif roll < 0.8:
        parking_lot(plan, inset(court, 1.0), angle)
    else:
        x, y = centre(court)
        add_building(plan, x, y, 14, 9, angle, "flat", None, 4.0)
        vegetation.scatter(plan, court, 50)


def _frontage(plan: Plan, block: Polygon, i: int, depth: float, storeys: float) -> None:
    """Attached buildings along one side of a block."""
    rnd = plan.rnd
    (ax, ay), (bx, by) = block[i], block[(i + 1) % len(block)]
    length = math.hypot(bx - ax, by - ay)
    cx, cy = centre(block)
    dx, dy = (bx - ax) / max(length, 1e-6), (by - ay) / max(length, 1e-6)
    nx, ny = -dy, dx
    if (cx - ax) * nx + (cy - ay) * ny < 0:
        nx, ny = -nx, -ny
    angle = math.atan2(dy, dx)
    pos, end = 0.0, length - depth * 0.95
    while pos < end - 6:
        width = min(rnd.uniform(11, 26), end - pos)
        if rnd.random() < 0.92:
            m = pos + width / 2
            x, y = ax + dx * m + nx * depth / 2, ay + dy * m + ny * depth / 2
            kind = "house" if rnd.random() < 0.5 else "flat"
            height = storeys * rnd.uniform(0.75, 1.2)
            add_building(plan, x, y, width + 0.1, depth, angle, kind, None, height)
        pos += width
