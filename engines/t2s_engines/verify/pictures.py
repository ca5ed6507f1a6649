"""A picture of each worst tile: the reference's answers beside the device's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_engines.verify.sketch import Sketch
from t2s_engines.verify.tiles import VerifyTile
from t2s_engines.verify.verification import Outcome
from t2s_rt.errors import OutputError

__all__ = ["draw", "write_pictures"]

Image = NDArray[np.uint8]

_PANEL = 520
_GAP = 12
_HEAD = 64
_PAPER, _INK = (250, 250, 248), (34, 34, 34)
_FONT = cv2.FONT_HERSHEY_DUPLEX
_NONE = (240, 240, 236)
_BOX = (255, 210, 0)
_KEY = ("recall", "box IoU mean", "hallucinated boxes", "mask IoU worst", "label agreement worst")


def write_pictures(outcome: Outcome, folder: Path) -> list[Path]:
    """One PNG for every tile that some graph was worst on; paths in the order of the tiles.

    Raises:
        OutputError: a picture cannot be written.
    """
    why: dict[int, list[str]] = {}
    for verdict in outcome.verdicts:
        for name in verdict.worst:
            if name in _KEY and not _perfect(name, verdict.figures[name]):
                value = f"{verdict.role} {verdict.precision}: {name} {verdict.figures[name]:.4f}"
                why.setdefault(verdict.worst[name], []).append(value)
    paths = []
    for index in sorted(why):
        path = folder / f"worst-{index}.png"
        sketch = outcome.sketches.get(index, Sketch())
        _save(path, draw(outcome.tiles[index], sketch, why[index], outcome.colours))
        paths.append(path)
    return paths


def _perfect(name: str, value: float) -> bool:
    return value == (0.0 if name.startswith("hallucinated") else 1.0)


def draw(
    tile: VerifyTile,
    sketch: Sketch,
    reasons: Sequence[str],
    classes: Sequence[tuple[int, int, int]],
) -> Image:
    """The sheet: tile, reference, device; below, the class maps and where they differ.

    Args:
        tile: that was shown.
        sketch: of the answers.
        reasons: why this tile, for the heading.
        classes: RGB of each class, in the order of the class maps.
    """
    rows = [
        _row(
            ("tile", tile.image),
            ("reference: strong boxes, and masks that differ most", _objects(tile, sketch, 0)),
            ("device: the same", _objects(tile, sketch, 1)),
        )
    ]
    if len(sketch.labels) == 2:
        one, two = sketch.labels
        wrong = np.where((one != two)[..., None], np.array([214, 40, 40], np.uint8), 235)
        rows.append(
            _row(
                (f"class maps differ on {100 * float((one != two).mean()):.2f} %", wrong),
                ("reference: class map", _colours(one, classes)),
                ("device: class map", _colours(two, classes)),
            )
        )
    sheet = np.concatenate(rows)
    head = np.full((_HEAD, sheet.shape[1], 3), _PAPER, np.uint8)
    _text(head, tile.name + (" (synthetic)" if tile.synthetic else ""), (_GAP, 26), 0.6)
    _text(head, "; ".join(reasons), (_GAP, 52), 0.45)
    return np.concatenate([head, sheet])


def _row(*panels: tuple[str, NDArray[np.generic]]) -> Image:
    parts: list[Image] = []
    for title, picture in panels:
        body = cv2.resize(
            np.ascontiguousarray(picture, dtype=np.uint8), (_PANEL, _PANEL),
            interpolation=cv2.INTER_AREA if picture.shape[0] > _PANEL else cv2.INTER_NEAREST,
        )  # fmt: skip
        caption = np.full((28, _PANEL, 3), _PAPER, np.uint8)
        _text(caption, title, (2, 20), 0.45)
        framed = np.concatenate([caption, np.asarray(body, np.uint8)])
        parts.append(np.pad(framed, ((0, _GAP), (_GAP, 0), (0, 0)), constant_values=250))
    return np.concatenate(parts, axis=1)


def _objects(tile: VerifyTile, sketch: Sketch, side: int) -> Image:
    """The tile with one side's boxes and masks over it."""
    out: Image = tile.image.copy()
    size = (out.shape[1], out.shape[0])
    for number, (_, *both) in enumerate(sketch.masks):
        mask = both[side].astype(np.uint8)
        inside = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), bool)
        under = out[inside].astype(np.float64)
        out[inside] = (0.45 * under + 0.55 * _hue(number)).astype(np.uint8)
    if len(sketch.boxes) == 2:
        for box in np.rint(sketch.boxes[side]).astype(int):
            cv2.rectangle(out, tuple(box[:2].tolist()), tuple(box[2:].tolist()), _BOX, 1)
    return np.asarray(out, np.uint8)


def _colours(labels: NDArray[np.uint8], classes: Sequence[tuple[int, int, int]]) -> Image:
    table = np.array([_NONE, *classes], np.uint8)
    return np.asarray(np.take(table, labels, axis=0), np.uint8)


def _hue(number: int) -> NDArray[np.float64]:
    """Colours far from each other for small numbers."""
    hue = np.array([[[(number * 67) % 180, 170, 230]]], np.uint8)
    return np.asarray(cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0], np.float64)


def _text(sheet: Image, text: str, at: tuple[int, int], scale: float) -> None:
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    cv2.putText(sheet, plain, at, _FONT, scale, _INK, 1, cv2.LINE_AA)


def _save(path: Path, sheet: Image) -> None:
    good, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    try:
        if not good:
            raise OSError("OpenCV cannot encode the picture")
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
