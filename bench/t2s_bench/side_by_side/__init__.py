"""The reference chain beside this runtime: same weights, same image, same machine, in turn.

The reference is Text2Seg (Zhang et al., arXiv 2304.10597) with the steps of its published code,
run on the packages that it was built from. What needs torch is in :mod:`t2s_bench.reference`;
here are the questions, the figures and their tables.
"""

from __future__ import annotations

from typing import Literal, get_args

__all__ = [
    "CLASS_COUNTS",
    "COUNT",
    "GRID",
    "OPPONENTS",
    "RACE_ROUTES",
    "SIZES",
    "Opponent",
    "RaceRoute",
    "SizeName",
]

SizeName = Literal["nano", "full", "huge"]
SIZES: tuple[SizeName, ...] = get_args(SizeName)
RaceRoute = Literal["boxes", "points", "masks"]
RACE_ROUTES: tuple[RaceRoute, ...] = get_args(RaceRoute)
"""The ways that Text2Seg has, too."""
Opponent = Literal["eager", "onnx", "compile"]
OPPONENTS: tuple[Opponent, ...] = get_args(Opponent)
CLASS_COUNTS = (1, 7)
COUNT = 20
"""Boxes of each class, and masks of the whole tile, that both sides go on with: the best by the
models' own scores. With random weights a threshold would keep any number of them, and another one
on each side."""
GRID = 10
"""Points along a side of SAM's grid in the masks route, Text2Seg's demonstration."""
