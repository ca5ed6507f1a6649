"""Where the source checkout lies: checkpoints, licences and the embedded bundle are part of it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["source_checkout"]

_MARK = Path("export") / "t2s_export" / "checkout.py"


def source_checkout() -> Path:
    """Root of the checkout that this module belongs to.

    An editable install lies in it. A wheel does not know where it came from, so the current
    folder and those above it are searched; without any the current folder is returned, and
    whoever reads from it says what is missing.
    """
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[2], here, *here.parents):
        if (folder / _MARK).is_file():
            return folder
    return here
