"""Labelled data sets in their published folders, with the traps of their labels handled."""

from __future__ import annotations

from t2s_rt.evaluation.datasets.catalogue import DATASETS, SPLITS, dataset_spec
from t2s_rt.evaluation.datasets.finding import find_items
from t2s_rt.evaluation.datasets.reading import (
    MAX_SIDE,
    decode_labels,
    item_gsd,
    item_size,
    item_windows,
    read_item,
)
from t2s_rt.evaluation.datasets.spec import (
    IGNORED,
    DatasetClass,
    DatasetItem,
    DatasetSpec,
    Wording,
)

__all__ = [
    "DATASETS",
    "IGNORED",
    "MAX_SIDE",
    "SPLITS",
    "DatasetClass",
    "DatasetItem",
    "DatasetSpec",
    "Wording",
    "dataset_spec",
    "decode_labels",
    "find_items",
    "item_gsd",
    "item_size",
    "item_windows",
    "read_item",
]
