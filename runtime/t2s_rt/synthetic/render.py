"""Renders any window of a scene from fixed blocks, so that a window equals the scene's crop.

A scene is cut into square blocks on its own pixel grid; each block is a function of the scene's
specification and the block's place alone, a window is put together from blocks. The pixels depend
on the generator's version and on the OpenCV and NumPy versions' drawing, resizing and JPEG code
(all integer or exactly rounded), not on the CPU or the number of threads.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from t2s_rt.errors import UsageError
from t2s_rt.synthetic import ground, objects, roads, sensor, shadows
from t2s_rt.synthetic.canvas import NOBODY, Block, Item
from t2s_rt.synthetic.geometry import keyed_random
from t2s_rt.synthetic.infrared import colour_infrared
from t2s_rt.synthetic.layout import cell_plan, cells_in, view_box
from t2s_rt.synthetic.plan import CELL_IDS, RIVER_IDS, RIVER_SPACING, Plan, river_axis
from t2s_rt.synthetic.spec import RenderedScene, SceneObject, SceneSpec, georeference
from t2s_rt.synthetic.style import Style, world_style

_RIVER = 31


class _Rendered(NamedTuple):
    """One block: picture, item numbers, table of items."""

    image: npt.NDArray[np.uint8]
    canvas: npt.NDArray[np.uint16]
    items: list[Item]


def block_size(spec: SceneSpec) -> int:
    """Side of the scene's blocks: the smallest of 64..512 that covers it, else 512."""
    side = max(spec.height, spec.width)
    return next((s for s in (64, 128, 256) if side <= s), 512)


@lru_cache(maxsize=4)
def _grid(spec: SceneSpec) -> tuple[int, int, int]:
    """Origin cell and number of columns of the scene's id numbering."""
    style = world_style(spec.seed)
    x0, y0 = spec.origin_x, spec.origin_y
    reach = 1024 * spec.gsd
    x1, y1 = x0 + spec.width * spec.gsd, y0 + spec.height * spec.gsd
    c, s = math.cos(style.angle), math.sin(style.angle)
    margin = reach + 400.0
    us = [x * c + y * s for x in (x0 - margin, x1 + margin) for y in (y0 - margin, y1 + margin)]
    vs = [y * c - x * s for x in (x0 - margin, x1 + margin) for y in (y0 - margin, y1 + margin)]
    i0, j0 = math.floor(min(us) / style.side), math.floor(min(vs) / style.side)
    columns = math.ceil(max(us) / style.side) - i0 + 2
    rows = math.ceil(max(vs) / style.side) - j0 + 2
    if RIVER_IDS + columns * rows * CELL_IDS >= 2**31:
        raise UsageError("scene too large for unique instance ids; use a smaller size or gsd")
    return i0, j0, columns


def _rivers(style: Style, block: Block) -> list[Plan]:
    if not style.river:
        return []
    c, s = math.cos(style.angle * 1.7), math.sin(style.angle * 1.7)
    x0, y0, x1, y1 = block.box
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    us = [x * c + y * s for x, y in corners]
    vs = [y * c - x * s for x, y in corners]
    reach = style.river + 8.0
    u0, u1 = min(us) - reach, max(us) + reach
    axes = [river_axis(style, u0 + (u1 - u0) * k / 8) for k in range(9)]
    spread = max(axes) - min(axes) + reach + 20
    out = []
    lo = math.floor((min(vs) - max(axes) - spread) / RIVER_SPACING)
    hi = math.ceil((max(vs) - min(axes) + spread) / RIVER_SPACING)
    for number in range(lo, hi + 1):
        plan = Plan(style, keyed_random(_RIVER, style.seed, number), block.box)
        roads.river(plan, number, u0, u1, 1 + number % (RIVER_IDS - 1))
        out.append(plan)
    return out


@lru_cache(maxsize=2)
def _response(seed: int) -> npt.NDArray[np.uint8]:
    return sensor.response(world_style(seed).sensor)


