"""Periodic noise fields, canopy relief and crown shapes, made once per process from integers.

All arrays are small, periodic and anchored to absolute scene pixels, so that any window sees the
same texture. Only integer arithmetic and correctly rounded operations are used: the same values
come out on every CPU.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Int16 = npt.NDArray[np.int16]
UInt8 = npt.NDArray[np.uint8]
T = TypeVar("T", bound=np.generic)

_SIZES = {"fine": 1024, "medium": 960, "coarse": 1024, "broad": 896, "tint": 1024}
_OCTAVES = {
    "fine": ((1, 60), (2, 50)),
    "medium": ((4, 46), (8, 46), (15, 40)),
    "coarse": ((16, 26), (32, 44), (64, 60), (128, 70)),
    "broad": ((28, 30), (56, 50), (112, 70)),
    "tint": ((8, 20), (32, 50), (128, 70)),
}


def _value_noise(rng: np.random.Generator, size: int, step: int) -> Int16:
    """Periodic cubic value noise, about -127..127."""
    n = size // step
    grid = rng.integers(0, 256, (n, n), dtype=np.uint8)
    if step == 1:
        return grid.astype(np.int16) - 128
    wrapped = np.pad(grid, 2, mode="wrap")
    big = cv2.resize(wrapped, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    return np.asarray(big[2 * step : 2 * step + size, 2 * step : 2 * step + size], np.int16) - 128


@lru_cache(maxsize=8)
def noise_tile(name: str) -> Int16:
    """A periodic field of one band of wavelengths, int16 within -127..127."""
    size = _SIZES[name]
    rng = np.random.Generator(np.random.PCG64([2026, *name.encode()]))
    total = np.zeros((size, size), np.int32)
    for step, weight in _OCTAVES[name]:
        side = size - size % step
        field = _value_noise(rng, side, step)
        if side != size:
            field = np.pad(field, (0, size - side), mode="wrap")
        total += field.astype(np.int32) * weight
    return np.clip(total // 100, -127, 127).astype(np.int16)


@lru_cache(maxsize=2)
def sensor_tile(correlated: bool) -> npt.NDArray[np.int8]:
    """Noise of a sensor, int8 [1024, 1024, 3], about normal with sigma 24."""
    rng = np.random.Generator(np.random.PCG64([77, int(correlated)]))
    size = 1024
    parts = rng.integers(0, 48, (4, size, size, 3), dtype=np.int16)
    noise = parts.sum(axis=0, dtype=np.int16) - 94
    if correlated:
        total = np.zeros_like(noise, np.int32)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                total += np.roll(noise, (dy, dx), (0, 1)) * (2 - abs(dy)) * (2 - abs(dx))
        noise = (total // 6).astype(np.int16)
        common = noise[..., :1]
        noise = (noise + 2 * common) // 3
    small: npt.NDArray[np.int8] = np.clip(noise, -127, 127).astype(np.int8)
    return small


def periodic(tile: npt.NDArray[T], y: int, x: int, h: int, w: int) -> npt.NDArray[T]:
    """The window [h, w] at absolute pixel (y, x) of a periodic array."""
    size_y, size_x = tile.shape[:2]
    y, x = y % size_y, x % size_x
    if y + h <= size_y and x + w <= size_x:
        return tile[y : y + h, x : x + w]
    out = np.empty((h, w, *tile.shape[2:]), tile.dtype)
    done_y = 0
    while done_y < h:
        top = (y + done_y) % size_y
        rows = min(h - done_y, size_y - top)
        done_x = 0
        while done_x < w:
            left = (x + done_x) % size_x
            cols = min(w - done_x, size_x - left)
            source = tile[top : top + rows, left : left + cols]
            out[done_y : done_y + rows, done_x : done_x + cols] = source
            done_x += cols
        done_y += rows
    return out


CANOPY_SIZES = (4, 6, 8, 11, 15, 21, 30, 42, 60, 84)


@lru_cache(maxsize=10)
def canopy_relief(diameter: int) -> tuple[Int16, Int16, Int16]:
    """Height 0..127 and slopes in x and y of a periodic closed canopy, int16 [512, 512]."""
    size = 512
    n = max(4, size // diameter)
    pitch = size / n
    rng = np.random.Generator(np.random.PCG64([5, diameter]))
    px = rng.integers(0, 1000, (n, n)) / 1000.0
    py = rng.integers(0, 1000, (n, n)) / 1000.0
    pr = 0.62 + rng.integers(0, 1000, (n, n)) / 1000.0 * 0.4
    ph = 0.45 + rng.integers(0, 1000, (n, n)) / 1000.0 * 0.55
    axis = (np.arange(size) + 0.5) / pitch
    cell = np.floor(axis).astype(np.int64)
    height = np.zeros((size, size))
    for dj in (-1, 0, 1):
        for di in (-1, 0, 1):
            rows, cols = (cell + dj) % n, (cell + di) % n
            # row by row, then column by column: much faster than picking single elements
            x, y, r, top = (np.take(p[rows], cols, axis=1) for p in (px, py, pr, ph))
            dx = (cell + di)[None, :] + x - axis[None, :]
            dy = (cell + dj)[:, None] + y - axis[:, None]
            dome = (1.0 - (dx * dx + dy * dy) / (r * r)) * top
            height = np.maximum(height, dome)
    h = np.rint(height * 127).astype(np.int16)
    if diameter >= 8:
        rough = periodic(noise_tile("medium"), 0, 0, size, size) // 8
        h = np.clip(h + rough * (h > 8), 0, 127).astype(np.int16)
    step = max(1, diameter // 10)
    gx = np.roll(h, -step, 1) - np.roll(h, step, 1)
    gy = np.roll(h, -step, 0) - np.roll(h, step, 0)
    return h, gx.astype(np.int16), gy.astype(np.int16)


@lru_cache(maxsize=32)
def _crown_height(variant: int) -> UInt8:
    """Height map uint8 [96, 96] of a crown made of puffs; 0 outside."""
    rng = np.random.Generator(np.random.PCG64([9, variant]))
    size = 96
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    height = np.zeros((size, size))
    puffs = 5 + variant * 2
    for k in range(puffs):
        ring = 0.0 if k == 0 else rng.integers(20, 62) / 100.0
        # directions from an integer table: no trigonometry, so no last-bit differences
        dx, dy = (int(v) for v in rng.integers(-100, 101, 2))
        norm = (dx * dx + dy * dy) ** 0.5 or 1.0
        cx, cy = ring * dx / norm, ring * dy / norm
        r = rng.integers(26, 48) / 100.0 if k else 0.62
        top = 0.55 + rng.integers(0, 45) / 100.0
        d2 = (axis[None, :] - cx) ** 2 + (axis[:, None] - cy) ** 2
        height = np.maximum(height, (1.0 - d2 / (r * r)) * top)
    rough = np.asarray(periodic(noise_tile("medium"), variant * 83, variant * 47, size, size))
    leaves = np.asarray(periodic(noise_tile("fine"), variant * 61, variant * 37, size, size))
    scaled = np.rint(height * 200).astype(np.int16)
    scaled = np.where(scaled > 0, np.clip(scaled + rough // 4 + leaves // 12, 0, 255), 0)
    return scaled.astype(np.uint8)


@lru_cache(maxsize=1024)
def crown_sprite(
    variant: int, diameter: int, sun_x: int, sun_y: int, sparse: bool
) -> tuple[UInt8, UInt8]:
    """Light 0..255 (three equal channels) and mask 0/255 of a crown, uint8 [d, d(, 3)].

    `sun_x`, `sun_y` point to the sun, scaled by 64.
    """
    light, gx, gy, mask = _crown(variant, diameter, sparse)
    slope = gx * np.int16(sun_x)
    slope += gy * np.int16(sun_y)
    slope //= 9
    axis = np.arange(diameter, dtype=np.int16) * 2 - diameter + 1
    side = axis[None, :] * np.int16(sun_x) + axis[:, None] * np.int16(sun_y)
    side //= max(1, 2 * diameter)
    side += light
    grey = cv2.subtract(side, slope, dtype=cv2.CV_8U)
    return cv2.merge([grey] * 3), mask


@lru_cache(maxsize=256)
def _crown(variant: int, diameter: int, sparse: bool) -> tuple[Int16, Int16, Int16, UInt8]:
    """What a crown's sprite does not owe to the sun: ambient light, slopes in x and y, mask."""
    base = _crown_height(variant)
    h = cv2.resize(base, (diameter, diameter), interpolation=cv2.INTER_LINEAR_EXACT)
    mask = np.where(h > 14, np.uint8(255), np.uint8(0))
    wide = cv2.copyMakeBorder(h, 1, 1, 1, 1, cv2.BORDER_REPLICATE).astype(np.int16)
    # slope per pixel grows as sprites shrink: bring it back to the 96 px scale
    gx = (wide[1:-1, 2:] - wide[1:-1, :-2]) * diameter // 96
    gy = (wide[2:, 1:-1] - wide[:-2, 1:-1]) * diameter // 96
    if sparse and diameter > 5:
        holes = periodic(noise_tile("fine"), variant * 31, variant * 17, diameter, diameter)
        mask = np.where(np.asarray(holes) > 22, 0, mask).astype(np.uint8)
    return 40 + h.astype(np.int16) * 2 // 5, gx, gy, mask
