"""Nano on the bench, opened once for all tests of a file."""

from __future__ import annotations

import pytest
from tests.engines.verify.doubles import Bench

from t2s_engines.verify.tiles import empty_tiles, synthetic_tiles
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.prompts import load_pack


@pytest.fixture(scope="package")
def nano() -> Bundle:
    return load_bundle(verify=False)


@pytest.fixture(scope="package")
def bench(nano: Bundle) -> Bench:
    """Two scenes and an empty one."""
    assert nano.default_pack is not None
    pack = load_pack(nano.default_pack, nano)
    return Bench(nano, pack, [*synthetic_tiles(nano, 2), empty_tiles(nano)[1]])
