"""Nano: the embedded models, trained here from nothing but synthetic scenes.

``python -m t2s_export.nano.train`` trains the three models (detector, sam, clip) and writes
``export/checkpoints/nano/*.safetensors``; :func:`load` reads one back into its module.
"""

from __future__ import annotations

from t2s_export.nano.checkpoints import load

__all__ = ["load"]
