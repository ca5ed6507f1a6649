"""Rendered scenes: same seed same pixels, window = crop, truth consistent with itself."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2s_rt.errors import UsageError
from t2s_rt.evaluation import ConfusionMatrix, colour_kmeans
from t2s_rt.synthetic import (
    CLASSES,
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    RenderedScene,
    render,
    scene_spec,
)
from t2s_rt.synthetic.spec import OTHER, PAVEMENT
from t2s_rt.synthetic.style import ARID, world_style

SPEC = scene_spec(900_011, (560, 620), 0.35)
WITH_INSTANCES = {1, 3, 4, 5, 7, 9}
SAMPLE = (900_001, 900_007, 900_012, 900_018)


@pytest.fixture(scope="module")
def whole() -> RenderedScene:
    """A scene that spans several blocks."""
    return render(SPEC)


def _digest(scene: RenderedScene) -> str:
    parts = (scene.image, scene.classes, scene.instances)
    return hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest()


def test_same_seed_same_pixels_in_a_fresh_process() -> None:
    """Another process, with another number of OpenCV threads, renders the same bytes."""
    code = (
        "import cv2, hashlib; cv2.setNumThreads(2)\n"
        "from t2s_rt.synthetic import render, scene_spec\n"
        "s = render(scene_spec(900123, 128, 0.3))\n"
        "print(hashlib.sha256(b''.join("
        "p.tobytes() for p in (s.image, s.classes, s.instances))).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == _digest(render(scene_spec(900_123, 128, 0.3)))


def test_seeds_differ() -> None:
    """Neighbouring seeds give unlike scenes."""
    a, b = (render(scene_spec(s, 96, 0.3)).image.astype(np.int16) for s in (900_000, 900_001))
    assert np.abs(a - b).mean() > 5


@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_window_equals_crop(data: st.DataObject, whole: RenderedScene) -> None:
    """Pixels, classes and instances of any window equal the crop of the whole scene."""
    height, width = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 200))
    row = data.draw(st.integers(0, SPEC.height - height))
    col = data.draw(st.integers(0, SPEC.width - width))
    part = render(SPEC, (row, col, height, width))
    y, x = slice(row, row + height), slice(col, col + width)
    assert np.array_equal(part.image, whole.image[y, x])
    assert np.array_equal(part.classes, whole.classes[y, x])
    assert np.array_equal(part.instances, whole.instances[y, x])
    assert part.crs == whole.crs
    a, _, c, _, e, f = whole.transform
    assert part.transform == pytest.approx((a, 0.0, c + col * a, 0.0, e, f + row * e))


def test_window_across_blocks(whole: RenderedScene) -> None:
    """The corner where four blocks meet."""
    part = render(SPEC, (500, 490, 40, 50))
    assert np.array_equal(part.image, whole.image[500:540, 490:540])


def test_no_seam_between_blocks(whole: RenderedScene) -> None:
    """The step across a block's edge is no larger than elsewhere (JPEG and noise included)."""
    steps = np.abs(np.diff(whole.image.astype(np.int16), axis=1)).mean(axis=(0, 2))
    assert steps[511] < 1.6 * np.median(steps) + 2


@pytest.mark.parametrize(
    "window", [(-1, 0, 10, 10), (0, 0, 561, 10), (0, 600, 5, 21), (0, 0, 0, 5)]
)
def test_window_outside(window: tuple[int, int, int, int]) -> None:
    """Windows that leave the scene are refused."""
    with pytest.raises(UsageError, match="expected a window inside"):
        render(SPEC, window)


@pytest.mark.parametrize("seed", SAMPLE)
def test_truth_is_consistent(seed: int) -> None:
    """Every instance has one class; boxes are tight; counts, flags and ids are right."""
    scene = render(scene_spec(seed, 200, 0.4))
    _check_objects(scene)


def test_truth_is_consistent_across_blocks(whole: RenderedScene) -> None:
    """The same over several blocks."""
    _check_objects(whole)


