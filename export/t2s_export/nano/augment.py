"""Augmentation: crops, scales, mirror images and what sensors and light do to the pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from t2s_export.nano.data import Sample

__all__ = ["Objects", "augment", "cartoon", "centre_frame", "objects_of", "photometric"]

_CROP_RANGE = (0.8, 1.25)
"""Stored pixels for a pixel of the frame, as far as the stored scene reaches."""
_WIDE_RANGE, _WIDE = (0.55, 1.8), 0.25
"""The same for a share of the frames: pictures whose ground resolution nobody knows."""
_ALTERED = 0.25
"""Share of frames whose pixels are altered."""
_SHORT = 0.1
"""Share of frames that a small scene does not fill: black beyond, as the runtime pads tiles."""
_NO_CLASS = 255


@dataclass(frozen=True)
class Objects:
    """Visible instances of a frame, tight on their visible pixels.

    Attributes:
        ids: int64 [n] value in the frame's instance map.
        class_ids: uint8 [n].
        boxes: float32 [n, 4] xyxy in frame pixels.
        pixels: int64 [n] visible pixels in the frame.
        share: float32 [n] share of the instance's pixels in its scene that the frame shows.
        crowd: bool [n], a region and not one object.
    """

    ids: npt.NDArray[np.int64]
    class_ids: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    pixels: npt.NDArray[np.int64]
    share: npt.NDArray[np.float32]
    crowd: npt.NDArray[np.bool_]

    @property
    def sides(self) -> npt.NDArray[np.float32]:
        """Width and height of each box, float32 [n, 2] pixels."""
        return self.boxes[:, 2:] - self.boxes[:, :2]


def objects_of(sample: Sample) -> Objects:
    """Boxes and counts of the instances that a frame shows.

    ``share`` assumes that ``sample.pixels`` counts pixels of the frame's own size, as
    :func:`augment` leaves it.
    """
    found = ndimage.find_objects(sample.instances.astype(np.int32))
    ids = np.array([i + 1 for i, where in enumerate(found) if where is not None], np.int64)
    boxes = np.array(
        [
            (where[1].start, where[0].start, where[1].stop, where[0].stop)
            for where in found
            if where is not None
        ],
        np.float32,
    ).reshape(-1, 4)
    counts = np.bincount(sample.instances.ravel(), minlength=len(sample.class_ids) + 1)
    full = np.maximum(sample.pixels[ids - 1], 1)
    return Objects(
        ids,
        sample.class_ids[ids - 1],
        boxes,
        counts[ids].astype(np.int64),
        (counts[ids] / full).astype(np.float32),
        sample.crowd[ids - 1],
    )


def _cut(
    sample: Sample,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    image: npt.NDArray[np.uint8],
) -> Sample:
    """Truth at nearest pixels ``rows`` × ``columns``, with an image already resampled."""
    where = np.ix_(rows, columns)
    return replace(
        sample, image=image, classes=sample.classes[where], instances=sample.instances[where]
    )


def _resampled(sample: Sample, top: int, left: int, side: int, size: int) -> Sample:
    """The square window (top, left, side) of a sample as a frame of ``size`` pixels."""
    window = sample.image[top : top + side, left : left + side]
    if side == size:
        image = np.ascontiguousarray(window)
    else:
        way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(window, (size, size), interpolation=way), np.uint8)
    steps = ((np.arange(size) + 0.5) * side / size).astype(np.int64)
    cut = _cut(sample, top + steps, left + steps, image)
    return replace(cut, pixels=np.maximum(1, sample.pixels * size**2 // side**2))


def centre_frame(sample: Sample, size: int) -> Sample:
    """The central ``size`` × ``size`` frame at native scale, for validation."""
    side = sample.image.shape[0]
    if side < size:
        return _resampled(sample, 0, 0, side, size)
    start = (side - size) // 2
    return _resampled(sample, start, start, size, size)


def _mirrored(sample: Sample, rng: np.random.Generator) -> Sample:
    """One of the eight mirror images and quarter turns."""
    image, classes, instances = sample.image, sample.classes, sample.instances
    if rng.random() < 0.5:
        image, classes, instances = image[:, ::-1], classes[:, ::-1], instances[:, ::-1]
    if rng.random() < 0.5:
        image, classes, instances = image[::-1], classes[::-1], instances[::-1]
    if rng.random() < 0.5:
        image, classes, instances = image.transpose(1, 0, 2), classes.T, instances.T
    return replace(
        sample,
        image=np.ascontiguousarray(image),
        classes=np.ascontiguousarray(classes),
        instances=np.ascontiguousarray(instances),
    )


def augment(sample: Sample, size: int, rng: np.random.Generator) -> Sample:
    """A random frame of ``size`` pixels: crop, scale, mirror, sensor, colour and noise.

    The crop's side is log-uniform around the frame's, so that ground resolution varies by about
    20 % both ways, and in some frames by 80 %. Some frames end early, as the tiles of small scenes
    do.
    """
    stored = sample.image.shape[0]
    low, high = (c * size for c in (_WIDE_RANGE if rng.random() < _WIDE else _CROP_RANGE))
    high = min(high, stored)
    low = min(low, high)
    side = round(math.exp(rng.uniform(math.log(low), math.log(high))))
    top, left = (int(rng.integers(0, stored - side + 1)) for _ in range(2))
    frame = _mirrored(_resampled(sample, top, left, side, size), rng)
    frame = replace(frame, image=photometric(frame.image, rng))
    return _shortened(frame, rng) if rng.random() < _SHORT else frame


def _shortened(sample: Sample, rng: np.random.Generator) -> Sample:
    """The top left of a frame; the rest is black, of no class and without instances."""
    size = sample.image.shape[0]
    height, width = (int(rng.integers(size // 4, size + 1)) for _ in range(2))
    inside = np.zeros((size, size), bool)
    inside[:height, :width] = True
    return replace(
        sample,
        image=np.where(inside[..., None], sample.image, np.uint8(0)),
        classes=np.where(inside, sample.classes, np.uint8(_NO_CLASS)),
        instances=np.where(inside, sample.instances, np.uint16(0)),
    )


def cartoon(sample: Sample, share: float, rng: np.random.Generator) -> Sample:
    """Mix the pixels with flat colours: one for each instance, and one for each class elsewhere.

    A crutch for the first steps. With objects that are easy to make out, the parts behind the
    image encoder (attention to words, box heads, assignment) are learnt in minutes, and give it
    gradients that mean something by the time the crutch is gone. Colours are drawn anew for each
    frame: shape, size and surroundings tell what something is, as they will later.

    Args:
        share: 0 leaves the image as it is, 1 leaves flat colours alone.
    """
    colours = rng.uniform(20, 235, (256 + len(sample.class_ids), 3)).astype(np.float32)
    stuff = sample.instances == 0
    which = np.where(stuff, sample.classes, sample.instances.astype(np.int64) + 255)
    mixed = sample.image.astype(np.float32) * (1.0 - share) + colours[which] * share
    mixed[sample.classes == _NO_CLASS] = 0.0
    return replace(sample, image=np.asarray(mixed.clip(0, 255), np.uint8))


def _coarser_sensor(
    image: npt.NDArray[np.uint8], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """What a sensor of up to three times the ground resolution shows, brought back to size."""
    height, width = image.shape[:2]
    factor = math.exp(rng.uniform(0.0, math.log(2.5)))
    small = (max(8, round(width / factor)), max(8, round(height / factor)))
    coarse = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    way = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=way), np.uint8)


def _tone(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Brightness, contrast, gamma, colour cast and saturation, or grey."""
    ramp = np.arange(256, dtype=np.float32) / 255.0
    gamma = math.exp(rng.uniform(-0.3, 0.3))
    contrast, brightness = math.exp(rng.uniform(-0.35, 0.25)), rng.uniform(-0.1, 0.1)
    base = (ramp**gamma - 0.5) * contrast + 0.5 + brightness
    cast = 1.0 + rng.uniform(-0.12, 0.12, 3) * (rng.random() < 0.7)
    table = np.clip(base[:, None] * cast * 255.0, 0, 255).astype(np.uint8)
    toned = cv2.LUT(image, np.ascontiguousarray(table[None]))
    share = 0.0 if rng.random() < 0.1 else rng.uniform(0.5, 1.25)
    grey = cv2.cvtColor(cv2.cvtColor(toned, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(toned, share, grey, 1.0 - share, 0.0), np.uint8)


def _noise(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """White or correlated sensor noise, grey or coloured."""
    height, width = image.shape[:2]
    grain = int(rng.integers(1, 4))
    channels = 3 if rng.random() < 0.5 else 1
    size = (-(-height // grain), -(-width // grain), channels)
    noise = rng.standard_normal(size, np.float32) * np.float32(rng.uniform(1.0, 9.0))
    if grain > 1:
        noise = np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
    noisy = image.astype(np.float32) + noise.reshape(height, width, -1)
    return np.asarray(noisy.clip(0, 255), np.uint8)


def photometric(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Sensor, light and compression, each at random; geometry stays.

    Most frames stay as rendered: the generator's own season, light, haze, cast, noise and
    sharpness already vary more than models of this size learn in an hour.
    """
    if rng.random() >= _ALTERED:
        return image
    if rng.random() < 0.25:
        image = _coarser_sensor(image, rng)
    if rng.random() < 0.6:
        image = _tone(image, rng)
    if rng.random() < 0.1:
        sigma = rng.uniform(0.4, 1.2)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    if rng.random() < 0.15:
        image = _noise(image, rng)
    if rng.random() < 0.1:
        quality = int(rng.integers(40, 95))
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    return image
