"""The files of a finished scene: maps, polygons, preview, report."""

from __future__ import annotations

import platform
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from t2s_rt import __version__
from t2s_rt.bundle import Bundle
from t2s_rt.errors import OutputError
from t2s_rt.models import Models
from t2s_rt.pipeline.journal import Journal
from t2s_rt.pipeline.layout import Layout
from t2s_rt.pipeline.report import ClassReport, SceneReport, TileCounts, Timings
from t2s_rt.pipeline.settings import PipelineSettings
from t2s_rt.pipeline.source import SceneReader
from t2s_rt.scene import LABEL_NODATA, MapWriter, Window, write_preview, write_vectors

if TYPE_CHECKING:
    from t2s_rt.prompts import PromptPack

__all__ = ["FinishedRun", "write_outputs"]

_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "numpy", "opencv-python-headless", "rasterio")


@dataclass(frozen=True)
class FinishedRun:
    """What the report tells about a run whose bands are all composed.

    Attributes:
        reader: of the scene.
        pack: classes looked for.
        bundle: whose graphs.
        settings: of the pipeline.
        models: opened ones, or None where no tile needed them.
        layout: of the scene.
        journal: what became of each tile.
        resumed: tiles taken over from an interrupted run.
        seconds: spent outside tiles, by stage.
        timings: of its tiles.
        warning: what the user should know about how they were computed, or None.
        stem: what the outputs are named after.
        results: folder that finished outputs wait in.
        directory: folder that they will be in.
    """

    reader: SceneReader
    pack: PromptPack
    bundle: Bundle
    settings: PipelineSettings
    models: Models | None
    layout: Layout
    journal: Journal
    resumed: int
    seconds: defaultdict[str, float]
    timings: Timings
    warning: str | None
    stem: str
    results: Path
    directory: Path


def write_outputs(run: FinishedRun, writer: MapWriter) -> SceneReport:
    """Write all outputs into the results folder.

    Raises:
        OutputError: a file cannot be written.
    """
    with _timed(run.seconds, "write"):
        pixels = _count(run.layout, writer)
        labels, confidence = writer.finish()
    names = run.pack.names
    prompts = {item.name: ", ".join(item.phrases) for item in run.pack.classes}
    scene = run.reader.scene
    with _timed(run.seconds, "polygons"):
        vectors = write_vectors(
            labels,
            confidence,
            run.results,
            run.stem,
            run.pack.classes,
            route=run.settings.route,
            prompts=prompts,
            gsd=scene.gsd,
        )
    with _timed(run.seconds, "preview"):
        preview = write_preview(
            scene, labels, run.results / f"{run.stem}.preview.png", run.pack.classes
        )
    report = run.results / f"{run.stem}.json"
    made = {
        "labels": labels,
        "confidence": confidence,
        "polygons": vectors.path,
        "preview": preview,
        "report": report,
    }
    seen = int(pixels.sum()) - int(pixels[LABEL_NODATA])
    classes = [
        ClassReport(
            value=value,
            name=item.name,
            kind=item.kind,
            colour=item.colour,
            found=bool(pixels[value]),
            pixels=int(pixels[value]),
            share=float(pixels[value]) / seen if seen else 0.0,
            area_m2=vectors.areas_m2.get(item.name),
            objects=vectors.counts.get(item.name, 0),
        )
        for value, item in enumerate(run.pack.classes, 1)
    ]
    result = SceneReport(
        scene=scene.path,
        stem=run.stem,
        outputs={kind: run.directory / path.name for kind, path in made.items()},
        route=run.settings.route,
        precision=_precision(run.models, run.settings),
        backend=_backend(run.models),
        bundle=run.bundle.name,
        pack=run.pack.fingerprint,
        working_gsd=_mean(run.reader.working.gsd),
        tiles=_tile_counts(run),
        failures=_failures(run),
        classes=classes,
        nodata_pixels=int(pixels[LABEL_NODATA]),
        seconds=_seconds(run),
        versions=_versions(),
        warnings=_warnings(run, names, pixels),
        settings=run.settings.as_record(),
        timings=run.timings,
        choice="" if run.models is None else run.models.choice,
    )
    _write_text(report, result.to_json())
    return result


@contextmanager
def _timed(seconds: defaultdict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] += time.perf_counter() - start


def _count(layout: Layout, writer: MapWriter) -> NDArray[np.int64]:
    """Pixels of each value of the class map, int64 ``[256]``."""
    counts = np.zeros(256, dtype=np.int64)
    for band in range(layout.bands):
        for row0, row1, col0, col1 in layout.blocks(band):
            labels, _ = writer.read(Window(row0, col0, row1 - row0, col1 - col0))
            counts += np.bincount(labels.ravel(), minlength=256)
    return counts


def _tile_counts(run: FinishedRun) -> TileCounts:
    statuses = Counter(record.status for record in run.journal.tiles.values())
    return TileCounts(
        total=len(run.layout.tiles),
        done=statuses["done"],
        resumed=run.resumed,
        skipped=statuses["skipped"],
        failed=statuses["failed"],
    )


def _failures(run: FinishedRun) -> list[Mapping[str, object]]:
    """Failed tiles with their window in scene pixels."""
    failures: list[Mapping[str, object]] = []
    for index, record in sorted(run.journal.tiles.items()):
        if record.status == "failed":
            window = run.reader.working.to_scene(run.layout.tiles[index])
            corners = {
                "row": window.row,
                "col": window.col,
                "height": window.height,
                "width": window.width,
            }
            rounded = {name: round(value, 2) for name, value in corners.items()}
            failures.append({"index": index, "reason": record.reason, **rounded})
    return failures


def _seconds(run: FinishedRun) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for part in (*(record.seconds for record in run.journal.tiles.values()), run.seconds):
        for stage, spent in part.items():
            total[stage] += spent
    return dict(total)


def _warnings(
    run: FinishedRun, names: tuple[str, ...], pixels: NDArray[np.int64]
) -> tuple[str, ...]:
    extra = [] if run.warning is None else [run.warning]
    if not any(record.status == "done" for record in run.journal.tiles.values()):
        extra.append("no pixel of the scene holds data: the map is nodata everywhere")
    elif not pixels[1 : len(names) + 1].any():
        extra.append("every class abstained: nothing passed its threshold")
    opened = () if run.models is None else run.models.warnings
    return (*run.reader.warnings, *opened, *extra)


def _precision(models: Models | None, settings: PipelineSettings) -> str:
    if models is None:
        return settings.precision
    return ", ".join(sorted({session.entry.precision for session in models.sessions}))


def _backend(models: Models | None) -> str:
    if models is None:
        return ""
    return ", ".join(sorted({session.backend for session in models.sessions}))


def _mean(pair: tuple[float, float] | None) -> float | None:
    return None if pair is None else (pair[0] + pair[1]) / 2


def _versions() -> dict[str, str]:
    found = {"t2s-rt": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
