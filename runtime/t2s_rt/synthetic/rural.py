"""Open districts: farmland, forest, park, waterside, orchards, bare land and a mixture."""

from __future__ import annotations

import math

from t2s_rt.synthetic import clutter, vegetation
from t2s_rt.synthetic.buildings import add_building
from t2s_rt.synthetic.geometry import (
    Polygon,
    area,
    blob,
    centre,
    extent,
    inset,
    inside,
    main_direction,
    subdivide,
)
from t2s_rt.synthetic.palettes import DARK_CROPS
from t2s_rt.synthetic.plan import Plan
from t2s_rt.synthetic.roads import add_road
from t2s_rt.synthetic.spec import BARE, FIELD, LOW_VEGETATION, PAVEMENT, WATER
from t2s_rt.synthetic.style import ROWS, Material, pair
from t2s_rt.synthetic.urban import lawn, soil


def field(plan: Plan, poly: Polygon, angle: float) -> None:
    """A field: crop, stubble or ploughed soil, with rows or swaths that tell it from grass."""
    rnd, style = plan.rnd, plan.style
    dark, light = pair(rnd, rnd.choice(style.crops), 0.16, 7)
    if style.season != "winter" and rnd.random() < 0.15:
        dark, light = pair(rnd, rnd.choice(DARK_CROPS), 0.2, 5)
    fine, medium, coarse = rnd.randrange(4, 34), rnd.randrange(4, 30), rnd.randrange(8, 60)
    if rnd.random() < 0.25:  # vegetables, cotton, tea: single plants show
        fine, medium = rnd.randrange(34, 80), rnd.randrange(24, 70)
    rows = (0.0, 0.0, 0)
    if rnd.random() < 0.92:
        period = rnd.choice((0.75, 1.5, 2.2, 3.0, 6.0, 9.0))
        rows = (angle + rnd.choice((0, 0, math.pi / 2)), period, rnd.randrange(28, 110))
    material = Material(dark, light, fine, medium, coarse, rnd.randrange(1, 8), True, ROWS)
    plan.add_ground(1, poly, material, FIELD, plan.new_id(), rows)
    if rnd.random() < 0.6:
        _tramlines(plan, poly, angle, material)


def _tramlines(plan: Plan, poly: Polygon, angle: float, material: Material) -> None:
    """Wheel tracks through the crop."""
    from t2s_rt.synthetic.plan import Mark

    rnd = plan.rnd
    u0, u1, v0, v1 = extent(poly, angle)
    c, s = math.cos(angle), math.sin(angle)
    tone = material.dark if rnd.random() < 0.6 else material.light
    gap = rnd.uniform(12, 24)
    v = v0 + gap / 2
    while v < v1:
        for w in (v - 0.9, v + 0.9):
            points = [
                (u * c - w * s, u * s + w * c) for u in (u0 + (u1 - u0) * k / 12 for k in range(13))
            ]
            line = [p for p in points if inside(poly, *p)]
            if len(line) > 1 and plan.meets(line):
                plan.marks.append(Mark(plan.bend(line, False), 0.4, tone))
        v += gap


