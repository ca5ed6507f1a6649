"""A picture for people: the scene beside its class map, with a legend."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from t2s_rt.errors import OutputError
from t2s_rt.scene._gdal import gdal_session, reason
from t2s_rt.scene.reader import Scene, SceneReadError
from t2s_rt.scene.window import Window
from t2s_rt.scene.writer import LABEL_NODATA, NamedClass

__all__ = ["PREVIEW_SIDE", "write_preview"]

PREVIEW_SIDE = 1600
"""Longest side of the PNG in pixels."""

Image = npt.NDArray[np.uint8]

_MARGIN, _GAP = 24, 16
_PAPER, _INK, _FAINT = (250, 250, 248), (34, 34, 34), (110, 110, 110)
_NO_DATA = (228, 228, 224)
_FONT, _SCALE = cv2.FONT_HERSHEY_DUPLEX, 0.55
_SWATCH, _ROW = 18, 30
_TINT = 0.55
_PANEL_HEIGHT, _LEAST_SIDE, _LEAST_SHEET = 1240, 280, 420


def write_preview(
    scene: Scene,
    labels_path: Path,
    path: str | os.PathLike[str],
    classes: Sequence[NamedClass],
    *,
    title: str | None = None,
) -> Path:
    """Write a PNG: the scene on the left, its classes over it on the right, a legend below.

    Args:
        scene: the open scene.
        labels_path: its finished class map.
        path: the PNG to write, whole or not at all; replaced if it exists.
        classes: in the map's order.
        title: heading; default the scene's file name.

    Returns:
        The path. Parts of the scene that cannot be read show as nodata.

    Raises:
        OutputError: the file cannot be written.
    """
    target = Path(path)
    height, width = _panel_size(scene)
    labels, shares = _small_labels(labels_path, height, width, len(classes))
    image, valid = _small_scene(scene, height, width)
    image[~valid] = _NO_DATA
    overlay = _overlay(image, labels, classes)
    body = _side_by_side(image, overlay)
    sheet = np.concatenate(
        [
            _heading(title or scene.path.name, body.shape[1]),
            body,
            _legend(classes, shares, body.shape[1]),
        ]
    )
    _save(target, _fitted(sheet))
    return target


def _panel_size(scene: Scene) -> tuple[int, int]:
    """Rows and columns of each panel: the scene fitted, and tiny scenes enlarged."""
    room = (PREVIEW_SIDE - 2 * _MARGIN - _GAP) // 2
    tall, wide = float(scene.height), float(scene.width)
    if scene.gsd is not None:
        # ground proportions: degrees far from the equator are narrow
        tall, wide = tall * scene.gsd[1], wide * scene.gsd[0]
    fit = min(room / wide, _PANEL_HEIGHT / tall)
    native = max(scene.height / tall, scene.width / wide)
    fit = min(fit, max(native, _LEAST_SIDE / max(tall, wide)))
    return max(1, round(tall * fit)), max(1, round(wide * fit))


def _small_scene(scene: Scene, height: int, width: int) -> tuple[Image, npt.NDArray[np.bool_]]:
    try:
        return scene.read(scene.extent, height, width)
    except SceneReadError:
        pass
    # some of the file is damaged: show what is readable, strip by strip
    image, valid = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), bool)
    borders = np.unique(np.linspace(0, height, 33).astype(int))
    for top, bottom in zip(borders[:-1], borders[1:], strict=True):
        scale = scene.height / height
        window = Window(top * scale, 0, (bottom - top) * scale, scene.width)
        try:
            image[top:bottom], valid[top:bottom] = scene.read(window, int(bottom - top), width)
        except SceneReadError:
            continue
    return image, valid


def _small_labels(
    labels_path: Path, height: int, width: int, classes: int
) -> tuple[Image, list[float]]:
    """The class map at panel size, and each class's share of the valid pixels."""
    with gdal_session(), rasterio.open(labels_path) as source:
        small = source.read(1, out_shape=(height, width), resampling=Resampling.nearest)
    counts = np.bincount(small.ravel(), minlength=256)
    valid = max(1, int(counts[: classes + 1].sum()))
    return small, [int(counts[k]) / valid for k in range(1, classes + 1)]


