"""Built-up districts: suburb, slabs, industry, commerce, village."""

from __future__ import annotations

import math

from t2s_rt.synthetic import clutter, vegetation
from t2s_rt.synthetic.buildings import add_building
from t2s_rt.synthetic.geometry import (
    Polygon,
    area,
    centre,
    clip,
    extent,
    inset,
    main_direction,
    rectangle,
    ribbon,
    split,
    subdivide,
)
from t2s_rt.synthetic.palettes import Colour
from t2s_rt.synthetic.plan import Plan
from t2s_rt.synthetic.roads import add_road
from t2s_rt.synthetic.spec import BARE, LOW_VEGETATION, PAVEMENT
from t2s_rt.synthetic.style import Material, pair
from t2s_rt.synthetic.vehicles import add_car, parking_lot


def lawn(plan: Plan) -> Material:
    """A grass material with its own tint."""
    rnd = plan.rnd
    base = rnd.choice(plan.style.grass)
    dark, light = pair(rnd, (base.dark, base.light), 0.12, 5)
    return base._replace(dark=dark, light=light)


def soil(plan: Plan) -> Material:
    """A bare-ground material with its own tint."""
    rnd = plan.rnd
    base = rnd.choice(plan.style.bare)
    dark, light = pair(rnd, (base.dark, base.light), 0.14, 5)
    return base._replace(dark=dark, light=light)


def suburb(plan: Plan, quad: Polygon) -> None:
    """Streets with detached or row houses on lots."""
    rnd = plan.rnd
    angle = main_direction(quad)
    u0, u1, v0, v1 = extent(quad, angle)
    blocks = [quad]
    if v1 - v0 > 84:
        position = v0 + (v1 - v0) * rnd.uniform(0.44, 0.56)
        blocks = list(split(quad, angle + math.pi / 2, position))
        add_road(plan, _chord(angle, u0 - 4, u1 + 4, position), rnd.uniform(4.6, 6.4), "lane")
        blocks = [inset(b, 3.4) for b in blocks]
    roofs = rnd.sample(plan.style.roofs, 3)
    terrace = rnd.random() < 0.3
    for block in plan.parts(blocks):
        if len(block) < 3:
            continue
        a0, a1, b0, b1 = extent(block, angle)
        middle = (b0 + b1) / 2
        depth = (b1 - b0) / 2
        rows = [(b0, b1, -1.0)] if depth < 14 else [(b0, middle, -1.0), (middle, b1, 1.0)]
        for lo, hi, side in rows:
            _lots(plan, block, angle, (a0, a1), (lo, hi), side, roofs, terrace)


def _chord(angle: float, u0: float, u1: float, v: float) -> Polygon:
    c, s = math.cos(angle), math.sin(angle)
    return [(u0 * c - v * s, u0 * s + v * c), (u1 * c - v * s, u1 * s + v * c)]


def _lots(
    plan: Plan,
    block: Polygon,
    angle: float,
    span: tuple[float, float],
    strip: tuple[float, float],
    side: float,
    roofs: list[Colour],
    terrace: bool,
) -> None:
    """One row of lots; the street lies on the `side` of the strip (-1 low v, +1 high v)."""
    rnd = plan.rnd
    c, s = math.cos(angle), math.sin(angle)
    lo, hi = strip
    half = clip(clip(block, -lo * s, lo * c, -s, c), -hi * s, hi * c, s, -c)
    if len(half) < 3:
        return
    row_colour = rnd.choice(roofs)
    lots: list[Polygon] = []
    spans: list[tuple[float, float]] = []
    u = span[0]
    while u < span[1] - 8:
        width = rnd.uniform(6.5, 8.5) if terrace else rnd.uniform(14, 25)
        lots.append(clip(clip(half, u * c, u * s, c, s), (u + width) * c, (u + width) * s, -c, -s))
        spans.append((u, u + width))
        u += width
    for lot in plan.parts(lots):
        place = next(k for k, other in enumerate(lots) if other is lot)
        _lot(plan, lot, angle, spans[place], strip, side, row_colour if terrace else None, roofs)


