"""Optimisation profiles and timing caches."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.doubles.tensorrt_double.basics import host_memory, shape_of
from tests.doubles.tensorrt_double.names import (
    Dims,
    IHostMemory,
)
from tests.doubles.tensorrt_double.pybind import (
    Object,
)

__all__ = ["CACHE", "TEMPLATES", "ITimingCache"]


class IOptimizationProfile(Object):
    """Ranges of the dynamic inputs."""

    _shapes: dict[str, tuple[tuple[int, ...], ...]]
    _target: float

    def _start(self) -> None:
        self._shapes, self._target = {}, 1.0

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:
        shapes = tuple(tuple(shape) for shape in (min, opt, max))
        if len({len(shape) for shape in shapes}) != 1 or any(-1 in shape for shape in shapes):
            raise RuntimeError("Shape provided for opt is inconsistent with other shapes.")
        if any(not low <= best <= high for low, best, high in zip(*shapes, strict=True)):
            raise RuntimeError("Shape provided for max is inconsistent with other shapes.")
        self._shapes[input] = shapes

    def get_shape(self, input: str) -> list[Any]:
        return [shape_of(self._trt, shape) for shape in self._shapes.get(input, ())]

    def set_shape_input(self, input: str, min: list[int], opt: list[int], max: list[int]) -> None:
        raise RuntimeError("min input provided for shape tensor is inconsistent with other inputs.")

    @property
    def extra_memory_target(self) -> float:
        return self._target

    @extra_memory_target.setter
    def extra_memory_target(self, value: float) -> None:
        self._target = value

    def __bool__(self) -> bool:
        return bool(self._shapes)


class ITimingCache(Object):
    """Timings of kernels, for one GPU and release."""

    _entries: dict[str, float]
    _origin: str

    def serialize(self) -> IHostMemory:
        content = {"origin": self._origin, "release": self._release, "entries": self._entries}
        body = json.dumps(content, sort_keys=True).encode()
        return host_memory(self._trt, CACHE + hashlib.sha256(body).digest() + body)

    def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if input_cache._origin != self._origin and not ignore_mismatch:
            return False
        self._entries.update(input_cache._entries)
        return True

    def reset(self) -> bool:
        self._entries.clear()
        return True


CACHE = b"TRTCACHE\x01"


TEMPLATES: tuple[type, ...] = (IOptimizationProfile, ITimingCache)
