"""Ground: fills the canvas with flat polygons and composes their textures."""

from __future__ import annotations

import math

import cv2
import numpy as np

from t2s_rt.synthetic import textures
from t2s_rt.synthetic.canvas import Block, Int16, Int32
from t2s_rt.synthetic.plan import Ground, Plan
from t2s_rt.synthetic.shadows import sweep
from t2s_rt.synthetic.spec import OTHER
from t2s_rt.synthetic.style import CANOPY, Material

_SNOW = Material((196, 202, 212), (240, 242, 244), 6, 10, 50, 2)
_ROW_WAVE = np.array([round(64 * math.sin(2 * math.pi * k / 256)) for k in range(256)], np.int16)


def draw_ground(block: Block, plans: list[tuple[int, Plan]], extra: list[Plan]) -> None:
    """Fill the canvas with all ground polygons, then compose their textures."""
    rows: list[tuple[int, Ground, Int32]] = []
    stages = len(plans[0][1].ground) if plans else 0
    for stage in range(stages):
        for base, plan in [*plans, *((0, p) for p in extra)]:
            for g in plan.ground[stage]:
                if not block.overlaps(g.points, 25.0 if g.lift else 0.0):
                    continue
                pts = block.pixels(g.points)
                instance = base + g.instance if g.instance else 0
                index = block.add(g.class_id, instance, g.crowd, g.material)
                block.fill(block.canvas, pts, index)
                if g.rows[1] and g.rows[1] / block.gsd > 2.2:
                    rows.append((index, g, pts))
                if g.lift:
                    _lift_shadow(block, g, pts)
    _compose(block, rows)


def _lift_shadow(block: Block, g: Ground, pts: Int32) -> None:
    sweep(block, pts, min(g.lift, 12.0))
    block.fill(block.shadow, pts, 0)


class _PerPixel:
    """Properties of each pixel's material, int16 [S, S].

    Materials are few: with at most 256 of them a pixel's is one byte and OpenCV's table look-up
    does the rest; with more it is an index as wide as it needs.
    """

    def __init__(self, block: Block) -> None:
        numbers: dict[Material, int] = {}
        of_item = [numbers.setdefault(item.material, len(numbers)) for item in block.items]
        self.materials = list(numbers)
        self._small = len(numbers) <= 256
        table = np.array(of_item, np.uint8 if self._small else np.intp)
        self._index = np.take(table, block.canvas)

    def lookup(self, values: list[int]) -> Int16:
        """A value for each of ``materials``, as each pixel has it."""
        if not self._small:
            return np.take(np.array(values, np.int16), self._index)
        table = np.zeros(256, np.int16)
        table[: len(values)] = values
        return np.asarray(cv2.LUT(self._index, table), np.int16)


