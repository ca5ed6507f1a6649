"""The whole of ``t2s-rt calibrate thresholds``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from t2s_calibration.thresholds.choice import Choice, choose
from t2s_calibration.thresholds.planes import LOOSE, score_tiles
from t2s_calibration.thresholds.tables import thresholds_table
from t2s_rt import __version__
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.errors import OutputError, SceneError
from t2s_rt.evaluation.datasets import DatasetSpec, Wording, dataset_spec, find_items
from t2s_rt.evaluation.evaluate import EvalTile, eval_tiles
from t2s_rt.evaluation.figures import matrix_names
from t2s_rt.pipeline import Pipeline, PipelineSettings, Progress
from t2s_rt.prompts import PromptPack, build_pack, load_pack, save_pack
from t2s_rt.routes import RouteName, RouteSettings
from t2s_rt.routes.settings import ThresholdName

__all__ = ["THRESHOLD_OF", "calibrate_thresholds"]

SCHEMA_VERSION = 1
THRESHOLD_OF: dict[str, ThresholdName] = {
    "boxes": "detector",
    "points": "points",
    "masks": "masks",
    "dense": "dense",
}
"""Threshold that each route decides by."""


def calibrate_thresholds(
    dataset: str,
    root: Path,
    output: Path,
    *,
    split: str,
    bundle_path: Path | None,
    pack_path: Path | None,
    routes: Sequence[str],
    gsd: float | None,
    limit: int,
    overwrite: bool,
    precision: str,
    backend: str,
    threads: int | None,
    progress: Progress,
) -> dict[str, Any]:
    """Fit thresholds, write the pack, and a record and a table beside it.

    Returns:
        The record.

    Raises:
        OutputError: an output is there already, or cannot be written.
        SceneError: there are no labelled tiles, or one cannot be read.
        UsageError, PackError: pack and data set do not fit.
        BundleError, BackendError: the models cannot be opened or run.
    """
    _check_outputs(output, overwrite)
    bundle, spec = load_bundle(bundle_path), dataset_spec(dataset)
    pack, wording = _pack(bundle, spec, pack_path, backend, threads)
    tiles = _tiles(spec, root, split, gsd, limit)
    targets = wording.classes_of_labels(spec)
    found: dict[str, Choice] = {}
    used = 0
    for route in dict.fromkeys(routes):
        settings = PipelineSettings(
            route=cast(RouteName, route),
            precision=precision,
            backend=backend,
            threads=threads,
            routes=LOOSE,
        )
        with Pipeline(bundle, settings) as pipeline:
            scored = score_tiles(pipeline, pack, spec, tiles, progress)
        if not scored:
            raise SceneError(f"{root}: expected tiles with labelled pixels, found none of them")
        used = len(scored)
        found[route] = choose(
            scored, _default(route), targets, matrix_names(spec), len(spec.classes)
        )
    record = _record(spec, split, bundle, pack, found, [tile.name for tile in tiles], used)
    _write(output, _with_thresholds(pack, found), record)
    return record


def _pack(
    bundle: Bundle, spec: DatasetSpec, path: Path | None, backend: str, threads: int | None
) -> tuple[PromptPack, Wording]:
    if path is not None:
        pack = load_pack(path, bundle)
        return pack, Wording.of_pack(spec, pack)
    wording = Wording.of_bundle(spec, bundle)
    return build_pack(bundle, wording.prompts, backend=backend, threads=threads), wording


def _tiles(
    spec: DatasetSpec, root: Path, split: str, gsd: float | None, limit: int
) -> list[EvalTile]:
    """So many tiles, evenly spread over the items."""
    items, _ = find_items(spec, root, split)
    tiles, broken = eval_tiles(spec, items, None, gsd)
    if not tiles:
        raise SceneError(f"no tile can be read; the first: {next(iter(broken.values()), 'none')}")
    picks = np.unique(np.linspace(0, len(tiles) - 1, min(limit, len(tiles))).round().astype(int))
    return [tiles[index] for index in picks]


def _default(route: str) -> float:
    return float(getattr(RouteSettings(), THRESHOLD_OF[route]))


def _with_thresholds(pack: PromptPack, found: dict[str, Choice]) -> PromptPack:
    """The pack with what was found, and whatever it said about other routes."""
    classes = []
    for index, entry in enumerate(pack.classes):
        own = dict(entry.thresholds)
        for route, choice in found.items():
            own.pop(THRESHOLD_OF[route], None)
            if choice.thresholds[index] != _default(route):
                own[THRESHOLD_OF[route]] = choice.thresholds[index]
        classes.append(replace(entry, thresholds=own))
    return replace(pack, classes=tuple(classes))


def _record(
    spec: DatasetSpec,
    split: str,
    bundle: Bundle,
    pack: PromptPack,
    found: dict[str, Choice],
    names: list[str],
    used: int,
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": spec.name,
        "title": spec.title,
        "split": split,
        "bundle": bundle.name,
        "tiles": used,
        "names": names,
        "routes": {
            route: {
                "threshold": THRESHOLD_OF[route],
                "default": _default(route),
                "classes": dict(
                    zip((c.name for c in pack.classes), choice.thresholds, strict=True)
                ),
                "miou_before": choice.before,
                "miou_after": choice.after,
            }
            for route, choice in found.items()
        },
        "t2s_rt": __version__,
    }


def _beside(output: Path) -> tuple[Path, Path]:
    return output.with_suffix(".json"), output.with_suffix(".md")


def _check_outputs(output: Path, overwrite: bool) -> None:
    """Before any work: all of it would be lost."""
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent}: expected a folder to write to, found none; make it")
    if output.suffix in (".json", ".md"):
        raise OutputError(f"{output}: expected a name for a pack, as thresholds.safetensors")
    for path in (output, *_beside(output)):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} is there already; name another -o or give --overwrite")


def _write(output: Path, pack: PromptPack, record: dict[str, Any]) -> None:
    save_pack(pack, output)
    texts = (
        json.dumps(record, indent=2, ensure_ascii=False) + "\n",
        thresholds_table(record) + "\n",
    )
    for path, text in zip(_beside(output), texts, strict=True):
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error})") from error
