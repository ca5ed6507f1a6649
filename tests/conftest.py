"""Fixtures for every part's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real test images named by T2S_TEST_DATA; the test is skipped without it."""
    folder = os.environ.get("T2S_TEST_DATA")
    if not folder:
        pytest.skip("T2S_TEST_DATA is unset: real images, labels and broken files are not at hand")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"T2S_TEST_DATA={folder} is no folder")
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("T2S_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def example_scene() -> Path:
    """The scene that README's first command maps: synthetic, committed, with a CRS."""
    return Path(__file__).parents[1] / "docs" / "example" / "lakeside.tif"
