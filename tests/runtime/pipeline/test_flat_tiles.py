"""A tile of one colour is computed once, and only where nothing else about it differs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.pipeline.conftest import NAMES, TILE
from tests.runtime.routes.fakes import FakeModels, pack_of, paint_scene

from t2s_rt.bundle import Bundle
from t2s_rt.pipeline import Pipeline
from t2s_rt.pipeline.tiles import FLAT_KEPT, TilePixels, TileScorer
from t2s_rt.routes import RouteSettings, load_route


def _scorer(models: FakeModels) -> TileScorer:
    return TileScorer(models, load_route("fused"), pack_of(*NAMES), RouteSettings(), TILE)  # type: ignore[arg-type]


def _tile(image: NDArray[np.uint8]) -> TilePixels:
    return TilePixels(image, np.ones(image.shape[:2], dtype=bool))


def _water(side: int = TILE) -> NDArray[np.uint8]:
    return paint_scene(side, side, ("water", (0, side, 0, side)))


@pytest.fixture
def fake() -> FakeModels:
    return FakeModels()


def test_next_flat_tile_has_the_same_scores_without_a_model(fake: FakeModels) -> None:
    scorer = _scorer(fake)
    first, _ = scorer.score(_tile(_water()))
    again, seconds = scorer.score(_tile(_water()))
    fresh, _ = _scorer(FakeModels()).score(_tile(_water()))
    assert fake.calls["clip_dense"] == 1
    assert first.max() > 0
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(again, fresh)
    assert set(seconds) == {"read", "prepare"}


@pytest.mark.parametrize("where", [(0, 1), (TILE - 1, TILE - 1)])
def test_one_other_pixel_is_another_tile(fake: FakeModels, where: tuple[int, int]) -> None:
    scorer, image = _scorer(fake), _water()
    scorer.score(_tile(image))
    other = image.copy()
    other[where] += 1
    scorer.score(_tile(other))
    assert fake.calls["clip_dense"] == 2


def test_invalid_pixel_colour_shape_and_owned_part_are_told_apart(fake: FakeModels) -> None:
    scorer, image = _scorer(fake), _water()
    holed = _tile(image)
    holed.valid[5, 5] = False
    scorer.score(_tile(image))
    scorer.score(holed)
    scorer.score(_tile(image + np.uint8(1)))
    scorer.score(_tile(_water(TILE - 8)))
    scorer.score(_tile(image), (0, TILE // 2, 0, TILE))
    assert fake.calls["clip_dense"] == 5


def test_memory_is_bounded_and_the_oldest_goes_first(fake: FakeModels) -> None:
    scorer, image = _scorer(fake), _water()
    for step in range(FLAT_KEPT + 1):
        scorer.score(_tile(image + np.uint8(step)))
    scorer.score(_tile(image + np.uint8(FLAT_KEPT)))
    assert fake.calls["clip_dense"] == FLAT_KEPT + 1
    scorer.score(_tile(image))
    assert fake.calls["clip_dense"] == FLAT_KEPT + 2


def test_blank_scene_costs_its_middle_edges_and_corners(bundle: Bundle, models: FakeModels) -> None:
    with Pipeline.from_bundle(bundle, route="dense", workers=1) as pipeline:
        result = pipeline.score_image(_water(600), pack_of("water"))
    assert (result.labels == 1).all()
    assert models.calls["clip_dense"] == 9
