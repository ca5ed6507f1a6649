"""Float16 as a property of the graph: which operators stay float32, and the typed graph."""

from __future__ import annotations

from t2s_export.precision.calibration import (
    Calibration,
    calibration_inputs,
    from_cases,
    with_images,
    with_scenes,
)
from t2s_export.precision.decision import DEFAULT_TRIALS, Decision, choose_islands
from t2s_export.precision.images import CalibrationImage, in_frame, read_images
from t2s_export.precision.proof import FLOAT16_TOLERANCES, check_float16
from t2s_export.precision.rules import RULES, Islands, Rule, islands_by_rule
from t2s_export.precision.typed import typed_float16, typing_problems

__all__ = [
    "DEFAULT_TRIALS",
    "FLOAT16_TOLERANCES",
    "RULES",
    "Calibration",
    "CalibrationImage",
    "Decision",
    "Islands",
    "Rule",
    "calibration_inputs",
    "check_float16",
    "choose_islands",
    "from_cases",
    "in_frame",
    "islands_by_rule",
    "read_images",
    "typed_float16",
    "typing_problems",
    "with_images",
    "with_scenes",
]
