"""Make the torchvision wheel importable beside a CPU build of torch.

The wheel on PyPI is built for CUDA: its compiled operators do not load there, and then its own
import fails where it registers shape functions for operators that do not exist ("operator
torchvision::nms does not exist"). Declaring those operators as bare schemas first lets the import
pass. Transforms, which the original packages need, work; a compiled operator still fails if called.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[Any] = []


def install() -> None:
    """Import torchvision, with its operators declared if they cannot be loaded.

    Raises:
        ImportError: torchvision is not installed.
    """
    if "torchvision" in sys.modules:
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed")
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    _libraries.append(library)  # definitions live as long as the object
    source = (Path(spec.origin).parent / "_meta_registrations.py").read_text(encoding="utf-8")
    for name in sorted(set(re.findall(r'register_fake\("torchvision::(\w+)"\)', source))):
        library.define(name + _SCHEMA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that its image codecs do not load either
        importlib.import_module("torchvision")