def farmland(plan: Plan, quad: Polygon) -> None:
    """Parcels of fields and meadows, hedges, single trees, farm tracks."""
    rnd = plan.rnd
    angle = main_direction(quad) + rnd.uniform(-0.05, 0.05)
    target = rnd.choice((350.0, 900.0, 2200.0, 5000.0, 12000.0))
    aspect = rnd.choice((1.0, 1.0, 2.5, 4.0))
    plan.add_ground(0, quad, lawn(plan), LOW_VEGETATION)
    margin = rnd.choice((0.15, 0.4, 0.8, 1.6))
    hedges, belts = rnd.choice((0.0, 0.0, 0.1, 0.3)), rnd.choice((0.0, 0.0, 0.06, 0.16))
    for part in plan.parts(subdivide(quad, rnd, target, angle, aspect)):
        inner = inset(part, margin * rnd.uniform(0.6, 1.5))
        if len(inner) < 3:
            continue
        roll = rnd.random()
        if roll < 0.8:
            field(plan, inner, angle)
        elif roll < 0.88:
            plan.add_ground(1, inner, lawn(plan), LOW_VEGETATION)
            vegetation.scatter(plan, inner, 6)
        elif roll < 0.91:
            plan.add_ground(1, inner, soil(plan), BARE)
        elif roll < 0.95:
            vegetation.orchard(plan, inner, angle)
        elif roll < 0.97:
            clutter.greenhouses(plan, inner, angle)
        elif roll < 0.98 and area(inner) > 1500:
            clutter.solar_farm(plan, inner, angle)
        elif area(inner) > 500:
            vegetation.canopy(plan, inner)
        for i in range(len(part)):
            (ax, ay), (bx, by) = part[i], part[(i + 1) % len(part)]
            roll = rnd.random()
            if roll < hedges:
                vegetation.hedge(plan, ax, ay, bx, by, rnd.uniform(1.2, 4.0))
            elif roll > 1.0 - belts:
                vegetation.belt(plan, ax, ay, bx, by, rnd.uniform(5.0, 14.0))
            elif roll < hedges * 1.5 + 0.02:
                vegetation.row(plan, ax, ay, bx, by, rnd.uniform(5, 12), rnd.uniform(2, 4))


def forest(plan: Plan, quad: Polygon) -> None:
    """Closed canopy of one or more stands, clearings, a track."""
    rnd = plan.rnd
    angle = main_direction(quad)
    plan.add_ground(0, quad, lawn(plan), LOW_VEGETATION)
    for part in plan.parts(
        subdivide(quad, rnd, rnd.uniform(4000, 16000), angle + rnd.uniform(-0.5, 0.5))
    ):
        roll = rnd.random()
        inner = inset(part, rnd.choice((0.0, 0.0, 0.0, 3.0)))
        if len(inner) < 3:
            continue
        if roll < 0.74:
            vegetation.canopy(plan, inner)
        elif roll < 0.86:
            vegetation.scatter(plan, inner, rnd.choice((180, 320, 480)), 0.6)
        elif roll < 0.93:
            plan.add_ground(1, inner, soil(plan), BARE)
            vegetation.scatter(plan, inner, 50)
        else:
            vegetation.scatter(plan, inner, 60)
    if rnd.random() < 0.5:
        u0, u1, v0, v1 = extent(quad, angle)
        v = v0 + (v1 - v0) * rnd.uniform(0.3, 0.7)
        c, s = math.cos(angle), math.sin(angle)
        line = [(u0 * c - v * s, u0 * s + v * c), (u1 * c - v * s, u1 * s + v * c)]
        add_road(plan, line, rnd.uniform(3, 4.5), "track")


def park(plan: Plan, quad: Polygon) -> None:
    """Meadow with tree groups, paths, courts, perhaps a pond."""
    rnd = plan.rnd
    angle = main_direction(quad)
    plan.add_ground(0, quad, lawn(plan), LOW_VEGETATION)
    x, y = centre(quad)
    for part in plan.parts(subdivide(quad, rnd, 3500, angle)):
        roll = rnd.random()
        if roll < 0.3:
            plan.add_ground(1, part, lawn(plan), LOW_VEGETATION)
        px, py = centre(part)
        if roll < 0.12 and area(part) > 1600:
            clutter.court(plan, px, py, angle, rnd.random() < 0.6)
        elif roll < 0.24:
            rx, ry = rnd.uniform(8, 20), rnd.uniform(8, 20)
            vegetation.canopy(plan, blob(rnd, px, py, rx, ry, angle))
        else:
            vegetation.scatter(plan, part, rnd.choice((8, 25, 60)), 0.5)
    if rnd.random() < 0.5:
        r = rnd.uniform(8, 26)
        pond(
            plan,
            x + rnd.uniform(-20, 20),
            y + rnd.uniform(-20, 20),
            r,
            r * rnd.uniform(0.5, 1),
            angle,
        )
    u0, u1, v0, v1 = extent(quad, angle)
    c, s = math.cos(angle), math.sin(angle)
    for _ in range(rnd.randrange(0, 3)):
        a, b = rnd.uniform(v0, v1), rnd.uniform(v0, v1)
        line = [
            (
                (u0 + (u1 - u0) * t) * c - (a + (b - a) * t) * s,
                (u0 + (u1 - u0) * t) * s + (a + (b - a) * t) * c,
            )
            for t in (0.0, 0.3, 0.6, 1.0)
        ]
        add_road(plan, line, rnd.uniform(2.0, 3.2), "path")


