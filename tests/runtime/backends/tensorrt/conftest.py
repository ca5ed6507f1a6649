"""A simulated machine with a GPU, and two engines on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doubles import Control, tensorrt_double
from tests.runtime.backends.tensorrt.engines import build_engine, open_engine
from tests.runtime.backends.tensorrt.graphs import write_decoder, write_encoder

from t2s_rt.backends.tensorrt import TensorRtSession

Open = Callable[..., TensorRtSession]

INSTALLATIONS = {
    "8.6": {"layout": "cudart", "cuda": 12020},
    "10.3": {"layout": "bindings", "cuda": 12060},
    "10.13": {"layout": "bindings", "cuda": 13000},
    "11.4": {"layout": "bindings", "cuda": 13020},
}
"""TensorRT with the cuda-python and CUDA of its time."""


@pytest.fixture(params=INSTALLATIONS)
def every_release(request: pytest.FixtureRequest) -> Iterator[Control]:
    """Each release in turn; misuse and leaks fail the test at its end."""
    with tensorrt_double(request.param, **INSTALLATIONS[request.param]) as control:
        yield control


@pytest.fixture
def double() -> Iterator[Control]:
    """One release, where the release makes no difference."""
    with tensorrt_double("10.13") as control:
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
