"""``t2s-rt eval`` with the embedded bundle on a few small tiles."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result

from t2s_rt.bundle import load_bundle
from t2s_rt.cli._options import DATASET_NAMES
from t2s_rt.evaluation.datasets import DATASETS, Wording, dataset_spec
from t2s_rt.pipeline import Pipeline
from t2s_rt.prompts import load_pack
from t2s_rt.synthetic.__main__ import write_folder

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    write_folder(root, 900_000, 3, 96, 0.3)
    return root


def _metrics(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return record


def test_metrics_are_the_pipelines_maps_counted(run: Run, scenes: Path, tmp_path: Path) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the test extra")
    out = tmp_path / "out"
    result = run("eval", "synthetic", scenes, "--route", "dense", "--limit", 2, "-o", out)
    assert result.exit_code == 0, result.output
    record = _metrics(out)
    assert record["schema_version"] == 1
    assert (record["dataset"], record["split"], record["route"]) == ("synthetic", "val", "dense")
    assert (record["tiles"], record["limit"], record["bundle"]) == (2, 2, "nano")
    assert record["seconds_per_tile"] > 0 and record["failed"] == []

    import rasterio

    from t2s_rt.synthetic import CLASSES

    bundle = load_bundle(None)
    assert bundle.default_pack is not None
    pack = load_pack(bundle.default_pack, bundle)
    ids = {entry.name: entry.id for entry in CLASSES}
    table = np.array([0, *(ids[entry.name] for entry in pack.classes)])
    truths, guesses = [], []
    with Pipeline.from_bundle(bundle, route="dense") as pipeline:
        for seed in (900_000, 900_001):
            with rasterio.open(scenes / f"images/{seed}.tif") as source:
                image = np.ascontiguousarray(np.moveaxis(source.read(), 0, -1))
            with rasterio.open(scenes / f"labels/{seed}.tif") as source:
                truths.append(source.read(1).ravel())
            guesses.append(table[pipeline.score_image(image, pack, 0.3).labels].ravel())
    truth, guess = np.concatenate(truths), np.concatenate(guesses)
    expected = sklearn.confusion_matrix(truth, guess, labels=list(range(len(CLASSES))))
    # the set's own prompts are built anew, so a pixel at a tie may turn over
    difference = np.abs(np.array(record["confusion"]["pixels"]) - expected).sum()
    assert difference <= 0.02 * truth.size
    assert record["pixel_accuracy"] == pytest.approx((truth == guess).mean(), abs=0.01)
    largest = record["baselines"]["largest"]
    assert largest["pixel_accuracy"] == pytest.approx(np.bincount(truth).max() / truth.size)
    assert record["baselines"]["kmeans"]["pixel_accuracy"] >= largest["pixel_accuracy"] * 0.5
    assert "k-means" in result.output and "largest class" in result.output

    assert cv2.imread(str(out / "confusion.png")) is not None
    assert len(record["worst"]) == 2
    for entry in record["worst"]:
        assert cv2.imread(str(out / entry["picture"])) is not None
    assert "mIoU" in (out / "metrics.md").read_text(encoding="utf-8")
    assert {path.name for path in out.iterdir()} == {
        "metrics.json", "metrics.md", "confusion.png",
        *(entry["picture"] for entry in record["worst"]),
    }  # fmt: skip


def test_a_given_ground_resolution_is_used(run: Run, scenes: Path, tmp_path: Path) -> None:
    found: list[float] = []
    score = Pipeline.score_image

    def watched(pipeline: Pipeline, image: Any, pack: Any, gsd: float) -> Any:
        found.append(gsd)
        return score(pipeline, image, pack, gsd)

    command = ("eval", "synthetic", scenes, "--route", "dense", "--limit", 1, "-o")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "score_image", watched)
        assert run(*command, tmp_path / "own").exit_code == 0
        assert run(*command, tmp_path / "given", "--gsd", 0.6).exit_code == 0
    assert found == [pytest.approx(0.3, rel=0.01), 0.6]
    own, given = _metrics(tmp_path / "own"), _metrics(tmp_path / "given")
    assert own["gsd"] is None and given["gsd"] == 0.6
    assert own["confusion"] != given["confusion"]
    assert run(*command, tmp_path / "none", "--gsd", 0).exit_code == 2


def test_finished_outputs_need_overwrite(run: Run, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("eval", "synthetic", scenes, "--route", "dense", "--limit", 1, "-o", out)
    assert run(*command).exit_code == 0
    before = (out / "metrics.json").read_bytes()
    result = run(*command)
    assert result.exit_code == 2 and "--overwrite" in result.output
    assert (out / "metrics.json").read_bytes() == before
    assert run(*command, "--overwrite").exit_code == 0


def test_a_killed_evaluation_goes_on(scenes: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = (
        "import os, sys\n"
        "from t2s_rt.evaluation.journal import EvalJournal\n"
        "add = EvalJournal.add\n"
        "def dying(self, record):\n"
        "    add(self, record)\n"
        "    if len(self.records) == 2: os.kill(os.getpid(), 9)\n"
        "EvalJournal.add = dying\n"
        "from t2s_rt.cli.main import main\n"
        "main()\n"
    )
    words = ["eval", "synthetic", str(scenes), "--route", "dense", "-o", str(out)]
    dead = subprocess.run([sys.executable, "-c", program, *words], check=False)
    assert dead.returncode == -9
    assert not (out / "metrics.json").exists()
    # torn by the kill
    with open(out / ".metrics.t2s-work" / "journal.jsonl", "a", encoding="utf-8") as stream:
        stream.write('{"kind": "tile", "na')
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert "3 tiles, 2 of them done before" in result.output
    whole = tmp_path / "whole"
    assert run(*words[:-1], whole).exit_code == 0
    resumed, fresh = _metrics(out), _metrics(whole)
    for record in (resumed, fresh):
        del record["seconds_per_tile"]
    assert resumed == fresh


def test_other_settings_start_anew(scenes: Path, run: Run, tmp_path: Path) -> None:
    from t2s_rt.evaluation.journal import EvalJournal, EvalRecord

    out = tmp_path / "out"
    (out / ".metrics.t2s-work").mkdir(parents=True)
    journal = EvalJournal(out / ".metrics.t2s-work" / "journal.jsonl", "another run")
    journal.add(EvalRecord("900000", [[1]], 1.0, 0, [[1]]))
    journal.close()
    result = run("eval", "synthetic", scenes, "--route", "dense", "--limit", 1, "-o", out)
    assert result.exit_code == 0, result.output
    assert "other settings were discarded" in result.output
    assert "done before" not in result.output
    assert np.sum(_metrics(out)["confusion"]["pixels"]) == 96 * 96


def test_only_the_worst_tiles_become_pictures(scenes: Path, tmp_path: Path) -> None:
    from t2s_rt.evaluation.datasets import find_items
    from t2s_rt.evaluation.evaluate import Evaluation, eval_tiles
    from t2s_rt.evaluation.figures import segmentation_figures
    from t2s_rt.evaluation.journal import EvalJournal
    from t2s_rt.pipeline import SilentProgress

    spec, bundle = dataset_spec("synthetic"), load_bundle(None)
    assert bundle.default_pack is not None
    pack = load_pack(bundle.default_pack, bundle)
    tiles, _ = eval_tiles(spec, find_items(spec, scenes)[0])
    scores = {}
    add = EvalJournal.add

    def watched(journal: EvalJournal, record: Any) -> None:
        scores[record.name] = segmentation_figures(spec, np.array(record.counts))["miou"]
        add(journal, record)

    with Pipeline.from_bundle(bundle, route="dense") as pipeline, pytest.MonkeyPatch.context() as m:
        m.setattr(EvalJournal, "add", watched)
        wording = Wording.of_pack(spec, pack)
        record = Evaluation(
            spec, tiles, wording, pack, tmp_path, {"split": "val", "limit": None}, worst=1
        ).run(pipeline, SilentProgress())
    assert len(scores) == 3
    assert [entry["tile"] for entry in record["worst"]] == [min(scores, key=lambda k: scores[k])]
    assert len(list(tmp_path.glob("worst_*.png"))) == 1


def test_the_command_offers_every_data_set() -> None:
    assert set(DATASET_NAMES) == set(DATASETS)


def test_an_empty_root_is_no_scene(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    result = run("eval", "loveda", root, "-o", tmp_path / "out")
    assert result.exit_code == 4
    assert "Val/Urban/images_png" in result.output and "an empty folder" in result.output
    assert list((tmp_path / "out").iterdir()) == []
    assert run("eval", "mars", root).exit_code == 2


def test_labels_that_are_none_of_the_sets_leave_nothing_behind(run: Run, tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    for folder, pixels in (
        ("images", np.zeros((8, 8, 3), np.uint8)),
        ("labels", np.full((8, 8), 9)),
    ):
        (root / folder).mkdir(parents=True)
        assert cv2.imwrite(str(root / folder / "a.png"), pixels.astype(np.uint8))
    result = run("eval", "loveda", root, "-o", out)
    assert result.exit_code == 4 and "found 9" in result.output
    assert list(out.iterdir()) == []


def test_loveda_in_its_own_folders_with_a_pack(run: Run, tmp_path: Path) -> None:
    root, out = tmp_path / "LoveDA", tmp_path / "out"
    for area, label in (("Urban", 2), ("Rural", 0)):
        for folder, pixels in (
            ("images_png", np.full((64, 64, 3), 90, np.uint8)),
            ("masks_png", np.full((64, 64), label, np.uint8)),
        ):
            (root / "Val" / area / folder).mkdir(parents=True)
            assert cv2.imwrite(str(root / "Val" / area / folder / "1.png"), pixels)
    pack = load_bundle(None).default_pack
    result = run("eval", "loveda", root, "--route", "dense", "--pack", pack, "-o", out)
    assert result.exit_code == 0, result.output
    record = _metrics(out)
    # the tile without a labelled pixel is no figure's
    assert (record["tiles"], record["unlabelled_tiles"]) == (1, 1)
    pixels = np.array(record["confusion"]["pixels"])
    assert pixels.sum() == pixels[1].sum() == 64 * 64
    assert record["prompts"]["agricultural"] == ["field"]


def test_a_broken_tile_is_listed_and_the_rest_counts(run: Run, tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    for name, value in (("a", 1), ("b", 9)):
        for folder, pixels in (
            ("images", np.full((64, 64, 3), 120, np.uint8)),
            ("labels", np.full((64, 64), value, np.uint8)),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / folder / f"{name}.png"), pixels)
    result = run("eval", "loveda", root, "--route", "dense", "-o", out)
    assert result.exit_code == 6, result.output
    record = _metrics(out)
    assert record["tiles"] == 1
    assert [entry["tile"] for entry in record["failed"]] == ["b"]
    absent = {name for name, iou in record["per_class_iou"].items() if iou is None}
    predicted = np.array(record["confusion"]["pixels"]).sum(0) > 0
    names = record["confusion"]["classes"]
    assert absent == {n for n, hit in zip(names, predicted, strict=True) if not hit} - {
        "background"
    }


@pytest.mark.parametrize("name", list(DATASETS))
def test_own_prompts_are_words_that_nano_knows(name: str) -> None:
    bundle = load_bundle(None)
    spec = dataset_spec(name)
    wording = Wording.of_bundle(spec, bundle)
    assert bundle.text.words is not None
    assert {word for item in wording.prompts for word in item.phrases} <= set(bundle.text.words)
    assert wording.without == (("human",) if name == "uavid" else ())
    asked = wording.words_by_class(spec)
    unasked = {c.name for c in spec.classes if not c.words} | set(wording.without)
    assert {key for key, words in asked.items() if words is None} == unasked


def test_a_pack_is_mapped_by_its_words() -> None:
    bundle = load_bundle(None)
    assert bundle.default_pack is not None
    pack = load_pack(bundle.default_pack, bundle)
    wording = Wording.of_pack(dataset_spec("loveda"), pack)
    means = {
        prompt.name: None if target is None else dataset_spec("loveda").names[target]
        for prompt, target in zip(wording.prompts, wording.targets, strict=True)
    }
    assert means["tree"] == "forest" and means["field"] == "agricultural"
    assert means["bare ground"] == "barren" and means["car"] is None
