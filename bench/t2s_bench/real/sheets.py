"""Real images beside truth and maps, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_bench.contact_sheet import Row, contact_sheet
from t2s_bench.real.measure import JudgedImage
from t2s_rt.evaluation.datasets import DatasetSpec
from t2s_rt.evaluation.pictures import save_png
from t2s_rt.routes import ROUTES

__all__ = ["write_sheets"]

_SIDE = 256
_NONE = ("nothing found", (60, 60, 60))


def write_sheets(judged: Sequence[JudgedImage], folder: Path) -> list[Path]:
    """Write ``real_SET.png`` for every set; images keep to their licences, so do the sheets.

    Raises:
        OutputError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    by_set: dict[str, list[JudgedImage]] = {}
    for one in judged:
        by_set.setdefault(one.spec.name, []).append(one)
    paths = []
    for name, images in by_set.items():
        sheet = contact_sheet(
            ("image", "truth", *ROUTES), [_row(one) for one in images], _classes(images[0].spec)
        )
        paths.append(folder / f"real_{name}.png")
        save_png(paths[-1], sheet)
    return paths


def _row(one: JudgedImage) -> Row:
    maps = [one.truth, *(one.maps[route] for route in ROUTES)]
    image = cv2.resize(one.image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return Row(one.title, np.asarray(image, np.uint8), tuple(_small(labels) for labels in maps))


def _small(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = cv2.resize(labels, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST)
    return np.asarray(small, np.uint8)


def _classes(spec: DatasetSpec) -> list[tuple[str, tuple[int, int, int]]]:
    classes = [(entry.name, entry.colour) for entry in spec.classes]
    return classes if spec.sink is not None else [*classes, _NONE]
