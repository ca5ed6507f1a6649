"""The figures of an evaluation as JSON and Markdown."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt import __version__
from t2s_rt.evaluation.baselines import largest_class
from t2s_rt.evaluation.datasets import DatasetSpec
from t2s_rt.evaluation.segmentation import ConfusionMatrix

__all__ = [
    "NONE",
    "SCHEMA_VERSION",
    "baseline_figures",
    "matrix_names",
    "metrics_markdown",
    "segmentation_figures",
    "versions",
]

SCHEMA_VERSION = 1
"""Of ``metrics.json``."""

NONE = "none"
"""Column of pixels where nothing was found, for sets without a class that means it."""


def matrix_names(spec: DatasetSpec) -> tuple[str, ...]:
    """Classes of the confusion matrix: the set's, and ``none`` where it has no sink."""
    return spec.names if spec.sink is not None else (*spec.names, NONE)


def segmentation_figures(spec: DatasetSpec, counts: NDArray[np.int64]) -> dict[str, Any]:
    """mIoU, IoU per class and pixel accuracy, as fractions; None where there is nothing to tell.

    Args:
        spec: the data set.
        counts: confusion matrix in pixels over ``matrix_names``, rows are truth.
    """
    matrix = ConfusionMatrix.of(matrix_names(spec), counts)
    own = range(len(spec.classes))
    iou = matrix.iou().tolist()
    return {
        "miou": _number(matrix.miou(list(own))),
        "per_class_iou": {name: _number(iou[index]) for index, name in enumerate(spec.names)},
        "pixel_accuracy": _number(matrix.pixel_accuracy()),
        "confusion": {"classes": list(matrix.names), "pixels": counts.tolist()},
    }


def baseline_figures(spec: DatasetSpec, kmeans: NDArray[np.int64]) -> dict[str, Any]:
    """The same of what needs no model, without their matrices.

    Args:
        spec: the data set.
        kmeans: confusion matrix of colour k-means over ``matrix_names``.
    """
    figures = {
        "kmeans": segmentation_figures(spec, kmeans),
        "largest": segmentation_figures(spec, largest_class(kmeans)),
    }
    return {
        name: {key: value for key, value in found.items() if key != "confusion"}
        for name, found in figures.items()
    }


def versions(backend: str) -> dict[str, str]:
    """Versions of what computed the figures."""
    return {
        "t2s_rt": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "backend": backend,
    }


def metrics_markdown(record: Mapping[str, Any]) -> str:
    """The record for people."""
    baselines = list(record["baselines"].values())
    others = {
        name: [_shown(found["per_class_iou"][name]) for found in baselines]
        for name in record["per_class_iou"]
    }
    lines = [
        f"# {record['title']}, {record['split']}: route {record['route']}",
        "",
        f"Bundle {record['bundle']}, {record['precision']}, {record['backend']}; "
        f"{record['tiles']} tiles, {_shown(record['seconds_per_tile'])} s per tile; "
        f"t2s-rt {record['versions']['t2s_rt']}.",
        "",
        f"mIoU **{_shown(record['miou'])}**, pixel accuracy {_shown(record['pixel_accuracy'])} "
        "(fractions; classes in neither truth nor prediction are left out of the mean).",
        "",
        "Beside it what needs no model: colour k-means in each tile, its clusters named by the "
        "truth, and everything as the most frequent class.",
        "",
        "| class | IoU | k-means | largest class | asked for by |",
        "|---|---|---|---|---|",
    ]
    for name, iou in record["per_class_iou"].items():
        words = record["prompts"][name]
        if words:
            asked = ", ".join(words)
        elif name in record["classes_without_word"]:
            asked = "no word for it: never found"
        else:
            asked = "where nothing is found"
        lines.append(f"| {name} | {_shown(iou)} | {' | '.join(others[name])} | {asked} |")
    mean = " | ".join(_shown(found["miou"]) for found in baselines)
    lines.append(f"| mean | {_shown(record['miou'])} | {mean} | |")
    if record["note"]:
        lines += ["", record["note"][0].upper() + record["note"][1:] + "."]
    lines += _troubles(record)
    lines += ["", "![confusion matrix](confusion.png)", ""]
    for entry in record["worst"]:
        lines.append(
            f"- worst: [{entry['tile']}]({entry['picture']}), mIoU {_shown(entry['miou'])}"
        )
    return "\n".join(lines) + "\n"


def _troubles(record: Mapping[str, Any]) -> Sequence[str]:
    lines = []
    if record["unlabelled_tiles"]:
        lines += ["", f"{record['unlabelled_tiles']} tiles have no labelled pixel."]
    if record["images_without_label"]:
        lines += ["", f"{record['images_without_label']} images have no label file."]
    if record["unknown_pixels"]:
        lines += ["", f"{record['unknown_pixels']} label pixels of unknown colour do not count."]
    if record["failed"]:
        lines += ["", f"{len(record['failed'])} tiles failed:", ""]
        lines += [f"- {entry['tile']}: {entry['reason']}" for entry in record["failed"]]
    return lines


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
