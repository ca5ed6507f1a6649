"""Official checkpoints: a registry, getting and checking its files, and loading them.

Only what loads and finds models (`loading`, `finding` and what they use) needs torch, and is
therefore not imported here.
"""

from __future__ import annotations

from t2s_export.checkpoints.files import default_folder, verify_file
from t2s_export.checkpoints.registry import MODELS, ModelEntry, find_model

__all__ = ["MODELS", "ModelEntry", "default_folder", "find_model", "verify_file"]
