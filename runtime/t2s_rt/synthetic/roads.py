"""Roads of the lattice and inside districts, junctions, roundabouts, rivers and bridges."""

from __future__ import annotations

import math

from t2s_rt.synthetic.geometry import Polygon, ribbon
from t2s_rt.synthetic.plan import Ground, Mark, Plan, river_line
from t2s_rt.synthetic.spec import BARE, LOW_VEGETATION, PAVEMENT, ROAD, WATER
from t2s_rt.synthetic.style import Material, pair
from t2s_rt.synthetic.vehicles import add_car, line_colour


def _surface(plan: Plan, kind: str) -> Material:
    style, rnd = plan.style, plan.rnd
    if kind in ("track", "path") and rnd.random() < 0.8:
        return style.gravel
    if kind == "main":
        return style.asphalt
    base = style.street if rnd.random() < 0.8 else style.asphalt
    dark, light = pair(rnd, (base.dark, base.light), 0.05, 2)
    return base._replace(dark=dark, light=light)


def add_road(plan: Plan, line: Polygon, width: float, kind: str) -> None:
    """A road inside a district: kind "lane", "track" or "path" (no markings)."""
    bent = plan.bend(line, False, 10.0)
    plan.ground[3].append(Ground(ribbon(bent, width), _surface(plan, kind), ROAD))
    if kind == "lane":
        _parked(plan, line, width, 0.12)


def _parked(plan: Plan, line: Polygon, width: float, density: float) -> None:
    """Cars parked along both sides of a straight plan line."""
    rnd = plan.rnd
    (ax, ay), (bx, by) = line[0], line[-1]
    length = math.hypot(bx - ax, by - ay)
    if length < 12:
        return
    dx, dy = (bx - ax) / length, (by - ay) / length
    angle = math.atan2(dy, dx)
    for side in (-1, 1):
        pos = 8.0
        while pos < length - 8:
            if rnd.random() < density:
                off = side * (width / 2 - 1.05)
                flip = 0.0 if side > 0 or rnd.random() < 0.2 else math.pi
                x, y = ax + dx * pos - dy * off, ay + dy * pos + dx * off
                add_car(plan, x, y, angle + flip + rnd.uniform(-0.03, 0.03))
            pos += rnd.uniform(5.3, 6.6)


def lattice_road(
    plan: Plan,
    start: tuple[float, float],
    end: tuple[float, float],
    width: float,
    kind: str,
    clear: tuple[float, float] = (0.0, 0.0),
) -> None:
    """A road along an edge of the lattice: pavement, carriageway, markings, traffic.

    `clear` is the length at either end that a roundabout takes.
    """
    rnd, style = plan.rnd, plan.style
    line = [start, end]
    bent = plan.bend(line, False, 10.0)
    surface = _surface(plan, kind)
    if kind in ("street", "main") and rnd.random() < 0.75:
        verge = rnd.uniform(1.2, 2.6)
        plan.ground[4].append(Ground(ribbon(bent, width + 2 * verge), style.paving, PAVEMENT))
    plan.ground[5].append(Ground(ribbon(bent, width), surface, ROAD))
    for x, y in (bent[0], bent[-1]):
        plan.ground[5].append(Ground(_disc(x, y, width / 2), surface, ROAD))
    if kind in ("street", "main"):
        _markings(plan, bent, width, kind, clear)
        parked = kind == "street" and width > 6.4 and rnd.random() < 0.65
        if parked:
            _parked(plan, line, width, 0.5 * rnd.random())
        _traffic(plan, line, width, width - 4.2 if parked else width)


def _disc(x: float, y: float, r: float) -> Polygon:
    n = 36
    return [
        (x + r * math.cos(6.283185307 * k / n), y + r * math.sin(6.283185307 * k / n))
        for k in range(n)
    ]


def _markings(
    plan: Plan, bent: Polygon, width: float, kind: str, clear: tuple[float, float]
) -> None:
    rnd = plan.rnd
    colour = line_colour(rnd)
    lanes = max(2, round(width / 3.3))
    if kind == "street" and rnd.random() < 0.35:
        return
    total = _length(bent)
    first = max(clear[0] + 1.0, width * 0.9 + 2)
    last = total - max(clear[1] + 1.0, width * 0.9 + 2)
    for lane in range(1, lanes):
        off = -width / 2 + lane * width / lanes
        middle = lane * 2 == lanes
        on, gap = (3.0, 6.0) if not middle or rnd.random() < 0.7 else (total, 0.0)
        pos = first
        (ax, ay), (bx, by) = bent[0], bent[-1]
        while pos < last:
            t = (pos + on / 2) / total
            if plan.sees(ax + (bx - ax) * t, ay + (by - ay) * t, on + 15.0):
                piece = _along(bent, pos, min(pos + on, last), off)
                plan.marks.append(Mark(piece, 0.15, colour))
            pos += on + gap
    if kind == "main" and rnd.random() < 0.7:
        for side in (-1, 1):
            piece = _along(bent, first, last, side * (width / 2 - 0.35))
            plan.marks.append(Mark(piece, 0.15, colour))
    if rnd.random() < 0.45 and last - first > 20:
        n = int(width / 1.0)
        for k in range(n):
            off = -width / 2 + (k + 0.5) * width / n
            plan.marks.append(Mark(_along(bent, first - 2.5, first + 0.5, off), 0.5, colour))


