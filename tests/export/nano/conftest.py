"""A tiny shard set that every test here shares, and small samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from t2s_export.nano.data import Sample, ShardSet, prepare_shards


@pytest.fixture(scope="session")
def shard_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_shards(tmp_path_factory.mktemp("nano"), 8, size=640, workers=1)


@pytest.fixture(scope="session")
def shards(shard_folder: Path) -> ShardSet:
    return ShardSet(shard_folder)


@pytest.fixture
def two_objects() -> Sample:
    """64 px: a building of 16 × 12, a car of 8 × 6 and a crowd of trees."""
    classes = np.full((64, 64), 6, np.uint8)
    instances = np.zeros((64, 64), np.uint16)
    for number, class_id, rows, columns in (
        (1, 1, slice(8, 20), slice(4, 20)),
        (2, 5, slice(40, 46), slice(30, 38)),
        (3, 3, slice(48, 64), slice(48, 64)),
    ):
        classes[rows, columns] = class_id
        instances[rows, columns] = number
    rng = np.random.default_rng(0)
    return Sample(
        image=rng.integers(0, 256, (64, 64, 3)).astype(np.uint8),
        classes=classes,
        instances=instances,
        class_ids=np.array([1, 5, 3], np.uint8),
        crowd=np.array([False, False, True]),
        pixels=np.array([192, 48, 256]),
    )
