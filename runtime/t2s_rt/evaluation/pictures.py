"""Pictures of an evaluation: the confusion matrix, and tiles as image, truth and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import OutputError
from t2s_rt.evaluation.datasets import IGNORED

__all__ = ["confusion_picture", "save_png", "tile_picture"]

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PAPER, _INK, _BLUE = (250, 250, 248), (34, 34, 34), (8, 69, 148)
_CELL, _NAMES, _TOP = 72, 190, 150
_PANEL, _GAP, _ROW = 480, 8, 26


def confusion_picture(names: Sequence[str], counts: NDArray[np.int64], title: str) -> Image:
    """The matrix with every row as shares of its class's pixels; rows are truth.

    Returns:
        RGB uint8.
    """
    side = len(names)
    sheet = _paper(_TOP + side * _CELL + 20, max(_NAMES + side * _CELL + 20, 620))
    _text(sheet, title, (12, 28), 0.6)
    _text(sheet, "rows: truth, columns: prediction, share of the row", (12, 52), 0.45)
    totals = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    for row, name in enumerate(names):
        y = _TOP + row * _CELL
        _text(sheet, _cut(name, _NAMES - 20), (12, y + _CELL // 2 + 5), 0.45)
        # column names lean, so that long ones find room
        _slanted(sheet, name, (_NAMES + row * _CELL + _CELL // 2 - 8, _TOP - 8))
        for col in range(side):
            x = _NAMES + col * _CELL
            share = float(shares[row, col])
            shade = [round(p + (b - p) * share) for p, b in zip(_PAPER, _BLUE, strict=True)]
            cv2.rectangle(sheet, (x, y), (x + _CELL - 2, y + _CELL - 2), shade, -1)
            text = "-" if not totals[row, 0] else f"{share:.2f}"
            ink = (255, 255, 255) if share > 0.5 else _INK
            _text(sheet, text, (x + 18, y + _CELL // 2 + 5), 0.45, ink)
    return sheet


def tile_picture(
    image: Image, truth: Image, labels: Image, names: Sequence[str], colours: Sequence[Colour],
    title: str,
) -> Image:  # fmt: skip
    """Image, truth and prediction side by side; what does not count is white.

    Args:
        image: uint8 ``[H, W, 3]`` RGB.
        truth: uint8 ``[H, W]``.
        labels: uint8 ``[H, W]``, the prediction.
        names: of the classes.
        colours: of the classes.
        title: heading.
    """
    table = np.full((256, 3), 255, np.uint8)
    table[: len(colours)] = colours
    fit = _PANEL / max(image.shape[:2])
    size = tuple(max(1, round(side * fit)) for side in image.shape[1::-1])
    method = cv2.INTER_AREA if fit < 1 else cv2.INTER_NEAREST
    panels = [cv2.resize(image, size, interpolation=method)]
    for labelled in (truth, np.where(truth == IGNORED, IGNORED, labels)):
        near = cv2.resize(labelled.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        panels.append(table[near])
    height, width = size[1], 3 * _PANEL + 4 * _GAP
    columns = 5
    legend = -(-len(names) // columns) * _ROW + 12
    sheet = _paper(60 + height + legend, width)
    _text(sheet, _cut(title, width - 20), (_GAP, 22), 0.5)
    for index, (panel, what) in enumerate(
        zip(panels, ("image", "truth", "prediction"), strict=True)
    ):
        x = _GAP + index * (_PANEL + _GAP)
        _text(sheet, what, (x, 46), 0.45)
        sheet[54 : 54 + height, x : x + size[0]] = panel
    for index, (name, colour) in enumerate(zip(names, colours, strict=True)):
        x = _GAP + (index % columns) * (width // columns)
        y = 60 + height + (index // columns) * _ROW
        cv2.rectangle(sheet, (x, y), (x + 16, y + 16), colour, -1)
        _text(sheet, name, (x + 24, y + 14), 0.45)
    return sheet


def save_png(path: Path, picture: Image) -> None:
    """Write a picture, RGB or of one band.

    Raises:
        OutputError: it cannot be written.
    """
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    good, data = cv2.imencode(".png", stored)
    try:
        if not good:
            raise OSError("OpenCV cannot encode the picture")
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _paper(height: int, width: int) -> Image:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _text(sheet: Image, text: str, at: tuple[int, int], scale: float, ink: Colour = _INK) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(sheet, plain, at, _FONT, scale, ink, 1, cv2.LINE_AA)


def _cut(text: str, room: int) -> str:
    while len(text) > 4 and cv2.getTextSize(text, _FONT, 0.5, 1)[0][0] > room:
        text = text[:-4] + "..."
    return text


def _slanted(sheet: Image, text: str, at: tuple[int, int]) -> None:
    strip = _paper(22, 200)
    _text(strip, text, (2, 16), 0.42)
    matrix = cv2.getRotationMatrix2D((0.0, 11.0), 40.0, 1.0)
    matrix[:, 2] += (at[0], at[1] - 11)
    height, width = sheet.shape[:2]
    turned = cv2.warpAffine(strip, matrix, (width, height), borderValue=_PAPER)
    np.minimum(sheet, turned, out=sheet)
