"""The EXIF orientation of an image file, found without decoding it.

GDAL and QGIS show the stored pixel grid and ignore this tag; photo viewers turn the image. Outputs
keep the stored grid, so a scene that says it should be turned gets a warning. Only the first bytes
of a file are looked at, and anything odd counts as "no orientation".
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

__all__ = ["exif_orientation"]

_HEAD_BYTES = 1 << 20
_TAG = 274
_XMP = re.compile(rb"tiff:Orientation(?:>|=[\"'])\s*([1-8])")


def exif_orientation(path: Path) -> int | None:
    """The orientation 1..8 that a TIFF, JPEG, WebP or PNG file declares, or None."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    try:
        if head[:4] in (b"II*\0", b"MM\0*"):
            return _from_tiff(head)
        if head[:3] == b"\xff\xd8\xff":
            block = _jpeg_exif(head)
        elif head[:4] == b"RIFF":
            block = _riff_exif(head)
        elif head[:4] == b"\x89PNG":
            block = _png_exif(head)
        else:
            return None
        if block is not None:
            return _from_tiff(block)
        found = _XMP.search(head)
        return int(found[1]) if found else None
    except (struct.error, IndexError):
        return None


def _from_tiff(data: bytes) -> int | None:
    """Tag 274 of the first directory of TIFF-formed bytes (TIFF 6.0, section 2)."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    (offset,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, offset)
    for index in range(entries):
        at = offset + 2 + 12 * index
        tag, kind, count = struct.unpack_from(order + "HHI", data, at)
        if tag == _TAG and kind == 3 and count == 1:
            (value,) = struct.unpack_from(order + "H", data, at + 8)
            return value if 1 <= value <= 8 else None
    return None


def _jpeg_exif(data: bytes) -> bytes | None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 10 : at + 2 + length]
        at += 2 + max(length, 2)
    return None


def _riff_exif(data: bytes) -> bytes | None:
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if data[at : at + 4] == b"EXIF":
            block = data[at + 8 : at + 8 + length]
            return block[6:] if block[:6] == b"Exif\0\0" else block
        at += 8 + length + length % 2
    return None


def _png_exif(data: bytes) -> bytes | None:
    at = 8
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"eXIf":
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return None
