"""Engines that were built before: what identifies one, where it lies, and who vouches for it.

An engine is a TensorRT plan for one graph on one device. ``t2s-rt build`` writes it, the runtime
only reads it: it looks an engine up by its full key, and checks its sidecar before one byte of the
plan is given to TensorRT.
"""

from __future__ import annotations

from t2s_rt.plans.cache import EngineCache, EngineFiles
from t2s_rt.plans.key import BuildOptions, DeviceIdentity, EngineKey, differences
from t2s_rt.plans.profiles import InputProfile, input_profiles
from t2s_rt.plans.report import SignOff
from t2s_rt.plans.sidecar import Sidecar

__all__ = [
    "BuildOptions",
    "DeviceIdentity",
    "EngineCache",
    "EngineFiles",
    "EngineKey",
    "InputProfile",
    "Sidecar",
    "SignOff",
    "differences",
    "input_profiles",
]
