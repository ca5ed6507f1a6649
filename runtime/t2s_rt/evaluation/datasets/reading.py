"""Pixels of an item: windows of its image, and of its labels as class numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow

from t2s_rt.errors import SceneError
from t2s_rt.evaluation.datasets.spec import IGNORED, DatasetItem, DatasetSpec
from t2s_rt.scene import Window
from t2s_rt.scene._gdal import damage, gdal_session, reason
from t2s_rt.scene.ground import ground_frame
from t2s_rt.scene.source import GDAL_ERRORS

__all__ = ["MAX_SIDE", "decode_labels", "item_gsd", "item_size", "item_windows", "read_item"]

MAX_SIDE = 2048
"""Larger images are evaluated in equal windows up to this side, so that memory stays flat."""

_NEAR = 8
"""A stored colour this close in every channel is meant: a few published labels were resampled."""
_MOST_UNKNOWN = 0.05
_SHOWN = 4


def item_size(item: DatasetItem) -> tuple[int, int]:
    """Rows and columns of an item's image.

    Raises:
        SceneError: the image cannot be opened, or its label is of another size.
    """
    sizes = []
    for path in (item.image, item.label):
        with gdal_session():
            try:
                with rasterio.open(path) as source:
                    sizes.append((int(source.height), int(source.width)))
            except GDAL_ERRORS as error:
                raise SceneError(f"{path}: cannot be read ({reason(error)})") from error
    if sizes[0] != sizes[1]:
        raise SceneError(
            f"{item.label}: expected a label map of the image's {sizes[0][1]} x {sizes[0][0]} "
            f"pixels, found {sizes[1][1]} x {sizes[1][0]}; evaluate images and labels of one size"
        )
    return sizes[0]


def item_windows(height: int, width: int, side: int = MAX_SIDE) -> tuple[Window, ...]:
    """Windows of nearly equal size, at most ``side`` pixels long, that cover an image once."""
    rows = np.linspace(0, height, -(-height // side) + 1).round().astype(int).tolist()
    cols = np.linspace(0, width, -(-width // side) + 1).round().astype(int).tolist()
    return tuple(
        Window(top, left, bottom - top, right - left)
        for top, bottom in zip(rows[:-1], rows[1:], strict=True)
        for left, right in zip(cols[:-1], cols[1:], strict=True)
    )


def item_gsd(spec: DatasetSpec, item: DatasetItem) -> float | None:
    """Metres per pixel: the set's, else the file's own, else None."""
    if spec.gsd is not None:
        return spec.gsd
    with gdal_session():
        try:
            with rasterio.open(item.image) as source:
                frame = ground_frame(source.crs, source.transform)
                pair = None if frame is None else frame.gsd(source.width, source.height)
                return None if pair is None else float(np.mean(pair))
        except GDAL_ERRORS as error:
            raise SceneError(f"{item.image}: cannot be read ({reason(error)})") from error


def read_item(
    spec: DatasetSpec, item: DatasetItem, window: Window
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """A window of an item.

    The first three bands are the picture: a fourth one (Potsdam's near infrared) is no alpha.

    Returns:
        RGB uint8 ``[H, W, 3]``; classes uint8 ``[H, W]`` with ``IGNORED``; pixels of a colour that
        the set does not have, which are ignored.

    Raises:
        SceneError: a file is damaged, no 8-bit image, or its labels are not coded as published.
    """
    image, colours = _pixels(item.image, window)
    stored, palette = _pixels(item.label, window)
    if colours is not None:
        picture = colours[image[0]]
    else:
        picture = np.moveaxis(image if len(image) == 3 else np.repeat(image[:1], 3, 0), 0, -1)
    truth, unknown = decode_labels(spec, stored, palette, item.label)
    return np.ascontiguousarray(picture), truth, unknown


def _pixels(path: Path, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """The first bands ``[B, H, W]`` as stored, at most three, and a palette ``[256, 3]``."""
    place = RasterWindow(window.col, window.row, window.width, window.height)
    with gdal_session() as messages:
        try:
            with rasterio.open(path) as source:
                bands = list(range(1, min(3, source.count) + 1))
                if any(source.dtypes[band - 1] != "uint8" for band in bands):
                    raise SceneError(
                        f"{path}: expected 8-bit pixels, found {source.dtypes[0]}; convert it"
                    )
                stored = np.asarray(source.read(bands, window=place), np.uint8)
                palette = _palette(source)
        except GDAL_ERRORS as error:
            raise SceneError(f"{path}: cannot be read ({reason(error)})") from error
        found = damage(messages)
    if found is not None:
        raise SceneError(f"{path}: is damaged ({found})")
    return stored, palette


def _palette(source: Any) -> NDArray[np.uint8] | None:
    if source.colorinterp[0].name != "palette":
        return None
    table = np.zeros((256, 3), np.uint8)
    for index, colour in source.colormap(1).items():
        if index < len(table):
            table[index] = colour[:3]
    return table


def decode_labels(
    spec: DatasetSpec,
    stored: NDArray[np.uint8],
    palette: NDArray[np.uint8] | None,
    path: Path,
) -> tuple[NDArray[np.uint8], int]:
    """Stored labels as class numbers.

    A palette is resolved to its colours where they are the set's (taking a paletted label's
    indices for ids is a known fault of converters); otherwise the indices are ids. Three equal
    bands of small numbers are ids as well.

    Args:
        spec: the data set.
        stored: ``[B, H, W]``.
        palette: colours ``[256, 3]`` of a single band's values.
        path: of the file, for messages.

    Returns:
        uint8 ``[H, W]`` with ``IGNORED``, and the pixels of unknown colour among these.

    Raises:
        SceneError: labels that the set does not have.
    """
    single = stored[0]
    if palette is not None:
        if spec.colours is not None:
            used = np.unique(single)
            table = np.full(256, -1, np.int16)
            table[used] = _nearest(spec, palette[used])
            if spec.ids is None or (table[used] >= 0).all():
                return _checked(spec, table[single], palette[single], path)
        return _from_ids(spec, single, path)
    if len(stored) < 3:
        return _from_ids(spec, single, path)
    grey = bool((stored[0] == stored[1]).all() and (stored[0] == stored[2]).all())
    # black alone is a colour as well as id 0, and means the same as either; 255 is a colour
    small = spec.colours is None or 0 < int(single.max()) < IGNORED
    if grey and small and spec.ids is not None and np.isin(single, list(spec.ids)).all():
        return _from_ids(spec, single, path)
    if spec.colours is None:
        raise SceneError(
            f"{path}: expected labels of {spec.title} as numbers in one band, found a picture of "
            f"{len(stored)} bands; evaluate the label files as published"
        )
    packed = stored[0].astype(np.uint32) << 16 | stored[1].astype(np.uint32) << 8 | stored[2]
    values, places = np.unique(packed, return_inverse=True)
    colours = np.stack([values >> 16 & 255, values >> 8 & 255, values & 255], -1).astype(np.uint8)
    classes = _nearest(spec, colours)
    where = places.reshape(single.shape)
    return _checked(spec, classes[where], colours[where], path)


def _nearest(spec: DatasetSpec, colours: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Class of each colour ``[N, 3]``; -1 where none is near."""
    assert spec.colours is not None  # callers ask
    table = np.array(list(spec.colours), np.int16)
    classes = np.array(list(spec.colours.values()), np.int16)
    distance = np.abs(colours.astype(np.int16)[:, None] - table[None]).max(-1)
    best = distance.argmin(1)
    near = distance[np.arange(len(colours)), best] <= _NEAR
    return np.where(near, classes[best], -1).astype(np.int16)


