"""Commands that need an extra say which."""

from __future__ import annotations

import importlib

from t2s_rt.errors import MissingExtraError

__all__ = ["need_packages"]


def need_packages(command: str, *packages: str) -> None:
    """Refuse a command of ``t2s-rt`` whose packages are not installed.

    Raises:
        MissingExtraError: naming the first one that is missing, and the extra that has it.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as cause:
            raise MissingExtraError(f"t2s-rt {command}", package, "export") from cause