def pond(plan: Plan, x: float, y: float, rx: float, ry: float, angle: float) -> None:
    """A still water body with bank, shallows and depth."""
    rnd, style = plan.rnd, plan.style
    outline = blob(rnd, x, y, rx, ry, angle, 0.25)
    water = rnd.choice(style.water)
    cx, cy = centre(outline)

    def grown(f: float) -> Polygon:
        return [(cx + (px - cx) * f, cy + (py - cy) * f) for px, py in outline]

    bank = 1.0 + rnd.uniform(0.5, 3.0) / max(rx, 4.0)
    if rnd.random() < 0.6:
        plan.add_ground(3, grown(bank), soil(plan), BARE)
    else:
        plan.add_ground(3, grown(bank), lawn(plan), LOW_VEGETATION)
    instance = plan.new_id()
    if rnd.random() < 0.55:
        plan.add_ground(4, outline, style.shallow, WATER, instance)
        plan.add_ground(
            4, grown(1.0 - rnd.uniform(1.0, 3.0) / max(rx, 6.0)), water, WATER, instance
        )
    else:
        plan.add_ground(4, outline, water, WATER, instance)
    wx, wy = plan.warp(cx, cy)
    plan.keep_out.append((wx, wy, min(rx, ry) * 0.9))
    if rnd.random() < 0.5:
        for k in range(0, len(outline), rnd.choice((2, 3, 5))):
            if rnd.random() < 0.6:
                px, py = outline[k]
                px, py = cx + (px - cx) * (bank + 0.12), cy + (py - cy) * (bank + 0.12)
                vegetation.add_tree(plan, px, py, vegetation.crown_radius(plan))


def waterside(plan: Plan, quad: Polygon) -> None:
    """A lake, or fish ponds between dams, with wet meadows and woods."""
    rnd, style = plan.rnd, plan.style
    angle = main_direction(quad)
    plan.add_ground(0, quad, lawn(plan), LOW_VEGETATION)
    u0, u1, v0, v1 = extent(quad, angle)
    if rnd.random() < 0.35:
        plan.add_ground(1, quad, soil(plan), BARE)
        for part in plan.parts(subdivide(quad, rnd, rnd.uniform(1500, 5000), angle)):
            inner = inset(part, rnd.uniform(1.5, 4.0))
            if len(inner) < 3:
                continue
            if rnd.random() < 0.85:
                plan.add_ground(
                    3,
                    inset(part, 0.8),
                    style.shallow if rnd.random() < 0.3 else lawn(plan),
                    LOW_VEGETATION,
                )
                plan.add_ground(4, inner, rnd.choice(style.water), WATER, plan.new_id())
            else:
                vegetation.scatter(plan, inner, 60)
                x, y = centre(inner)
                add_building(plan, x, y, 9, 6, angle, "house")
        return
    x, y = centre(quad)
    rx, ry = (u1 - u0) * rnd.uniform(0.25, 0.46), (v1 - v0) * rnd.uniform(0.22, 0.42)
    around = rnd.random()
    pond_rnd_x = x + rnd.uniform(-0.05, 0.05) * (u1 - u0)
    if around < 0.45:
        vegetation.canopy(plan, inset(quad, 2.0) or quad, False)
    pond(plan, pond_rnd_x, y, rx, ry, angle)
    if around >= 0.45:
        vegetation.scatter(plan, quad, rnd.choice((15, 40, 90)), 0.5)


