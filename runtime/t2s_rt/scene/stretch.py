"""From any pixel type to 8 bits: one rule for the whole scene, never per tile.

=====================================  ====================================================
pixels                                 become
=====================================  ====================================================
8 bit unsigned                         themselves
1, 2, 4, 6 bits                        scaled so that the greatest value is 255
8 bit signed                           shifted by 128
integers, all within 128..255 at most  themselves: 8-bit data in a wider type
everything else                        linear between the 2nd and 98th percentile, each band
                                       on its own, over a bounded sample of the scene
=====================================  ====================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["PERCENTILES", "Stretch", "fit_stretch"]

PERCENTILES = (2.0, 98.0)
"""Lower and upper percentile of the linear stretch."""


@dataclass(frozen=True)
class Stretch:
    """A linear map per band, clipped to 0..255.

    Attributes:
        low: value that becomes 0, one per band.
        high: value that becomes 255, one per band; above ``low``.
        label: what was done, for reports.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    label: str
    _tables: dict[str, npt.NDArray[np.uint8]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def apply(self, pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        """Map pixels [h, w, c] of any real dtype to uint8 [h, w, c]; NaN becomes 0."""
        if pixels.dtype == np.uint8 and self.label == "unchanged":
            return pixels.astype(np.uint8, copy=False)
        if pixels.dtype in (np.uint8, np.int8, np.uint16, np.int16):
            return self._look_up(pixels)
        return self._linear(pixels)

    def _look_up(self, pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        key = str(pixels.dtype)
        if key not in self._tables:
            info = np.iinfo(pixels.dtype)  # type: ignore[type-var]
            every = np.arange(info.min, info.max + 1, dtype=np.int64)
            values = np.repeat(every[:, None], len(self.low), axis=1)
            self._tables[key] = self._linear(values)
        table = self._tables[key]
        shift = int(np.iinfo(pixels.dtype).min)  # type: ignore[type-var]
        bands = [table[pixels[..., k].astype(np.intp) - shift, k] for k in range(len(self.low))]
        return np.asarray(np.stack(bands, axis=-1), np.uint8)

    def _linear(self, pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        low = np.asarray(self.low)
        gain = 255.0 / (np.asarray(self.high) - low)
        with np.errstate(invalid="ignore", over="ignore"):
            values = (pixels.astype(np.float64) - low) * gain
        values = np.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0)
        return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def fit_stretch(
    dtype: str, bits: int | None, sample: npt.NDArray[np.generic] | None, bands: int
) -> Stretch:
    """Choose the rule of this module's table.

    Args:
        dtype: numpy name of the pixel type.
        bits: bits per sample where the file says fewer than the type holds.
        sample: valid pixels [n, bands] from all over the scene; None or empty where no pixel is
            valid. Not needed for 8-bit types.
        bands: number of bands.
    """
    if dtype in ("uint8", "bool"):
        top = 255.0 if bits is None or bits >= 8 else float(2**bits - 1)
        label = "unchanged" if top == 255.0 else f"{bits} bits scaled to 8"
        return Stretch((0.0,) * bands, (top,) * bands, label)
    if dtype == "int8":
        return Stretch((-128.0,) * bands, (127.0,) * bands, "shifted by 128")
    if sample is None or sample.size == 0:
        return Stretch((0.0,) * bands, (1.0,) * bands, "no valid pixel to stretch by")
    values = sample.astype(np.float64)
    integral = np.issubdtype(np.dtype(dtype), np.integer)
    narrow = bits is not None and 8 < bits < 16
    if integral and not narrow and values.min() >= 0 and 128 <= values.max() <= 255:
        return Stretch((0.0,) * bands, (255.0,) * bands, f"8-bit values in {dtype}, unchanged")
    low, high = np.percentile(values, PERCENTILES, axis=0)
    flat = high <= low
    low, high = np.where(flat, values.min(0), low), np.where(flat, values.max(0), high)
    # a constant band has nothing to stretch: any span shows it as black
    high = np.where(high <= low, np.nextafter(np.abs(low) * 2 + 1, np.inf), high)
    return Stretch(
        tuple(map(float, low)),
        tuple(map(float, high)),
        f"percentiles {PERCENTILES[0]:g} to {PERCENTILES[1]:g} of the scene",
    )
