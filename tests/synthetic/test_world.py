"""The world's layout: what a view leaves out changes nothing in what it keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2s_rt.synthetic.canvas import PLAIN, Block
from t2s_rt.synthetic.geometry import Polygon, area, clip, inset, rectangle, subdivide
from t2s_rt.synthetic.geometry import keyed_random as stream
from t2s_rt.synthetic.ground import _PerPixel
from t2s_rt.synthetic.layout import cell_plan, cells_in
from t2s_rt.synthetic.plan import Plan
from t2s_rt.synthetic.scenes import scene_spec
from t2s_rt.synthetic.style import world_style

EVERYWHERE = (-1e6, -1e6, 1e6, 1e6)


@pytest.mark.parametrize("seed", [5, 900_004, 900_017])
def test_view_only_leaves_out(seed: int) -> None:
    """Buildings, cars and trees of a narrow view are exactly those of the full cell there."""
    box = (-40.0, -30.0, 20.0, 45.0)
    cells = cells_in(world_style(seed), box)
    assert cells
    seen = 0
    for i, j in cells:
        full, part = cell_plan(seed, i, j, EVERYWHERE), cell_plan(seed, i, j, box)
        assert set(part.trees) <= set(full.trees)
        assert set(part.cars) <= set(full.cars)
        for t in full.trees:
            if box[0] < t.x < box[2] and box[1] < t.y < box[3]:
                assert t in part.trees
                seen += 1
        assert {b.instance for b in part.buildings} <= {b.instance for b in full.buildings}
    assert seen


@given(
    st.integers(0, 50),
    st.floats(-300, 300),
    st.floats(-300, 300),
    st.floats(2, 150),
    st.floats(1, 60),
    st.floats(0, math.pi),
)
@settings(max_examples=150, deadline=None)
def test_what_does_not_meet_the_view_bends_nowhere_near_it(
    seed: int, x: float, y: float, length: float, width: float, angle: float
) -> None:
    plan = Plan(world_style(seed), stream(1), (-40.0, -30.0, 20.0, 45.0))
    poly = rectangle(x, y, length, width, angle)
    x0, y0, x1, y1 = plan.view
    xs, ys = zip(*plan.bend(poly), strict=True)
    near = max(xs) > x0 - 25 and min(xs) < x1 + 25 and max(ys) > y0 - 25 and min(ys) < y1 + 25
    assert plan.meets(poly) or not near


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.sampled_from([0.05, 0.3, 1.0]))
def test_one_point_lies_where_many_do(x: float, y: float, gsd: float) -> None:
    block = Block(world_style(3), scene_spec(3, 64, gsd), 0, 0, 64)
    assert list(block.pixel(x, y)) == block.pixels([(x, y)])[0].tolist()


@pytest.mark.parametrize("count", [256, 257])
def test_a_pixel_s_material_with_few_and_with_many(count: int) -> None:
    block = Block(world_style(3), scene_spec(3, 64, 0.3), 0, 0, 64)
    block.items.clear()
    for k in range(count):
        block.add(0, 0, False, PLAIN._replace(fine=k))
    block.canvas[:] = np.arange(64 * 64).reshape(64, 64) % count
    pixels = _PerPixel(block)
    np.testing.assert_array_equal(pixels.lookup([m.fine for m in pixels.materials]), block.canvas)


def test_ids_within_a_cell_are_unique() -> None:
    """No two objects of a cell share an id."""
    for seed in range(900_000, 900_012):
        plan = cell_plan(seed, 0, 0, EVERYWHERE)
        ids = [t.instance for t in plan.trees] + [c.instance for c in plan.cars]
        ids += [b.instance for b in plan.buildings]
        assert len(ids) == len(set(ids))
        assert 0 not in ids


@given(
    st.floats(5, 200),
    st.floats(5, 200),
    st.floats(0, math.pi),
    st.integers(0, 10_000),
)
@settings(max_examples=40, deadline=None)
def test_subdivide_keeps_area(length: float, width: float, angle: float, seed: int) -> None:
    """Parcels tile their polygon but for slivers: no parcel lies outside or on another."""
    poly = rectangle(3.0, -7.0, length, width, angle)
    parts = subdivide(poly, stream(seed), 400.0, angle)
    total = sum(area(p) for p in parts)
    assert total <= area(poly) * (1 + 1e-9)
    if length * width > 500:
        assert total > 0.8 * area(poly)


@given(st.floats(1, 50), st.floats(1, 50), st.floats(0.01, 0.4), st.floats(0, 6.28))
@settings(max_examples=40, deadline=None)
def test_inset_of_a_rectangle(length: float, width: float, share: float, angle: float) -> None:
    """An inset rectangle has the sides that arithmetic gives it."""
    d = share * min(length, width)
    inner = inset(rectangle(1.0, 2.0, length, width, angle), d)
    assert area(inner) == pytest.approx((length - 2 * d) * (width - 2 * d), rel=1e-6)


def test_clip_by_half_plane() -> None:
    """Half of a square is left by the line through its middle."""
    square: Polygon = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
    assert area(clip(square, 1.0, 0.0, 1.0, 0.0)) == pytest.approx(2.0)
    assert clip(square, 5.0, 0.0, 1.0, 0.0) == []
