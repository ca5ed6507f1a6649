"""Keyed random streams and plane geometry on convex polygons (metres, world frame).

Randomness is `random.Random` seeded by a 64-bit mix of integer keys, so that every cell, edge and
object owns its stream whatever the order of generation.
"""

from __future__ import annotations

import math
import random
import threading

Point = tuple[float, float]
Polygon = list[Point]

_MASK = (1 << 64) - 1


def mix_keys(*keys: int) -> int:
    """Hash integers to 64 bits (splitmix64 finaliser, applied key by key)."""
    state = 0x9E3779B97F4A7C15
    for key in keys:
        state = (state ^ (key & _MASK)) & _MASK
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def keyed_random(*keys: int) -> random.Random:
    """Return a random stream that depends on the keys only."""
    return random.Random(mix_keys(*keys))


class _Scratch(threading.local):
    """One stream per thread, for those that are read at once."""

    def __init__(self) -> None:
        self.stream = random.Random()


_SCRATCH = _Scratch()


def scratch_random(*keys: int) -> random.Random:
    """Like :func:`keyed_random` for a few draws: the thread's next call seeds it anew.

    Half the price: a new stream is seeded twice over, once as it is made.
    """
    stream = _SCRATCH.stream
    stream.seed(mix_keys(*keys))
    return stream


def rectangle(x: float, y: float, length: float, width: float, angle: float) -> Polygon:
    """Corners of a rectangle centred at (x, y), its length along `angle` (radians)."""
    c, s = math.cos(angle), math.sin(angle)
    u, v = length / 2, width / 2
    return [
        (x - u * c + v * s, y - u * s - v * c),
        (x + u * c + v * s, y + u * s - v * c),
        (x + u * c - v * s, y + u * s + v * c),
        (x - u * c - v * s, y - u * s + v * c),
    ]


def transform(points: Polygon, x: float, y: float, angle: float) -> Polygon:
    """Rotate local points by `angle` and move them to (x, y)."""
    c, s = math.cos(angle), math.sin(angle)
    return [(x + px * c - py * s, y + px * s + py * c) for px, py in points]


def area(poly: Polygon) -> float:
    """Unsigned area."""
    total = 0.0
    x0, y0 = poly[-1]
    for x1, y1 in poly:
        total += x0 * y1 - x1 * y0
        x0, y0 = x1, y1
    return abs(total) / 2


def centre(poly: Polygon) -> Point:
    """Mean of the corners."""
    n = len(poly)
    return sum(p[0] for p in poly) / n, sum(p[1] for p in poly) / n


def clip(poly: Polygon, x: float, y: float, nx: float, ny: float) -> Polygon:
    """Keep the part of a convex polygon where (p - (x, y)) · (nx, ny) >= 0."""
    out: Polygon = []
    count = len(poly)
    if not count:
        return out
    px, py = poly[-1]
    dp = (px - x) * nx + (py - y) * ny
    for qx, qy in poly:
        dq = (qx - x) * nx + (qy - y) * ny
        if (dp < 0) != (dq < 0):
            t = dp / (dp - dq)
            out.append((px + (qx - px) * t, py + (qy - py) * t))
        if dq >= 0:
            out.append((qx, qy))
        px, py, dp = qx, qy, dq
    return out


def inset(poly: Polygon, distances: list[float] | float) -> Polygon:
    """Move every edge of a convex polygon inwards; empty if nothing is left.

    `distances[i]` belongs to the edge from corner i to corner i + 1.
    """
    cx, cy = centre(poly)
    out = poly
    count = len(poly)
    for i in range(count):
        (ax, ay), (bx, by) = poly[i], poly[(i + 1) % count]
        ex, ey = bx - ax, by - ay
        norm = math.hypot(ex, ey)
        if norm < 1e-6:
            continue
        nx, ny = -ey / norm, ex / norm
        if (cx - ax) * nx + (cy - ay) * ny < 0:
            nx, ny = -nx, -ny
        d = distances if isinstance(distances, float) else distances[i]
        out = clip(out, ax + nx * d, ay + ny * d, nx, ny)
        if len(out) < 3:
            return []
    return out


