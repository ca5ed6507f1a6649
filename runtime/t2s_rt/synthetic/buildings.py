"""Buildings: outlines, roofs lit by the sun, and what stands on them."""

from __future__ import annotations

import math
import random

from t2s_rt.synthetic.geometry import Polygon, inside, rectangle, transform
from t2s_rt.synthetic.palettes import Colour
from t2s_rt.synthetic.plan import Building, Facet, Plan
from t2s_rt.synthetic.style import Material, Style, shift

_BLACK: Colour = (0, 0, 0)


def lit(style: Style, colour: Colour, direction: float, slope: float = 1.0) -> Colour:
    """Colour of a roof plane that falls towards `direction` (radians, world frame)."""
    sun = style.sun
    f = 1.0 + style.relief * slope * (math.cos(direction) * sun[0] + math.sin(direction) * sun[1])
    return scale(colour, min(1.4, max(0.5, f)))


def scale(colour: Colour, factor: float) -> Colour:
    """Brighten or darken a colour."""
    r, g, b = (min(252, max(3, round(c * factor))) for c in colour)
    return r, g, b


def roof_material(rnd: random.Random) -> Material:
    """Texture of a roof: only the noise amplitudes are used."""
    rough = rnd.random()
    return Material(
        _BLACK, _BLACK, 0, 0, 0, round(2 + 9 * rough * rough), mottle=rnd.randrange(1, 16)
    )


def _ribs(rnd: random.Random, kind: str) -> tuple[float, float, float]:
    """Rows of tiles along the ridge, or seams of sheet metal across it."""
    if kind == "house":
        return rnd.uniform(0.3, 0.45), rnd.choice((0.0, 0.0, math.pi / 2)), rnd.uniform(3, 12)
    if kind == "flat":
        return rnd.uniform(0.9, 1.4), rnd.choice((0.0, math.pi / 2)), rnd.uniform(0, 4)
    return rnd.uniform(0.4, 1.1), math.pi / 2, rnd.uniform(2, 9)


def gabled(
    style: Style, rnd: random.Random, length: float, width: float, angle: float, colour: Colour
) -> list[Facet]:
    """Gable or hip roof in local coordinates (ridge along x), shaded for the heading `angle`."""
    u, v = length / 2, width / 2
    slope = rnd.uniform(0.6, 1.2)
    down = lit(style, colour, angle + math.pi / 2, slope)
    up = lit(style, colour, angle - math.pi / 2, slope)
    hip = rnd.uniform(0.5, 1.0) * v if rnd.random() < 0.45 else 0.0
    hip = min(hip, u * 0.95)
    ridge = (-u + hip, 0.0), (u - hip, 0.0)
    facets = [
        Facet([(-u, v), (u, v), ridge[1], ridge[0]], down),
        Facet([(-u, -v), (u, -v), ridge[1], ridge[0]], up),
    ]
    if hip:
        facets.append(Facet([(u, -v), (u, v), ridge[1]], lit(style, colour, angle, slope)))
        facets.append(
            Facet([(-u, -v), (-u, v), ridge[0]], lit(style, colour, angle + math.pi, slope))
        )
    facets.append(Facet([ridge[0], ridge[1]], scale(colour, rnd.choice((0.8, 1.2))), 0.25))
    for _ in range(rnd.choice((0, 1, 1, 2, 3))):
        x, y = rnd.uniform(-u + 1, u - 1), rnd.uniform(-0.7, 0.7) * v
        kind = rnd.random()
        if kind < 0.4:  # chimney with its little shadow
            sx, sy = _local_shadow(style, angle, 1.0)
            box = rectangle(x, y, 0.8, 0.7, 0.0)
            facets.append(Facet(_shifted(box, sx, sy), scale(down, 0.55), 0.0, 0.8))
            facets.append(Facet(box, scale(colour, rnd.choice((0.6, 1.35))), 0.0, 0.8))
        elif kind < 0.75:  # roof window
            tint = rnd.choice(((52, 58, 66), (160, 176, 190)))
            facets.append(Facet(rectangle(x, y, 0.9, 1.2, 0.0), tint, 0.0, 0.9))
        else:  # dormer
            face = lit(style, colour, angle + (0 if y > 0 else math.pi), 0.6)
            facets.append(
                Facet(rectangle(x, 0.55 * v * (1 if y > 0 else -1), 2.2, v * 0.8, 0.0), face)
            )
    if rnd.random() < 0.16:
        facets += _solar(rnd, u * 0.75, v * 0.8, rnd.choice((-1, 1)))
    return facets


def _local_shadow(style: Style, angle: float, height: float) -> tuple[float, float]:
    """Shadow displacement of a height, in the building's local frame."""
    dx, dy = style.shadow[0] * height, style.shadow[1] * height
    c, s = math.cos(angle), math.sin(angle)
    return dx * c + dy * s, dy * c - dx * s


