"""Doubles of ``tensorrt`` and ``cuda`` for machines that have neither.

::

    with tensorrt_double("10.13") as double:
        ...                        # import tensorrt, import cuda.bindings.runtime
        double.device.copies       # what was copied, in which direction
    # leaving the block checks for misuse and leaks

A child process gets them with ``python -m tests.doubles.run 10.13 t2s-rt build ...``.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

from tests.doubles import cuda_double
from tests.doubles import tensorrt_double as trt
from tests.doubles.control import Control, child_environment
from tests.doubles.device import Device, DeviceInfo
from tests.doubles.tensorrt_double import RELEASES, CrashError

__all__ = [
    "RELEASES",
    "Control",
    "CrashError",
    "Device",
    "DeviceInfo",
    "MisuseError",
    "child_environment",
    "install",
    "tensorrt_double",
]


class MisuseError(AssertionError):
    """The code under test misused the device, or left something alive."""


def install(control: Control, layout: str = "bindings", cuda: int = 13000) -> dict[str, ModuleType]:
    """Put the doubles into ``sys.modules``, in place of what is there.

    Returns:
        What was there, to be put back by :func:`_restore`.
    """
    before = {
        name: module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in ("cuda", "tensorrt", "tensorrt_bindings")
    }
    for name in before:
        del sys.modules[name]
    made = {
        "tensorrt": trt.build_module(control),
        **cuda_double.build_modules(control.device, layout, cuda),
    }
    for name, module in made.items():
        module.__spec__ = ModuleSpec(name, None)  # without one they do not count as installed
    sys.modules.update(made)
    return before


def _restore(before: dict[str, ModuleType]) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in ("cuda", "tensorrt"):
            del sys.modules[name]
    sys.modules.update(before)


@contextmanager
def tensorrt_double(
    release: str = "10.13",
    *,
    info: DeviceInfo | None = None,
    layout: str = "bindings",
    cuda: int = 13000,
    check: bool = True,
) -> Iterator[Control]:
    """Install the doubles for a ``with`` block.

    Args:
        release: a key of ``RELEASES``, or a full number that begins with one.
        info: the GPU; an Orin-like one by default.
        layout: of the package cuda: "bindings" or "cudart".
        cuda: version of the CUDA runtime.
        check: at the end look for misuse and leaks; not where the block itself raises.

    Yields:
        What a test sets and reads.

    Raises:
        MisuseError: at the end, if something was misused or is still alive.
    """
    control = Control(RELEASES.get(release, release), Device(info))
    before = install(control, layout, cuda)
    try:
        yield control
        if check:
            gc.collect()
            found = [*control.device.faults, *(f"leak: {x}" for x in control.device.leaks())]
            if found:
                raise MisuseError("\n".join(found))
    finally:
        _restore(before)
