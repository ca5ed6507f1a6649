"""Which bands of a file are its red, green and blue, and what marks its valid pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import ColorInterp, MaskFlags

from t2s_rt.errors import SceneError, UsageError

__all__ = ["BandPlan", "alpha_is_mask", "parse_bands", "plan_bands"]

_PRINT_COLOURS = {ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black}


@dataclass(frozen=True)
class BandPlan:
    """How a file's bands become RGB.

    Attributes:
        indexes: 1-based bands read, one or three; one band is replicated.
        palette: uint8 [n, 4] RGBA per pixel value where the band holds palette indexes.
        mask: where valid pixels are told from: nowhere, an alpha band, a mask shared by all
            bands (internal or ``.msk``), or each band's nodata value.
        alpha: 1-based alpha band, or 0.
    """

    indexes: tuple[int, ...]
    palette: npt.NDArray[np.uint8] | None
    mask: str
    alpha: int


def parse_bands(
    bands: str | Sequence[int] | None, count: int, path: Path
) -> tuple[int, ...] | None:
    """Check the user's choice of bands.

    Args:
        bands: 1-based indexes as ``"3,2,1"`` or a sequence: one (replicated) or three; None lets
            the file decide.
        count: bands in the file.
        path: the file, for messages.

    Raises:
        UsageError: for anything but one or three whole numbers.
        SceneError: for a band that the file lacks.
    """
    if bands is None:
        return None
    parts = bands.split(",") if isinstance(bands, str) else list(bands)
    try:
        indexes = tuple(int(str(part).strip()) for part in parts)
    except ValueError:
        indexes = ()
    if len(indexes) not in (1, 3):
        raise UsageError(
            f'expected one or three band numbers such as "3,2,1", found {bands!r}; '
            "count bands from 1, in the order red, green, blue"
        )
    if any(not 1 <= index <= count for index in indexes):
        raise SceneError(
            f"expected bands between 1 and {count}, found {','.join(map(str, indexes))}: {path}; "
            "choose bands that the file has"
        )
    return indexes if len(set(indexes)) > 1 else indexes[:1]


def alpha_is_mask(sample: npt.NDArray[np.generic], colours_empty: bool) -> bool:
    """Whether the values of a band tagged alpha behave like a mask.

    Args:
        sample: its values [n] from all over the scene.
        colours_empty: whether the colour bands hold one value only at those places.

    A mask is zero or fully opaque nearly everywhere, with soft edges at most; a near-infrared
    band with an alpha tag hardly ever repeats its greatest value.
    """
    inside = sample[sample != 0]
    if inside.size == 0:
        # zero everywhere: nothing to see, or a writer that left the byte unused
        return colours_empty
    return bool(np.mean(inside == inside.max()) >= 0.5)


def plan_bands(
    dataset: Any, chosen: tuple[int, ...] | None, alpha_is_data: bool, path: Path
) -> BandPlan:
    """Apply the rule: bands that say red, green, blue; else the first three; one is replicated.

    Args:
        dataset: rasterio dataset, open.
        chosen: the user's bands, checked, or None.
        alpha_is_data: whether a band tagged alpha turned out to hold data.
        path: its file, for messages.

    Raises:
        SceneError: for print colours and other encodings that cannot be shown as they are.
    """
    interpretation = list(dataset.colorinterp)
    alpha = 0
    if ColorInterp.alpha in interpretation and not alpha_is_data:
        alpha = interpretation.index(ColorInterp.alpha) + 1
    data = [k for k in range(1, dataset.count + 1) if k != alpha] or [1]
    palette = None
    if chosen is not None:
        indexes = chosen
    else:
        _check_colours(dataset, path)
        rgb = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        if all(colour in interpretation for colour in rgb):
            indexes = tuple(interpretation.index(colour) + 1 for colour in rgb)
        elif len(data) >= 3 and interpretation[data[0] - 1] != ColorInterp.palette:
            indexes = tuple(data[:3])
        else:
            indexes = (data[0],)
    if len(indexes) == 1 and interpretation[indexes[0] - 1] == ColorInterp.palette:
        palette = _palette(dataset, indexes[0])
    return BandPlan(indexes, palette, _mask_kind(dataset, indexes, alpha), alpha)


def _check_colours(dataset: Any, path: Path) -> None:
    if _PRINT_COLOURS & set(dataset.colorinterp[:4]):
        raise SceneError(
            f"expected red, green and blue, found print colours (CMYK) in {dataset.dtypes[0]}: "
            f"{path}; convert it to RGB, or name bands with --bands"
        )
    compression = str(dataset.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", ""))
    if compression.startswith("SGILOG"):
        raise SceneError(
            f"expected red, green and blue, found LogLuv high-dynamic-range pixels: {path}; "
            "convert it to RGB first"
        )


def _mask_kind(dataset: Any, indexes: tuple[int, ...], alpha: int) -> str:
    flags = [set(dataset.mask_flag_enums[index - 1]) for index in indexes]
    if alpha and alpha not in indexes:
        return "alpha"
    if any(MaskFlags.nodata in flag for flag in flags):
        return "nodata"
    if any(MaskFlags.per_dataset in flag and MaskFlags.alpha not in flag for flag in flags):
        return "dataset"
    return "none"


def _palette(dataset: Any, index: int) -> npt.NDArray[np.uint8] | None:
    try:
        entries: dict[int, tuple[int, int, int, int]] = dataset.colormap(index)
    except ValueError:
        # tagged as a palette without having one: its values are grey levels
        return None
    table = np.zeros((max(entries) + 1, 4), np.uint8)
    for value, colour in entries.items():
        table[value] = colour
    return table
