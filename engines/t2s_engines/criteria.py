"""How near a float16 graph must be to its float32 graph, in the terms of each role.

Figures are at most 1, which is perfect; each has a floor, which follows from what the project
promises (``t2s_rt.evaluation.agreement``): a third of the error that a promise allows is kept in
hand (``MARGIN``), because the images that decide are fewer than those that fly, and because a
device that accumulates in float16 loses more than the rounding graph shows. More would be dear:
what a stricter floor moves to float32 costs several times its time in float16.

Detector queries are compared in pairs. Ranks of proposals differ by so little that any rounding
exchanges rows, and a query takes its content from its rank: a graph that ranks for itself differs
in jumps that say little about its operators. Decisions therefore give both graphs the ranking of
the float32 graph (``paired``). Else every query of the float32 graph whose best score is above
``SCORE_FLOOR`` is matched, by box IoU and scores together (Hungarian), with one of all queries of
the other graph. IoU is taken of boxes that have a size: those of untrained weights are thinner than
a pixel.

Masks are compared in pixels of SAM's frame, four times the logits' resolution, enlarged as the
runtime does: a building of thirty logits changes by 3 % when one of them does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from t2s_engines.graphs.graph import Array
from t2s_rt.contracts import Role
from t2s_rt.evaluation.agreement import PROMISED, PROMISED_COSINE, cosine, frame_maps
from t2s_rt.evaluation.agreement import centre_box_iou as box_iou
from t2s_rt.evaluation.agreement import mask_ious as mask_iou

__all__ = [
    "COSINE_FLOOR",
    "FLOORS",
    "MARGIN",
    "SCORE_FLOOR",
    "box_iou",
    "figures",
    "floor_of",
    "mask_iou",
    "summary",
]

Figures = dict[str, float]

MARGIN = 1 / 3
"""Share of the error that a promise allows which may not be used up on calibration images."""


def _floor(promised: float) -> float:
    return round(1.0 - (1.0 - promised) * (1.0 - MARGIN), 5)


COSINE_FLOOR = _floor(PROMISED_COSINE)
FLOORS: Mapping[str, float] = {name: _floor(value) for name, value in PROMISED.items()}
"""Smallest allowed figure on calibration images by name; cosines have ``COSINE_FLOOR``."""
SCORE_FLOOR = 0.05
"""Queries below it are noise that no threshold passes."""
_FEWEST_QUERIES = 10
_SMALLEST_SIDE = 0.002
"""Of a box whose IoU counts, in the frame: about a pixel."""
_FEWEST_PIXELS = 64
"""Masks smaller than this, in frame pixels, are specks that no vector output keeps."""


def floor_of(name: str) -> float:
    """The smallest allowed figure of this name."""
    return FLOORS.get(name, COSINE_FLOOR)


def figures(
    role: Role,
    expected: Mapping[str, Array],
    found: Mapping[str, Array],
    feeds: Mapping[str, Array],
    paired: bool = False,
) -> Figures:
    """Compare the outputs of one call.

    Args:
        role: which graph.
        expected: outputs of the float32 graph, by name.
        found: outputs of the other, by name.
        feeds: the inputs of the call; the detector's token mask says which logits count.
        paired: the detector's rows belong together as they are.

    Returns:
        Figures by name; -1 for all of them where an output is not finite.
    """
    left = {name: value.astype(np.float64) for name, value in expected.items()}
    right = {name: found[name].astype(np.float64) for name in expected}
    results: Figures = {}
    if role == "detector":
        results = _match_queries(left, right, feeds, paired)
    elif role in ("mask_decoder", "mask_decoder_local"):
        results = _masks(left, right)
    results |= {f"cosine {name}": cosine(left[name], right[name]) for name in left}
    if not all(np.isfinite(found[name].astype(np.float64)).all() for name in expected):
        return dict.fromkeys(results, -1.0)
    return results


def summary(found: Sequence[Figures]) -> Figures:
    """One figure of each name over several calls: means of means, else the worst."""
    names = dict.fromkeys(name for one in found for name in one)
    return {
        name: float(
            (np.mean if name.endswith("mean") else np.min)([f[name] for f in found if name in f])
        )
        for name in names
    }


def _match_queries(
    left: dict[str, NDArray[np.float64]],
    right: dict[str, NDArray[np.float64]],
    feeds: Mapping[str, Array],
    paired: bool,
) -> Figures:
    """Pair the detector's rows; afterwards both sides hold one row per pair and real token."""
    from scipy.optimize import linear_sum_assignment

    batch, _, length = left["logits"].shape
    tokens = np.broadcast_to(feeds["text_token_mask"].astype(bool), (batch, length))
    kept: dict[str, list[NDArray[np.float64]]] = {"boxes": [], "logits": []}
    partners: dict[str, list[NDArray[np.float64]]] = {"boxes": [], "logits": []}
    overlaps, gaps = [], []
    for image, real in enumerate(tokens):
        logits = [side["logits"][image][:, real] for side in (left, right)]
        scores = [1 / (1 + np.exp(-np.clip(np.nan_to_num(x), -60, 60))) for x in logits]
        best = scores[0].max(-1)
        rows = np.flatnonzero(best >= min(SCORE_FLOOR, np.sort(best)[-_FEWEST_QUERIES:][0]))
        boxes = [left["boxes"][image][rows], np.nan_to_num(right["boxes"][image])]
        iou = box_iou(*boxes)
        gap = np.abs(scores[0][rows][:, None] - scores[1][None]).max(-1)
        order = (np.arange(len(rows)), rows) if paired else linear_sum_assignment((1 - iou) + gap)
        overlaps.append(iou[order][boxes[0][:, 2:].min(-1) >= _SMALLEST_SIDE])
        gaps.append(gap[order])
        for name, sides in (
            ("boxes", (boxes[0], boxes[1][order[1]])),
            ("logits", (logits[0][rows], logits[1][order[1]])),
        ):
            kept[name].append(sides[0].reshape(-1))
            partners[name].append(sides[1].reshape(-1))
    for name in kept:
        left[name], right[name] = np.concatenate(kept[name]), np.concatenate(partners[name])
    counted = np.concatenate(overlaps)
    results = {"score agreement mean": 1.0 - float(np.concatenate(gaps).mean())}
    return results if not counted.size else {"box IoU mean": float(counted.mean()), **results}


def _masks(
    left: Mapping[str, NDArray[np.float64]], right: Mapping[str, NDArray[np.float64]]
) -> Figures:
    """Masks of each prompt as the host would choose them: the best by the float32 graph's IoU."""
    chosen = left["iou"].argmax(-1)
    rows = np.arange(len(chosen))
    one, two = (frame_maps(side["mask_logits"][rows, chosen]) > 0 for side in (left, right))
    overlaps = mask_iou(one, two)
    large = one.sum((-2, -1)) >= _FEWEST_PIXELS
    if not large.any():
        return {}
    return {
        "mask IoU mean": float(overlaps[large].mean()),
        "mask IoU worst": float(overlaps[large].min()),
    }
