"""Our way from a photo to a model's frame, against the transforms of the original packages.

What is the same: sizes, places, padding, enlarging (to one grey level). What differs, and why:

* shrinking takes the mean over a pixel's area where Pillow, behind all three originals, takes a
  wider triangle (SAM, Grounding DINO) or a cubic (CLIP); all suppress what the smaller grid cannot
  hold, and OpenCV has no other fast way. On average that is three grey levels at most; a plain
  bilinear shrink would be ten away.
* enlarging for CLIP is bilinear, where the original is cubic: three grey levels at most.
* a crop for CLIP that is not square is mirrored to a square, where the original cuts its ends off.
* boxes and points are continuous coordinates: an image's corner is 0, not -0.5.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.oracles import grounding_dino_original, originals

from t2s_export.architectures.clip.config import PIXEL_MEAN as CLIP_MEAN
from t2s_export.architectures.clip.config import PIXEL_STD as CLIP_STD
from t2s_export.architectures.sam.config import PIXEL_MEAN, PIXEL_STD
from t2s_rt.backends import open_session
from t2s_rt.bundle import load_bundle
from t2s_rt.models.clip import ClipEncoder
from t2s_rt.models.frames import FrameMap

PHOTOS = (
    "loveda/img_0.png",  # 1024 x 1024
    "isprs_potsdam/img_2_10_0_0_512_512.png",  # 512 x 512
    "dubai_mbrsc/image_part_001.jpg",  # 544 x 509
    "dubai_mbrsc/image_part_004.jpg",  # 2062 x 1817
    "udd/DJI_0285.JPG",  # 750 x 1000
    "sahi/boats.jpg",  # 1080 x 1920
)
SAM_FRAME, DETECTOR_FRAME, CROP = 1024, 800, 224
Levels = NDArray[np.float64]


@pytest.fixture(scope="module", autouse=True)
def _originals() -> None:
    """Their submodules can be imported once these have been loaded in their own ways."""
    originals.segment_anything()
    originals.open_clip()
    grounding_dino_original.load()


@pytest.fixture(scope="module", params=PHOTOS)
def photo(request: pytest.FixtureRequest, test_data: Path) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] RGB."""
    pixels = cv2.imread(str(test_data / "labelled" / request.param), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def module(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's deprecations are not ours to fix
        return importlib.import_module(name)


def pillow(image: NDArray[np.uint8]) -> Any:
    return module("PIL.Image").fromarray(image)


def square_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = min(image.shape[:2])
    return np.ascontiguousarray(image[:side, :side])


def sam_input(image: NDArray[np.uint8], side: int) -> Levels:
    """The original's normalised and padded input, back in grey levels."""
    transform = module("segment_anything.utils.transforms").ResizeLongestSide(side)
    resized = torch.from_numpy(transform.apply_image(image)).permute(2, 0, 1)
    # preprocess() needs no more of the model than its sizes and colours
    model: Any = type("Colours", (), {"image_encoder": type("Size", (), {"img_size": side})})()
    model.pixel_mean = torch.tensor(PIXEL_MEAN).view(3, 1, 1)
    model.pixel_std = torch.tensor(PIXEL_STD).view(3, 1, 1)
    found = module("segment_anything.modeling.sam").Sam.preprocess(model, resized)
    return as_levels(found.permute(1, 2, 0), PIXEL_MEAN, PIXEL_STD)


def as_levels(x: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Levels:
    levels: Levels = np.asarray(x, dtype=np.float64) * np.array(std) + np.array(mean)
    return levels


def assert_close(found: NDArray[np.uint8], expected: Levels, enlarged: bool) -> None:
    assert found.shape == expected.shape
    away = np.abs(found - expected)
    if enlarged:
        assert away.max() <= 1.01 and away.mean() <= 0.3
    else:  # measured: at most 2.8 and 15
        assert away.mean() <= 3.5 and np.percentile(away, 99) <= 20


def test_sam_s_frame(photo: NDArray[np.uint8]) -> None:
    size = (photo.shape[0], photo.shape[1])
    frame = FrameMap.fit(size, (SAM_FRAME, SAM_FRAME))
    transforms = module("segment_anything.utils.transforms").ResizeLongestSide
    assert frame.content == transforms.get_preprocess_shape(*size, SAM_FRAME)
    found, expected = frame.image_to_frame(photo), sam_input(photo, SAM_FRAME)
    rows, columns = frame.content
    enlarged = max(size) <= SAM_FRAME
    assert_close(found[:rows, :columns], expected[:rows, :columns], enlarged)
    for part in (np.s_[rows:], np.s_[:, columns:]):
        if expected[part].size:
            assert np.abs(found[part] - expected[part]).max() <= 0.5  # the mean, rounded


def test_sizes_are_rounded_as_sam_rounds_them() -> None:
    transforms = module("segment_anything.utils.transforms").ResizeLongestSide
    for height in range(1, 260):
        for width in (1, 37, 129, 256, 259):
            content = FrameMap.fit((height, width), (256, 256)).content
            expected = transforms.get_preprocess_shape(height, width, 256)
            assert content == tuple(max(1, side) for side in expected), (height, width)


def test_grounding_dino_s_frame(photo: NDArray[np.uint8]) -> None:
    transforms = module("groundingdino.datasets.transforms")
    image = square_of(photo)  # a tile; 800 pixels along the shorter side are 800 along both
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    steps = transforms.Compose(
        [
            transforms.RandomResize([DETECTOR_FRAME], max_size=1333),
            transforms.ToTensor(),
            transforms.Normalize(list(mean), list(std)),
        ]
    )
    normalised, _ = steps(pillow(image), None)
    # the colours in our configuration are these, in grey levels
    expected = as_levels(normalised.permute(1, 2, 0), PIXEL_MEAN, PIXEL_STD)
    size = (image.shape[0], image.shape[1])
    found = FrameMap.fit(size, (DETECTOR_FRAME, DETECTOR_FRAME)).image_to_frame(image)
    assert_close(found, expected, enlarged=size[0] <= DETECTOR_FRAME)


class Crops:
    """Stands for a session of clip_image and keeps what it is given."""

    device = "cpu"

    def __init__(self, side: int) -> None:
        bundle = load_bundle()
        entry: Any = bundle.graph("clip_image")
        self.inputs, self.outputs = entry.inputs, entry.outputs
        self.entry = type("Entry", (), {"image_size": (side, side)})()
        self.greatest: dict[str, tuple[int, ...]] = {}
        self.seen: list[NDArray[np.uint8]] = []

    def run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        self.seen.append(feeds["image"])
        return {"embeddings": np.zeros((len(feeds["image"]), 4), np.float32)}


def clip_input(image: NDArray[np.uint8], side: int) -> Levels:
    transform = module("open_clip.transform").image_transform(side, is_train=False)
    return as_levels(transform(pillow(image)).permute(1, 2, 0), CLIP_MEAN, CLIP_STD)


def our_crop(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    session: Any = Crops(side)
    ClipEncoder(None, session).embed([image])
    return np.asarray(session.seen[0][0], dtype=np.uint8)


@pytest.mark.parametrize("side", [100, 10_000])
def test_clip_s_square_crops(photo: NDArray[np.uint8], side: int) -> None:
    image = square_of(photo)[:side, :side]
    found, expected = our_crop(image, CROP), clip_input(image, CROP)
    away = np.abs(found - expected)
    # bilinear or area mean against Pillow's cubic: measured at most 3.0, 15 and 40
    assert away.mean() <= 3.5 and np.percentile(away, 99) <= 20 and away.max() <= 60


def test_a_crop_that_is_not_square_keeps_its_ends() -> None:
    image = np.zeros((60, 120, 3), np.uint8)
    image[:, :10] = 255  # what lies at the end of a long thing
    assert clip_input(image, CROP).max() < 1  # the original's centre crop has lost it
    assert our_crop(image, CROP).max() == 255


def test_points_and_boxes_are_continuous(photo: NDArray[np.uint8]) -> None:
    """The graph adds half a pixel to what it is given, as SAM does to what its transform gives.

    A pixel's index goes to the frame's pixel that shows its centre; the original scales the index,
    which is up to half a pixel of the larger image away. A box's continuous corners stay where they
    are; the original, which adds half a pixel later, moves them by that.
    """
    transform = module("segment_anything.utils.transforms").ResizeLongestSide(SAM_FRAME)
    size = (photo.shape[0], photo.shape[1])
    frame = FrameMap.fit(size, (SAM_FRAME, SAM_FRAME))
    index = np.array([[0, 0], [100, 200], [size[1] - 1, size[0] - 1]], dtype=np.float64)
    given = frame.points_to_frame(index + 0.5) - 0.5
    expected = transform.apply_coords(index, size)
    half = 0.5 * (np.array(frame.scale) - 1)
    np.testing.assert_allclose(given, expected + half, atol=1e-3)
    boxes = np.array([[0.0, 0.0, size[1], size[0]], [10.5, 20.25, 200, 300]])
    given = frame.boxes_to_frame(boxes)
    np.testing.assert_allclose(given, transform.apply_boxes(boxes, size), atol=1e-3)


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    one, two = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def test_what_a_trained_model_makes_of_the_difference(photo: NDArray[np.uint8]) -> None:
    """Nano's SAM and CLIP, the only trained ones at hand, on our input and on the originals'."""
    bundle = load_bundle()
    with open_session(bundle.graph("mask_encoder")) as session:
        side = 576
        frame = FrameMap.fit((photo.shape[0], photo.shape[1]), (side, side))
        theirs = np.round(sam_input(photo, side)).astype(np.uint8)
        embeddings = [
            session.run({"image": pixels[None]})["image_embedding"]
            for pixels in (frame.image_to_frame(photo), theirs)
        ]
    # measured: 0.9826 and more. An encoder that sees edges of a pixel or two tells two ways of
    # resizing apart; one that was blind to them, nano's before, had 0.9998
    assert cosine(*embeddings) >= 0.98
    image = square_of(photo)
    with open_session(bundle.graph("clip_image")) as session:
        theirs = np.round(clip_input(image, 64)).clip(0, 255).astype(np.uint8)
        rows = [
            session.run({"image": pixels[None]})["embeddings"]
            for pixels in (our_crop(image, 64), theirs)
        ]
    assert cosine(*rows) >= 0.99  # measured: 0.9916 for one shrunk eightfold, else 0.9958 and more
