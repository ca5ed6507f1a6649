"""The reference chain beside the runtime: what it repeats, that both find the same, and records."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.export.official import small
from tests.export.sam.conftest import SMALL
from tests.oracles import grounding_dino_original, originals

from t2s_bench.cli import bench
from t2s_bench.reference import grounding_dino, opponents, race_models
from t2s_bench.reference.packages import MissingOriginalError
from t2s_bench.reference.race import Chain, open_models, torch_threads
from t2s_bench.reference.race_models import RaceModels, RandomSize, random_models
from t2s_bench.reference.sam import SAM_FILES
from t2s_bench.reference.text2seg import heat_points
from t2s_bench.reference.weights import randomise_deep
from t2s_bench.side_by_side import COUNT, RaceRoute
from t2s_bench.side_by_side.agreement import agree, mask_iou
from t2s_bench.side_by_side.measure import measure_reference, race_image
from t2s_bench.side_by_side.ours import Ours, planted
from t2s_bench.side_by_side.phrases import TEMPLATES, WORDS, make_phrases, word_pack
from t2s_bench.side_by_side.record import load_reference, merge_rows, new_record
from t2s_bench.side_by_side.request import Request, parse_classes, parse_routes
from t2s_bench.side_by_side.tables import reference_tables, target
from t2s_rt.bundle import load_bundle
from t2s_rt.errors import UsageError

CLASSES = 2


def nano(route: RaceRoute, folder: Path) -> RaceModels:
    """Both sides' nano models for a route, or a skip."""
    with originals.skipped_where_missing():
        return open_models("nano", (route,), 2, folder, "grid_sample")


def race(models: RaceModels, route: RaceRoute, folder: Path) -> tuple[Chain, Ours]:
    """The eager chain and our side, each after one run on the same image and classes."""
    image = race_image(models.tile)
    bundle = load_bundle()
    phrases = make_phrases(bundle, CLASSES, models.context)
    with torch_threads(2):
        chain = Chain("eager", models, route, image, folder, 2)
        if route == "masks":
            chain.calibrate()
        chain.ask(phrases)
        chain()
        ours = Ours(models, route, word_pack(bundle, WORDS[:CLASSES]), image)
        ours()
    return chain, ours


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RaceModels, Chain, Ours]]:
    folder = tmp_path_factory.mktemp("race")
    models = nano("boxes", folder)
    yield models, *race(models, "boxes", folder)
    models.close()


def test_the_chain_finds_the_boxes_and_masks_of_the_route(
    boxes: tuple[RaceModels, Chain, Ours],
) -> None:
    models, chain, ours = boxes
    found = agree(models, "boxes", chain.found, ours)
    assert found["boxes"]["of"] == CLASSES * COUNT
    assert found["boxes"]["same"] == CLASSES * COUNT
    assert found["boxes"]["iou"]["least"] > 0.98
    assert found["masks"]["count"] == CLASSES * COUNT
    assert found["masks"]["least"] > 0.995
    # our own prompts lie half a pixel beside SAM's, and small boxes take the local decoder
    assert found["shipped"]["median"] > 0.85
    assert ours.result.candidates == (COUNT,) * CLASSES


def test_the_chain_repeats_what_text2seg_repeats(boxes: tuple[RaceModels, Chain, Ours]) -> None:
    _, chain, ours = boxes
    assert chain.calls == dict.fromkeys(
        ("text", "detector", "mask_encoder", "mask_decoder"), CLASSES
    )
    assert ours.calls["detector"] == ours.calls["mask_encoder"] == 1
    assert set(ours.calls) <= {"detector", "mask_encoder", "mask_decoder", "mask_decoder_local"}
    assert set(chain.stages[0]) == {*chain.calls, "host"}


def test_a_union_of_boxes_is_the_class(boxes: tuple[RaceModels, Chain, Ours]) -> None:
    for one in boxes[1].found:
        assert one.mask.shape == (576, 576) and one.masks.shape == (COUNT, 576, 576)
        assert np.array_equal(one.mask, np.logical_or.reduce(one.masks))


def test_another_weight_shows_in_the_agreement(tmp_path: Path) -> None:
    models = nano("boxes", tmp_path)
    with torch.no_grad():
        models.sam.prompt_encoder.point_embeddings[2].weight.mul_(-1.0)
    chain, ours = race(models, "boxes", tmp_path)
    found = agree(models, "boxes", chain.found, ours)
    models.close()
    assert found["boxes"]["same"] == CLASSES * COUNT
    assert found["masks"]["median"] < 0.9


def test_points_run_the_encoder_twice_a_class_and_give_the_same_mask(tmp_path: Path) -> None:
    models = nano("points", tmp_path)
    chain, ours = race(models, "points", tmp_path)
    found = agree(models, "points", chain.found, ours)
    models.close()
    assert chain.calls == {
        "text": 2 * CLASSES,
        "clip": CLASSES,
        "mask_encoder": 2 * CLASSES,
        "mask_decoder": CLASSES,
    }
    assert ours.calls["mask_encoder"] == 1
    assert found["masks"]["least"] > 0.995 and found["masks"]["count"] == CLASSES
    assert found["clip_cosine"]["least"] > 0.9999


