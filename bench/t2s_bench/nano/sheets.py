"""Contact sheets of maps beside the truth: the first held-out scenes, and the worst of all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_bench.contact_sheet import Row, contact_sheet
from t2s_bench.nano.maps import to_truth
from t2s_bench.nano.truth import HeldOut
from t2s_rt.evaluation.pictures import save_png
from t2s_rt.prompts import PromptPack
from t2s_rt.routes import RouteName
from t2s_rt.synthetic import CLASSES

__all__ = ["SheetMaker"]

_ROWS = 5
_SIDE = 224
_SHOWN: tuple[RouteName, ...] = ("fused", "dense", "boxes")


@dataclass(frozen=True)
class _Kept:
    """A row, and the share of its pixels that the fused route has wrong."""

    wrong: float
    row: Row


class SheetMaker:
    """Keeps what the sheets will show, small, while scenes go by.

    Args:
        pack: whose labels the routes give.
    """

    def __init__(self, pack: PromptPack) -> None:
        self._table = to_truth(pack)
        self._first: list[_Kept] = []
        self._worst: list[_Kept] = []

    def add(self, seed: int, scene: HeldOut, labels: dict[RouteName, NDArray[np.uint8]]) -> None:
        """Take one scene with the labels of its routes."""
        truth = scene.truth.classes
        wrong = float((self._table[labels["fused"]] != truth).mean())
        if len(self._first) >= _ROWS and wrong <= self._worst[-1].wrong:
            return
        maps = [truth, *(self._table[labels[route]] for route in _SHOWN)]
        image = cv2.resize(scene.truth.image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        near = [cv2.resize(one, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST) for one in maps]
        title = f"{seed}, {scene.spec.gsd:.2f} m, {scene.season}: {1 - wrong:.0%} right"
        row = Row(title, np.asarray(image, np.uint8), tuple(np.asarray(n, np.uint8) for n in near))
        kept = _Kept(wrong, row)
        if len(self._first) < _ROWS:
            self._first.append(kept)
        self._worst = sorted([*self._worst, kept], key=lambda k: -k.wrong)[:_ROWS]

    def write(self, folder: Path) -> None:
        """Write ``nano_predictions.png`` and ``nano_failures.png``.

        Raises:
            OutputError: they cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        classes = [(entry.name, entry.colour) for entry in CLASSES]
        heads = ("image", "truth", *_SHOWN)
        for name, kept in (("predictions", self._first), ("failures", self._worst)):
            sheet = contact_sheet(heads, [k.row for k in kept], classes)
            save_png(folder / f"nano_{name}.png", sheet)
