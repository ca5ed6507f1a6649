"""Figures of ``bench nano``: every route at once, floors, words, and the section of the card."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2s_bench.card import write_section
from t2s_bench.contact_sheet import Row, contact_sheet
from t2s_bench.every_route import EveryRoute
from t2s_bench.nano.floors import Floor, floors
from t2s_bench.nano.maps import MapFigures
from t2s_bench.nano.masks import ellipse
from t2s_bench.nano.text import TextFigures
from t2s_bench.nano.truth import HeldOut
from t2s_rt.bundle import load_bundle
from t2s_rt.errors import UsageError
from t2s_rt.pipeline import Pipeline
from t2s_rt.prompts import load_pack
from t2s_rt.routes import ROUTES
from t2s_rt.synthetic import CLASSES, HELD_OUT_SEEDS


def test_every_route_is_what_the_pipeline_makes_of_it() -> None:
    bundle = load_bundle()
    assert bundle.default_pack is not None
    pack = load_pack(bundle.default_pack, bundle)
    scene = HeldOut.of(HELD_OUT_SEEDS[0], 160, bundle)
    with EveryRoute(bundle) as routes:
        found = routes.label(scene.truth.image, pack, scene.spec.gsd)
    assert set(found) == set(ROUTES)
    for route in ROUTES:
        with Pipeline.from_bundle(bundle, route=route) as pipeline:
            alone = pipeline.score_image(scene.truth.image, pack, scene.spec.gsd).labels
        assert (found[route] == alone).all(), route


def _record(**changes: Any) -> dict[str, Any]:
    classes = {
        name: {"ap50": 0.9, "false_per_absent_image": 0.1} for name in ("building", "tree", "car")
    }
    record: dict[str, Any] = {
        "detector": {"classes": classes},
        "mask_iou_from_true_boxes": {"all": 0.9},
        "miou": {"boxes": 0.5, "points": 0.4, "masks": 0.4, "dense": 0.6, "fused": 0.75},
        "text": {
            "swapped": {"car": {"car": 0.9, "tree": 0.01}, "tree": {"car": 0.0, "tree": 0.8}},
            "synonyms": {"car": {"word": "vehicle", "iou": 0.95}},
        },
    }
    return {**record, **changes}


def test_floors_are_reached_or_not() -> None:
    assert all(floor.reached for floor in floors(_record()))
    assert len({floor.measure for floor in floors(_record())}) == len(floors(_record())) == 12
    unseen = {"building": 0.9, "tree": 0.9, "car": None}
    classes = {
        name: {"ap50": value, "false_per_absent_image": 0.3} for name, value in unseen.items()
    }
    worse = _record(
        detector={"classes": classes},
        mask_iou_from_true_boxes={"all": None},
        miou={"boxes": 0.5, "points": 0.4, "masks": 0.4, "dense": 0.6, "fused": 0.59},
        text={
            "swapped": {"car": {"car": 0.9, "tree": 0.3}},
            "synonyms": {"car": {"word": "vehicle", "iou": None}},
        },
    )
    missed = [floor.measure for floor in floors(worse) if not floor.reached]
    assert "AP50 car" in missed and "AP50 tree" not in missed
    assert "dense mIoU" not in missed
    assert len(missed) == 9


def test_a_floor_without_a_figure_is_not_reached() -> None:
    assert not Floor("x", math.nan, 0.3, least=False).reached
    assert not Floor("x", math.nan, 0.3).reached
    assert Floor("x", 0.3, 0.3).reached and not Floor("x", 0.3, 0.3, least=False).reached


def test_baselines_stand_beside_the_routes() -> None:
    bundle = load_bundle()
    assert bundle.default_pack is not None
    pack = load_pack(bundle.default_pack, bundle)
    scene = HeldOut.of(HELD_OUT_SEEDS[1], 96, bundle)
    maps = MapFigures()
    with EveryRoute(bundle, ("dense", "fused")) as routes:
        labels = maps.add(routes, pack, scene)
    record = maps.record()
    assert set(labels) == {"dense", "fused"}
    counts = np.bincount(scene.truth.classes.ravel(), minlength=len(CLASSES))
    named = 1 + int(counts[1:].argmax())
    name = [n for n, v in record["iou"]["largest"].items() if v]
    assert len(name) == 1
    assert record["iou"]["largest"][name[0]] == pytest.approx(counts[named] / counts.sum())


def test_an_ellipse_fills_its_box() -> None:
    mask = ellipse(np.array([10, 20, 50, 30], np.float32), (60, 80))
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (10, 50, 20, 30)
    assert mask.sum() == pytest.approx(math.pi * 20 * 5, rel=0.05)


def test_words_decide_what_is_compared() -> None:
    bundle = load_bundle()
    text = TextFigures(bundle)
    with EveryRoute(bundle, ("fused",)) as routes:
        text.add(routes, HeldOut.of(HELD_OUT_SEEDS[0], 128, bundle))
    record = text.record()
    assert {asked: set(found) for asked, found in record["swapped"].items()} == {
        name: {"building", "tree", "car"} for name in ("building", "tree", "car")
    }
    for entry in record["synonyms"].values():
        assert entry["iou"] is None or 0 <= entry["iou"] <= 1


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_section(path, "a", "A", "old", {"x": "1"})
    write_section(path, "b", "B", "text", {"x": "1"})
    write_section(path, "a", "A", "new", {"x": "2"})
    sections = json.loads(path.read_text())["sections"]
    assert sections["a"] == {"title": "A", "text": "new", "checkpoints": {"x": "2"}}
    assert sections["b"]["text"] == "text"
    path.write_text('{"rows": []}')
    with pytest.raises(UsageError, match="expected the sections"):
        write_section(path, "a", "A", "new", {})


def test_a_sheet_shows_every_map_in_its_colours() -> None:
    image = np.full((40, 40, 3), 7, np.uint8)
    truth, found = np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8)
    classes = [("other", (1, 2, 3)), ("tree", (0, 99, 0))]
    sheet = contact_sheet(("image", "truth", "map"), [Row("one", image, (truth, found))], classes)
    # heads of 26 and a title of 20 rows lie above, panels are 6 apart
    middle = 26 + 20 + 20
    panels = [sheet[middle, 6 + 20 + column * 46].tolist() for column in range(3)]
    assert panels == [[7, 7, 7], [1, 2, 3], [255, 255, 255]]
    assert (sheet == (0, 99, 0)).all(-1).any()
