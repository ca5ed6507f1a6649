"""Cars, parking lots and their bays."""

from __future__ import annotations

import math
import random

from t2s_rt.synthetic.geometry import Polygon, area, extent, inset, inside
from t2s_rt.synthetic.palettes import Colour
from t2s_rt.synthetic.plan import Car, Mark, Plan
from t2s_rt.synthetic.spec import PARKING
from t2s_rt.synthetic.style import shift


def add_car(plan: Plan, x: float, y: float, angle: float) -> None:
    """Put a car at plan coordinates, heading along `angle`, unless the place is taken."""
    seed, number = plan.rnd.getrandbits(32), plan.new_id()
    if plan.spot(x, y, 1.5) is None:
        return
    wx, wy, heading = plan.place(x, y, angle)
    rnd = plan.own_stream(seed)
    van = rnd.random()
    if van < 0.1:
        length, width, body = rnd.uniform(4.9, 6.2), rnd.uniform(1.95, 2.15), 2
    elif van < 0.35:
        length, width, body = rnd.uniform(4.3, 4.8), rnd.uniform(1.8, 1.95), 1
    else:
        length, width, body = rnd.uniform(3.7, 4.8), rnd.uniform(1.65, 1.85), 0
    colour = shift(rnd, rnd.choice(plan.style.cars), 0.08, 4)
    plan.cars.append(Car(wx, wy, heading, length, width, colour, body, number))


def line_colour(rnd: random.Random) -> Colour:
    """Fresh or worn paint."""
    g = rnd.randrange(165, 240)
    return (g, g, g - rnd.randrange(0, 14)) if rnd.random() < 0.9 else (g, g - 30, 70)


def parking_lot(plan: Plan, poly: Polygon, angle: float, fill: float | None = None) -> None:
    """A parking lot on a convex polygon: rows of bays along `angle`, aisles, cars."""
    rnd, style = plan.rnd, plan.style
    if len(poly) < 3 or area(poly) < 120:
        return
    material = style.parking if rnd.random() < 0.7 else rnd.choice((style.asphalt, style.paving))
    plan.add_ground(2, poly, material, PARKING, plan.new_id())
    inner = inset(poly, 0.8)
    if not inner:
        return
    occupancy = rnd.choice((0.05, 0.3, 0.6, 0.85, 0.95)) if fill is None else fill
    marked = rnd.random() < 0.85
    colour = line_colour(rnd)
    u0, u1, v0, v1 = extent(inner, angle)
    depth, aisle, bay = 5.0, rnd.uniform(5.6, 6.6), rnd.uniform(2.4, 2.75)
    slant = rnd.choice((0.0, 0.0, 0.0, 0.35))
    v, k = v0, 0
    while v + depth <= v1 + 0.2 and k < 40:
        _bay_row(plan, inner, angle, (u0, u1), (v, depth), bay, occupancy, marked, colour, slant)
        v += depth + (aisle if k % 2 == 0 else 0.0)
        k += 1


def _bay_row(
    plan: Plan,
    poly: Polygon,
    angle: float,
    span: tuple[float, float],
    strip: tuple[float, float],
    bay: float,
    occupancy: float,
    marked: bool,
    colour: Colour,
    slant: float,
) -> None:
    rnd = plan.rnd
    c, s = math.cos(angle), math.sin(angle)
    v, depth = strip

    def at(u: float, w: float) -> tuple[float, float]:
        return u * c - w * s, u * s + w * c

    n = min(60, int((span[1] - span[0]) / bay))
    for i in range(n + 1):
        u = span[0] + i * bay
        a, b = at(u - slant * depth / 2, v), at(u + slant * depth / 2, v + depth)
        if not (inside(poly, *a) and inside(poly, *b)):
            continue
        if marked and plan.meets([a, b]):
            plan.marks.append(Mark(plan.bend([a, b], False), 0.12, colour))
        if rnd.random() >= occupancy:
            continue
        ends = at(u + bay, v + 0.4), at(u + bay, v + depth - 0.4)
        if all(inside(poly, *end) for end in ends):
            m = at(u + bay / 2, v + depth / 2)
            turn = math.atan(slant)
            flip = rnd.choice((0.0, math.pi))
            heading = angle + math.pi / 2 - turn + rnd.uniform(-0.04, 0.04) + flip
            j = rnd.uniform(-0.3, 0.3)
            add_car(plan, m[0] - s * j, m[1] + c * j, heading)
