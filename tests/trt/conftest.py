"""The genuine bindings as a fixture."""

from __future__ import annotations

import pytest
from tests.needs import unmet
from tests.trt.genuine import Genuine, UnavailableError, obtain


@pytest.fixture(scope="session")
def genuine() -> Genuine:
    """The genuine bindings over a stub; a skip where they cannot be had, a failure in CI."""
    try:
        return obtain()
    except UnavailableError as reason:
        unmet(str(reason))
