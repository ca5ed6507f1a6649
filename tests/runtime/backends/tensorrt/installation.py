"""Which TensorRT comes with which CUDA: the machines that tests pretend to run on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TypedDict

from tests.doubles import Control, tensorrt_double


class Installation(TypedDict):
    """Layout of cuda-python, and version of the CUDA runtime."""

    layout: str
    cuda: int


INSTALLATIONS: dict[str, Installation] = {
    "8.6": {"layout": "cudart", "cuda": 12020},
    "10.3": {"layout": "bindings", "cuda": 12060},
    "10.13": {"layout": "bindings", "cuda": 13000},
    "11.4": {"layout": "bindings", "cuda": 13020},
}
"""TensorRT with the cuda-python and CUDA of its time."""


def installed(release: str) -> AbstractContextManager[Control]:
    """Pretend to have a GPU with a release; at its end misuse and leaks are raised."""
    return tensorrt_double(release, **INSTALLATIONS[release])