def _shifted(points: Polygon, dx: float, dy: float) -> Polygon:
    return [(x + dx, y + dy) for x, y in points]


def _solar(rnd: random.Random, u: float, v: float, side: int) -> list[Facet]:
    """A panel array on one half of the roof."""
    n = rnd.randrange(2, 7)
    rows = rnd.randrange(1, 4)
    pw, ph = 1.7, 1.0
    tint = (26, 32, 52) if rnd.random() < 0.6 else (40, 52, 84)
    out = []
    for i in range(n):
        for j in range(rows):
            x, y = (i - n / 2 + 0.5) * (pw + 0.06), 0.35 + (j + 0.5) * (ph + 0.06)
            if abs(x) + pw / 2 < u and y + ph / 2 < v:
                out.append(Facet(rectangle(x, side * y, pw, ph, 0.0), tint, 0.0, 1.2))
    return out


def flat(
    style: Style, rnd: random.Random, outline: Polygon, angle: float, colour: Colour, clutter: float
) -> list[Facet]:
    """Flat roof of any outline (local coordinates) with parapet and clutter."""
    facets = [Facet(outline, colour)]
    xs, ys = [p[0] for p in outline], [p[1] for p in outline]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    if rnd.random() < 0.65:
        edge = scale(colour, rnd.choice((0.72, 0.85, 1.18, 1.3)))
        facets.append(Facet([*outline, outline[0]], edge, rnd.uniform(0.25, 0.6)))
    size = (x1 - x0) * (y1 - y0)
    count = min(26, int(rnd.random() * clutter * size / 45))
    for _ in range(count):
        w, h = rnd.uniform(0.7, 3.2), rnd.uniform(0.7, 2.6)
        if size > 900 and rnd.random() < 0.3:
            w, h = rnd.uniform(2, 7), rnd.uniform(2, 5)
        if x1 - x0 < w + 2 or y1 - y0 < h + 2:
            continue
        x, y = (
            rnd.uniform(x0 + w / 2 + 0.6, x1 - w / 2 - 0.6),
            rnd.uniform(y0 + h / 2 + 0.6, y1 - h / 2 - 0.6),
        )
        if not _in_outline(outline, x, y, w, h):
            continue
        sx, sy = _local_shadow(style, angle, rnd.uniform(0.5, 2.2))
        box = rectangle(x, y, w, h, 0.0)
        if rnd.random() < 0.75:
            facets.append(Facet(_shifted(box, sx, sy), scale(colour, 0.58), 0.0, min(w, h)))
        facets.append(Facet(box, scale(colour, rnd.uniform(0.6, 1.5)), 0.0, min(w, h)))
    if rnd.random() < 0.12 * clutter and size > 120:
        facets += _solar_rows(rnd, x0, x1, y0, y1)
    return facets


def _in_outline(outline: Polygon, x: float, y: float, w: float, h: float) -> bool:
    return all(
        inside(outline, x + a * w / 2, y + b * h / 2)
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    )


def _solar_rows(rnd: random.Random, x0: float, x1: float, y0: float, y1: float) -> list[Facet]:
    pitch = rnd.uniform(1.8, 2.8)
    tint = (30, 38, 60)
    out: list[Facet] = []
    y = y0 + 1.6
    a, b = x0 + 1.5, x0 + 1.5 + (x1 - x0 - 3) * rnd.uniform(0.4, 1.0)
    while y < y1 - 1.6 and len(out) < 40:
        out.append(Facet([(a, y), (b, y)], tint, 1.1))
        y += pitch
    return out


def hall(
    style: Style, rnd: random.Random, length: float, width: float, angle: float, colour: Colour
) -> list[Facet]:
    """Large low-pitched hall: two or more shallow planes, ribs, skylight strips, vents."""
    u, v = length / 2, width / 2
    bays = rnd.choice((1, 1, 2, 3)) if width > 24 else 1
    facets: list[Facet] = []
    w = width / bays
    for k in range(bays):
        y = -v + k * w
        slope = rnd.uniform(0.15, 0.4)
        a = lit(style, colour, angle - math.pi / 2, slope)
        b = lit(style, colour, angle + math.pi / 2, slope)
        facets.append(Facet([(-u, y), (u, y), (u, y + w / 2), (-u, y + w / 2)], a))
        facets.append(Facet([(-u, y + w / 2), (u, y + w / 2), (u, y + w), (-u, y + w)], b))
    kind = rnd.random()
    step = rnd.uniform(4, 9)
    if kind < 0.4:  # skylight strips
        tone = scale(colour, rnd.choice((0.7, 1.25, 1.4)))
        x = -u + step
        while x < u - 2 and len(facets) < 50:
            facets.append(Facet([(x, -v * 0.85), (x, v * 0.85)], tone, rnd.uniform(0.6, 1.2), 1.0))
            x += step
    elif kind < 0.7:  # ribs or seams
        tone = scale(colour, rnd.choice((0.88, 0.93, 1.08)))
        x = -u + step / 2
        while x < u and len(facets) < 60:
            facets.append(Facet([(x, -v), (x, v)], tone, 0.3, 0.4))
            x += step / 2
    elif kind < 0.85:
        for _ in range(rnd.randrange(3, 12)):
            x, y = rnd.uniform(-u + 2, u - 2), rnd.uniform(-v + 2, v - 2)
            facets.append(
                Facet(
                    rectangle(x, y, rnd.uniform(1, 3), rnd.uniform(1, 2), 0.0), scale(colour, 1.3)
                )
            )
    else:
        facets += _solar_rows(rnd, -u, u, -v, v)
    return facets


