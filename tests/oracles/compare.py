"""One way to say that two computations of the same numbers agree in float32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["assert_same_numbers"]


def assert_same_numbers(
    found: Tensor | npt.NDArray[np.float32],
    expected: Tensor | npt.NDArray[np.float32],
    tolerance: float = 2e-5,
) -> None:
    """Fail unless the largest difference is a rounding error of the largest value.

    Args:
        found: what is tested.
        expected: what the oracle says; must not be constant, or agreement would say nothing.
        tolerance: largest allowed difference over the largest expected value.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (found, expected))
    assert a.shape == b.shape, f"shape {a.shape}, expected {b.shape}"
    assert np.isfinite(a).all(), "not finite"
    largest = np.abs(b).max()
    assert b.std() > 1e-3 * largest, "the expected values are constant"
    difference = np.abs(a - b).max() / largest
    assert difference <= tolerance, (
        f"differs by {difference:.2e} of the largest value {largest:.3g}"
    )
