"""How near a device must be to the float32 reference: every limit of ``verify``, with its reason.

The limits of fp16 are what the project promises of its fp16 graphs. Export decides precision by
stricter ones on the calibration images (``t2s_engines.criteria``), so a graph that left
export well has room here for other images and for the device's own order of additions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from t2s_engines.verify.tally import base_name
from t2s_rt.contracts import Precision
from t2s_rt.evaluation.agreement import PROMISED, PROMISED_COSINE

__all__ = ["LIMITS", "Limits", "limits_of"]


@dataclass(frozen=True)
class Limits:
    """Floors and ceilings of one precision; what is not named is for the record alone.

    Attributes:
        floors: least value by figure; ``"cosine"`` stands for the cosine of every tensor.
        ceilings: greatest value by figure; ``"relative error"`` stands for that of every tensor.
        why: where they come from.
    """

    floors: Mapping[str, float]
    ceilings: Mapping[str, float]
    why: str

    def split(self, figures: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        """The floors and the ceilings of some figures, by their full names."""
        floors, ceilings = {}, {}
        for name in figures:
            base = base_name(name)
            kind = next((kind for kind in ("cosine", "relative error") if kind in base), base)
            if kind == "relative error" and base.split()[-1] in _RANKED:
                continue
            if kind in self.floors:
                floors[name] = self.floors[kind]
            if kind in self.ceilings:
                ceilings[name] = self.ceilings[kind]
        return floors, ceilings


_RANKED = ("logits", "boxes")
"""Tensors whose single values jump with the detector's ranking, without harm."""

_NOTHING_NEW: Mapping[str, float] = {
    # one NaN spreads over every mask of its tile
    "non-finite values": 0.0,
    # where there is nothing, whatever is found is made up, in any precision
    "hallucinated boxes": 0.0,
}

LIMITS: Mapping[Precision, Limits] = {
    "fp32": Limits(
        floors={
            # sums in another order differ by 1e-6 of the largest value; TF32, in which GPUs from
            # Ampere on may compute float32 products, keeps 10 bits as fp16 does and passes too
            "cosine": 0.99999,
            # near ties in the detector's ranking may fall out the other way, and a query takes its
            # content from its rank: boxes move by a fraction of a pixel
            "recall": 0.99,
            "precision": 0.99,
            "score agreement mean": 0.995,
            "box IoU mean": 0.995,
            "mask IoU mean": 0.999,
            "mask IoU worst": 0.99,
            "label agreement mean": 0.998,
            "label agreement worst": 0.99,
        },
        ceilings={
            **_NOTHING_NEW,
            # of the largest value; TF32 reaches half of it
            "relative error": 0.01,
            "hallucinated pixels": 0.001,
        },
        why="the same arithmetic in another order: near equality",
    ),
    "fp16": Limits(
        floors={
            "cosine": PROMISED_COSINE,
            **PROMISED,
            # a score that lies at its threshold may fall to either side of it
            "recall": 0.98,
            "precision": 0.98,
            # outlines of stuff run where two classes tie
            "label agreement mean": 0.98,
            "label agreement worst": 0.95,
        },
        ceilings={**_NOTHING_NEW, "hallucinated pixels": 0.005},
        why="what the project promises of fp16: no difference that a map shows",
    ),
    "int8": Limits(
        floors={
            # 7 bits and a sign: a step is 0.8 % of the range, errors of layers add up
            "cosine": 0.98,
            "recall": 0.9,
            "precision": 0.9,
            "score agreement mean": 0.93,
            "box IoU mean": 0.93,
            "mask IoU mean": 0.93,
            "mask IoU worst": 0.75,
            "label agreement mean": 0.93,
            "label agreement worst": 0.85,
        },
        ceilings={**_NOTHING_NEW, "hallucinated pixels": 0.02},
        why="int8 gives accuracy for speed; calibration reports how much on labelled scenes",
    ),
}


def limits_of(precision: Precision) -> Limits:
    """The limits of a precision."""
    return LIMITS[precision]
