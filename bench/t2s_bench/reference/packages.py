"""Load the original packages that our modules are checked against and timed beside.

They are pinned in ``tests/oracles/requirements.txt`` of a checkout and installed without their
dependencies, which would replace the CPU build of torch and bring a second OpenCV.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType

from t2s_bench.reference import torchvision_shim
from t2s_rt.errors import BackendError

__all__ = [
    "INSTALL",
    "MissingOriginalError",
    "import_original",
    "open_clip",
    "quiet",
    "require",
    "segment_anything",
    "tiny_vit",
]

INSTALL = "pip install --no-deps -r tests/oracles/requirements.txt"


class MissingOriginalError(BackendError):
    """An original package is not installed.

    Args:
        package: the import that failed.
    """

    def __init__(self, package: str) -> None:
        super().__init__(
            f"the original package {package!r}, to compare with, is not installed; "
            f"in a checkout run: {INSTALL}"
        )


def require(packages: Iterable[str]) -> None:
    """Raise unless all packages can be imported, and make torchvision importable.

    Raises:
        MissingOriginalError: naming the first one that is not installed.
    """
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise MissingOriginalError(name)
    torchvision_shim.install()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence: other people's deprecations and remarks are not ours to fix."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def import_original(package: str) -> ModuleType:
    """Import an original package beside a CPU build of torch.

    Raises:
        MissingOriginalError: it is not installed.
    """
    require(("torchvision", package))
    with quiet():
        return importlib.import_module(package)


def segment_anything() -> ModuleType:
    """The package segment_anything."""
    return import_original("segment_anything")


def open_clip() -> ModuleType:
    """The package open_clip."""
    return import_original("open_clip")


def tiny_vit() -> ModuleType:
    """The module timm.models.tiny_vit."""
    import_original("timm")
    with quiet():
        return importlib.import_module("timm.models.tiny_vit")
