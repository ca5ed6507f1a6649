"""Whatever is done to a manifest, reading it gives a manifest or a BundleError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from t2s_rt.bundle import parse_manifest
from t2s_rt.errors import BundleError


def _parse(data: bytes) -> None:
    """Parse; anything but a manifest or a BundleError fails the test."""
    try:
        parse_manifest(data)
    except BundleError as error:
        assert str(error)


@given(st.data())
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_damage_gives_bundle_errors_only(tiny: Path, data: st.DataObject) -> None:
    text = bytearray((tiny / "bundle.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if how == "flip":
            text[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del text[at : at + data.draw(st.integers(1, 400))]
        elif how == "insert":
            text[at:at] = data.draw(st.binary(max_size=8))
        else:
            text[at:at] = text[at : at + data.draw(st.integers(1, 400))]
        if not text:
            break
    _parse(bytes(text))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)


@given(st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_value_anywhere_gives_bundle_errors_only(tiny: Path, data: st.DataObject) -> None:
    content = json.loads((tiny / "bundle.json").read_text())
    place: Any = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(JSON_VALUES)
            break
        place = inner
    _parse(json.dumps(content).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema_version": NaN}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"schema_version": ' + b"1" * 5000 + b"}",
        b'{"schema_version": 1e999}',
    ],
    ids=["empty", "list", "null", "latin", "nan", "deep", "deeper", "long", "inf"],
)
def test_hostile_manifests(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(data)