def _lot(
    plan: Plan,
    lot: Polygon,
    angle: float,
    span: tuple[float, float],
    strip: tuple[float, float],
    side: float,
    row_colour: Colour | None,
    roofs: list[Colour],
) -> None:
    """One lot; with a `row_colour` its house touches the neighbours."""
    rnd = plan.rnd
    c, s = math.cos(angle), math.sin(angle)
    (u0, u1), (lo, hi) = span, strip
    width, depth = u1 - u0, hi - lo
    if len(lot) < 3 or area(lot) < 0.6 * width * depth:
        if len(lot) >= 3:
            vegetation.scatter(plan, lot, 40)
        return
    house_depth = min(rnd.uniform(8, 12.5), depth * 0.5)
    setback = rnd.uniform(2.5, min(7.0, depth * 0.25))
    if row_colour:
        house_depth, setback = min(10.0, depth * 0.5), 3.5 + rnd.uniform(-0.4, 0.4)
    v = (lo + setback + house_depth / 2) if side < 0 else (hi - setback - house_depth / 2)
    x, y = (u0 + u1) / 2 * c - v * s, (u0 + u1) / 2 * s + v * c
    if rnd.random() < plan.style.lawn:
        plan.add_ground(1, lot, lawn(plan), LOW_VEGETATION)
    else:
        plan.add_ground(1, lot, soil(plan), BARE)
    if row_colour:
        add_building(plan, x, y, width + 0.05, house_depth, angle, "house", row_colour, 7.0)
        vegetation.scatter(plan, lot, 60)
    else:
        _villa(plan, (x, y), width, house_depth, angle, rnd.choice(roofs))
        _garden(plan, lot, angle, span, strip, side)


def _villa(
    plan: Plan,
    at: tuple[float, float],
    width: float,
    depth: float,
    angle: float,
    colour: Colour,
) -> None:
    rnd = plan.rnd
    length = min(rnd.uniform(9, 16), width - 3.5)
    turn = angle if rnd.random() < 0.6 else angle + math.pi / 2
    a, b = (length, depth) if turn == angle else (depth, length)
    kind = "house" if rnd.random() < 0.82 else "flat"
    add_building(plan, at[0], at[1], a, b, turn, kind, colour, rnd.uniform(4.5, 8.5))


def _garden(
    plan: Plan,
    lot: Polygon,
    angle: float,
    span: tuple[float, float],
    strip: tuple[float, float],
    side: float,
) -> None:
    """Driveway with a car, garden shed, pool, hedges and trees of one lot."""
    rnd = plan.rnd
    c, s = math.cos(angle), math.sin(angle)

    def at(u: float, v: float) -> tuple[float, float]:
        return u * c - v * s, u * s + v * c

    front = strip[0] if side < 0 else strip[1]
    inward = -side
    if rnd.random() < 0.7:
        u = span[0] + 1.8
        x, y = at(u, front + inward * 4.5)
        material = rnd.choice((plan.style.paving, plan.style.gravel, plan.style.street))
        plan.add_ground(2, rectangle(x, y, 9.0, 2.9, angle + math.pi / 2), material, PAVEMENT)
        if rnd.random() < 0.55:
            add_car(plan, *at(u, front + inward * rnd.uniform(3.0, 6.0)), angle + math.pi / 2)
    back = strip[1] if side < 0 else strip[0]
    if rnd.random() < 0.3:
        x, y = at(span[1] - rnd.uniform(2.5, 4), back + side * rnd.uniform(2.5, 4))
        add_building(plan, x, y, rnd.uniform(2.5, 5), rnd.uniform(2.2, 3.5), angle, "shed")
    if rnd.random() < 0.14:
        clutter.pool(plan, *at((span[0] + span[1]) / 2, back + side * 6.0), angle)
    if rnd.random() < 0.3:
        (ax, ay), (bx, by) = at(span[1], front + inward * 2), at(span[1], back)
        vegetation.hedge(plan, ax, ay, bx, by, rnd.uniform(0.8, 1.6))
    if rnd.random() < 0.25:
        (ax, ay), (bx, by) = at(span[0] + 4, front), at(span[1] - 1, front)
        vegetation.hedge(plan, ax, ay, bx, by, rnd.uniform(0.8, 1.4))
    garden_mid = (front + 2 * back) / 3
    for _ in range(rnd.choice((0, 1, 2, 2, 3, 5))):
        u, v = rnd.uniform(*span), garden_mid + rnd.uniform(-0.3, 0.3) * (strip[1] - strip[0])
        vegetation.add_tree(plan, *at(u, v), vegetation.crown_radius(plan) * 0.8)


