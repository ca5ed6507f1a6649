"""Where caches lie: ``T2S_CACHE``, else ``t2s-rt`` in the XDG cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from t2s_rt.errors import UsageError

__all__ = ["cache_folder"]


def cache_folder(name: str, instead: str = "set T2S_CACHE") -> Path:
    """A folder of the cache; it need not exist.

    Args:
        name: of the folder, e.g. ``"engines"``.
        instead: what a user without any cache folder can do.

    Raises:
        UsageError: none of ``T2S_CACHE``, ``XDG_CACHE_HOME`` and a home folder is known.
    """
    if cache := os.environ.get("T2S_CACHE"):
        return Path(cache) / name
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "t2s-rt" / name
    try:
        return Path.home() / ".cache" / "t2s-rt" / name
    except RuntimeError as error:
        raise UsageError(
            "found no cache folder (T2S_CACHE, XDG_CACHE_HOME and HOME are unset); " + instead
        ) from error
