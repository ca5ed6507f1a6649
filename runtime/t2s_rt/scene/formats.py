"""Which files are scenes: an allow-list of formats, and limits that hold before any pixel is read.

The format is told from the file's first bytes and only that one GDAL driver is tried. GDAL knows
many more, some of which open other files or network addresses that a file names (VRT, WMS, STAC):
those are refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from t2s_rt.errors import SceneError
from t2s_rt.scene._gdal import MAX_BANDS

__all__ = [
    "FORMATS",
    "MAX_BLOCK_BYTES",
    "MAX_PIXELS",
    "check_limits",
    "check_path",
    "is_scene_name",
    "sniff",
]

MAX_PIXELS = 2**36
"""A square of 262,144 pixels; a header that claims more is taken for hostile."""

MAX_BLOCK_BYTES = 512 * 1024 * 1024
"""What one read may have to decode at once: a tile, a strip, or a whole WebP, GIF or JPEG 2000."""

MAX_RATIO = 4000
"""Decoded bytes per byte of file, beyond which a header is not believed."""

RATIO_FROM_BYTES = 64 * 1024 * 1024
"""Below this decoded size the ratio does not matter: reading is cheap."""

FORMATS = {
    "GTiff": "GeoTIFF or COG",
    "PNG": "PNG",
    "JPEG": "JPEG",
    "WEBP": "WebP",
    "JP2OpenJPEG": "JPEG 2000",
    "BMP": "BMP",
    "GIF": "GIF",
}
"""GDAL drivers that may open a scene, and what users call them."""

_SUFFIXES = frozenset(
    (".tif", ".tiff", ".gtiff", ".png", ".jpg", ".jpeg", ".webp", ".jp2", ".j2k", ".bmp", ".gif")
)

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
    (b"BM", "BMP"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
)

_KNOWN_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"<VRTDataset", "a VRT, which can pull in other files; run gdal_translate first"),
    (b"\x89HDF", "HDF5 or netCDF"),
    (b"CDF", "netCDF"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive; unpack it first"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"SQLite format 3", "a GeoPackage or other SQLite file"),
    (b"DDS ", "a DDS texture"),
)

# Formats that GDAL decodes as a whole, whatever the window.
_WHOLE_IMAGE = frozenset(("WEBP", "GIF"))


def is_scene_name(path: Path) -> bool:
    """Whether a file in a folder is taken for a scene, by its extension."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def check_path(text: str | os.PathLike[str]) -> Path:
    """The path of an existing, local, regular file.

    Raises:
        SceneError: for an address of another kind, or a path that is no readable file.
    """
    name = os.fspath(text)
    if "://" in name or name.startswith("/vsi"):
        raise SceneError(
            f"expected the path of a local file, found the address {name!r}; "
            "download the scene and pass its path"
        )
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise SceneError(
            f"expected a scene file, found nothing at {name}; check the path"
        ) from None
    except (OSError, ValueError) as error:
        raise SceneError(f"expected a scene file, cannot look at {name!r}: {error}") from error
    if stat.S_ISDIR(mode):
        raise SceneError(f"expected a scene file, found the folder {name}; name one file in it")
    if not stat.S_ISREG(mode):
        raise SceneError(
            f"expected a regular file, found a device or pipe at {name}; copy it first"
        )
    return path


def sniff(path: Path) -> str:
    """The GDAL driver for a file, told from its first bytes.

    Raises:
        SceneError: for an empty or unreadable file, or any other format.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise SceneError(f"expected a readable scene, cannot open {path}: {error}") from error
    if not head:
        raise SceneError(f"expected an image, found an empty file: {path}; copy it again")
    for magic, driver in _MAGIC:
        if head.startswith(magic):
            return driver
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        if head[12:16] == b"VP8X" and len(head) > 20 and head[20] & 2:
            raise SceneError(
                f"expected a still image, found an animated WebP: {path}; save one of its frames"
            )
        return "WEBP"
    found = next((what for magic, what in _KNOWN_OTHERS if magic in head[:64]), "something else")
    raise SceneError(
        f"expected {', '.join(FORMATS.values())}, found {found}: {path}; "
        "convert it, for example with gdal_translate -of COG"
    )


def check_limits(dataset: Any, driver: str, path: Path) -> None:
    """Refuse a header that no honest scene has, before any pixel is decoded.

    Args:
        dataset: rasterio dataset, open.
        driver: name of its GDAL driver.
        path: its file.

    Raises:
        SceneError: naming the limit and what the header claims.
    """
    width, height, bands = dataset.width, dataset.height, dataset.count
    if bands == 0 or width == 0 or height == 0:
        raise SceneError(
            f"expected an image with pixels, found {width} x {height} pixels and {bands} bands: "
            f"{path}; name the file that holds the image"
        )
    if bands > MAX_BANDS:
        raise SceneError(
            f"expected at most {MAX_BANDS} bands, the header claims {bands}: {path}; "
            "pick bands with gdal_translate -b first"
        )
    if any("complex" in str(dtype) for dtype in dataset.dtypes):
        raise SceneError(
            f"expected real pixel values, found {dataset.dtypes[0]}: {path}; "
            "convert to amplitude first"
        )
    if width * height > MAX_PIXELS:
        raise SceneError(
            f"expected at most {MAX_PIXELS:,} pixels, the header claims {width} x {height}: "
            f"{path}; if that is true, cut the scene into parts"
        )
    item = max(_item_size(dtype) for dtype in dataset.dtypes)
    block = _block_bytes(dataset, driver, item)
    if block > MAX_BLOCK_BYTES:
        raise SceneError(
            f"expected blocks of at most {MAX_BLOCK_BYTES >> 20} MiB, found {block >> 20} MiB that "
            f"can only be decoded at once: {path}; rewrite it in tiles with gdal_translate -of COG"
        )
    size = path.stat().st_size
    decoded = width * height * bands * item
    if (
        decoded > RATIO_FROM_BYTES
        and decoded > MAX_RATIO * size
        and not _is_sparse(dataset, driver)
    ):
        raise SceneError(
            f"expected a file that can hold its {width} x {height} pixels, found {size:,} bytes "
            f"for {decoded:,}: {path}; it is damaged or a decompression bomb"
        )


def _item_size(dtype: str) -> int:
    return int(np.dtype(dtype).itemsize)


def _block_bytes(dataset: Any, driver: str, item: int) -> int:
    rows, cols = dataset.block_shapes[0]
    pixel_interleaved = getattr(dataset.interleaving, "name", "") == "pixel"
    together = int(dataset.count) if pixel_interleaved else 1
    if driver in _WHOLE_IMAGE:
        return int(dataset.width) * int(dataset.height) * int(dataset.count)
    if driver == "JP2OpenJPEG":
        # OpenJPEG decodes every band of a tile into 32-bit integers
        return int(rows) * int(cols) * int(dataset.count) * 4
    return int(rows) * int(cols) * item * together


def _is_sparse(dataset: Any, driver: str) -> bool:
    """Whether most blocks of a TIFF are simply absent, which is a legal way to say "nothing"."""
    if driver != "GTiff":
        return False
    rows, cols = dataset.block_shapes[0]
    down, across = -(-dataset.height // rows), -(-dataset.width // cols)
    picks = [
        (across * i // 16, down * j // 16)
        for j in range(min(16, down))
        for i in range(min(16, across))
    ]
    present = sum(
        dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=1) is not None for x, y in picks
    )
    return present * 4 <= len(picks)
