"""Windows: rectangles in one pixel frame."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Window"]


@dataclass(frozen=True)
class Window:
    """A rectangle in continuous pixel coordinates; (0, 0) is the outer corner of the first pixel.

    Attributes:
        row: upper edge.
        col: left edge.
        height: extent along rows, above 0.
        width: extent along columns, above 0.

    The frame (scene pixels or working pixels) is named by whoever passes the window. Edges may be
    fractional and may lie outside the image.
    """

    row: float
    col: float
    height: float
    width: float

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.row + self.height

    @property
    def right(self) -> float:
        """Right edge."""
        return self.col + self.width
