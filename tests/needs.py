"""What a test needs and a machine may lack."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["unmet"]


def unmet(reason: str) -> NoReturn:
    """Skip the test with a reason; fail it where ``CI`` is set: what CI skips proves nothing."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
