"""Official checkpoints: a registry, and getting and checking its files. Needs no torch."""

from __future__ import annotations

from t2s_export.checkpoints.files import default_folder, verify_file
from t2s_export.checkpoints.registry import MODELS, ModelEntry, find_model

__all__ = ["MODELS", "ModelEntry", "default_folder", "find_model", "verify_file"]
