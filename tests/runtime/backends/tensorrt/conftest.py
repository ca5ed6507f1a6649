"""A simulated machine with a GPU, and two engines on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doubles import Control
from tests.runtime.backends.tensorrt.engines import build_engine, open_engine
from tests.runtime.backends.tensorrt.graphs import write_decoder, write_encoder
from tests.runtime.backends.tensorrt.installation import INSTALLATIONS, installed

from t2s_rt.backends.tensorrt import TensorRtSession

Open = Callable[..., TensorRtSession]


@pytest.fixture(params=INSTALLATIONS)
def every_release(request: pytest.FixtureRequest) -> Iterator[Control]:
    """Each release in turn; misuse and leaks fail the test at its end."""
    with installed(request.param) as control:
        yield control


@pytest.fixture
def double() -> Iterator[Control]:
    """One release, where the release makes no difference."""
    with installed("10.13") as control:
        yield control


@pytest.fixture
def encoder(tmp_path: Path) -> Open:
    """Opens a session on the encoder's engine, building it first."""
    return _opener(tmp_path, write_encoder)


@pytest.fixture
def decoder(tmp_path: Path) -> Open:
    """Opens a session on the decoder's engine, building it first."""
    return _opener(tmp_path, write_decoder)


def _opener(folder: Path, write: Callable[[Path], Any]) -> Open:
    def opened(**options: Any) -> TensorRtSession:
        entry = write(folder)
        root = folder / "engines"
        if not list(root.glob(f"{entry.role}.*")):
            build_engine(entry, root)
        return open_engine(entry, root, **options)

    return opened
