"""Work that is done ahead, in one thread of its own, while others use what came before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import TypeVar

from t2s_rt.routes.clock import StageClock

__all__ = ["AheadThread"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class AheadThread:
    """Does one piece of work after another in a single thread; a context manager.

    A scene that is only read here never meets two threads at once.

    Args:
        clock: sees the thread's work as the stage ``stage``.
        stage: see above.
    """

    def __init__(self, clock: StageClock, stage: str) -> None:
        self._clock, self._stage = clock, stage
        self._pool = ThreadPoolExecutor(1, f"t2s-{stage}")

    def map(
        self, work: Callable[[_Item], _Result], items: Iterable[_Item], depth: Callable[[], int]
    ) -> Iterator[tuple[_Item, _Result]]:
        """Items with what work made of them, in order.

        Args:
            work: called in the thread.
            items: what to work on.
            depth: results that may lie ready or be at work while the caller uses an earlier one;
                0 starts each only when it is asked for. Asked anew for each item.

        Raises:
            Exception: whatever work raises, at its item.
        """
        rest = iter(items)
        queue: deque[tuple[_Item, Future[_Result]]] = deque()

        def top_up(count: int) -> None:
            for item in islice(rest, max(0, count - len(queue))):
                queue.append((item, self._pool.submit(self._timed, work, item)))

        def take() -> tuple[_Item, _Result]:
            item, future = queue.popleft()
            result = future.result()
            top_up(depth())
            return item, result

        while True:
            top_up(max(1, depth()))
            if not queue:
                return
            yield take()  # straight through: this frame must not keep what the caller lets go of

    def _timed(self, work: Callable[[_Item], _Result], item: _Item) -> _Result:
        with self._clock.running(self._stage):
            return work(item)

    def __enter__(self) -> AheadThread:
        """Return the thread; leaving the block ends it, and drops what has not begun."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)
