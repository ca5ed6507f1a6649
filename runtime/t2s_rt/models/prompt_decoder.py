"""One mask decoder's session: prompts in bounded calls, padded to what a static graph asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends import Feed, Session
from t2s_rt.errors import InternalError

__all__ = ["BOX_LABELS", "PromptDecoder"]

BOX_LABELS = (2.0, 3.0)
_PAD_LABEL = -1.0


class PromptDecoder:
    """Calls a graph of the role ``mask_decoder`` or ``mask_decoder_local``.

    Args:
        session: of the graph.
        chunk: prompts in one call, where the graph leaves their number open.
    """

    def __init__(self, session: Session, chunk: int) -> None:
        coords = next(spec for spec in session.inputs if spec.name == "point_coords")
        prompts, points = coords.shape[:2]
        self.session = session
        self._static = isinstance(prompts, int)
        self._chunk = prompts if isinstance(prompts, int) else chunk
        self._points = points if isinstance(points, int) else None

    def run(
        self,
        embedding: Feed,
        coords: NDArray[np.float32],
        labels: NDArray[np.float32],
        **more: NDArray[Any],
    ) -> Iterator[tuple[slice, Mapping[str, NDArray[Any]]]]:
        """Decode prompts.

        Args:
            embedding: float32 [1, C, h, w], on the host or the device.
            coords: float32 [N, P, 2] x y as pixel indices of the model frame.
            labels: float32 [N, P].
            more: inputs with a row for each prompt.

        Yields:
            which prompts a call held, and its outputs for them.
        """
        coords, labels = self._pad_points(coords, labels)
        rows = {"point_coords": coords, "point_labels": labels, **more}
        for start in range(0, len(coords), self._chunk):
            part = slice(start, min(start + self._chunk, len(coords)))
            missing = self._chunk - (part.stop - start) if self._static else 0
            feeds = {
                # repeats of the last prompt, whose answers are cut off again
                name: np.pad(v[part], ((0, missing),) + ((0, 0),) * (v.ndim - 1), mode="edge")
                for name, v in rows.items()
            }
            outputs = self.session.run({"image_embedding": embedding, **feeds})
            yield part, {name: v[: part.stop - start] for name, v in outputs.items()}

    def _pad_points(
        self, coords: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Add SAM's padding point (0, 0, -1) to prompts without a box, and up to a static P."""
        has_box = np.isin(labels, BOX_LABELS).any(axis=1)
        has_pad = (labels == _PAD_LABEL).any(axis=1)
        extra = int(not np.all(has_box | has_pad))
        if self._points is not None:
            extra = max(extra, self._points - labels.shape[1])
            if labels.shape[1] + extra > self._points:
                raise InternalError(
                    f"expected at most {self._points} points in one prompt, "
                    f"found {labels.shape[1] + extra} with padding"
                )
        coords = np.where((labels == _PAD_LABEL)[..., None], np.float32(0), coords)
        return (
            np.pad(coords, ((0, 0), (0, extra), (0, 0))),
            np.pad(labels, ((0, 0), (0, extra)), constant_values=_PAD_LABEL),
        )