def slabs(plan: Plan, quad: Polygon) -> None:
    """Parallel apartment blocks on lawns with parking."""
    rnd = plan.rnd
    angle = main_direction(quad) + (math.pi / 2 if rnd.random() < 0.3 else 0.0)
    plan.add_ground(1, quad, lawn(plan), LOW_VEGETATION)
    colour = rnd.choice(plan.style.roofs)
    height = rnd.choice((10.0, 13.0, 16.0, 24.0, 32.0))
    depth = rnd.uniform(11, 15)
    for part in plan.parts(subdivide(quad, rnd, rnd.uniform(1900, 3400), angle, 1.6)):
        u0, u1, v0, v1 = extent(part, angle)
        x, y = centre(part)
        inner = inset(part, 3.0)
        roll = rnd.random()
        if roll < 0.66 and u1 - u0 > 26 and v1 - v0 > 18:
            if rnd.random() < 0.2 and height > 15:
                add_building(plan, x, y, depth * 1.6, depth * 1.4, angle, "flat", colour, height)
            else:
                length = (u1 - u0) * rnd.uniform(0.62, 0.82)
                kind = "flat" if rnd.random() < 0.7 else "house"
                add_building(plan, x, y, length, depth, angle, kind, colour, height)
            path = [(part[0][0], part[0][1]), (part[1][0], part[1][1])]
            plan.add_ground(2, _path(path), plan.style.paving, PAVEMENT)
            edge = inset(part, 1.0)
            if edge:
                edge_trees(plan, edge)
        elif roll < 0.86 and inner:
            parking_lot(plan, inner, angle)
        else:
            vegetation.scatter(plan, part, 60)


def _path(line: Polygon) -> Polygon:
    return ribbon(line, 2.0)


def edge_trees(plan: Plan, poly: Polygon) -> None:
    """Rows of trees along some sides of a parcel."""
    rnd = plan.rnd
    for i in range(len(poly)):
        if rnd.random() < 0.5:
            (ax, ay), (bx, by) = poly[i], poly[(i + 1) % len(poly)]
            vegetation.row(plan, ax, ay, bx, by, rnd.uniform(6, 11), rnd.uniform(2, 4))


def industrial(plan: Plan, quad: Polygon) -> None:
    """Halls, yards, containers, parking, some waste ground."""
    rnd = plan.rnd
    angle = main_direction(quad)
    for part in plan.parts(subdivide(quad, rnd, rnd.uniform(2600, 7000), angle)):
        inner = inset(part, rnd.uniform(1.5, 4.0))
        if len(inner) < 3:
            continue
        roll = rnd.random()
        if roll < 0.14:
            plan.add_ground(1, part, soil(plan), BARE)
            clutter.rubble(plan, inner)
            continue
        if roll < 0.24:
            plan.add_ground(1, part, lawn(plan), LOW_VEGETATION)
            vegetation.scatter(plan, part, 40)
            continue
        if roll < 0.36:
            parking_lot(plan, inner, angle)
            continue
        yard = rnd.choice((plan.style.paving, plan.style.street, plan.style.asphalt))
        plan.add_ground(1, part, lawn(plan), LOW_VEGETATION)
        plan.add_ground(2, inner, yard, PAVEMENT)
        u0, u1, v0, v1 = extent(inner, angle)
        length, width = (u1 - u0) * rnd.uniform(0.45, 0.8), (v1 - v0) * rnd.uniform(0.4, 0.72)
        x, y = centre(inner)
        kind = "hall" if rnd.random() < 0.75 else "flat"
        add_building(plan, x, y, length, width, angle, kind, None, rnd.uniform(6, 13))
        clutter.yard_edge(plan, inner, angle, width)


