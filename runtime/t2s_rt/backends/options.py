"""What a caller may choose about a backend, one place for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from t2s_rt.errors import UsageError

__all__ = ["BackendOptions"]


@dataclass(frozen=True)
class BackendOptions:
    """Choices about how sessions run; a backend ignores those that mean nothing to it.

    Attributes:
        threads: threads within one operator on the CPU, at least 1; None leaves it to the
            backend.
        memory_limit: most bytes of device memory that one session's arena may take; None sets
            no limit.
        graph_cache: keep the optimised graph in the cache folder and load it from there.
        cuda_graph: record a session's kernels once as a CUDA graph and replay them, where all
            its shapes are static.
        allow_cpu_fallback: let a GPU backend run operators on the CPU that it lacks; False
            makes that an error.
        device_index: which GPU.
        engines: folder of the engines that ``t2s-rt build`` wrote; None takes the cache's.
        allow_unverified: run engines that ``t2s-rt verify`` did not pass.
        shrink_arena: give scratch memory back after every run. With nano and one thread 90 MiB
            are held between runs beside the weights instead of 390 MiB; runs took about a tenth
            longer when last timed, on two AVX2 cores with an arena for each session. Not together
            with ``cuda_graph``, which replays fixed addresses.

    Raises:
        UsageError: a value out of range.
    """

    threads: int | None = None
    memory_limit: int | None = None
    graph_cache: bool = False
    cuda_graph: bool = False
    allow_cpu_fallback: bool = True
    device_index: int = 0
    engines: Path | None = None
    allow_unverified: bool = False
    shrink_arena: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, least in (("threads", 1), ("memory_limit", 1), ("device_index", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"expected {name} of at least {least}, found {value}")
        if self.cuda_graph and self.shrink_arena:
            raise UsageError("expected cuda_graph or shrink_arena, found both")