def _l_shape(rnd: random.Random, u: float, v: float) -> Polygon:
    a, b = rnd.uniform(-0.3, 0.4) * u, rnd.uniform(-0.3, 0.4) * v
    sx, sy = rnd.choice((-1, 1)), rnd.choice((-1, 1))
    local = [(-u, -v), (u, -v), (u, b), (a, b), (a, v), (-u, v)]
    return [(x * sx, y * sy) for x, y in local]


def add_building(
    plan: Plan,
    x: float,
    y: float,
    length: float,
    width: float,
    angle: float,
    kind: str,
    colour: Colour | None = None,
    height: float | None = None,
) -> None:
    """Put a building at plan coordinates unless river or roundabout are in the way.

    `kind` is "house", "flat", "hall" or "shed"; `angle` the heading of the longer side.
    """
    style = plan.style
    seed, number = plan.rnd.getrandbits(32), plan.new_id()
    wx, wy, heading = plan.place(x, y, angle)
    reach = 0.5 * math.hypot(length, width)
    if not plan.sees(wx, wy, reach) or not plan.free(wx, wy, reach):
        return
    rnd = plan.own_stream(seed)
    base = shift(rnd, colour or rnd.choice(style.roofs), 0.12, 5)
    u, v = length / 2, width / 2
    outline = rectangle(0, 0, length, width, 0.0)
    if kind == "house":
        height = height or rnd.uniform(4, 9)
        facets = gabled(style, rnd, length, width, heading, base)
        roll = rnd.random()
        if roll < 0.3 and min(length, width) > 7:
            outline, facets = _winged(style, rnd, length, width, heading, base)
    elif kind == "hall":
        height = height or rnd.uniform(6, 13)
        facets = hall(style, rnd, length, width, heading, base)
    elif kind == "shed":
        height = height or rnd.uniform(2.2, 3.5)
        facets = [Facet(outline, base)]
        if rnd.random() < 0.5:
            half = [(-u, 0.0), (u, 0.0), (u, v), (-u, v)]
            facets.append(Facet(half, lit(style, base, heading + math.pi / 2, 0.7)))
    else:
        height = height or rnd.choice((4, 7, 10, 13, 16, 22))
        if rnd.random() < 0.35 and min(length, width) > 12:
            outline = _l_shape(rnd, u, v)
        facets = flat(style, rnd, outline, heading, base, 1.0)
    plan.buildings.append(
        Building(
            transform(outline, wx, wy, heading),
            [f._replace(points=transform(f.points, wx, wy, heading)) for f in facets],
            height,
            number,
            roof_material(rnd),
            _ribs(rnd, kind),
        )
    )


def _winged(
    style: Style, rnd: random.Random, length: float, width: float, heading: float, base: Colour
) -> tuple[Polygon, list[Facet]]:
    """A gabled house with a wing across: L or T shaped."""
    u, v = length / 2, width / 2
    w = rnd.uniform(0.45, 0.65) * width
    main = gabled(style, rnd, length, w, heading, base)
    shift_y = -v + w / 2
    facets = [f._replace(points=_shifted(f.points, 0, shift_y)) for f in main]
    wing_w = rnd.uniform(0.35, 0.5) * length
    x0 = rnd.uniform(-u, u - wing_w)
    x1 = x0 + wing_w
    xm = (x0 + x1) / 2
    top = -v + w / 2
    left = lit(style, base, heading + math.pi, 0.9)
    right = lit(style, base, heading, 0.9)
    facets.append(Facet([(x0, v), (x0, -v + w), (xm, top), (xm, v)], left))
    facets.append(Facet([(x1, v), (x1, -v + w), (xm, top), (xm, v)], right))
    outline = [
        (-u, -v),
        (u, -v),
        (u, -v + w),
        (x1, -v + w),
        (x1, v),
        (x0, v),
        (x0, -v + w),
        (-u, -v + w),
    ]
    return outline, facets