def test_masks_generate_everything_for_each_class(tmp_path: Path) -> None:
    models = nano("masks", tmp_path)
    chain, ours = race(models, "masks", tmp_path)
    found = agree(models, "masks", chain.found, ours)
    models.close()
    assert chain.calls["mask_encoder"] == chain.calls["clip"] == chain.calls["text"] == CLASSES
    assert chain.calls["mask_decoder"] == 2 * CLASSES  # 100 points in batches of 64
    assert ours.calls["mask_encoder"] == 1
    assert found["kept"] == {"ours": COUNT, "theirs": COUNT}
    assert found["masks"]["least"] > 0.99
    assert found["clip_cosine"]["least"] > 0.9999
    for one in chain.found:
        assert not (one.mask & ~one.masks.any(0)).any()


def test_hot_and_cold_cells_become_points() -> None:
    heat = np.zeros((14, 14), np.float32)
    heat[2:4, 10:12] = 1.0  # one cell of the halved map: row 1, column 5 of 7 by 7
    heat[12:14, 0:2] = -1.0
    points, labels = heat_points(heat.ravel(), (700, 1400))
    assert labels.tolist() == [1.0, 0.0]
    assert points.tolist() == [[1100.0, 150.0], [100.0, 650.0]]
    flat, labels = heat_points(np.full(16, 0.3, np.float32), (8, 8))
    assert len(flat) == 0  # of a constant map nothing is hot, and nothing is divided by zero


def test_phrases_are_one_word_each_and_padded_as_the_original_wants() -> None:
    phrases = make_phrases(load_bundle(), 7, 77)
    assert [phrase.name for phrase in phrases] == list(WORDS)
    for phrase in phrases:
        assert phrase.sentences.shape == phrase.empty.shape == (TEMPLATES, 77)
        assert phrase.word.shape == (1, 77)
        start, end = phrase.span
        assert end - start == len(phrase.name.split())
    pack = word_pack(load_bundle(), ("building", "tree"))
    assert [item.phrases for item in pack.classes] == [("building",), ("tree",)]


def test_planted_classes_are_all_in_the_image() -> None:
    rng = np.random.default_rng(1)
    grid = rng.standard_normal((6, 6, 9)).astype(np.float32)
    grid /= np.linalg.norm(grid, axis=-1, keepdims=True)
    pack = planted(word_pack(load_bundle(), WORDS[:3]), grid)
    texts = np.concatenate(pack.class_embeddings)
    best = (grid.reshape(-1, 9) @ texts.T).argmax(1)
    assert set(best.tolist()) == {0, 1, 2}
    assert all(item.thresholds["points"] == 0.0 for item in pack.classes)


