from __future__ import annotations

import os
import socket
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from t2s_rt.errors import SceneError
from t2s_rt.scene import Window, list_scenes, open_scene, output_stems
from t2s_rt.scene.orientation import exif_orientation

from .conftest import Raster


@pytest.mark.parametrize(
    "address",
    ["https://example.org/a.tif", "s3://bucket/a.tif", "/vsicurl/http://example.org/a.tif"],
)
def test_only_local_files(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_network)
    with pytest.raises(SceneError, match="path of a local file"):
        open_scene(address)


def test_missing_folder_device_and_empty(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="found nothing"):
        open_scene(tmp_path / "missing.tif")
    with pytest.raises(SceneError, match="found the folder"):
        open_scene(tmp_path)
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(SceneError, match="device or pipe"):
        open_scene(tmp_path / "pipe.tif")
    (tmp_path / "empty.tif").touch()
    with pytest.raises(SceneError, match="empty file"):
        open_scene(tmp_path / "empty.tif")
    with pytest.raises(SceneError, match="cannot look at"):
        open_scene("a\0b.tif")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"<VRTDataset rasterXSize='1'>", "VRT, which can pull in other files"),
        (b"  <VRTDataset rasterXSize='1'>", "VRT, which can pull in other files"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"8BPS", "Photoshop"),
        (b"hello", "something else"),
        (b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0", "animated WebP"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, head: bytes, says: str) -> None:
    path = tmp_path / "scene.tif"
    path.write_bytes(head)
    with pytest.raises(SceneError, match=says):
        open_scene(path)


def test_the_name_does_not_matter(raster: Raster) -> None:
    path = raster(np.ones((3, 5, 5), np.uint8), "odd name, ünd no suffix")
    with open_scene(path) as scene:
        assert scene.width == 5


def test_an_overview_named_by_a_sidecar_is_never_fetched(raster: Raster) -> None:
    """GDAL would follow OVERVIEW_FILE in .aux.xml to any address."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.2)
    port = server.getsockname()[1]
    path = raster(np.ones((3, 50, 50), np.uint8))
    path.with_name("scene.tif.aux.xml").write_text(
        '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
        f"/vsicurl/http://127.0.0.1:{port}/a.tif</MDI></Metadata></PAMDataset>"
    )
    with open_scene(path) as scene:
        scene.read(scene.extent, 10, 10)
    with pytest.raises(TimeoutError):
        server.accept()
    server.close()


def bomb_png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(bytes(1000))),
            chunk(b"IEND", b""),
        )
    )


def test_a_small_file_that_claims_gigapixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb_png(100_000))
    with pytest.raises(SceneError, match="decompression bomb"):
        open_scene(path)


def test_sparse_tiff_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=15_000,
        height=15_000,
        count=3,
        dtype="uint8",
        tiled=True,
        blockxsize=512,
        blockysize=512,
        sparse_ok=True,
        nodata=0,
        crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6),
    ):
        pass
    assert path.stat().st_size < 1_000_000
    with open_scene(path) as scene:
        assert not scene.read(Window(7000, 7000, 512, 512))[1].any()


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ({"width": 2**19, "height": 2**19}, "at most 68,719,476,736 pixels"),
        (
            {"width": 30_000, "height": 30_000, "blockxsize": 30_000, "blockysize": 30_000},
            "MiB that can only be decoded at once",
        ),
        ({"width": 16, "height": 16, "count": 2001}, "at most 2000 bands"),
    ],
)
def test_limits_of_the_header(tmp_path: Path, profile: dict[str, int], says: str) -> None:
    path = tmp_path / "hostile.tif"
    _sparse_tiff(path, **profile)
    with pytest.raises(SceneError, match=says):
        open_scene(path)


def _sparse_tiff(
    path: Path, width: int, height: int, count: int = 1, blockxsize: int = 0, blockysize: int = 0
) -> None:
    """A tiny deflate TIFF with a header of our choice (TIFF 6.0, section 2) and no data."""
    rows = blockysize or min(height, 4096)
    cols = blockxsize or 4096
    blocks = (-(-width // cols)) * (-(-height // rows))
    tags = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [8] * count),
        (259, 3, [8]),
        (262, 3, [1]),
        (277, 3, [count]),
        (284, 3, [1]),
        (322, 4, [cols]),
        (323, 4, [rows]),
        (324, 4, [0] * blocks),
        (325, 4, [0] * blocks),
        (338, 3, [0] * (count - 1)),
    ]
    tags = [tag for tag in tags if tag[2]]
    body, extra = b"", 8 + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        data = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        body += struct.pack("<HHI", tag, kind, len(values))
        if len(data) <= 4:
            body += data.ljust(4, b"\0")
        else:
            body += struct.pack("<I", extra)
            extra += len(data)
    tail = b"".join(
        struct.pack(f"<{len(v)}{'H' if k == 3 else 'I'}", *v)
        for _, k, v in tags
        if len(v) * (2 if k == 3 else 4) > 4
    )
    path.write_bytes(
        b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", 0) + tail
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".jp2"])
def test_formats_agree_with_opencv(tmp_path: Path, suffix: str) -> None:
    image = cv2.resize(
        np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8), (120, 90)
    )
    path = tmp_path / f"scene{suffix}"
    if suffix == ".jp2":
        with rasterio.open(
            path, "w", driver="JP2OpenJPEG", width=120, height=90, count=3, dtype="uint8",
            QUALITY=100, REVERSIBLE="YES", crs="EPSG:32633",
            transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6),
        ) as target:  # fmt: skip
            target.write(np.moveaxis(image[..., ::-1], -1, 0))
    else:
        cv2.imwrite(str(path), image)
    with open_scene(path) as scene:
        rgb, valid = scene.read(scene.extent)
    truth = image if suffix == ".jp2" else cv2.imread(str(path))
    assert truth is not None
    assert valid.all()
    # decoders of one JPEG may upsample its colours differently
    assert np.abs(rgb.astype(int) - truth[..., ::-1]).mean() <= (2 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_tiff_bytes(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0))
    assert exif_orientation(path) == orientation


@pytest.mark.parametrize("cut", range(0, 24, 3))
def test_orientation_of_broken_bytes_is_none(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.tif"
    data = b"II*\0" + struct.pack("<IHHHIHHI", 8, 9, 273, 3, 1, 3, 0, 0)
    path.write_bytes(data[:cut])
    assert exif_orientation(path) is None


def test_folders_list_scenes_only(tmp_path: Path) -> None:
    for name in ("b.TIF", "a.png", "a.png.msk", "b.tif.ovr", "notes.txt", ".hidden.tif"):
        (tmp_path / name).touch()
    (tmp_path / "folder.tif").mkdir()
    assert [path.name for path in list_scenes(tmp_path)] == ["a.png", "b.TIF"]
    with pytest.raises(SceneError, match="found none"):
        list_scenes(tmp_path / "folder.tif")
    with pytest.raises(SceneError, match="cannot list"):
        list_scenes(tmp_path / "missing")


@pytest.mark.parametrize(
    ("paths", "stems"),
    [
        (["a.tif", "b.tif"], ("a", "b")),
        (["a.tif", "a.png", "b.tif"], ("a_tif", "a_png", "b")),
        (["A.tif", "a.png"], ("A_tif", "a_png")),
        (["x/a.tif", "y/a.tif"], ("a_tif", "a_tif_2")),
        (["a.tif", "a.png", "a_png.tif"], ("a_tif", "a_png_2", "a_png")),
        (["a.b.tif"], ("a.b",)),
    ],
)
def test_stems_never_clash(paths: list[str], stems: tuple[str, ...]) -> None:
    assert output_stems(paths) == stems
    assert len({stem.casefold() for stem in output_stems(paths)}) == len(paths)