def commercial(plan: Plan, quad: Polygon) -> None:
    """A big box with a large parking lot."""
    rnd = plan.rnd
    angle = main_direction(quad) + rnd.choice((0.0, math.pi / 2))
    u0, u1, v0, v1 = extent(quad, angle)
    shop, lot = split(quad, angle, u0 + (u1 - u0) * rnd.uniform(0.35, 0.6))
    if rnd.random() < 0.5:
        shop, lot = lot, shop
    plan.add_ground(1, quad, lawn(plan), LOW_VEGETATION)
    yard = inset(shop, 1.0)
    if yard:
        plan.add_ground(2, yard, plan.style.paving, PAVEMENT)
        a0, a1, b0, b1 = extent(yard, angle)
        x, y = centre(yard)
        kind = "flat" if rnd.random() < 0.6 else "hall"
        length, width = (a1 - a0) * 0.72, (b1 - b0) * rnd.uniform(0.55, 0.78)
        add_building(plan, x, y, length, width, angle, kind, None, rnd.uniform(6, 12))
        clutter.yard_edge(plan, yard, angle, width)
    for part in plan.parts(subdivide(lot, rnd, rnd.uniform(2500, 8000), angle)):
        parking_lot(plan, inset(part, rnd.uniform(0.8, 3.0)), angle + rnd.choice((0, math.pi / 2)))
        if rnd.random() < 0.6 and len(part) >= 3:
            edge_trees(plan, part)


def village(plan: Plan, quad: Polygon) -> None:
    """Scattered houses and barns among gardens, yards and orchards."""
    rnd = plan.rnd
    angle = main_direction(quad)
    roofs = rnd.sample(plan.style.roofs, 3)
    dry = rnd.random() > plan.style.lawn
    for lot in plan.parts(subdivide(quad, rnd, rnd.uniform(500, 1500), angle)):
        inner = inset(lot, 1.5)
        if len(inner) < 3:
            continue
        roll = rnd.random()
        bare = rnd.random() < (0.75 if dry else 0.3)
        if bare:
            plan.add_ground(1, lot, soil(plan), BARE)
        else:
            plan.add_ground(1, lot, lawn(plan), LOW_VEGETATION)
        x, y = centre(inner)
        u0, u1, v0, v1 = extent(inner, angle)
        if roll < 0.68 and u1 - u0 > 13 and v1 - v0 > 12:
            turn = angle + rnd.uniform(-0.12, 0.12) + rnd.choice((0, math.pi / 2))
            reach = min(u1 - u0, v1 - v0) * 0.75
            length = min(rnd.uniform(8, 18), reach)
            x += rnd.uniform(-0.1, 0.1) * (u1 - u0)
            kind = "house" if rnd.random() < 0.75 else "flat"
            width = min(rnd.uniform(6.5, 10.5), reach)
            add_building(plan, x, y, length, width, turn, kind, rnd.choice(roofs), 5.5)
            if rnd.random() < 0.45:
                px, py = inner[rnd.randrange(len(inner))]
                px, py = px + (x - px) * 0.22, py + (y - py) * 0.22
                kind = rnd.choice(("shed", "house"))
                add_building(plan, px, py, rnd.uniform(4, 7), rnd.uniform(3, 5), turn, kind)
            if rnd.random() < 0.4:
                add_car(plan, x + 7.5, y + rnd.uniform(5, 7), turn)
            vegetation.scatter(plan, inner, 55)
        elif roll < 0.8:
            vegetation.orchard(plan, inner, angle)
        elif roll < 0.9:
            vegetation.scatter(plan, inner, 160)
        else:
            clutter.odd(plan, inner, angle)
        if rnd.random() < 0.3:
            i = rnd.randrange(len(lot))
            (ax, ay), (bx, by) = lot[i], lot[(i + 1) % len(lot)]
            vegetation.hedge(plan, ax, ay, bx, by, rnd.uniform(0.9, 2.5))
