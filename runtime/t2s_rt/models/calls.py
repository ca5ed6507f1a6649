"""Images in bounded calls of a graph: as many at once as its batch and the limits allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends import Session

__all__ = ["images_per_call", "stack_images"]


def images_per_call(session: Session, most: int) -> int:
    """Images in one call: the graph's batch where it is static, else ``most``.

    An engine may have been built for fewer (``t2s-rt build --batch``) than the graph takes.
    """
    image = session.inputs[0]
    size = image.shape[0]
    if isinstance(size, int):
        return size
    bound = session.greatest.get(image.name)
    return most if bound is None else max(1, min(most, bound[0]))


def stack_images(session: Session, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Images uint8 [h, w, 3] as uint8 [B, h, w, 3]; the last is repeated up to a static batch."""
    missing = images_per_call(session, len(images)) - len(images)
    if len(images) == 1 and not missing:
        return images[0][None]
    return np.stack([*images, *[images[-1]] * missing])