def _compose(block: Block, rows: list[tuple[int, Ground, Int32]]) -> None:
    """Mix each item's dark and light colour by its noise."""
    size = block.size
    shift_y, shift_x = block.row + block.style.seed * 131, block.col + block.style.seed * 71
    pixels = _PerPixel(block)
    materials = pixels.materials

    def band(name: str, values: list[int]) -> Int16:
        tile = textures.periodic(textures.noise_tile(name), shift_y, shift_x, size, size)
        part = pixels.lookup(values)
        part *= tile
        return part

    mix = band("fine", [m.fine for m in materials])
    mix += band("medium", [m.medium for m in materials])
    mix >>= 1
    coarse = [m.coarse for m in materials]
    large = band("coarse", coarse)
    large += band("broad", [c // 2 for c in coarse])
    large >>= 1
    mix += large
    mix >>= 5
    mix += 128
    for number, g, pts in rows:
        _add_wave(block, mix, number, pts, g.rows)
    items = [item.material for item in block.items]
    _add_canopy(block, items, mix)
    np.clip(mix, 0, 255, out=mix)
    if block.style.snow < 900:
        _add_snow(block, items)
        pixels = _PerPixel(block)
        materials = pixels.materials
    for channel in range(3):
        value = pixels.lookup([m.light[channel] - m.dark[channel] for m in materials])
        value *= mix
        value >>= 8
        value += pixels.lookup([m.dark[channel] for m in materials])
        block.image[..., channel] = value


def _add_wave(
    block: Block,
    target: Int16,
    index: int,
    pts: Int32,
    rows: tuple[float, float, int],
) -> None:
    """Add a plane wave (angle of its crests, period in metres, strength) to one item's pixels."""
    size = block.size
    x0, y0 = (max(0, int(v) // 16 - 1) for v in pts.min(axis=0))
    x1, y1 = (min(size, int(v) // 16 + 2) for v in pts.max(axis=0))
    if x1 <= x0 or y1 <= y0:
        return
    angle, period, strength = rows
    k = 65536.0 * block.gsd / period
    cu, cv = round(-math.sin(angle) * k), round(math.cos(angle) * k)
    # 32-bit wrap-around is harmless: only the low bits of the phase count
    xs = np.arange(block.col + x0, block.col + x1, dtype=np.int64) * cu
    ys = np.arange(block.row + y0, block.row + y1, dtype=np.int64) * cv
    phase = (ys[:, None].astype(np.int32) + xs[None, :].astype(np.int32)) >> 8
    fade = min(1.0, (period / block.gsd - 2.0) / 3.0)
    wave = (_ROW_WAVE * round(strength * fade)) >> 6
    part = target[y0:y1, x0:x1]
    hit = block.canvas[y0:y1, x0:x1] == index
    np.add(part, np.take(wave, phase & 255), out=part, where=hit)


def _add_snow(block: Block, materials: list[Material]) -> None:
    """Patches of snow on open ground: they belong to no class."""
    y, x = block.row + block.style.seed * 13, block.col + block.style.seed * 7
    size = block.size
    depth = textures.periodic(textures.noise_tile("coarse"), y, x, size, size).astype(np.int16)
    depth += textures.periodic(textures.noise_tile("medium"), y, x, size, size) // 4
    open_ground = np.take(np.array([m.snow for m in materials]), block.canvas)
    number = block.add(OTHER, 0, False, _SNOW)
    np.copyto(block.canvas, np.uint16(number), where=open_ground & (depth > block.style.snow))


def _add_canopy(block: Block, materials: list[Material], mix: Int16) -> None:
    flags = np.array([m.pattern == CANOPY for m in materials])
    if not flags.any():
        return
    hit = flags[block.canvas]
    if not hit.any():
        return
    want = (3.8 + block.style.seed % 7 * 0.7) / block.gsd
    sizes = textures.CANOPY_SIZES
    diameter = min(sizes, key=lambda d: abs(math.log(d / want)))
    size = block.size
    h, gx, gy = (
        np.asarray(textures.periodic(t, block.row, block.col, size, size), np.int16)
        for t in textures.canopy_relief(diameter)
    )
    sx, sy = round(64 * block.style.sun[0]), round(64 * block.style.sun[1])
    light = h + h // 3 - 92 - ((gx * sx + gy * sy) >> 6)
    np.add(mix, light, out=mix, where=hit)


def add_grain(block: Block) -> None:
    """Brightness texture of every item, fine and medium."""
    size = block.size
    pixels = _PerPixel(block)
    y, x = block.row + block.style.seed * 17, block.col + block.style.seed * 29
    total = pixels.lookup([m.grain for m in pixels.materials])
    total *= textures.periodic(textures.noise_tile("fine"), y, x, size, size)
    mottle = pixels.lookup([m.mottle for m in pixels.materials])
    mottle *= textures.periodic(textures.noise_tile("medium"), y, x, size, size)
    total += mottle
    total >>= 6
    for number, b, pts in block.ribbed:
        (ax, ay), (bx, by) = b.outline[:2]
        angle = math.atan2(by - ay, bx - ax)
        _add_wave(block, total, number, pts, (angle + b.ribs[1], b.ribs[0], int(b.ribs[2])))
    grained = cv2.add(block.image, cv2.merge([total] * 3), dtype=cv2.CV_8U)
    block.image = np.asarray(grained, np.uint8)
