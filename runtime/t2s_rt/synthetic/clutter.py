"""Things of no class: containers, greenhouses, solar farms, pools, rubble, courts, trailers."""

from __future__ import annotations

import math

from t2s_rt.synthetic.geometry import Polygon, area, centre, extent, inset, inside, rectangle
from t2s_rt.synthetic.palettes import Colour
from t2s_rt.synthetic.plan import Facet, Mark, Plan, Thing
from t2s_rt.synthetic.spec import OTHER, PAVEMENT
from t2s_rt.synthetic.style import Material, shift

_CONTAINER: tuple[Colour, ...] = (
    (150, 60, 44),
    (60, 84, 130),
    (72, 104, 84),
    (168, 164, 156),
    (196, 140, 60),
    (110, 64, 56),
    (220, 220, 216),
)


def thing(
    plan: Plan,
    x: float,
    y: float,
    length: float,
    width: float,
    angle: float,
    colour: Colour,
    height: float,
    stripes: float = 0.0,
) -> None:
    """A box of no class at plan coordinates; `stripes` is the period of ribs across it."""
    wx, wy, heading = plan.place(x, y, angle)
    if not plan.free(wx, wy, 0.5 * math.hypot(length, width)):
        return
    box = rectangle(wx, wy, length, width, heading)
    facets = [Facet(box, colour)]
    if stripes:
        c, s = math.cos(heading), math.sin(heading)
        dark = (int(colour[0] * 0.8), int(colour[1] * 0.8), int(colour[2] * 0.8))
        n = min(40, int(length / stripes))
        for k in range(1, n):
            u = -length / 2 + k * length / n
            a = (wx + u * c + width / 2 * s, wy + u * s - width / 2 * c)
            b = (wx + u * c - width / 2 * s, wy + u * s + width / 2 * c)
            facets.append(Facet([a, b], dark, stripes * 0.35, stripes))
    plan.things.append(Thing(box, facets, height))


def container(plan: Plan, x: float, y: float, angle: float) -> None:
    """A 6 or 12 m shipping container."""
    rnd = plan.rnd
    length = rnd.choice((6.06, 12.2))
    colour = shift(rnd, rnd.choice(_CONTAINER), 0.15, 6)
    thing(plan, x, y, length, 2.44, angle, colour, rnd.choice((2.6, 2.6, 5.2)), 0.6)


def container_stack(plan: Plan, poly: Polygon, angle: float) -> None:
    """Rows of containers side by side."""
    rnd = plan.rnd
    u0, u1, v0, v1 = extent(poly, angle)
    c, s = math.cos(angle), math.sin(angle)
    v, count = v0 + 3, 0
    while v < v1 - 3 and count < 60:
        u = u0 + 7
        while u < u1 - 7:
            x, y = u * c - v * s, u * s + v * c
            if rnd.random() < 0.7 and inside(poly, x, y):
                container(plan, x, y, angle)
                count += 1
            u += 12.9
        v += rnd.choice((2.6, 2.6, 2.6, 7.0))


def pool(plan: Plan, x: float, y: float, angle: float) -> None:
    """A garden pool with a paved rim."""
    rnd = plan.rnd
    length, width = rnd.uniform(5, 10), rnd.uniform(3, 5)
    plan.add_ground(
        3, rectangle(x, y, length + 2.4, width + 2.4, angle), plan.style.paving, PAVEMENT
    )
    blue = shift(rnd, rnd.choice(((92, 180, 200), (70, 150, 190), (120, 190, 190))), 0.12, 8)
    light = (min(250, blue[0] + 24), min(250, blue[1] + 20), min(250, blue[2] + 16))
    plan.add_ground(
        4, rectangle(x, y, length, width, angle), Material(blue, light, 16, 20, 6), OTHER
    )


def rubble(plan: Plan, poly: Polygon) -> None:
    """Heaps and debris: irregular lumps with their small shadows."""
    rnd = plan.rnd
    u0, u1, v0, v1 = extent(poly, 0.0)
    for _ in range(min(120, int(area(poly) / 14))):
        x, y = rnd.uniform(u0, u1), rnd.uniform(v0, v1)
        if not inside(poly, x, y):
            continue
        size = rnd.uniform(0.3, 1.6) * (2.0 if rnd.random() < 0.08 else 1.0)
        wx, wy = plan.warp(x, y)
        n = rnd.randrange(4, 8)
        outline = []
        for k in range(n):
            t, r = 6.283 * (k + rnd.uniform(-0.3, 0.3)) / n, size * rnd.uniform(0.5, 1.0)
            outline.append((wx + r * math.cos(t), wy + r * math.sin(t)))
        base = rnd.choice(plan.style.bare)
        colour = shift(rnd, rnd.choice((base.dark, base.light, (150, 146, 140))), 0.2, 6)
        plan.things.append(Thing(outline, [Facet(outline, colour, 0.0, size)], size * 0.4))


