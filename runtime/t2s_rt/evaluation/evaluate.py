"""A pipeline judged on a labelled data set, tile by tile, to be gone on with after a kill."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt import __version__
from t2s_rt.bundle import manifest_json
from t2s_rt.errors import OutputError, PartialError, SceneError
from t2s_rt.evaluation.baselines import kmeans_labels
from t2s_rt.evaluation.datasets import (
    IGNORED,
    DatasetItem,
    DatasetSpec,
    Wording,
    item_gsd,
    item_size,
    item_windows,
    read_item,
)
from t2s_rt.evaluation.figures import (
    SCHEMA_VERSION,
    baseline_figures,
    matrix_names,
    metrics_markdown,
    segmentation_figures,
    versions,
)
from t2s_rt.evaluation.journal import EvalJournal, EvalRecord
from t2s_rt.evaluation.pictures import confusion_picture, save_png, tile_picture
from t2s_rt.evaluation.segmentation import ConfusionMatrix
from t2s_rt.pipeline import Pipeline, Progress
from t2s_rt.pipeline.identity import pack_digest
from t2s_rt.pipeline.journal import run_key
from t2s_rt.pipeline.workplace import Workplace, prepare_output
from t2s_rt.prompts import PromptPack
from t2s_rt.scene import Window

__all__ = ["EvalTile", "Evaluation", "eval_tiles"]

_STEM = "metrics"
_NONE_COLOUR = (60, 60, 60)


@dataclass(frozen=True)
class EvalTile:
    """A window of an item; the whole of it unless it is large.

    Attributes:
        name: unique within the run.
        item: the image and its label.
        window: in pixels of the image.
        gsd: metres per pixel, or None.
    """

    name: str
    item: DatasetItem
    window: Window
    gsd: float | None


def eval_tiles(
    spec: DatasetSpec,
    items: Sequence[DatasetItem],
    limit: int | None = None,
    gsd: float | None = None,
) -> tuple[tuple[EvalTile, ...], dict[str, str]]:
    """Tiles of the items in order, and why items that cannot be opened give none.

    Args:
        spec: the data set.
        items: of it.
        limit: most tiles; None takes all.
        gsd: metres per pixel of all images; None takes the set's, else each file's own.
    """
    tiles: list[EvalTile] = []
    broken: dict[str, str] = {}
    for item in items:
        if limit is not None and len(tiles) >= limit:
            break
        try:
            windows = item_windows(*item_size(item))
            own = item_gsd(spec, item) if gsd is None else gsd
        except SceneError as error:
            broken[item.name] = str(error)
            continue
        for window in windows:
            place = "" if len(windows) == 1 else f"@{int(window.row)},{int(window.col)}"
            tiles.append(EvalTile(item.name + place, item, window, own))
    return tuple(tiles[:limit]), broken


class Evaluation:
    """One evaluation.

    Args:
        spec: the data set.
        tiles: to be judged.
        wording: which class of the pack means which of the set.
        pack: what is looked for.
        directory: of the outputs, made if missing.
        about: what decides the run beside the rest: split, limit.
        broken: items that gave no tiles, with reasons.
        alone: number of images without a label.
        worst: how many of the worst tiles become pictures.
        overwrite: replace finished outputs.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        tiles: Sequence[EvalTile],
        wording: Wording,
        pack: PromptPack,
        directory: Path,
        about: dict[str, Any],
        *,
        broken: dict[str, str] | None = None,
        alone: int = 0,
        worst: int = 5,
        overwrite: bool = False,
    ) -> None:
        self._spec, self._tiles, self._wording, self._pack = spec, tiles, wording, pack
        self._directory, self._about, self._overwrite = directory, about, overwrite
        self._failed, self._alone, self._worst = dict(broken or {}), alone, worst
        self._scores: dict[int, float] = {}
        self._table = wording.classes_of_labels(spec)

    def run(self, pipeline: Pipeline, progress: Progress) -> dict[str, Any]:
        """Judge all tiles and write the outputs.

        Returns:
            The record that ``metrics.json`` holds.

        Raises:
            OutputError: finished outputs are there, or something cannot be written.
            SceneError: no tile can be read.
            PartialError: some tiles cannot be read; the figures of the others are written.
            BundleError, BackendError: the models cannot be opened or run.
        """
        prepare_output(self._directory)
        key = run_key(self._identity(pipeline))
        place = Workplace(self._directory, _STEM, key, self._overwrite)
        try:
            journal = EvalJournal(place.journal, key)
            try:
                self._judge(pipeline, journal, place, progress)
                if not journal.records:
                    raise SceneError(f"no tile can be read; the first: {self._first_reason()}")
                record = self._write(pipeline, journal, place, progress)
            finally:
                journal.close()
                if not journal.records:
                    place.remove()  # nothing to go on with
            self._drop_earlier()
            place.publish()
        finally:
            place.close()
        if self._failed:
            raise PartialError(
                f"{len(self._failed)} tiles or images of {self._spec.title} failed, the figures "
                f"are of the others; metrics.json lists them; the first: {self._first_reason()}"
            )
        return record

    def _first_reason(self) -> str:
        return next(iter(self._failed.values()), "none")

    def _identity(self, pipeline: Pipeline) -> dict[str, Any]:
        settings = {k: v for k, v in asdict(pipeline.settings).items() if k != "options"}
        files = []
        for tile in self._tiles:
            states = [path.stat() for path in (tile.item.image, tile.item.label)]
            where = [str(tile.item.image.resolve()), str(tile.item.label.resolve())]
            shapes = [(s.st_size, s.st_mtime_ns) for s in states]
            files.append([tile.name, where, shapes, tile.gsd])
        return {
            "version": __version__,
            "schema_version": SCHEMA_VERSION,
            "dataset": self._spec.name,
            "about": self._about,
            "worst": self._worst,
            "tiles": files,
            "bundle": _bundle_digest(pipeline),
            "pack": pack_digest(self._pack),
            "targets": self._wording.targets,
            "settings": settings,
        }

    def _judge(
        self, pipeline: Pipeline, journal: EvalJournal, place: Workplace, progress: Progress
    ) -> None:
        resumed = sum(tile.name in journal.records for tile in self._tiles)
        # started outside the timed part: models are opened once, not once a tile
        progress.begin(f"{self._spec.title} {self._about['split']}", len(self._tiles), resumed)
        try:
            if place.discarded:
                progress.note("leftovers of an interrupted run with other settings were discarded")
            opened = False
            for index, tile in enumerate(self._tiles):
                if tile.name in journal.records:
                    continue
                try:
                    image, truth, unknown = read_item(self._spec, tile.item, tile.window)
                except SceneError as error:
                    self._failed[tile.name] = str(error)
                    progress.tile("failed")
                    continue
                if (truth == IGNORED).all():
                    journal.add(EvalRecord(tile.name, [], 0.0, unknown, []))
                    progress.tile("skipped")
                    continue
                if not opened:
                    with pipeline.scorer(self._pack):
                        opened = True
                start = time.perf_counter()
                labels = self._table[pipeline.score_image(image, self._pack, tile.gsd).labels]
                spent = time.perf_counter() - start
                matrix = self._matrix(truth, labels)
                kmeans = self._matrix(truth, kmeans_labels(image, truth, IGNORED))
                # the picture's source first: a journalled tile has it
                self._keep(index, labels, matrix, journal, place)
                counts = (matrix.counts.tolist(), kmeans.counts.tolist())
                journal.add(EvalRecord(tile.name, counts[0], spent, unknown, counts[1]))
                progress.tile("done")
        finally:
            progress.end()

    def _matrix(self, truth: NDArray[np.uint8], labels: NDArray[np.uint8]) -> ConfusionMatrix:
        matrix = ConfusionMatrix(matrix_names(self._spec), (IGNORED,))
        matrix.add(truth, labels)
        return matrix

    def _keep(
        self,
        index: int,
        labels: NDArray[np.uint8],
        matrix: ConfusionMatrix,
        journal: EvalJournal,
        place: Workplace,
    ) -> None:
        """Keep a tile's prediction while it is among the worst."""
        before = self._ranked(journal)[: self._worst]
        score = self._score(matrix.counts)
        full = len(before) >= self._worst
        if self._worst and (not full or score < before[-1][1]):
            save_png(_kept(place, index), labels)
            if full:
                _kept(place, before[-1][0]).unlink(missing_ok=True)

    def _score(self, counts: NDArray[np.int64]) -> float:
        return ConfusionMatrix.of(matrix_names(self._spec), counts).miou(
            range(len(self._spec.classes))
        )

    def _ranked(self, journal: EvalJournal) -> list[tuple[int, float]]:
        """Judged tiles by their own mIoU, the worst first, earlier ones before equal ones."""
        for index, tile in enumerate(self._tiles):
            record = journal.records.get(tile.name)
            if record is not None and record.counts and index not in self._scores:
                self._scores[index] = self._score(np.array(record.counts, np.int64))
        return sorted(self._scores.items(), key=lambda pair: (pair[1], pair[0]))

    def _write(
        self, pipeline: Pipeline, journal: EvalJournal, place: Workplace, progress: Progress
    ) -> dict[str, Any]:
        record = self._record(pipeline, journal)
        for index, score in self._ranked(journal):
            if len(record["worst"]) >= self._worst:
                break
            labels = cv2.imread(str(_kept(place, index)), cv2.IMREAD_GRAYSCALE)
            if labels is None:  # lost with the kill that came before its journal line
                continue
            tile = self._tiles[index]
            name = re.sub(r"[^A-Za-z0-9.-]+", "_", tile.name)
            file = f"worst_{len(record['worst']) + 1:02d}_{name}.png"
            self._draw(tile, np.asarray(labels, np.uint8), place.results / file, score)
            record["worst"].append({"tile": tile.name, "miou": score, "picture": file})
        counts = np.array(record["confusion"]["pixels"], np.int64)
        title = f"{self._spec.title} {record['split']}, {record['route']}"
        save_png(
            place.results / "confusion.png",
            confusion_picture(record["confusion"]["classes"], counts, title),
        )
        try:
            (place.results / "metrics.md").write_text(metrics_markdown(record), encoding="utf-8")
            text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
            (place.results / "metrics.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{place.results}: cannot be written ({error})") from error
        return record

    def _draw(self, tile: EvalTile, labels: NDArray[np.uint8], path: Path, score: float) -> None:
        image, truth, _ = read_item(self._spec, tile.item, tile.window)
        colours = [item.colour for item in self._spec.classes]
        if self._spec.sink is None:
            colours.append(_NONE_COLOUR)
        names = matrix_names(self._spec)
        title = f"{tile.name}: mIoU {score:.3f}"
        save_png(path, tile_picture(image, truth, labels, names, colours, title))

    def _record(self, pipeline: Pipeline, journal: EvalJournal) -> dict[str, Any]:
        spec, records = self._spec, list(journal.records.values())
        judged = [record for record in records if record.counts]
        size = len(matrix_names(spec))
        counts, kmeans = np.zeros((2, size, size), np.int64)
        for record in judged:
            counts += np.array(record.counts, np.int64)
            kmeans += np.array(record.kmeans, np.int64)
        models = pipeline.models
        sessions = () if models is None else models.sessions
        backend = ", ".join(sorted({session.backend for session in sessions}))
        precision = ", ".join(sorted({session.entry.precision for session in sessions}))
        settings = pipeline.settings
        return {
            "schema_version": SCHEMA_VERSION,
            "dataset": spec.name,
            "title": spec.title,
            **self._about,
            "route": settings.route,
            "precision": precision or settings.precision,
            "backend": backend or settings.backend,
            "bundle": pipeline.bundle.name,
            "bundle_sha256": _bundle_digest(pipeline),
            **segmentation_figures(spec, counts),
            "baselines": baseline_figures(spec, kmeans),
            "tiles": len(judged),
            "seconds_per_tile": (
                sum(record.seconds for record in judged) / len(judged) if judged else None
            ),
            "unlabelled_tiles": len(records) - len(judged),
            "images_without_label": self._alone,
            "unknown_pixels": sum(record.unknown for record in records),
            "prompts": self._wording.words_by_class(spec),
            "classes_without_word": list(self._wording.without),
            "note": spec.note,
            "failed": [{"tile": name, "reason": why} for name, why in self._failed.items()],
            "worst": [],
            "versions": versions(backend or settings.backend),
        }

    def _drop_earlier(self) -> None:
        """Remove an earlier evaluation's pictures, which its metrics.json lists."""
        try:
            text = (self._directory / "metrics.json").read_text(encoding="utf-8")
            names = [str(entry["picture"]) for entry in json.loads(text)["worst"]]
        except (OSError, ValueError, KeyError, TypeError):
            return
        for name in names:
            if re.fullmatch(r"worst_[A-Za-z0-9_.-]+\.png", name):
                (self._directory / name).unlink(missing_ok=True)


def _kept(place: Workplace, index: int) -> Path:
    return place.path / f"kept_{index}.png"


def _bundle_digest(pipeline: Pipeline) -> str:
    return hashlib.sha256(manifest_json(pipeline.bundle.manifest).encode()).hexdigest()
