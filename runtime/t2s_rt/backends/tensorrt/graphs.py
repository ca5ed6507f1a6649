"""One CUDA graph of a session: recorded once for its shapes, then launched in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from t2s_rt.backends.tensorrt.cuda import Cuda
from t2s_rt.errors import BackendError

__all__ = ["GraphReplay"]


class GraphReplay:
    """Launches work as a CUDA graph once its shapes come again.

    TensorRT ties a recording to the state of its execution context, so one graph is held, for
    the shapes of the last call. The first call with new shapes runs plainly: TensorRT finishes
    there what it put off until the shapes were known, which cannot be captured; and shapes that
    change at every call cost no recording. Work that cannot be captured runs plainly for good.

    Args:
        cuda: the device.
        enqueue: puts the work on a stream; the addresses that it uses never change.

    Attributes:
        note: why there is no graph; empty as long as there may be one.
    """

    def __init__(self, cuda: Cuda, enqueue: Callable[[int], None]) -> None:
        self._cuda = cuda
        self._enqueue = enqueue
        self._shapes: Any = None
        self._graph: int | None = None
        self.note = ""

    def run(self, shapes: Any, stream: int) -> None:
        """Enqueue the work for these shapes.

        Raises:
            BackendError: the work fails even without a graph.
        """
        if self.note:
            self._enqueue(stream)
            return
        if shapes != self._shapes:
            self.drop()
            self._enqueue(stream)
            self._shapes = shapes
            return
        if self._graph is None:
            try:
                self._graph = self._cuda.capture(self._enqueue)
            except BackendError as error:
                self.note = f"no CUDA graph: {error}"
                self._enqueue(stream)
                return
        self._cuda.launch_graph(self._graph, stream)

    def drop(self) -> None:
        """Destroy the graph, if any."""
        self._shapes = None
        if self._graph is not None:
            graph, self._graph = self._graph, None
            self._cuda.destroy_graph(graph)