def _render_block(spec: SceneSpec, block_row: int, block_col: int, size: int) -> _Rendered:
    style = world_style(spec.seed)
    halo = sensor.HALO
    row, col = block_row * size - halo, block_col * size - halo
    block = Block(style, spec, row, col, size + 2 * halo)
    i0, j0, columns = _grid(spec)
    plans = []
    view = view_box(style, block.box)
    for i, j in cells_in(style, view):
        base = RIVER_IDS + ((j - j0) * columns + (i - i0)) * CELL_IDS
        plans.append((base, cell_plan(spec.seed, i, j, view)))
    ground.draw_ground(block, plans, _rivers(style, block))
    only = [p for _, p in plans]
    objects.draw_marks(block, only)
    objects.draw_low(block, plans)
    shadows.cast_shadows(block, plans)
    objects.draw_buildings(block, plans)
    objects.draw_trees(block, plans)
    shadows.shade_tops(block, plans)
    ground.add_grain(block)
    if style.infrared:
        block.image = colour_infrared(block, style.infrared)
    image = sensor.expose(block.image, style.sensor, _response(spec.seed), row, col)
    canvas = block.canvas[halo:-halo, halo:-halo]
    return _Rendered(image, canvas, block.items)


def _objects(numbers: npt.NDArray[np.uint16], owners: list[Item]) -> tuple[SceneObject, ...]:
    """Tight boxes of all instances; `numbers` index `owners`, whose first entry is nobody."""
    height, width = numbers.shape
    flat = np.flatnonzero(numbers)
    if not flat.size:
        return ()
    values = numbers.ravel()[flat]
    where = flat[np.argsort(values, kind="stable")]
    counts = np.bincount(values, minlength=len(owners))
    present = np.flatnonzero(counts)
    sizes = counts[present]
    starts = np.cumsum(sizes) - sizes
    rows, cols = where // width, where % width
    y0, y1 = rows[starts], rows[starts + sizes - 1] + 1
    x0, x1 = np.minimum.reduceat(cols, starts), np.maximum.reduceat(cols, starts) + 1
    boxes = np.stack([x0, y0, x1, y1], axis=1).astype(np.float32)
    cut = (x0 == 0) | (y0 == 0) | (x1 == width) | (y1 == height)
    return tuple(
        SceneObject(
            owners[number].instance,
            owners[number].class_id,
            boxes[k],
            int(sizes[k]),
            owners[number].crowd,
            bool(cut[k]),
        )
        for k, number in enumerate(present)
    )


def render(spec: SceneSpec, window: tuple[int, int, int, int] | None = None) -> RenderedScene:
    """Render a scene or a window (row, col, height, width) of it.

    A window's pixels, classes and instances equal the same crop of the whole scene; the objects'
    boxes are in window pixels. Raises UsageError for a window that leaves the scene.
    """
    row, col, height, width = window or (0, 0, spec.height, spec.width)
    inside = row >= 0 and col >= 0 and row + height <= spec.height and col + width <= spec.width
    if not inside or height < 1 or width < 1:
        raise UsageError(
            f"expected a window inside the {spec.height} x {spec.width} scene, found row {row}, "
            f"col {col}, height {height}, width {width}"
        )
    size = block_size(spec)
    image = np.empty((height, width, 3), np.uint8)
    classes = np.empty((height, width), np.uint8)
    numbers = np.empty((height, width), np.uint16)
    owners: list[Item] = [NOBODY]
    known: dict[int, int] = {0: 0}
    for block_row in range(row // size, (row + height - 1) // size + 1):
        for block_col in range(col // size, (col + width - 1) // size + 1):
            part = _render_block(spec, block_row, block_col, size)
            top, left = max(row, block_row * size), max(col, block_col * size)
            bottom = min(row + height, (block_row + 1) * size)
            right = min(col + width, (block_col + 1) * size)
            y, x = slice(top - row, bottom - row), slice(left - col, right - col)
            v = slice(top - block_row * size, bottom - block_row * size)
            u = slice(left - block_col * size, right - block_col * size)
            image[y, x] = part.image[v, u]
            canvas = part.canvas[v, u]
            classes[y, x] = np.take(np.array([t.class_id for t in part.items], np.uint8), canvas)
            for item in part.items:
                if item.instance not in known:
                    known[item.instance] = len(owners)
                    owners.append(item)
            table = np.array([known[t.instance] for t in part.items], np.uint16)
            numbers[y, x] = np.take(table, canvas)
    crs, easting, northing = georeference(spec)
    g = spec.gsd
    affine = (g, 0.0, easting + col * g, 0.0, -g, northing - row * g)
    instances = np.take(np.array([t.instance for t in owners], np.int32), numbers)
    return RenderedScene(image, classes, instances, _objects(numbers, owners), crs, affine)
