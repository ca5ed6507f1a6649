"""Images that precision is decided on: which of a folder, which part, in which frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from t2s_export.precision import in_frame, read_images
from t2s_export.precision.images import MOST_IMAGES
from t2s_rt.errors import SceneError


def write(path: Path, height: int, width: int, value: int) -> None:
    """Grey, with a red middle pixel."""
    pixels = np.full((height, width, 3), value, np.uint8)
    pixels[height // 2, width // 2] = (0, 0, 255)  # OpenCV writes blue first
    cv2.imwrite(str(path), pixels)


def test_a_few_images_from_all_over_the_folder(tmp_path: Path) -> None:
    for index in range(9):
        write(tmp_path / f"{index}.png", 20, 20, 10 * index)
    names = [image.name for image in read_images(tmp_path, 20)]
    assert len(names) == MOST_IMAGES and names[0] == "0.png" and names[-1] == "8.png"
    assert [image.name for image in read_images(tmp_path / "3.png", 20)] == ["3.png"]


def test_the_middle_square_at_its_own_resolution(tmp_path: Path) -> None:
    write(tmp_path / "wide.png", 40, 100, 7)
    (image,) = read_images(tmp_path, 30)
    assert image.pixels.shape == (30, 30, 3)
    assert image.pixels[15, 15].tolist() == [255, 0, 0] and (image.pixels == 7).sum() > 2600
    (small,) = read_images(tmp_path, 64)
    assert small.pixels.shape == (40, 64, 3)
    ((name, pixels),) = in_frame((small,), (32, 32))
    assert name == "wide.png" and pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8


def test_no_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="calibrate"):
        read_images(tmp_path / "nowhere", 32)
    with pytest.raises(SceneError):
        read_images(tmp_path, 32)
