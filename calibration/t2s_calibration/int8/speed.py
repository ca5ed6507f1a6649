"""What int8 gains on this processor: graphs alone, each in turn with its float32 graph."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2s_calibration.int8.inputs import calls_of
from t2s_engines.timing import interleave
from t2s_rt.backends import open_session
from t2s_rt.bundle import Bundle
from t2s_rt.contracts import Role
from t2s_rt.prompts import PromptPack

__all__ = ["Gain", "gain_of"]

_BACKEND = "onnxruntime-cpu"
_REPEAT = 5


@dataclass(frozen=True)
class Gain:
    """Times of a graph on ONNX Runtime's CPU provider, by tile.

    Attributes:
        fp32: median milliseconds.
        int8: median milliseconds.
        disturbed: other processes took part of the machine.
    """

    fp32: float
    int8: float
    disturbed: bool

    @property
    def ratio(self) -> float:
        """How many times faster int8 is."""
        return self.fp32 / self.int8


def gain_of(
    bundle: Bundle,
    role: Role,
    pack: PromptPack,
    image: NDArray[np.uint8],
    threads: int | None = None,
    repeat: int = _REPEAT,
) -> Gain:
    """Time a role's int8 graph for processors beside its float32 graph.

    Args:
        bundle: has both.
        role: of the graphs.
        pack: for the detector's caption.
        image: uint8 ``[H, W, 3]`` RGB, a tile.
        threads: of ONNX Runtime; None takes one per core.
        repeat: undisturbed samples wanted.

    Raises:
        BundleError, BackendError: a graph is missing or cannot be run.
    """
    single, quick = bundle.graph(role, "fp32"), bundle.graph(role, "int8", "cpu")
    calls = calls_of(single, image, pack)
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(open_session(entry, _BACKEND, threads=threads))
            for name, entry in (("fp32", single), ("int8", quick))
        }
        found = interleave(
            {name: lambda s=s: [s.run(call) for call in calls] for name, s in sessions.items()},  # type: ignore[misc]
            repeat,
        )
    one, two = found["fp32"], found["int8"]
    return Gain(1e3 * one.median, 1e3 * two.median, one.disturbed or two.disturbed)