def _check_objects(scene: RenderedScene) -> None:
    height, width = scene.classes.shape
    assert scene.image.shape == (height, width, 3)
    assert scene.image.dtype == np.uint8
    assert scene.classes.dtype == np.uint8
    assert scene.instances.dtype == np.int32
    ids = [o.id for o in scene.objects]
    assert sorted(ids) == [int(v) for v in np.unique(scene.instances) if v]
    for o in scene.objects:
        mask = scene.instances == o.id
        ys, xs = np.nonzero(mask)
        assert o.pixels == len(ys)
        assert set(np.unique(scene.classes[mask])) == {o.class_id}
        assert o.class_id in WITH_INSTANCES
        expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert o.box.dtype == np.float32
        assert o.box.tolist() == expected
        touches = expected[0] == 0 or expected[1] == 0 or expected[2] == width
        assert o.cut == (touches or expected[3] == height)
    for class_id in WITH_INSTANCES:
        assert (scene.instances[scene.classes == class_id] > 0).all()
    for class_id in {0, 2, 6, 8}:
        assert (scene.instances[scene.classes == class_id] == 0).all()


def test_sizes_of_things_are_real() -> None:
    """Cars, crowns and houses have the size they have in the world."""
    cars, crowns, houses = [], [], []
    for seed in range(900_020, 900_032):
        scene = render(scene_spec(seed, 256, 0.25))
        for o in scene.objects:
            side = float(max(o.box[2] - o.box[0], o.box[3] - o.box[1])) * 0.25
            if o.cut or o.crowd:
                continue
            if o.class_id == 5:
                cars.append(side)
            elif o.class_id == 3:
                crowns.append(side)
            elif o.class_id == 1:
                houses.append(side)
    assert 3.2 < np.median(cars) < 5.2
    assert 2.5 < np.median(crowns) < 9.0
    assert 5.0 < np.median(houses) < 25.0
    assert max(cars) < 7.5
    assert max(crowns) < 16.0


def test_every_class_appears_in_the_held_out_set() -> None:
    """A part of the held-out seeds already shows all classes."""
    seen: set[int] = set()
    for seed in HELD_OUT_SEEDS[::8]:
        seen |= {int(v) for v in np.unique(render(scene_spec(seed, 192, 0.5)).classes)}
        if len(seen) == len(CLASSES):
            break
    assert seen == {c.id for c in CLASSES}


def test_dry_countries_have_sand_and_no_snow() -> None:
    """What makes deserts hard on real images: bright ground, hardly a lawn, never snow."""
    arid = [s for s in range(400) if world_style(s).theme in ARID]
    assert len(arid) > 20
    styles = [world_style(s) for s in arid]
    assert all(style.snow > 900 and style.lawn <= 0.4 for style in styles)
    bright = [np.mean(style.bare[0].light) for style in styles]
    others = [np.mean(world_style(s).bare[0].light) for s in range(400) if s not in arid]
    assert np.median(bright) > np.median(others) + 15


def test_hardly_anything_is_unnamed() -> None:
    """Paved yards, squares and pavements have a class, so that "none of them" stays rare."""
    counts = np.zeros(len(CLASSES))
    for seed in HELD_OUT_SEEDS[::10]:
        classes = render(scene_spec(seed, 192, 0.5)).classes
        counts += np.bincount(classes.ravel(), minlength=len(CLASSES))
    assert counts[OTHER] < 0.05 * counts.sum() < counts[PAVEMENT]


def test_seed_ranges() -> None:
    """200 held-out seeds that no training draws."""
    assert len(HELD_OUT_SEEDS) == 200
    assert not set(HELD_OUT_SEEDS) & set(TRAINING_SEEDS)


def test_scene_spec() -> None:
    """Resolutions are drawn within the stated range; impossible ones are refused."""
    drawn = [scene_spec(s, 64).gsd for s in range(200)]
    assert min(drawn) >= 0.05
    assert max(drawn) <= 1.0
    assert np.median(drawn) == pytest.approx(0.224, abs=0.07)
    assert scene_spec(3, (10, 20), 0.5).width == 20
    with pytest.raises(UsageError, match="positive scene size"):
        scene_spec(1, 0)
    with pytest.raises(UsageError, match="gsd"):
        scene_spec(1, 64, 9.0)


def kmeans_baseline(seeds: tuple[int, ...], size: int) -> float:
    """Pooled mIoU of colour k-means with k = classes present, matched to the truth afterwards."""
    matrix = ConfusionMatrix([c.name for c in CLASSES])
    for seed in seeds:
        scene = render(scene_spec(seed, size))
        matrix.add(scene.classes, colour_kmeans(scene.image, scene.classes))
    return matrix.miou()


def test_colour_alone_does_not_tell() -> None:
    """Colour k-means, though matched with the truth, stays under 0.40 mIoU."""
    score = kmeans_baseline(tuple(HELD_OUT_SEEDS[::17]), 256)
    assert 0.1 < score < 0.40
