"""A small bundle on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runtime.bundle.tiny import write_tiny_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))
