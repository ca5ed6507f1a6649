"""Load the original packages that our modules are checked against.

They are pinned in ``requirements.txt`` beside this file and installed with
``pip install --no-deps -r tests/oracles/requirements.txt``; a test that needs one is skipped with
that command as the reason where it is missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from types import ModuleType

import pytest
from tests.oracles import torchvision_shim

INSTALL = "pip install --no-deps -r tests/oracles/requirements.txt"


def segment_anything() -> ModuleType:
    """The package segment_anything, or a skip."""
    return _load("segment_anything")


def open_clip() -> ModuleType:
    """The package open_clip, or a skip."""
    return _load("open_clip")


def tiny_vit() -> ModuleType:
    """The module timm.models.tiny_vit, or a skip."""
    _load("timm")
    return importlib.import_module("timm.models.tiny_vit")


def _load(package: str) -> ModuleType:
    for name in ("torchvision", package):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"the oracle {name} is not installed; run: {INSTALL}")
    torchvision_shim.install()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's deprecations are not ours to fix
        return importlib.import_module(package)