def test_the_original_detector_and_ours_find_the_same_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights of the original packages, at widths of theirs and small depths."""
    with originals.skipped_where_missing():
        sam = originals.sam_like(SMALL).requires_grad_(False)
        detector = grounding_dino_original.build_like(small.DINO)
    randomise_deep(sam, 1)
    randomise_deep(detector, 2)
    monkeypatch.setitem(SAM_FILES, "small", ("small_sam", "sam.pth", SMALL))
    detectors = {"small_dino": ("dino.pth", small.DINO)}
    monkeypatch.setattr(race_models, "DETECTORS", detectors)
    monkeypatch.setattr(race_models, "build_original", lambda name: sam)
    monkeypatch.setattr(grounding_dino, "build", lambda name: detector)
    monkeypatch.setattr(race_models, "randomise_deep", lambda module, seed: None)
    size = RandomSize("small_dino", "small", "", frame=128, tile=SMALL.image_size)
    routes: tuple[RaceRoute, ...] = ("boxes",)
    with small.known():
        models = random_models(size, routes, 2, tmp_path, "gather")
    chain, ours = race(models, "boxes", tmp_path)
    found = agree(models, "boxes", chain.found, ours)
    models.close()
    assert models.code == {"sam": "segment_anything", "detector": "groundingdino"}
    assert found["boxes"]["same"] >= 0.95 * CLASSES * COUNT  # the last ones may tie
    assert found["masks"]["least"] > 0.98
    assert len(chain.found[0].boxes) == COUNT
    # the two captions find different boxes, so that equal ones say something
    assert not np.allclose(chain.found[0].boxes, chain.found[1].boxes)


def test_stock_exports_give_the_eager_masks(
    boxes: tuple[RaceModels, Chain, Ours], tmp_path: Path
) -> None:
    models, eager, _ = boxes
    stock = Chain("onnx", models, "boxes", race_image(models.tile), tmp_path, 2)
    stock.ask(make_phrases(load_bundle(), 1, models.context))
    stock()
    assert mask_iou(stock.found[0].mask, eager.found[0].mask) > 0.999
    assert "SamOnnxModel" in stock.runs["sam"] and "torch eager" in stock.runs["detector"]
    coords = torch.tensor([[[100.0, 120.0], [300.0, 310.0]]])
    labels = torch.tensor([[1, 0]])
    answers = []
    for chain in (eager, stock):
        predictor: Any = chain._chain.parts.predictor
        predictor.set_image(race_image(models.tile))
        answers.append(predictor.predict_torch(coords, labels, return_logits=True))
    for theirs, found in zip(*answers, strict=True):
        assert torch.allclose(theirs, found, atol=2e-3)


@pytest.fixture(scope="module")
def row() -> dict[str, Any]:
    """One measured row, with a compiler that does not work."""
    with pytest.MonkeyPatch.context() as patch:

        def broken(target: Any) -> Any:
            raise RuntimeError("no C++ compiler")

        patch.setattr(opponents, "_compile", broken)
        request = Request("nano", (1,), ("boxes",), ("eager", "compile"), 1, 2)
        with originals.skipped_where_missing():
            (found,) = measure_reference(request)
    return found


def test_a_row_has_times_stages_runs_and_who_could_not_run(row: dict[str, Any]) -> None:
    eager = row["opponents"]["eager"]
    assert eager["calls"]["mask_encoder"] == row["ours"]["calls"]["mask_encoder"] == 1
    for side in (row["ours"], eager):
        assert 0 < side["fastest"] <= side["median"] and side["samples"] >= 1
        total = sum(side["stages"].values())
        assert total == pytest.approx(side["median"], rel=0.5)
    assert eager["times"] == pytest.approx(eager["median"] / row["ours"]["median"], abs=0.01)
    assert row["opponents"]["compile"] == {"unavailable": "RuntimeError: no C++ compiler"}
    assert row["agreement"]["boxes"] == {**row["agreement"]["boxes"], "same": COUNT, "of": COUNT}
    assert row["machine"]["versions"]["torch"]
    assert row["command"].startswith("t2s-rt bench reference --size nano --classes 1 ")


def test_the_table_says_who_is_faster_and_who_did_not_run(row: dict[str, Any]) -> None:
    text = reference_tables(new_record([json.loads(json.dumps(row))]))
    assert f"| **{row['opponents']['eager']['times']:.1f}** (" in text
    assert "did not run: RuntimeError: no C++ compiler" in text
    assert f"{COUNT} of {COUNT}" in text and row["command"] in text
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_targets_go_by_the_machine(row: dict[str, Any]) -> None:
    full = copy.deepcopy(row)
    full.update(size="full", classes=7)
    assert target(row) is None
    for flags, wanted in ((["avx2"], 10.0), (["avx2", "avx512f"], 25.0), ([], None)):
        full["machine"]["cpu_flags"] = flags
        assert target(full) == wanted
    full["machine"]["cpu_flags"] = ["avx2"]
    for times, words in ((9.9, ", target 10: not reached |"), (10.0, ", target 10: reached |")):
        full["opponents"]["eager"]["times"] = times
        assert words in reference_tables(new_record([full]))


def test_records_are_merged_race_by_race(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "records" / "reference.json"
    other = {**row, "route": "points"}
    merge_rows(path, [other, row])
    assert [one["route"] for one in load_reference(path)["rows"]] == ["boxes", "points"]
    changed = {**row, "threads": 99}
    merge_rows(path, [changed])
    rows = load_reference(path)["rows"]
    assert [one["threads"] for one in rows] == [99, row["threads"]]
    assert rows[1] == json.loads(json.dumps(other))


@pytest.mark.parametrize(
    "text", ["no JSON", "[1]", '{"kind": "speed", "schema_version": 1}', '{"kind": "reference"}']
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="bench reference"):
        load_reference(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--routes", "boxes,dense"], "expected routes out of boxes, points, masks, found dense"),
        (["--opponents", "onnx"], "expected eager among the opponents, found onnx"),
        (["--opponents", "eager,tvm"], "found tvm"),
        (["--classes", "1,8"], "expected numbers of classes from 1 to 7, found 1, 8"),
        (["--classes", "one"], "found 'one'"),
        (["--routes", ","], "expected routes out of boxes, points, masks, found none"),
    ],
)
def test_what_cannot_be_raced_is_refused(words: list[str], message: str) -> None:
    result = CliRunner().invoke(bench, ["reference", *words])
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_a_missing_original_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    words = ["reference", "--classes", "1", "--routes", "boxes", "--opponents", "eager"]
    result = CliRunner().invoke(bench, words)
    assert isinstance(result.exception, MissingOriginalError)


def test_the_command_writes_its_record_and_prints_its_tables(
    row: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Request] = []

    def measured(request: Request) -> Iterator[dict[str, Any]]:
        seen.append(request)
        yield json.loads(json.dumps(row, sort_keys=True))  # the order that a record has

    monkeypatch.setattr("t2s_bench.side_by_side.measure.measure_reference", measured)
    path = tmp_path / "reference.json"
    words = ["--classes", "7,1", "--routes", "points", "--opponents", "eager", "--repeat", "2"]
    result = CliRunner().invoke(bench, ["reference", "--size", "full", *words, "-o", str(path)])
    assert result.exception is None, result.output
    assert seen == [Request("full", (7, 1), ("points",), ("eager",), 2)]
    assert result.output.strip() == reference_tables(load_reference(path)).strip()
    assert parse_classes("1, 7") == (1, 7) and parse_routes("masks") == ("masks",)