def orchards(plan: Plan, quad: Polygon) -> None:
    """Plantations on soil or grass, with some fields."""
    rnd = plan.rnd
    angle = main_direction(quad)
    for part in plan.parts(subdivide(quad, rnd, rnd.uniform(2500, 8000), angle)):
        inner = inset(part, 1.2)
        if len(inner) < 3:
            continue
        roll = rnd.random()
        if roll < 0.2:
            field(plan, inner, angle)
            continue
        if rnd.random() < 0.55:
            plan.add_ground(1, inner, soil(plan), BARE)
        else:
            plan.add_ground(1, inner, lawn(plan), LOW_VEGETATION)
        if roll < 0.9:
            vegetation.orchard(plan, inner, angle)
        else:
            vegetation.scatter(plan, inner, 30)


def bare(plan: Plan, quad: Polygon) -> None:
    """Bare soil, rock or a building site with scrub, heaps and tracks."""
    rnd = plan.rnd
    angle = main_direction(quad)
    plan.add_ground(0, quad, soil(plan), BARE)
    x, y = centre(quad)
    u0, u1, v0, v1 = extent(quad, angle)
    for _ in range(rnd.randrange(1, 6)):
        px, py = x + rnd.uniform(-0.4, 0.4) * (u1 - u0), y + rnd.uniform(-0.4, 0.4) * (v1 - v0)
        r = rnd.uniform(6, 30)
        patch = blob(rnd, px, py, r, r * rnd.uniform(0.4, 1), rnd.uniform(0, 3), 0.4)
        if rnd.random() < 0.6:
            plan.add_ground(1, patch, soil(plan), BARE)
        else:
            plan.add_ground(1, patch, lawn(plan), LOW_VEGETATION)
    if rnd.random() < 0.4:
        inner = blob(rnd, x, y, 25, 18, angle)
        clutter.rubble(plan, inner)
    vegetation.scatter(plan, quad, rnd.choice((0, 5, 20, 60)), 0.3)
    if rnd.random() < 0.5:
        c, s = math.cos(angle), math.sin(angle)
        a, b = rnd.uniform(v0, v1), rnd.uniform(v0, v1)
        line = [(u0 * c - a * s, u0 * s + a * c), (u1 * c - b * s, u1 * s + b * c)]
        add_road(plan, line, rnd.uniform(2.6, 5.0), "track")


def mixed(plan: Plan, quad: Polygon) -> None:
    """A patchwork in which every parcel differs."""
    rnd = plan.rnd
    angle = main_direction(quad)
    plan.add_ground(0, quad, lawn(plan), LOW_VEGETATION)
    for part in plan.parts(subdivide(quad, rnd, rnd.uniform(1500, 4000), angle)):
        inner = inset(part, 1.0)
        if len(inner) < 3:
            continue
        roll = rnd.random()
        if roll < 0.25:
            field(plan, inner, angle)
        elif roll < 0.4:
            vegetation.canopy(plan, inner)
        elif roll < 0.5:
            plan.add_ground(1, inner, soil(plan), BARE)
            vegetation.scatter(plan, inner, 20)
        elif roll < 0.6:
            vegetation.orchard(plan, inner, angle)
        elif roll < 0.72:
            clutter.odd(plan, inset(inner, 2.0) or inner, angle)
        elif roll < 0.8:
            x, y = centre(inner)
            pond(plan, x, y, 10, 7, angle)
        elif roll < 0.9:
            x, y = centre(inner)
            add_building(plan, x, y, rnd.uniform(10, 24), rnd.uniform(8, 13), angle, "house")
            plan.add_ground(2, inset(inner, 3.0), plan.style.gravel, PAVEMENT)
        else:
            vegetation.scatter(plan, inner, 70, 0.5)
