"""From the outputs of one call to figures, in the terms of each role.

A figure that could be called good or bad is at most 1, which is perfect, or an error or a count,
of which 0 is perfect; ``floors`` says how far from it is allowed.

Boxes are compared as the runtime reads them: absolute scores by class in tile pixels. A detector
ranks proposals whose scores differ by so little that any rounding exchanges rows, so each of the
reference's boxes is paired with the device's box that is nearest in overlap and score, whatever
its row. Raw tensors of the detector are compared on the same pairs, at real tokens.

Masks are compared in pixels of SAM's frame, four times the logits' resolution, enlarged as the
runtime does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_engines.verify.calls import Call
from t2s_engines.verify.sketch import Sketch
from t2s_engines.verify.tally import Tally, in_mode
from t2s_engines.verify.tiles import VerifyTile
from t2s_rt.backends import FakeSession, Session
from t2s_rt.bundle import GraphEntry
from t2s_rt.evaluation.agreement import cosine, frame_maps, greedy_pairs, mask_ious
from t2s_rt.evaluation.detection import box_iou
from t2s_rt.models import Detections, Detector
from t2s_rt.models.local import LocalWindows
from t2s_rt.models.prompt_decoder import BOX_LABELS
from t2s_rt.prompts import PromptPack
from t2s_rt.routes import RouteSettings

__all__ = ["Comparison", "chosen_masks", "read_boxes", "strong_boxes"]

Arrays = Mapping[str, NDArray[Any]]

SAME_OBJECT = 0.5
"""Least IoU of two boxes that are one object."""
SCORE_MARGIN = 0.05
"""A box counts as found while its score is at most this far below the threshold: a threshold cuts
through scores that differ by rounding alone."""
_SCORE_FLOOR = 0.05
_FEWEST_QUERIES = 10
LOW_PER_TOKEN = 4
"""Low-resolution mask pixels per image token."""
_FEWEST_PIXELS = 64
"""Masks smaller than this, in frame pixels, are specks that no vector output keeps."""


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The reference's boxes and their partners.

    Attributes:
        rows: the reference's queries ``[N]``.
        partners: the device's queries ``[N]``.
        overlap: IoU of each pair.
        same: whether it is high enough for both to be one object.
    """

    rows: NDArray[np.intp]
    partners: NDArray[np.intp]
    overlap: NDArray[np.float64]
    same: NDArray[np.bool_]