def main_direction(poly: Polygon) -> float:
    """Angle of the longest edge."""
    best, angle = -1.0, 0.0
    x0, y0 = poly[-1]
    for x1, y1 in poly:
        d = (x1 - x0) ** 2 + (y1 - y0) ** 2
        if d > best:
            best, angle = d, math.atan2(y1 - y0, x1 - x0)
        x0, y0 = x1, y1
    return angle


def extent(poly: Polygon, angle: float) -> tuple[float, float, float, float]:
    """Range of a polygon in the frame turned by `angle`: (u0, u1, v0, v1)."""
    c, s = math.cos(angle), math.sin(angle)
    us = [x * c + y * s for x, y in poly]
    vs = [y * c - x * s for x, y in poly]
    return min(us), max(us), min(vs), max(vs)


def split(poly: Polygon, angle: float, position: float) -> tuple[Polygon, Polygon]:
    """Cut a convex polygon by the line u = position in the frame turned by `angle`."""
    c, s = math.cos(angle), math.sin(angle)
    x, y = position * c, position * s
    return clip(poly, x, y, -c, -s), clip(poly, x, y, c, s)


def subdivide(
    poly: Polygon, rnd: random.Random, target: float, angle: float, aspect: float = 1.0
) -> list[Polygon]:
    """Cut a convex polygon into parcels of about `target` square metres, aligned to `angle`.

    `aspect` above 1 gives parcels that are longer along the angle.
    """
    done: list[Polygon] = []
    todo = [poly]
    while todo:
        part = todo.pop()
        if len(part) < 3:
            continue
        size = area(part)
        if size < target * rnd.uniform(0.9, 1.7) or len(done) + len(todo) > 120:
            if size > 0.15 * target:
                done.append(part)
            continue
        u0, u1, v0, v1 = extent(part, angle)
        f = rnd.uniform(0.38, 0.62)
        if (u1 - u0) > (v1 - v0) * aspect:
            todo.extend(split(part, angle, u0 + (u1 - u0) * f))
        else:
            todo.extend(split(part, angle + math.pi / 2, v0 + (v1 - v0) * f))
    return done


def inside(poly: Polygon, x: float, y: float) -> bool:
    """Whether a point lies in a polygon (even-odd rule)."""
    hit = False
    x0, y0 = poly[-1]
    for x1, y1 in poly:
        if (y1 > y) != (y0 > y) and x < (x0 - x1) * (y - y1) / (y0 - y1) + x1:
            hit = not hit
        x0, y0 = x1, y1
    return hit


def blob(
    rnd: random.Random, x: float, y: float, rx: float, ry: float, angle: float, rough: float = 0.2
) -> Polygon:
    """A closed wavy curve about (x, y): ellipse with three random harmonics."""
    waves = [(k, rnd.uniform(0, rough) / k**0.7, rnd.uniform(0, 6.283)) for k in (2, 3, 5)]
    n = max(14, min(40, int((rx + ry) * 0.6)))
    local: Polygon = []
    for i in range(n):
        t = 6.283185307 * i / n
        f = 1.0 + sum(a * math.sin(k * t + p) for k, a, p in waves)
        local.append((rx * f * math.cos(t), ry * f * math.sin(t)))
    return transform(local, x, y, angle)


def ribbon(line: Polygon, width: float) -> Polygon:
    """Polygon of constant width about a polyline."""
    left: Polygon = []
    right: Polygon = []
    last = len(line) - 1
    for i, (x, y) in enumerate(line):
        ax, ay = line[max(i - 1, 0)]
        bx, by = line[min(i + 1, last)]
        dx, dy = bx - ax, by - ay
        norm = math.hypot(dx, dy) or 1.0
        ox, oy = -dy / norm * width / 2, dx / norm * width / 2
        left.append((x + ox, y + oy))
        right.append((x - ox, y - oy))
    return left + right[::-1]
