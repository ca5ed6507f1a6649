"""Choices of an export that the command line offers and the modules obey. Imports no torch."""

from __future__ import annotations

from typing import Final, Literal, get_args

__all__ = ["DEFORMABLE_FORMS", "DeformableForm"]

DeformableForm = Literal["gather", "grid_sample"]
"""How deformable attention samples: with Gather and arithmetic, or with the operator GridSample."""
DEFORMABLE_FORMS: Final[tuple[DeformableForm, ...]] = get_args(DeformableForm)
