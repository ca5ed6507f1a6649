"""The package ``tensorrt``, strict and computing, in several releases.

``build_module`` makes a release. What the genuine bindings refuse is refused (checked by
tests/trt); where the genuine library would crash, :class:`CrashError` is raised.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from tests.doubles.control import Control
from tests.doubles.tensorrt_double import (
    basics,
    building,
    engine,
    execution,
    inspection,
    network,
    profiles,
    refitting,
)
from tests.doubles.tensorrt_double.basics import numpy_type
from tests.doubles.tensorrt_double.pybind import CrashError, Object, has, release_class
from tests.doubles.tensorrt_double.releases import RELEASES, add_enums

__all__ = ["RELEASES", "CrashError", "build_module"]

_PARENTS = {"Logger": "ILogger"}


def build_module(control: Control) -> ModuleType:
    """Make one release's module.

    Args:
        control: release, device and behaviour.
    """
    trt: Any = ModuleType("tensorrt")
    release = control.release
    trt.__version__ = release
    trt.__path__ = []
    trt._control = control
    severity = add_enums(trt, release)
    root = type("pybind11_object", (Object,), {"_device": control.device, "_release": release})
    for template in (
        *basics.TEMPLATES,
        *network.TEMPLATES,
        *profiles.TEMPLATES,
        *building.TEMPLATES,
        *inspection.TEMPLATES,
        *engine.TEMPLATES,
        *execution.TEMPLATES,
        *refitting.TEMPLATES,
    ):
        if not has(template, release):
            continue
        parent = _PARENTS.get(template.__name__)
        bases = (getattr(trt, parent),) if parent else (root,)
        made: Any = release_class(template, release, trt, bases)
        if template.__name__ in ("ILogger", "Logger"):
            made.Severity = severity
            for name, member in severity.__members__.items():  # type: ignore[attr-defined]
                setattr(made, name, member)
        setattr(trt, template.__name__, made)
    trt.nptype = numpy_type
    trt.volume = lambda iterable: int(np.prod(tuple(iterable), dtype=np.int64))
    trt.init_libnvinfer_plugins = lambda logger, namespace: True
    trt.get_nv_onnx_parser_version = lambda: int(release.split(".")[0]) * 10000
    module: ModuleType = trt
    return module