def _overlay(image: Image, labels: Image, classes: Sequence[NamedClass]) -> Image:
    colours = np.zeros((256, 3), np.float32)
    colours[1 : len(classes) + 1] = [item.colour for item in classes]
    tinted = (labels > 0) & (labels <= len(classes))
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    # the ground goes pale and grey, so that only classes have colour
    paper = np.repeat((grey * 0.55 + 100)[..., None], 3, axis=-1)
    paper[labels == LABEL_NODATA] = _NO_DATA
    mixed = grey[..., None] * (1 - _TINT) + colours[labels] * _TINT
    out = np.where(tinted[..., None], mixed, paper)
    edges = _edges(labels) & tinted
    out[edges] = colours[labels][edges] * 0.8
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _fitted(sheet: Image) -> Image:
    """The sheet, shrunk where a long legend makes it larger than `PREVIEW_SIDE`."""
    height, width = sheet.shape[:2]
    fit = PREVIEW_SIDE / max(height, width)
    if fit >= 1:
        return sheet
    size = max(1, round(width * fit)), max(1, round(height * fit))
    return np.asarray(cv2.resize(sheet, size, interpolation=cv2.INTER_AREA), np.uint8)


def _edges(labels: Image) -> npt.NDArray[np.bool_]:
    """Pixels of a class whose right or lower neighbour differs, or the left or upper one."""
    edges = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges


def _side_by_side(left: Image, right: Image) -> Image:
    height, width = left.shape[:2]
    sheet = _paper(height, max(_LEAST_SHEET, 2 * width + _GAP + 2 * _MARGIN))
    for k, panel in enumerate((left, right)):
        at = _MARGIN + k * (width + _GAP)
        sheet[:, at : at + width] = panel
    return sheet


def _heading(title: str, width: int) -> Image:
    sheet = _paper(52, width)
    _text(sheet, _shortened(title, width - 2 * _MARGIN, 0.65), (_MARGIN, 34), _INK, 0.65)
    return sheet


def _legend(classes: Sequence[NamedClass], shares: Sequence[float], width: int) -> Image:
    """Swatch, name and share of each class, in as many columns as fit."""
    room = width - 2 * _MARGIN
    entries = [
        (item.colour, _shortened(item.name, min(room - 110, 420)), _percent(share))
        for item, share in zip(classes, shares, strict=True)
    ]
    if not entries:
        return _paper(_MARGIN, width)
    widest = max(_width(name) + _width(share) for _, name, share in entries)
    column = _SWATCH + 10 + widest + 16 + 36
    columns = max(1, min(len(entries), (room + 36) // column))
    rows = -(-len(entries) // columns)
    sheet = _paper(16 + rows * _ROW + 14, width)
    for k, (colour, name, share) in enumerate(entries):
        x = _MARGIN + (k // rows) * column
        y = 16 + (k % rows) * _ROW
        cv2.rectangle(sheet, (x, y), (x + _SWATCH, y + _SWATCH), colour, -1)
        cv2.rectangle(sheet, (x, y), (x + _SWATCH, y + _SWATCH), _FAINT, 1, cv2.LINE_AA)
        _text(sheet, name, (x + _SWATCH + 10, y + 15), _INK)
        _text(sheet, share, (x + _SWATCH + 10 + _width(name) + 16, y + 15), _FAINT)
    return sheet


def _percent(share: float) -> str:
    if share == 0:
        return "absent"
    return "<0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _paper(height: int, width: int) -> Image:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _text(
    sheet: Image,
    text: str,
    at: tuple[int, int],
    colour: tuple[int, int, int],
    scale: float = _SCALE,
) -> None:
    cv2.putText(sheet, _drawable(text), at, _FONT, scale, colour, 1, cv2.LINE_AA)


def _width(text: str, scale: float = _SCALE) -> int:
    return int(cv2.getTextSize(_drawable(text), _FONT, scale, 1)[0][0])


def _shortened(text: str, room: int, scale: float = _SCALE) -> str:
    if _width(text, scale) <= room:
        return text
    while text and _width(text + "...", scale) > room:
        text = text[:-1]
    return text + "..."


def _drawable(text: str) -> str:
    """Text that OpenCV can draw: from version 5 most scripts, before it ASCII only.

    For the older stroke fonts accents fall off and other scripts become ``?``.
    """
    if hasattr(cv2, "FontFace"):
        return "".join(letter if letter.isprintable() else "?" for letter in text)
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in plain)


def _save(target: Path, sheet: Image) -> None:
    good, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    unfinished = target.with_name(f".{target.name}.part")
    try:
        if not good:
            raise OSError("OpenCV cannot encode the picture")
        unfinished.write_bytes(data.tobytes())
        os.replace(unfinished, target)
    except (OSError, RasterioError) as error:
        unfinished.unlink(missing_ok=True)
        raise OutputError(
            f"expected to write {target}, found: {reason(error)}; free some space or choose "
            "another folder with -o"
        ) from error
