"""The package ``cuda`` with the calls that a backend uses, in both of its layouts."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from tests.doubles.cuda_double.enums import CONSTANTS, ENUMS
from tests.doubles.cuda_double.handles import HANDLES
from tests.doubles.cuda_double.runtime import Runtime
from tests.doubles.device import Device

__all__ = ["LAYOUTS", "build_modules"]

LAYOUTS = ("bindings", "cudart")
"""``cuda.bindings.runtime`` since cuda-python 12.6; ``cuda.cudart`` before."""


def build_modules(
    device: Device, layout: str = "bindings", version: int = 13000
) -> dict[str, ModuleType]:
    """Make the modules of one installation.

    Args:
        device: the GPU behind them.
        layout: one of :data:`LAYOUTS`.
        version: of the CUDA runtime, as cudaRuntimeGetVersion says it.

    Returns:
        Modules by full name, ready for ``sys.modules``.
    """
    calls = Runtime(device, version)
    content: dict[str, Any] = {**ENUMS, **CONSTANTS, **HANDLES}
    content |= {name: getattr(calls, name) for name in dir(calls) if name.startswith("cuda")}
    number = f"{version // 1000}.{version % 1000 // 10}.0"
    if layout == "bindings":
        modules = {
            name: ModuleType(name) for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime")
        }
        modules["cuda.bindings"].__dict__["__version__"] = number
    else:
        modules = {name: ModuleType(name) for name in ("cuda", "cuda.cudart")}
        modules["cuda"].__dict__["__version__"] = number
    for name, module in modules.items():
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(modules[parent], leaf, module)
        if leaf not in ("runtime", "cudart"):
            module.__path__ = []
    leaf_module = next(m for n, m in modules.items() if n.endswith(("runtime", "cudart")))
    leaf_module.__dict__.update(content)
    leaf_module.__file__ = sys.modules[__name__].__file__
    return modules