@dataclass
class Comparison:
    """Compares the answers of one graph with the reference's.

    Attributes:
        entry: the reference's graph.
        tiles: all tiles, as calls count them.
        pack: the classes looked for.
        settings: thresholds of the routes.
        tally: where figures go.
        sketches: by tile, what the pictures of the report show.
    """

    entry: GraphEntry
    tiles: list[VerifyTile]
    pack: PromptPack
    settings: RouteSettings
    tally: Tally
    sketches: dict[int, Sketch] = field(default_factory=dict)

    def add(self, call: Call, found: Arrays, mode: str = "") -> None:
        """Compare one call's outputs.

        Args:
            call: with the reference's answer.
            found: the device's outputs by name.
            mode: how the call was made, a suffix of the figures' names.
        """
        for array in found.values():
            broken = array.size - int(np.count_nonzero(np.isfinite(array)))
            self.tally.add(in_mode("non-finite values", mode), broken, call.tiles[0])
        safe = {
            name: np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
            for name, array in found.items()
        }
        if self.entry.role == "detector":
            for row in range(len(call)):
                self._boxes(call, safe, row, mode)
            return
        for name, expected in call.expected.items():
            for row in range(len(call)):
                self._tensor(name, expected[row], safe[name][row], call.tiles[row], mode)
        if "mask_logits" in call.expected:
            self._masks(call, safe, mode)

    def _tensor(
        self, name: str, one: NDArray[Any], two: NDArray[Any], tile: int, mode: str
    ) -> None:
        difference = float(np.abs(one.astype(np.float64) - two).max(initial=0.0))
        largest = float(np.abs(one).max(initial=0.0))
        tally = self.tally
        tally.add(in_mode(f"cosine {name}", mode), cosine(one, two), tile)
        tally.add(in_mode(f"max error {name}", mode), difference, tile)
        relative = difference / largest if largest > 0 else float(difference > 0)
        tally.add(in_mode(f"relative error {name}", mode), relative, tile)

    def _masks(self, call: Call, found: Arrays, mode: str) -> None:
        for row, column in enumerate(chosen_masks(call)):
            # one at a time: a frame of the official models holds a million pixels
            one, two = (
                frame_maps(side["mask_logits"][row, column][None]) > 0
                for side in (call.expected, found)
            )
            if one.sum() >= _FEWEST_PIXELS:
                value = float(mask_ious(one, two)[0])
                sketch = self.sketches.setdefault(call.tiles[row], Sketch())
                sketch.add_mask(value, *_whole(call, found, row, column))
                self.tally.add(in_mode("mask IoU mean", mode), value, call.tiles[row])
                self.tally.add(in_mode("mask IoU worst", mode), value, call.tiles[row])

    def _boxes(self, call: Call, found: Arrays, row: int, mode: str) -> None:
        tile = call.tiles[row]
        image = self.tiles[tile].image
        sides = [
            read_boxes(self.entry, side, row, image, self.pack) for side in (call.expected, found)
        ]
        one, two = sides
        thresholds = self._thresholds()
        strong = [strong_boxes(side, thresholds) for side in sides]
        sketch = self.sketches.setdefault(tile, Sketch())
        sketch.boxes = [side.boxes[rows] for side, rows in zip(sides, strong, strict=True)]
        if self.tiles[tile].empty:
            invented = _count_unmatched(two, strong[1], one, thresholds)
            self.tally.add(in_mode("hallucinated boxes", mode), invented, tile)
            return
        best = one.scores.max(axis=1)
        counted = best >= min(_SCORE_FLOOR, np.sort(best)[-_FEWEST_QUERIES:][0])
        counted[strong[0]] = True
        rows = np.flatnonzero(counted)
        iou = box_iou(one.boxes[rows], two.boxes)
        gap = np.abs(one.scores[rows][:, None] - two.scores[None]).max(axis=-1)
        partners = greedy_pairs((1 - iou) + gap)
        overlap = iou[np.arange(len(rows)), partners]
        pairs = _Pairs(rows, partners, overlap, overlap >= SAME_OBJECT)
        self._tensors_of(call, found, row, pairs, mode)
        closeness = 1 - gap[np.arange(len(rows)), partners]
        self.tally.add(in_mode("score agreement mean", mode), closeness.mean(), tile)
        self._found((one, two), strong, pairs, tile, mode)

    def _tensors_of(self, call: Call, found: Arrays, row: int, pairs: _Pairs, mode: str) -> None:
        """Raw tensors of the pairs that are one object; nothing is alike where there is none."""
        tokens = np.asarray(call.feeds["text_token_mask"][0], bool)
        for name, part in (("boxes", np.s_[:, :]), ("logits", np.s_[:, tokens])):
            one = call.expected[name][row][pairs.rows[pairs.same]][part]
            two = found[name][row][pairs.partners[pairs.same]][part]
            if one.size:
                self._tensor(name, one, two, call.tiles[row], mode)
            else:
                self.tally.add(in_mode(f"cosine {name}", mode), 0.0, call.tiles[row])

    def _found(
        self,
        sides: tuple[Detections, Detections],
        strong: list[NDArray[np.intp]],
        pairs: _Pairs,
        tile: int,
        mode: str,
    ) -> None:
        """Recall, precision and overlap of boxes above their threshold."""
        one, two = sides
        thresholds = self._thresholds()
        place = {int(query): index for index, query in enumerate(pairs.rows)}
        overlaps, kept = [], 0
        for query in strong[0]:
            index = place[int(query)]
            partner = pairs.partners[index]
            self.tally.add(in_mode("queries in their row mean", mode), partner == query, tile)
            if pairs.same[index]:
                overlaps.append(float(pairs.overlap[index]))
                label = int(np.argmax(one.scores[query] - thresholds))
                kept += bool(two.scores[partner, label] >= thresholds[label] - SCORE_MARGIN)
        if count := len(strong[0]):
            self.tally.add(in_mode("recall", mode), kept / count, tile, count)
        if overlaps:
            mean = float(np.mean(overlaps))
            self.tally.add(in_mode("box IoU mean", mode), mean, tile, len(overlaps))
            self.tally.add(in_mode("box IoU worst", mode), min(overlaps), tile)
        if count := len(strong[1]):
            invented = _count_unmatched(two, strong[1], one, thresholds)
            self.tally.add(in_mode("precision", mode), 1 - invented / count, tile, count)

    def _thresholds(self) -> NDArray[np.float64]:
        return np.array([self.settings.threshold(c, "detector") for c in self.pack.classes])


def chosen_masks(call: Call) -> NDArray[np.intp]:
    """Which mask of each prompt the host takes, by the reference's word, ``[N]``.

    Mask 0 for boxes, else the best of the alternatives, as ``MaskSet.best``.
    """
    boxes = np.isin(call.feeds["point_labels"], BOX_LABELS).any(axis=1)
    best = 1 + np.argmax(call.expected["iou"][:, 1:], axis=1)
    return np.where(boxes, 0, best)


def _whole(
    call: Call, found: Arrays, row: int, column: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks over the whole frame, at low resolution: windows are put into their place."""
    one, two = (side["mask_logits"][row, column] for side in (call.expected, found))
    if "window" in call.feeds:
        grid = call.feeds["image_embedding"].shape[2:]
        windows = LocalWindows(grid, one.shape[0] // LOW_PER_TOKEN, 1.0)
        first = call.feeds["window"][row][None]
        one, two = (windows.whole(side[None], first)[0] for side in (one, two))
    return one > 0, two > 0


def read_boxes(
    entry: GraphEntry,
    outputs: Arrays,
    row: int,
    image: NDArray[np.uint8],
    pack: PromptPack,
) -> Detections:
    """One image's outputs as the runtime reads them: its own code, over a played session."""
    answer = {name: outputs[name][row : row + 1] for name in ("logits", "boxes")}
    session: Session = FakeSession(entry, lambda _: answer)
    return Detector(session).detect(image, pack)


def strong_boxes(found: Detections, thresholds: NDArray[np.float64]) -> NDArray[np.intp]:
    """Queries that reach the threshold of some class."""
    return np.flatnonzero((found.scores >= thresholds).any(axis=1))


def _count_unmatched(
    found: Detections,
    strong: NDArray[np.intp],
    reference: Detections,
    thresholds: NDArray[np.float64],
) -> int:
    """Strong boxes for which the reference has none of the same class at the same place."""
    if not len(strong):
        return 0
    labels = (found.scores[strong] - thresholds).argmax(axis=1)
    iou = box_iou(found.boxes[strong], reference.boxes)
    scores = reference.scores[:, labels].T
    same = (iou >= SAME_OBJECT) & (scores >= thresholds[labels][:, None] - SCORE_MARGIN)
    return int((~same.any(axis=1)).sum())
