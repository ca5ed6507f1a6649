"""The world's lattice: which districts and roads there are, and what each cell emits.

The world is an endless lattice of jittered quads. Cell (i, j) owns the quad between the nodes
(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1), the two edges that leave node (i, j) towards
(i + 1, j) and (i, j + 1), and that node. All of it depends on the seed and (i, j) only.
"""

from __future__ import annotations

import math
from functools import lru_cache

from t2s_rt.synthetic import blocks, roads, rural, urban
from t2s_rt.synthetic.geometry import Point, Polygon, inset, keyed_random, mix_keys, scratch_random
from t2s_rt.synthetic.plan import CELL_IDS, EDGE_IDS, Box, Plan, warp_point
from t2s_rt.synthetic.spec import BARE, LOW_VEGETATION
from t2s_rt.synthetic.style import THEMES, Style, world_style

SHADOW = 38.0
"""Longest shadow in metres; longer ones are cut."""

TALLEST = 36.0
"""Height in metres of the tallest building."""

CROWN = 9.0
"""Metres that crowns, pavements and cars reach beyond what emits them."""

_NODE, _TYPE, _CLUSTER, _EDGE, _LINE, _FILL, _THEME = range(10, 17)

_FILLERS = {
    "suburb": urban.suburb,
    "dense": blocks.dense,
    "slabs": urban.slabs,
    "industrial": urban.industrial,
    "commercial": urban.commercial,
    "village": urban.village,
    "farmland": rural.farmland,
    "forest": rural.forest,
    "park": rural.park,
    "waterside": rural.waterside,
    "orchard": rural.orchards,
    "bare": rural.bare,
    "mixed": rural.mixed,
}
_BUILT = {"suburb", "dense", "slabs", "industrial", "commercial", "village"}


@lru_cache(maxsize=1024)
def node(seed: int, i: int, j: int) -> Point:
    """Plan coordinates of a lattice node."""
    style = world_style(seed)
    rnd = scratch_random(_NODE, style.seed, i, j)
    u, v = (i + rnd.uniform(-0.2, 0.2)) * style.side, (j + rnd.uniform(-0.2, 0.2)) * style.side
    c, s = math.cos(style.angle), math.sin(style.angle)
    return u * c - v * s, u * s + v * c


def theme_at(style: Style, i: int, j: int) -> str:
    """The theme of a region: the seed's own about the origin, others farther away."""
    bi, bj = (i + 4) // 8, (j + 4) // 8
    if bi == 0 and bj == 0:
        return style.theme
    return scratch_random(_THEME, style.seed, bi, bj).choice(tuple(THEMES))


@lru_cache(maxsize=1024)
def district(seed: int, i: int, j: int) -> str:
    """The kind of district in a quad; neighbours tend to agree."""
    style = world_style(seed)
    weights = THEMES[theme_at(style, i, j)]
    rnd = scratch_random(_TYPE, style.seed, i, j)
    if rnd.random() < 0.5:
        rnd = scratch_random(_CLUSTER, style.seed, i // 2, j // 2)
    return rnd.choices(tuple(weights), tuple(weights.values()))[0]


@lru_cache(maxsize=512)
def _lattice_line(seed: int, axis: int, number: int) -> tuple[bool, float, float]:
    """Whether a whole line of the lattice is a main road, and its widths as one and as a street."""
    rnd = scratch_random(_LINE, seed, axis, number)
    return rnd.random() < 0.3, rnd.choice((7.0, 9.0, 10.5, 14.0)), rnd.uniform(5.2, 8.5)


@lru_cache(maxsize=2048)
def edge_road(seed: int, i: int, j: int, axis: int) -> tuple[str, float]:
    """Kind and width of the road on the edge that leaves node (i, j) along an axis.

    Kinds: "main", "street", "track" or "none". Whole lattice lines can be main roads.
    """
    main, main_width, street_width = _lattice_line(seed, axis, j if axis == 0 else i)
    if main:
        return "main", main_width
    other = (i, j - 1) if axis == 0 else (i - 1, j)
    built = (district(seed, i, j) in _BUILT) + (district(seed, *other) in _BUILT)
    rnd = scratch_random(_EDGE, seed, i, j, axis)
    roll = rnd.random()
    if built and roll < 0.88:
        return "street", street_width
    if roll < 0.2:
        return "street", 5.5
    if roll < 0.65:
        return "track", rnd.uniform(2.8, 4.2)
    return "none", 0.0


def quad_outline(seed: int, i: int, j: int) -> Polygon:
    """The four nodes of a quad in plan coordinates."""
    return [node(seed, i + a, j + b) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]


@lru_cache(maxsize=1024)
def cell_box(seed: int, i: int, j: int) -> Box:
    """World box that holds all a cell may draw but shadows: roads and roundabouts overhang."""
    style = world_style(seed)
    points = [warp_point(style, *p) for p in quad_outline(seed, i, j)]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs) - 26, min(ys) - 26, max(xs) + 26, max(ys) + 26