def _length(line: Polygon) -> float:
    return sum(
        math.hypot(line[i + 1][0] - line[i][0], line[i + 1][1] - line[i][1])
        for i in range(len(line) - 1)
    )


def _along(line: Polygon, start: float, stop: float, offset: float) -> Polygon:
    """The part of a polyline between two distances, moved sideways."""
    out: Polygon = []
    done = 0.0
    for i in range(len(line) - 1):
        (ax, ay), (bx, by) = line[i], line[i + 1]
        d = math.hypot(bx - ax, by - ay)
        if d < 1e-9:
            continue
        lo, hi = max(start - done, 0.0), min(stop - done, d)
        if hi > lo:
            ux, uy = (bx - ax) / d, (by - ay) / d
            ox, oy = -uy * offset, ux * offset
            if not out:
                out.append((ax + ux * lo + ox, ay + uy * lo + oy))
            out.append((ax + ux * hi + ox, ay + uy * hi + oy))
        done += d
        if done >= stop:
            break
    return out if len(out) > 1 else [line[0], line[0]]


def _traffic(plan: Plan, line: Polygon, width: float, used: float) -> None:
    rnd = plan.rnd
    (ax, ay), (bx, by) = line
    length = math.hypot(bx - ax, by - ay)
    if length < 30:
        return
    dx, dy = (bx - ax) / length, (by - ay) / length
    angle = math.atan2(dy, dx)
    lanes = max(2, round(width / 3.3))
    gap = rnd.choice((18, 40, 110, 200))
    for lane in range(lanes):
        off = -used / 2 + (lane + 0.5) * used / lanes
        pos = rnd.expovariate(1 / gap) + width
        while pos < length - width:
            flip = 0.0 if off > 0 else math.pi
            x, y = ax + dx * pos - dy * off, ay + dy * pos + dx * off
            add_car(plan, x, y, angle + flip + rnd.uniform(-0.03, 0.03))
            pos += 7.0 + rnd.expovariate(1 / gap)


def roundabout(plan: Plan, x: float, y: float, width: float, radius: float) -> None:
    """A roundabout at a node (plan coordinates): ring of road about a green island."""
    rnd = plan.rnd
    wx, wy = plan.warp(x, y)
    surface = plan.style.asphalt
    plan.ground[4].append(
        Ground(_disc(wx, wy, radius + width / 2 + 2), plan.style.paving, PAVEMENT)
    )
    plan.ground[6].append(Ground(_disc(wx, wy, radius + width / 2), surface, ROAD))
    island = radius - width / 2
    green = rnd.choice(plan.style.grass)
    plan.ground[7].append(Ground(_disc(wx, wy, island), green, LOW_VEGETATION))
    if rnd.random() < 0.5:
        plan.ground[7].append(Ground(_disc(wx, wy, island * 0.5), plan.style.bare[0], BARE))
    ring = _disc(wx, wy, radius + width / 2 - 0.4)
    plan.marks.append(Mark([*ring, ring[0]], 0.15, line_colour(rnd)))


def river(plan: Plan, number: int, u0: float, u1: float, instance: int) -> None:
    """The part of a river between two distances along its axis (world coordinates)."""
    style, rnd = plan.style, plan.rnd
    width = style.river
    line = river_line(style, number, u0, u1)
    dark, light = pair(rnd, (style.water[0].dark, style.water[0].light), 0.0, 0.0)
    water = style.water[0]._replace(dark=dark, light=light)
    bank = style.bare[0] if style.seed % 3 else style.grass[0]
    bank_class = BARE if style.seed % 3 else LOW_VEGETATION
    plan.ground[3].append(Ground(ribbon(line, width * 1.12 + 3), bank, bank_class))
    plan.ground[4].append(Ground(ribbon(line, width), style.shallow, WATER, instance))
    plan.ground[4].append(Ground(ribbon(line, width * 0.86 - 1), water, WATER, instance))
