"""Cast shadows: of low things, of buildings and crowns, and of tall ones on lower tops."""

from __future__ import annotations

import math

import cv2
import numpy as np

from t2s_rt.synthetic.canvas import Block, Int32, UInt8
from t2s_rt.synthetic.layout import SHADOW
from t2s_rt.synthetic.plan import Building, Plan, Tree


def _offset(block: Block, height: float) -> tuple[int, int]:
    """Displacement of a shadow cast from a height, in 1/16 pixel."""
    dx, dy = block.style.shadow
    h = min(height, SHADOW / max(math.hypot(dx, dy), 1e-6))
    return round(dx * h * block.scale), round(dy * h * block.scale)


def sweep(
    block: Block,
    pts: Int32,
    height: float,
    target: UInt8 | None = None,
    value: int = 255,
) -> None:
    """Shadow of a prism on flat ground."""
    mask = block.shadow if target is None else target
    top = pts + np.array(_offset(block, height), np.int32)
    sides = np.empty((len(pts), 4, 2), np.int32)
    sides[:, 0], sides[:, 3] = pts, top
    sides[:-1, 1:3] = sides[1:, ::3]
    sides[-1, 1:3] = sides[0, ::3]
    for side in sides:
        cv2.fillConvexPoly(mask, side, value, cv2.LINE_8, 4)
    block.fill(mask, top, value)


def cast_shadows(block: Block, plans: list[tuple[int, Plan]]) -> None:
    """Shadows of buildings and trees on everything drawn so far."""
    for _, plan in plans:
        for b in plan.buildings:
            if block.overlaps(b.outline, SHADOW + 2):
                sweep(block, block.pixels(b.outline), b.height)
        for t in plan.trees:
            if block.near(t.x, t.y, SHADOW):
                value = 140 if block.style.leafless else 255
                tree_shadow(block, t, 0.0, block.shadow, value)
    if block.shadow.any():
        _darken(block, np.asarray(cv2.blur(block.shadow, (3, 3)), np.uint8))


def _darken(block: Block, mask: UInt8) -> None:
    factors = np.array(block.style.shadow_factor, np.int32)
    steps = np.arange(256, dtype=np.int32)[:, None]
    table = (255 - steps * (256 - factors)[None, :] // 255).astype(np.uint8)[None]
    light = cv2.LUT(cv2.merge([mask] * 3), table).astype(np.uint16)
    light += 1
    light *= block.image
    light >>= 8
    block.image = light.astype(np.uint8)


def tree_shadow(block: Block, t: Tree, ground: float, target: UInt8, value: int) -> None:
    """A crown's shadow on a plane at the height `ground`: discs along the crown's height."""
    cx, cy = block.pixel(t.x, t.y)
    radius = t.radius * block.scale
    for share, wide in ((0.35, 0.86), (0.65, 0.92), (0.95, 0.6)):
        height = t.height * share - ground
        if height <= 0 or (share != 0.65 and radius < 28):
            continue
        dx, dy = _offset(block, height)
        cv2.circle(
            target, (cx + dx, cy + dy), max(8, round(radius * wide)), value, -1, cv2.LINE_8, 4
        )


def shade_tops(block: Block, plans: list[tuple[int, Plan]]) -> None:
    """Shadows that tall buildings and trees cast on lower roofs and crowns.

    The mask holds the caster's height (quarter metres); a pixel is shaded if its own item is
    at least 2.5 m lower. The plane that receives is taken at 4 m.
    """
    casters: list[tuple[float, Building | Tree]] = []
    for _, plan in plans:
        casters += [
            (b.height, b)
            for b in plan.buildings
            if b.height > 7.0 and block.overlaps(b.outline, SHADOW + 2)
        ]
        casters += [
            (t.height, t) for t in plan.trees if t.height > 7.0 and block.near(t.x, t.y, SHADOW)
        ]
    if not casters:
        return
    mask = np.zeros((block.size, block.size), np.uint8)
    for height, caster in sorted(casters, key=lambda c: c[0]):
        value = min(250, int(height * 4))
        if isinstance(caster, Building):
            sweep(block, block.pixels(caster.outline), height - 4.0, mask, value)
        else:
            tree_shadow(block, caster, 4.0, mask, value)
    heights = [min(250, int(t.height * 4)) for t in block.items]
    own = np.take(np.array(heights, np.uint8), block.canvas)
    hit = (mask > own.astype(np.int16) + 10) & (own > 0)
    if hit.any():
        soft = cv2.blur(hit.astype(np.uint8) * np.uint8(255), (3, 3))
        _darken(block, np.asarray(soft, np.uint8))
