"""What a graph is fed for a tile: the runtime's own models over sessions that only listen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from t2s_engines.graphs.graph import Array
from t2s_rt.backends.fake import FakeSession
from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import Role
from t2s_rt.errors import InternalError
from t2s_rt.models.clip import ClipEncoder
from t2s_rt.models.detector import Detector
from t2s_rt.models.frames import FramedImage
from t2s_rt.prompts import PromptPack

__all__ = ["QUANTISABLE", "calls_of"]

QUANTISABLE: tuple[Role, ...] = (
    "detector",
    "mask_encoder",
    "clip_image",
    "clip_dense",
    "clip_patches",
)
"""Roles that int8 is made of. SAM's decoders are left in float, untried: most of what they multiply
is positions and masks of a few pixels."""
_CROPS = 3
"""Crops along each side of a tile."""


def calls_of(
    entry: GraphEntry, image: NDArray[np.uint8], pack: PromptPack
) -> list[dict[str, Array]]:
    """Inputs by name of every call that a tile gives rise to.

    Args:
        entry: graph of a role out of ``QUANTISABLE``.
        image: uint8 ``[H, W, 3]`` RGB, a tile.
        pack: for the detector's caption.
    """
    session = FakeSession(entry, lambda feeds: _nothing(entry, feeds))
    if entry.role == "detector":
        Detector(session).detect(image, pack)
    elif entry.role == "mask_encoder":
        size = entry.image_size or image.shape[:2]
        session.run({"image": FramedImage.fit(image, size).pixels[None]})
    elif entry.role in ("clip_dense", "clip_patches"):
        ClipEncoder(session, None).dense(image)
    elif entry.role == "clip_image":
        rows, columns = (np.array_split(np.arange(side), _CROPS) for side in image.shape[:2])
        crops = [image[r[0] : r[-1] + 1, c[0] : c[-1] + 1] for r in rows for c in columns]
        ClipEncoder(None, session).embed(crops)
    else:
        raise InternalError(f"expected a role out of {QUANTISABLE}, found {entry.role}")
    return [dict(call) for call in session.calls]


def _nothing(entry: GraphEntry, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of zeros in the shapes that the contract promises for these inputs."""
    sizes: dict[str, int] = {}
    for spec in entry.inputs:
        for symbol, size in zip(spec.shape, feeds[spec.name].shape, strict=True):
            if isinstance(symbol, str):
                sizes[symbol] = size
    return {
        spec.name: np.zeros(
            [sizes[size] if isinstance(size, str) else size for size in spec.shape], spec.dtype
        )
        for spec in entry.outputs
    }
