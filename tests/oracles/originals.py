"""The original packages for a test.

They are pinned in ``requirements.txt`` beside this file and installed with
``pip install --no-deps -r tests/oracles/requirements.txt``; a test that needs one is skipped with
that command as the reason where it is missing, and fails where ``CI`` is set: what CI does not
run proves nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import ModuleType

import pytest

from t2s_bench.reference import packages
from t2s_bench.reference.packages import INSTALL

__all__ = ["INSTALL", "open_clip", "segment_anything", "skipped_where_missing", "tiny_vit"]


@contextlib.contextmanager
def skipped_where_missing() -> Iterator[None]:
    """Skip the test where an original package is missing; fail it in CI."""
    try:
        yield
    except packages.MissingOriginalError as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


def segment_anything() -> ModuleType:
    """The package segment_anything, or a skip."""
    with skipped_where_missing():
        return packages.segment_anything()


def open_clip() -> ModuleType:
    """The package open_clip, or a skip."""
    with skipped_where_missing():
        return packages.open_clip()


def tiny_vit() -> ModuleType:
    """The module timm.models.tiny_vit, or a skip."""
    with skipped_where_missing():
        return packages.tiny_vit()
