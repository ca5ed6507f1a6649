"""Each route gives back the painting, abstains where nothing is, and never mixes classes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.routes.fakes import FakeModels, is_word, pack_of, paint_scene

from t2s_rt.errors import BundleError, UsageError
from t2s_rt.routes import ROUTE_ROLES, ROUTES, RouteName, RouteSettings, load_route
from t2s_rt.routes.decision import decide, map_rule
from t2s_rt.routes.features import TileFeatures

SIDE = 128
PATCHES = (
    ("building", (16, 48, 16, 56)),
    ("building", (80, 112, 24, 48)),
    ("water", (64, 128, 64, 128)),
    ("road", (0, 128, 56, 64)),
    ("car", (24, 32, 56, 64)),
)


def _features(
    image: NDArray[np.uint8], pack: Any, models: Any = None, valid: Any = None
) -> TileFeatures:
    seen = np.ones(image.shape[:2], bool) if valid is None else valid
    opened: Any = models or FakeModels()
    return TileFeatures(opened, image, seen, pack)


def _map(route: RouteName, image: NDArray[np.uint8], pack: Any) -> NDArray[np.uint8]:
    settings = RouteSettings()
    result = load_route(route)(_features(image, pack), pack, settings)
    return decide(result.scores, map_rule(pack, route, settings))[0]


def _iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((found & truth).sum() / max((found | truth).sum(), 1))


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return paint_scene(SIDE, SIDE, *PATCHES)


@pytest.mark.parametrize(
    ("route", "names"),
    [
        ("boxes", ("building", "car")),
        ("points", ("building", "water", "road")),
        ("masks", ("building", "water", "road")),
        ("dense", ("building", "water", "road")),
        ("fused", ("building", "water", "road", "car")),
    ],
)
def test_route_gives_back_the_painting(
    route: RouteName, names: tuple[str, ...], image: NDArray[np.uint8]
) -> None:
    labels = _map(route, image, pack_of(*names))
    for index, name in enumerate(names, 1):
        assert _iou(labels == index, is_word(image, name)) > 0.9, name
    asked = np.any([is_word(image, name) for name in names], axis=0)
    assert (labels[~asked] > 0).mean() < 0.02


@pytest.mark.parametrize("route", ROUTES)
def test_absent_class_abstains_and_changes_nothing(
    route: RouteName, image: NDArray[np.uint8]
) -> None:
    names = ("building", "water")
    without, with_it = pack_of(*names), pack_of(*names, "tree")
    settings = RouteSettings()
    before = load_route(route)(_features(image, without), without, settings)
    after = load_route(route)(_features(image, with_it), with_it, settings)
    # "tree" leaves the other words and becomes a class: the label set and its softmax stay
    np.testing.assert_allclose(after.scores[:2], before.scores, atol=1e-5)
    assert after.candidates[2] == 0 and after.abstained[2]
    labels, _ = decide(after.scores, map_rule(with_it, route, settings))
    assert not (labels == 3).any()


@pytest.mark.parametrize("route", ROUTES)
def test_permuting_classes_permutes_the_result(route: RouteName, image: NDArray[np.uint8]) -> None:
    names = ["building", "water", "road", "car", "tree"]
    order = [3, 0, 4, 2, 1]
    pack, shuffled = pack_of(*names), pack_of(*(names[i] for i in order))
    settings = RouteSettings()
    straight = load_route(route)(_features(image, pack), pack, settings)
    turned = load_route(route)(_features(image, shuffled), shuffled, settings)
    np.testing.assert_allclose(turned.scores, straight.scores[order], atol=1e-5)
    assert turned.candidates == tuple(straight.candidates[i] for i in order)


@pytest.mark.parametrize("route", ROUTES)
def test_empty_tile_abstains(route: RouteName) -> None:
    pack = pack_of("building", "water", "car")
    result = load_route(route)(_features(paint_scene(64, 64), pack), pack, RouteSettings())
    assert result.abstained == (True, True, True)
    labels, confidence = decide(result.scores, map_rule(pack, route, RouteSettings()))
    assert not labels.any() and not confidence.any()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("names", [("building",), ("building", "car", "tree", "road", "water")])
def test_encoders_run_once_per_tile(
    route: RouteName, names: tuple[str, ...], image: NDArray[np.uint8]
) -> None:
    models, pack = FakeModels(), pack_of(*names)
    features = _features(image, pack, models)
    load_route(route)(features, pack, RouteSettings())
    load_route(route)(features, pack, RouteSettings())
    assert {models.calls[name] for name in ("detector", "mask_encoder", "clip_dense")} <= {0, 1}
    assert set(features.timings) <= {"detector", "mask_encoder", "mask_decoder", "clip"}


@pytest.mark.parametrize("route", ROUTES)
def test_pixels_without_data_get_no_score(route: RouteName, image: NDArray[np.uint8]) -> None:
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, :40] = False
    pack = pack_of("building", "water", "road")
    result = load_route(route)(_features(image, pack, valid=valid), pack, RouteSettings())
    assert not result.scores[:, ~valid].any()
    assert result.scores.any()


def test_tiles_side_by_side_do_not_wait_for_each_other(image: NDArray[np.uint8]) -> None:
    """Each encoder must be able to run for two tiles at once, in two threads."""
    both = Barrier(2, timeout=10)

    class Meeting:
        def frame(self, image: object) -> object:
            return image

        def detect_frames(self, *_: object) -> list[object]:
            return [both.wait() >= 0]

        windows, encode_frames, dense_windows = frame, detect_frames, detect_frames

    models: Any = FakeModels()
    models.detector = models.segmenter = models.clip = Meeting()
    valid = np.ones(image.shape[:2], bool)
    tiles = [TileFeatures(models, image, valid, pack_of("building")) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for name in ("detections", "embedding", "dense"):
            assert list(pool.map(lambda tile, n=name: getattr(tile, n), tiles)) == [True, True]


def test_thing_goes_over_stuff_in_fused(image: NDArray[np.uint8]) -> None:
    pack = pack_of("road", "car")
    fused = load_route("fused")(_features(image, pack), pack, RouteSettings())
    car = is_word(image, "car")
    found = fused.scores[1] > 0.7
    assert _iou(found, car) > 0.9
    assert not fused.scores[0, found].any()
    dense = load_route("dense")(_features(image, pack), pack, RouteSettings())
    np.testing.assert_allclose(fused.scores[0, 64:], dense.scores[0, 64:], atol=0.35)


def test_thing_under_its_threshold_leaves_the_stuff(image: NDArray[np.uint8]) -> None:
    pack = pack_of("road", "car", car={"detector": 0.9})
    fused = load_route("fused")(_features(image, pack), pack, RouteSettings())
    assert fused.candidates[1] == 0 and not fused.scores[1].any()


def test_masks_route_by_crops(image: NDArray[np.uint8]) -> None:
    models, pack = FakeModels(), pack_of("building", "water")
    settings = RouteSettings(mask_names="crops", masks=0.3, crop_context=0.0)
    result = load_route("masks")(_features(image, pack, models), pack, settings)
    assert models.calls["clip_image"] == 1 and models.calls["clip_dense"] == 0
    assert _iou(result.scores[1] > 0, is_word(image, "water")) > 0.9


def test_missing_model_is_named() -> None:
    models, pack = FakeModels(), pack_of("building")
    models.segmenter = None
    with pytest.raises(BundleError, match="mask_decoder|mask_encoder"):
        load_route("masks")(_features(paint_scene(64, 64), pack, models), pack, RouteSettings())


@pytest.mark.parametrize("changes", [{"dense": 1.5}, {"mask_iou": -0.1}, {"grid": 0}])
def test_settings_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        RouteSettings(**changes)


def test_roles_cover_every_route() -> None:
    assert set(ROUTE_ROLES) == set(ROUTES)


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        (np.zeros((8, 8, 3), np.float32), np.ones((8, 8), bool)),
        (np.zeros((8, 8), np.uint8), np.ones((8, 8), bool)),
        (np.zeros((8, 8, 3), np.uint8), np.ones((8, 9), bool)),
    ],
)
def test_tile_of_wrong_shape_is_refused(image: Any, valid: Any) -> None:
    with pytest.raises(ValueError, match="found"):
        TileFeatures(FakeModels(), image, valid, pack_of("building"))  # type: ignore[arg-type]


def test_sharpening_follows_the_edges_that_dense_patches_blur() -> None:
    # an edge inside a patch: dense CLIP alone cannot tell where it lies
    image = paint_scene(SIDE, SIDE, ("water", (0, SIDE, 38, SIDE)))
    pack = pack_of("water")
    water = is_word(image, "water")

    def iou(grid: int) -> float:
        settings = RouteSettings(sharpen_grid=grid, sharpen_weight=1.0)
        result = load_route("fused")(_features(image, pack), pack, settings)
        return _iou(result.scores[0] >= 0.4, water)

    assert iou(8) > 0.99
    assert iou(8) > iou(0)


def test_sharpening_never_reaches_under_a_thing() -> None:
    image = paint_scene(SIDE, SIDE, ("road", (0, SIDE, 40, 80)), ("car", (48, 72, 48, 72)))
    pack = pack_of("road", "car")
    result = load_route("fused")(_features(image, pack), pack, RouteSettings())
    under = result.scores[1] > 0
    assert under.sum() > 400 and not result.scores[0, under].any()
    assert _iou(result.scores[0] > 0.4, is_word(image, "road")) > 0.9
