"""How a call of the package answers: a tuple that begins with the error code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tests.doubles import device as gpu
from tests.doubles.cuda_double.enums import cudaError_t
from tests.doubles.device import CudaError, Device

__all__ = ["Calls", "Result", "call"]

Result = tuple[Any, ...]


def call(results: int) -> Callable[[Callable[..., Any]], Callable[..., Result]]:
    """Make a method answer like the package.

    Args:
        results: items behind the error code.
    """

    def decorate(method: Callable[..., Any]) -> Callable[..., Result]:
        @functools.wraps(method)
        def called(self: Calls, *args: Any, **kwargs: Any) -> Result:
            nothing = (None,) * results
            code = self.device.fail.get(method.__name__, self.device.sticky)
            if code:
                return cudaError_t(code), *nothing
            try:
                value = method(self, *args, **kwargs)
            except CudaError as error:
                self.last = error.code
                return cudaError_t(error.code), *nothing
            if results == 0:
                return (cudaError_t.cudaSuccess,)
            values = value if results > 1 else (value,)
            return cudaError_t.cudaSuccess, *values

        called.results = results  # type: ignore[attr-defined]
        return called

    return decorate


class Calls:
    """Functions of the module, bound to one device."""

    def __init__(self, device: Device, version: int = 13000) -> None:
        self.device = device
        self.version = version
        self.last = gpu.SUCCESS
