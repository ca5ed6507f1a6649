"""A folder of images to decide precision on: the middle of each, read as ``infer`` reads scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import SceneError
from t2s_rt.models.frames import FrameMap
from t2s_rt.pipeline.scenes import find_scenes
from t2s_rt.scene import Window, open_scene

__all__ = ["MOST_IMAGES", "CalibrationImage", "in_frame", "read_images"]

MOST_IMAGES = 4
"""Images that are used: each costs a run of every graph for every trial."""


@dataclass(frozen=True)
class CalibrationImage:
    """One image.

    Attributes:
        name: of its file.
        pixels: uint8 ``[H, W, 3]`` RGB.
    """

    name: str
    pixels: NDArray[np.uint8]


def read_images(folder: Path, side: int, most: int = MOST_IMAGES) -> tuple[CalibrationImage, ...]:
    """The middle square of some images of a folder, at their own resolution.

    Args:
        folder: of images that ``t2s-rt infer`` reads, or one such file.
        side: of the square, pixels; smaller images give all that they have.
        most: how many; they are taken at even distances of the folder's list.

    Raises:
        SceneError: no image there, or one that cannot be read.
    """
    if not folder.exists():
        raise SceneError(f"{folder}: expected a folder of images to calibrate on, found none")
    scenes = find_scenes([folder])
    places = np.linspace(0, len(scenes) - 1, min(most, len(scenes))).round().astype(int)
    images = []
    for scene_source in (scenes[place] for place in places):
        with open_scene(scene_source.path) as scene:
            height, width = min(side, scene.height), min(side, scene.width)
            window = Window((scene.height - height) // 2, (scene.width - width) // 2, height, width)
            images.append(CalibrationImage(scene_source.path.name, scene.read(window)[0]))
    return tuple(images)


def in_frame(
    images: tuple[CalibrationImage, ...], size: tuple[int, int]
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Names and pixels uint8 ``[H, W, 3]`` of images in a model frame of ``size``."""
    found = []
    for image in images:
        height, width = image.pixels.shape[:2]
        found.append((image.name, FrameMap.fit((height, width), size).image_to_frame(image.pixels)))
    return found
