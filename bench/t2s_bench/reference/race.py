"""Chains that can be timed: every class of an image through one opponent."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from t2s_bench.reference.opponents import opponent_parts
from t2s_bench.reference.packages import quiet
from t2s_bench.reference.race_models import RaceModels, RandomSize, nano_models, random_models
from t2s_bench.reference.text2seg import Found, Text2Seg
from t2s_bench.side_by_side import COUNT, GRID, Opponent, RaceRoute, SizeName
from t2s_bench.side_by_side.phrases import Phrase
from t2s_export.choices import DeformableForm

__all__ = ["Chain", "open_models", "torch_threads"]

_RANDOM: dict[str, RandomSize] = {
    "full": RandomSize("swin_t", "sam_vit_b", "ViT-B-16"),
    "huge": RandomSize("swin_t", "sam_vit_h", "ViT-B-16"),
}
_POINTS_PER_BATCH = 64


def open_models(
    size: SizeName,
    routes: Sequence[RaceRoute],
    threads: int,
    folder: Path,
    deformable: DeformableForm,
) -> RaceModels:
    """Both sides' models of a size; arguments as for :func:`random_models`."""
    with quiet():
        if size == "nano":
            return nano_models(routes, threads)
        return random_models(_RANDOM[size], routes, threads, folder, deformable)


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Chain:
    """One opponent's chain over all classes.

    Args:
        kind: which opponent.
        models: of both sides.
        route: which way.
        image: uint8 ``[H, W, 3]`` RGB.
        folder: where its files go.
        threads: of ONNX sessions.
        mask_iou: predicted IoU that generated masks must exceed; see :meth:`calibrate`.

    Attributes:
        found: of the last run, class by class.
        stages: seconds of every run by stage.
        calls: of the last run, by stage.
        runs: by part, what runs it.
    """

    def __init__(
        self,
        kind: Opponent,
        models: RaceModels,
        route: RaceRoute,
        image: NDArray[np.uint8],
        folder: Path,
        threads: int,
        mask_iou: float = 0.0,
    ) -> None:
        made = opponent_parts(kind, models, folder, threads)
        self.runs, self._image = made.runs, image
        self._chain = Text2Seg(made.parts, count=COUNT, grid=GRID, mask_iou=mask_iou)
        ways = {
            "boxes": self._chain.boxes,
            "points": self._chain.points,
            "masks": self._chain.masks,
        }
        self._way = ways[route]
        self.ask(())

    def ask(self, phrases: Sequence[Phrase]) -> None:
        """The classes of the runs to come; forgets those that were."""
        self._phrases = tuple(phrases)
        self.found: list[Found] = []
        self.stages: list[dict[str, float]] = []
        self.calls: Counter[str] = Counter()

    def warm(self, phrase: Phrase) -> None:
        """Run one class, unmeasured."""
        with quiet():
            self._way(self._image, phrase)

    def __call__(self) -> None:
        """Run every class, each from the pixels."""
        self._chain.restart()
        with quiet(), self._chain.clock.running("host"):
            self.found = [self._way(self._image, phrase) for phrase in self._phrases]
        self.stages.append(self._chain.clock.shares())
        self.calls = self._chain.calls

    def calibrate(self) -> float:
        """Predicted IoU that the best :data:`COUNT` masks of the grid exceed, and no other."""
        predictor: Any = self._chain.parts.predictor
        height, width = self._image.shape[:2]
        places = (np.arange(GRID) + 0.5) / GRID
        grid = np.stack(np.meshgrid(places * width, places * height), -1).reshape(-1, 2)
        predictor.set_image(self._image)
        coords = torch.as_tensor(predictor.transform.apply_coords(grid, (height, width)))[:, None]
        scores = [
            predictor.predict_torch(part, torch.ones(part.shape[:2], dtype=torch.int))[1].ravel()
            for part in torch.split(coords, _POINTS_PER_BATCH)
        ]
        ranked = torch.cat(scores).sort(descending=True)[0]
        if len(ranked) > COUNT:
            self._chain.mask_iou = float((ranked[COUNT - 1] + ranked[COUNT]) / 2)
        return self._chain.mask_iou
