"""The camera: point operations, blur, sharpening, noise and JPEG of one block."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from t2s_rt.errors import InternalError
from t2s_rt.synthetic.style import Sensor
from t2s_rt.synthetic.textures import periodic, sensor_tile

HALO = 12
"""Pixels around a block that blur and sharpening need."""


def response(sensor: Sensor) -> npt.NDArray[np.uint8]:
    """Lookup table uint8 [1, 256, 3]: haze, gain, offset and gamma."""
    table = np.zeros((1, 256, 3), np.uint8)
    values = np.arange(256, dtype=np.float64) * (1.0 - sensor.haze)
    for channel in range(3):
        gain = sensor.gain[channel]
        veil = sensor.haze_colour[channel] * sensor.haze * gain + sensor.offset
        steps = np.trunc((values * gain + veil) * (1023.0 / 255.0) + 0.5).clip(0, 1023)
        # Python's power: numpy's may differ in the last bit
        table[0, :, channel] = [round(255.0 * (v / 1023.0) ** sensor.gamma) for v in steps.tolist()]
    return table


def expose(
    image: npt.NDArray[np.uint8],
    sensor: Sensor,
    table: npt.NDArray[np.uint8],
    row: int,
    col: int,
) -> npt.NDArray[np.uint8]:
    """Blur, sharpen, apply the response, add noise and compress.

    `image` uint8 [S + 2·HALO, S + 2·HALO, 3]; (row, col) its absolute top-left pixel. Returns the
    inner [S, S, 3].
    """
    blurred = cv2.GaussianBlur(image, (0, 0), sensor.blur)
    if sensor.sharpen:
        soft = cv2.GaussianBlur(blurred, (0, 0), 1.0).astype(np.int16)
        sharp = blurred.astype(np.int16)
        sharp += ((sharp - soft) * np.int16(sensor.sharpen)) >> 4
        blurred = np.clip(sharp, 0, 255).astype(np.uint8)
    inner: npt.NDArray[np.uint8] = np.asarray(
        cv2.LUT(np.ascontiguousarray(blurred[HALO:-HALO, HALO:-HALO]), table), np.uint8
    )
    if sensor.saturation != 256:
        inner = _saturate(inner, sensor.saturation)
    size = inner.shape[0]
    y, x = row + HALO, col + HALO
    if sensor.white_noise or sensor.correlated_noise:
        total = np.zeros(inner.shape, np.int16)
        for strength, correlated in (
            (sensor.white_noise, False),
            (sensor.correlated_noise, True),
        ):
            if strength:
                tile = periodic(sensor_tile(correlated), y, x, size, size)
                total += np.asarray(tile, np.int16) * np.int16(strength)
        inner = np.asarray(cv2.add(inner, total >> 5, dtype=cv2.CV_8U), np.uint8)
    if sensor.jpeg:
        inner = _compress(inner, sensor.jpeg)
    return inner


def _compress(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """There and back through JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    back = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
    if back is None:
        raise InternalError("expected OpenCV to encode and decode JPEG, found that it cannot")
    return np.asarray(cv2.cvtColor(back, cv2.COLOR_BGR2RGB), np.uint8)


def _saturate(image: npt.NDArray[np.uint8], saturation: int) -> npt.NDArray[np.uint8]:
    wide = image.astype(np.int16)
    luma = ((wide[..., 0] * 19 + wide[..., 1] * 38 + wide[..., 2] * 7) >> 6)[..., None]
    # in 1/64 so that products stay within 16 bits
    out = luma + (((wide - luma) * np.int16(saturation // 4)) >> 6)
    return np.asarray(np.clip(out, 0, 255), np.uint8)
