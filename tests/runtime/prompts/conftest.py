"""One tiny bundle for all tests of prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runtime.bundle.tiny import write_tiny_bundle

from t2s_rt.bundle import Bundle, load_bundle


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_root: Path) -> Bundle:
    return load_bundle(tiny_root)
