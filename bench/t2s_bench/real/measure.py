"""Every route and every baseline on the labelled real images, as one record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from t2s_bench.card import checkpoints_of
from t2s_bench.every_route import EveryRoute
from t2s_bench.machine import describe_machine
from t2s_bench.real.images import SETS, RealSet
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.evaluation import ConfusionMatrix, kmeans_labels
from t2s_rt.evaluation.datasets import (
    IGNORED,
    DatasetSpec,
    Wording,
    dataset_spec,
    item_size,
    read_item,
)
from t2s_rt.evaluation.figures import baseline_figures, matrix_names, segmentation_figures
from t2s_rt.prompts import build_pack
from t2s_rt.routes import ROUTES, RouteName
from t2s_rt.scene import Window

__all__ = ["JudgedImage", "measure_real"]


@dataclass(frozen=True)
class JudgedImage:
    """One image with its truth and the maps of every route, for pictures.

    Attributes:
        title: of the image.
        spec: its data set.
        image: uint8 ``[H, W, 3]`` RGB.
        truth: uint8 ``[H, W]`` classes of the set; 255 does not count.
        maps: the same of every route; one past the last class where nothing was found.
    """

    title: str
    spec: DatasetSpec
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    maps: dict[RouteName, NDArray[np.uint8]]


def measure_real(
    data: Path, bundle_path: Path | None = None
) -> tuple[dict[str, Any], list[JudgedImage]]:
    """Judge a bundle on the labelled images of the test data, as they are.

    Args:
        data: the project's test data.
        bundle_path: of the bundle; the embedded one by default.

    Returns:
        A JSON-ready record, and the maps.

    Raises:
        SceneError: a file is missing or cannot be read.
        UsageError: the bundle knows no word of a set.
    """
    bundle = load_bundle(bundle_path)
    judged: list[JudgedImage] = []
    sets: dict[str, Any] = {}
    with EveryRoute(bundle) as routes:
        for chosen in track(SETS, "real images", transient=True):
            sets[chosen.name], images = _judge(chosen, data, bundle, routes)
            judged += images
    record = {
        "what": "accuracy on labelled real images, which were never trained on",
        "bundle": bundle.name,
        "checkpoints": checkpoints_of(bundle),
        "machine": describe_machine(),
        "sets": sets,
    }
    return record, judged


def _judge(
    chosen: RealSet, data: Path, bundle: Bundle, routes: EveryRoute
) -> tuple[dict[str, Any], list[JudgedImage]]:
    spec = dataset_spec(chosen.name)
    wording = Wording.of_bundle(spec, bundle)
    pack = build_pack(bundle, wording.prompts)
    table = wording.classes_of_labels(spec)
    tallies = {name: ConfusionMatrix(matrix_names(spec), (IGNORED,)) for name in ROUTES}
    kmeans = ConfusionMatrix(matrix_names(spec), (IGNORED,))
    judged = []
    for item, gsd in chosen.items(data):
        image, truth, _ = read_item(spec, item, Window(0, 0, *item_size(item)))
        maps = {route: table[labels] for route, labels in routes.label(image, pack, gsd).items()}
        for route, labels in maps.items():
            tallies[route].add(truth, labels)
        kmeans.add(truth, kmeans_labels(image, truth, IGNORED))
        judged.append(JudgedImage(f"{spec.title} {item.name}, {gsd} m", spec, image, truth, maps))
    found: dict[str, dict[str, Any]] = {
        route: segmentation_figures(spec, tally.counts) for route, tally in tallies.items()
    }
    figures = {**found, **baseline_figures(spec, kmeans.counts)}
    record = {
        "title": spec.title,
        "images": len(judged),
        "gsd": sorted({entry.gsd for entry in chosen.images}),
        "gsd_is": chosen.about,
        "prompts": wording.words_by_class(spec),
        "maps": {
            name: {"miou": one["miou"], "iou": one["per_class_iou"]}
            for name, one in figures.items()
        },
    }
    return record, judged