def _checked(
    spec: DatasetSpec, classes: NDArray[np.int16], colours: NDArray[np.uint8], path: Path
) -> tuple[NDArray[np.uint8], int]:
    unknown = classes < 0
    count = int(unknown.sum())
    if count > _MOST_UNKNOWN * classes.size:
        odd, times = np.unique(colours[unknown], axis=0, return_counts=True)
        shown = ["#{:02X}{:02X}{:02X}".format(*odd[index]) for index in np.argsort(-times)[:_SHOWN]]
        raise SceneError(
            f"{path}: expected the label colours of {spec.title}, found {', '.join(shown)} on "
            f"{count} of {classes.size} pixels; is it a label of another set?"
        )
    return np.where(unknown, IGNORED, classes).astype(np.uint8), count


def _from_ids(
    spec: DatasetSpec, stored: NDArray[np.uint8], path: Path
) -> tuple[NDArray[np.uint8], int]:
    if spec.ids is None:
        raise SceneError(
            f"{path}: expected label colours of {spec.title}, found numbers in one band, whose "
            "meaning the set does not publish; evaluate its coloured labels"
        )
    table = np.full(256, -1, np.int16)
    for value, index in spec.ids.items():
        table[value] = index
    classes = table[stored]
    if (classes < 0).any():
        odd = ", ".join(map(str, np.unique(stored[classes < 0])[:_SHOWN].tolist()))
        known = ", ".join(map(str, sorted(spec.ids)))
        raise SceneError(
            f"{path}: expected labels of {spec.title} out of {known}, found {odd}; is it a label "
            "of another set?"
        )
    return classes.astype(np.uint8), 0