def cells_in(style: Style, box: Box) -> list[tuple[int, int]]:
    """Cells that may draw into a world box, in a fixed order."""
    amplitude = sum(w[0] for w in style.warp)
    margin = 26 + amplitude + 0.3 * style.side
    c, s = math.cos(style.angle), math.sin(style.angle)
    x0, y0, x1, y1 = box
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    us = [(x * c + y * s) for x, y in corners]
    vs = [(y * c - x * s) for x, y in corners]
    out = []
    for j in range(
        math.floor((min(vs) - margin) / style.side), math.ceil((max(vs) + margin) / style.side) + 1
    ):
        for i in range(
            math.floor((min(us) - margin) / style.side),
            math.ceil((max(us) + margin) / style.side) + 1,
        ):
            a0, b0, a1, b1 = cell_box(style.seed, i, j)
            if a0 < x1 and a1 > x0 and b0 < y1 and b1 > y0:
                out.append((i, j))
    return out


@lru_cache(maxsize=1024)
def _roundabout(seed: int, i: int, j: int) -> tuple[float, float] | None:
    """Radius and ring width of the roundabout at a node, if there is one."""
    if not _lattice_line(seed, 0, j)[0] and not _lattice_line(seed, 1, i)[0]:
        return None
    kinds = [
        edge_road(seed, i, j, 0)[0],
        edge_road(seed, i, j, 1)[0],
        edge_road(seed, i - 1, j, 0)[0],
        edge_road(seed, i, j - 1, 1)[0],
    ]
    if kinds.count("main") < 2 or kinds.count("none") or kinds.count("track") > 1:
        return None
    rnd = scratch_random(_EDGE, seed, i, j, 7)
    if rnd.random() > 0.45:
        return None
    return rnd.uniform(10, 20), rnd.uniform(6, 9)


def view_box(style: Style, box: Box) -> Box:
    """World box whose objects can be seen in `box`, by themselves or by their shadow."""
    dx, dy = style.shadow
    longest = min(1.0, SHADOW / max(1e-6, math.hypot(dx, dy) * TALLEST)) * TALLEST
    sx, sy = dx * longest, dy * longest
    x0, y0, x1, y1 = box
    return (
        x0 - CROWN - max(sx, 0.0),
        y0 - CROWN - max(sy, 0.0),
        x1 + CROWN - min(sx, 0.0),
        y1 + CROWN - min(sy, 0.0),
    )


def cell_plan(seed: int, i: int, j: int, view: Box) -> Plan:
    """What cell (i, j) emits into a view (world box); ids count from 1 within the cell.

    The view only leaves things out: whatever is emitted is the same for every view.
    """
    style = world_style(seed)
    plan = Plan(style, keyed_random(_FILL, seed, i, j), view)
    for a, b in ((0, 0), (1, 0), (1, 1), (0, 1)):
        ring = _roundabout(seed, i + a, j + b)
        if ring:
            x, y = plan.warp(*node(seed, i + a, j + b))
            plan.keep_out.append((x, y, ring[0] + ring[1] / 2 + 2))
    quad = quad_outline(seed, i, j)
    sides = [
        edge_road(seed, i, j, 0),
        edge_road(seed, i + 1, j, 1),
        edge_road(seed, i, j + 1, 0),
        edge_road(seed, i, j, 1),
    ]
    kind = district(seed, i, j)
    plan.add_ground(
        0,
        quad,
        plan.rnd.choice(style.bare if kind == "bare" else style.grass),
        BARE if kind == "bare" else LOW_VEGETATION,
    )
    verge = {"main": 2.6, "street": 2.0, "track": 0.6, "none": 0.0}
    inner = inset(quad, [w / 2 + verge[k] + (0.4 if k != "none" else 0.2) for k, w in sides])
    plan.next_id, plan.last_id = EDGE_IDS, CELL_IDS
    if len(inner) >= 3:
        _FILLERS[kind](plan, inner)
    plan.rnd.seed(mix_keys(_EDGE, seed, i, j, 9))
    plan.next_id, plan.last_id = 1, EDGE_IDS
    _edges(plan, i, j)
    return plan


def _edges(plan: Plan, i: int, j: int) -> None:
    """The two edges of a cell and its node's roundabout."""
    seed = plan.style.seed
    plan.keep_out.clear()
    start = node(seed, i, j)
    ends = [node(seed, i + 1, j), node(seed, i, j + 1)]
    places = ((i, j), (i + 1, j), (i, j + 1))
    reach = [0.0, 0.0, 0.0]
    for k, place in enumerate(places):
        ring = _roundabout(seed, *place)
        if ring:
            x, y = plan.warp(*node(seed, *place))
            reach[k] = ring[0] + ring[1] / 2
            plan.keep_out.append((x, y, reach[k]))
    lines = [[start, end] for end in ends]
    for line in plan.parts(lines):
        axis = 0 if line is lines[0] else 1
        road, width = edge_road(seed, i, j, axis)
        if road != "none":
            clear = reach[0], reach[1 + axis]
            roads.lattice_road(plan, line[0], line[1], width, road, clear)
    ring = _roundabout(seed, i, j)
    if ring:
        roads.roundabout(plan, *start, ring[1], ring[0])
