"""Which files of the test data are labelled as a data set publishes its labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from t2s_rt.errors import SceneError
from t2s_rt.evaluation.datasets import DatasetItem

__all__ = ["SETS", "RealImage", "RealSet"]


@dataclass(frozen=True)
class RealImage:
    """An image and its label, as paths within the test data.

    Attributes:
        image: the image.
        label: its label map.
        gsd: metres per pixel.
    """

    image: str
    label: str
    gsd: float


@dataclass(frozen=True)
class RealSet:
    """The images of one data set.

    Attributes:
        name: of the data set, as ``t2s-rt eval`` has it.
        images: of it.
        about: where the ground resolution is from.
    """

    name: str
    images: tuple[RealImage, ...]
    about: str

    def items(self, data: Path) -> Iterator[tuple[DatasetItem, float]]:
        """Items with their ground resolution.

        Raises:
            SceneError: a file is not there.
        """
        for entry in self.images:
            image, label = data / entry.image, data / entry.label
            for path in (image, label):
                if not path.is_file():
                    raise SceneError(
                        f"{path}: expected a file of the project's test data, found none; name "
                        "the folder that holds `labelled/`"
                    )
            yield DatasetItem(image.stem, image, label), entry.gsd


def _dubai(number: str, gsd: float) -> RealImage:
    stem = f"labelled/dubai_mbrsc/image_part_{number}"
    return RealImage(f"{stem}.jpg", f"{stem}.png", gsd)


SETS = (
    RealSet(
        "loveda",
        tuple(
            RealImage(f"labelled/loveda/img_{n}.png", f"labelled/loveda/ann_{n}.png", 0.3)
            for n in (0, 1)
        ),
        "as published",
    ),
    RealSet(
        "potsdam",
        (
            RealImage(
                "labelled/isprs_potsdam/img_2_10_0_0_512_512.png",
                "labelled/isprs_potsdam/ann_2_10_0_0_512_512.png",
                0.05,
            ),
        ),
        "as published",
    ),
    RealSet(
        "vaihingen",
        (
            RealImage(
                "labelled/isprs_vaihingen/img_area1_0_0_512_512.png",
                "labelled/isprs_vaihingen/ann_area1_0_0_512_512.png",
                0.09,
            ),
        ),
        "as published",
    ),
    RealSet(
        "dubai",
        (_dubai("001", 0.6), _dubai("004", 0.4), _dubai("007", 0.6)),
        "not published; estimated from the width of roads and roundabouts",
    ),
)