def solar_farm(plan: Plan, poly: Polygon, angle: float) -> None:
    """Parallel panel tables."""
    rnd = plan.rnd
    u0, u1, v0, v1 = extent(poly, angle)
    c, s = math.cos(angle), math.sin(angle)
    depth, gap = rnd.uniform(2.2, 4.5), rnd.uniform(2.5, 5.0)
    tint = shift(rnd, rnd.choice(((30, 38, 58), (46, 60, 92), (58, 64, 76))), 0.2, 6)
    unit = rnd.uniform(14, 30)
    v, count = v0 + depth, 0
    while v < v1 - depth and count < 150:
        u = u0 + unit / 2 + 1
        while u < u1 - unit / 2:
            x, y = u * c - v * s, u * s + v * c
            if inside(poly, x, y):
                thing(plan, x, y, unit - 0.6, depth, angle, tint, 1.4, 2.0)
                count += 1
            u += unit
        v += depth + gap


def greenhouses(plan: Plan, poly: Polygon, angle: float) -> None:
    """Glass or foil tunnels side by side."""
    rnd = plan.rnd
    inner = inset(poly, 2.0)
    if len(inner) < 3:
        return
    u0, u1, v0, v1 = extent(inner, angle)
    c, s = math.cos(angle), math.sin(angle)
    width, gap = rnd.uniform(5, 9), rnd.choice((0.4, 1.5, 2.5))
    tint = shift(rnd, rnd.choice(((206, 212, 214), (176, 188, 190), (150, 164, 168))), 0.1, 5)
    v, count = v0 + width / 2, 0
    while v < v1 - width / 2 and count < 30:
        a, b = u0 + 2, u1 - 2
        length = b - a
        x, y = (a + b) / 2 * c - v * s, (a + b) / 2 * s + v * c
        if length > 8 and inside(inner, x, y):
            thing(plan, x, y, length * 0.9, width, angle, tint, 3.0, rnd.uniform(2.0, 3.0))
            count += 1
        v += width + gap


def court(plan: Plan, x: float, y: float, angle: float, tennis: bool) -> None:
    """A tennis court or sports pitch with its lines."""
    rnd = plan.rnd
    length, width = (36.0, 18.0) if tennis else (rnd.uniform(60, 100), rnd.uniform(40, 64))
    base = rnd.choice(((160, 92, 70), (70, 110, 84), (70, 100, 140), (110, 130, 80)))
    dark = shift(rnd, base, 0.15, 6)
    light = (min(250, dark[0] + 16), min(250, dark[1] + 16), min(250, dark[2] + 14))
    area_ = rectangle(x, y, length, width, angle)
    plan.add_ground(2, area_, Material(dark, light, 10, 12, 20, 2), OTHER)
    white = (228, 228, 222)
    inner = rectangle(
        x,
        y,
        length * 0.66 if tennis else length * 0.95,
        width * 0.61 if tennis else width * 0.92,
        angle,
    )
    plan.marks.append(Mark(plan.bend([*inner, inner[0]], False), 0.12, white))
    c, s = math.cos(angle), math.sin(angle)
    w = width * (0.3 if tennis else 0.46)
    plan.marks.append(
        Mark(plan.bend([(x + s * w, y - c * w), (x - s * w, y + c * w)], False), 0.12, white)
    )


def yard_edge(plan: Plan, yard: Polygon, angle: float, width: float) -> None:
    """Containers, trailers and pallets along the free strip of a yard."""
    from t2s_rt.synthetic.vehicles import add_car

    rnd = plan.rnd
    u0, u1, v0, v1 = extent(yard, angle)
    c, s = math.cos(angle), math.sin(angle)
    cx, cy = centre(yard)
    mid = cy * c - cx * s
    for side in (-1, 1):
        free = (v1 - v0) / 2 - width / 2
        if free < 5:
            continue
        v = mid + side * (width / 2 + free * 0.6)
        u = u0 + 5
        while u < u1 - 5:
            x, y = u * c - v * s, u * s + v * c
            roll = rnd.random()
            if inside(yard, x, y):
                if roll < 0.16:
                    container(plan, x, y, angle + rnd.choice((0, math.pi / 2)))
                elif roll < 0.4:
                    add_car(plan, x, y, angle + math.pi / 2)
                elif roll < 0.5:
                    tint = shift(rnd, (170, 150, 120), 0.3, 14)
                    thing(plan, x, y, rnd.uniform(1, 3), rnd.uniform(1, 2), angle, tint, 1.2)
            u += rnd.choice((3.0, 3.0, 7.0, 13.0))


def odd(plan: Plan, poly: Polygon, angle: float) -> None:
    """Something unusual that fits into the parcel."""
    rnd = plan.rnd
    size = area(poly)
    x, y = centre(poly)
    roll = rnd.random()
    if size > 1400 and roll < 0.3:
        court(plan, x, y, angle, True)
    elif size > 600 and roll < 0.5:
        greenhouses(plan, poly, angle)
    elif roll < 0.7:
        rubble(plan, poly)
    elif roll < 0.85:
        container(plan, x, y, angle)
    else:
        pool(plan, x, y, angle)
