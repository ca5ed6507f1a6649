"""A sheet of tiles: image, truth and maps side by side, a row for each, with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Row", "contact_sheet"]

Image = NDArray[np.uint8]
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PAPER, _INK = 250, (34, 34, 34)
_GAP, _HEAD, _TITLE, _LEGEND = 6, 26, 20, 24


@dataclass(frozen=True)
class Row:
    """One tile.

    Attributes:
        title: above it.
        image: uint8 ``[H, W, 3]`` RGB.
        maps: uint8 ``[H, W]`` labels, the truth first; 255 is shown white.
    """

    title: str
    image: Image
    maps: tuple[Image, ...]


def contact_sheet(
    heads: Sequence[str], rows: Sequence[Row], classes: Sequence[tuple[str, tuple[int, int, int]]]
) -> Image:
    """Draw the sheet, RGB.

    Args:
        heads: of the columns: image, truth and every map.
        rows: of one size.
        classes: name and colour of label 0, 1, ...
    """
    height, width = rows[0].image.shape[:2]
    legend = _legend(classes, len(heads) * (width + _GAP) + _GAP)
    step = _TITLE + height + _GAP
    across = len(heads) * (width + _GAP) + _GAP
    sheet = np.full((_HEAD + len(rows) * step, across, 3), _PAPER, np.uint8)
    table = np.full((256, 3), 255, np.uint8)
    table[: len(classes)] = [colour for _, colour in classes]
    for column, head in enumerate(heads):
        _text(sheet, head, (_GAP + column * (width + _GAP), _HEAD - 8))
    for index, row in enumerate(rows):
        top = _HEAD + index * step + _TITLE
        _text(sheet, row.title, (_GAP, top - 6))
        for column, panel in enumerate((row.image, *(table[labels] for labels in row.maps))):
            left = _GAP + column * (width + _GAP)
            sheet[top : top + height, left : left + width] = panel
    return np.concatenate([sheet, legend])


def _legend(classes: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> Image:
    columns = max(1, width // 170)
    sheet = np.full((-(-len(classes) // columns) * _LEGEND + 8, width, 3), _PAPER, np.uint8)
    for index, (name, colour) in enumerate(classes):
        x, y = _GAP + index % columns * 170, 4 + index // columns * _LEGEND
        cv2.rectangle(sheet, (x, y), (x + 15, y + 15), colour, -1)
        _text(sheet, name, (x + 22, y + 13))
    return sheet


def _text(sheet: Image, text: str, at: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(sheet, plain, at, _FONT, 0.45, _INK, 1, cv2.LINE_AA)
