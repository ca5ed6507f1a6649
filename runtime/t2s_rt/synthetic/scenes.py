"""From a seed to the specification of its scene: resolution and place in the world."""

from __future__ import annotations

import math
import random

from t2s_rt.errors import UsageError
from t2s_rt.synthetic.geometry import Point, keyed_random
from t2s_rt.synthetic.layout import edge_road, node
from t2s_rt.synthetic.plan import warp_point
from t2s_rt.synthetic.spec import SALT_SPEC, SceneSpec
from t2s_rt.synthetic.style import world_style


def _viewpoint(rnd: random.Random, seed: int, side: float) -> Point:
    """Centre of the scene in the world: small scenes often lie near a road, where things happen."""
    x, y = rnd.uniform(-400, 400), rnd.uniform(-400, 400)
    near, along, away = rnd.random() < 0.65, rnd.random(), rnd.uniform(-22, 22)
    i, j, axis = rnd.randrange(-3, 3), rnd.randrange(-3, 3), rnd.randrange(2)
    if side > 110 or not near or edge_road(seed, i, j, axis)[0] == "none":
        return x, y
    ax, ay = node(seed, i, j)
    bx, by = node(seed, i + 1, j) if axis == 0 else node(seed, i, j + 1)
    turn = math.atan2(by - ay, bx - ax)
    x = ax + (bx - ax) * along - away * math.sin(turn)
    y = ay + (by - ay) * along + away * math.cos(turn)
    return warp_point(world_style(seed), x, y)


def scene_spec(seed: int, size: int | tuple[int, int] = 512, gsd: float | None = None) -> SceneSpec:
    """Describe the scene of a seed.

    `size` is the side or (height, width) in pixels; `gsd` metres per pixel, by default drawn
    log-uniformly from 0.05 to 1 m by the seed. Raises UsageError for sizes or resolutions that
    cannot be rendered.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise UsageError(f"expected a positive scene size, found {height} x {width} pixels")
    rnd = keyed_random(SALT_SPEC, seed)
    drawn = math.exp(rnd.uniform(math.log(0.05), math.log(1.0)))
    resolution = drawn if gsd is None else float(gsd)
    if not 0.01 <= resolution <= 5.0:
        raise UsageError(f"expected a gsd of 0.01 to 5 m per pixel, found {resolution}")
    if height * resolution > 80_000 or width * resolution > 80_000:
        raise UsageError("expected a scene of at most 80 km a side; use a smaller size or gsd")
    centre_x, centre_y = _viewpoint(rnd, seed, max(height, width) * resolution)
    return SceneSpec(
        seed,
        height,
        width,
        resolution,
        centre_x - width * resolution / 2,
        centre_y - height * resolution / 2,
    )
