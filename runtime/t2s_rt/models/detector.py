"""Grounding DINO over a session: a tile and a pack in, boxes with absolute scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends import Session
from t2s_rt.errors import InternalError, PackError
from t2s_rt.limits import TILES_PER_CALL
from t2s_rt.models.calls import images_per_call, stack_images
from t2s_rt.models.frames import FramedImage
from t2s_rt.prompts import PromptPack

__all__ = ["Detections", "Detector"]


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes of one tile.

    Attributes:
        boxes: float32 [Q, 4] xyxy in tile pixels, inside the tile.
        scores: float32 [Q, K] in 0..1, one absolute score per class of the pack.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check shapes and dtypes.

        Raises:
            InternalError: boxes and scores do not fit each other.
        """
        boxes, scores = self.boxes, self.scores
        fits = boxes.ndim == 2 and boxes.shape[1:] == (4,) and scores.ndim == 2
        if not fits or len(boxes) != len(scores) or {boxes.dtype, scores.dtype} != {_F32}:
            raise InternalError(
                "expected boxes float32 [Q, 4] and scores float32 [Q, K], found "
                f"{boxes.dtype} {list(boxes.shape)} and {scores.dtype} {list(scores.shape)}"
            )

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.boxes)


_F32 = np.dtype(np.float32)


class Detector:
    """Finds boxes for all classes of a pack in one call.

    Args:
        session: of a graph with the role ``detector``.
        image_size: (height, width) of the model frame; None takes the graph's.
    """

    def __init__(self, session: Session, image_size: tuple[int, int] | None = None) -> None:
        size = image_size or session.entry.image_size
        if size is None:
            raise InternalError("expected a detector graph with an image size, found none")
        self._session = session
        self._frame = size
        self._text = _TextInputs(session)

    @property
    def session(self) -> Session:
        """The session it runs on."""
        return self._session

    def frame(self, image: NDArray[np.uint8]) -> FramedImage:
        """A tile uint8 [H, W, 3] RGB, of any size, in the model frame."""
        return FramedImage.fit(image, self._frame)

    def detect(
        self, image: NDArray[np.uint8], pack: PromptPack, *, score_floor: float | None = None
    ) -> Detections:
        """Detect every class of the pack in one tile uint8 [H, W, 3] RGB.

        As :meth:`detect_frames`, which says the rest.
        """
        return self.detect_frames([self.frame(image)], pack, score_floor=score_floor)[0]

    def detect_frames(
        self,
        frames: Sequence[FramedImage],
        pack: PromptPack,
        *,
        score_floor: float | None = None,
    ) -> list[Detections]:
        """Detect every class of the pack in several tiles, as many of them in a call as fit.

        A phrase scores the largest sigmoid among its tokens (separators left out), as the
        original takes the largest token score of a query; a class scores the largest of its
        phrases. Boxes are neither thresholded nor suppressed here.

        Args:
            frames: of the tiles, from :meth:`frame`.
            pack: the classes.
            score_floor: drop queries whose best class scores less; None keeps all.

        Returns:
            The detections of each tile, in order.

        Raises:
            PackError: the pack does not fit the graph.
            BackendError: the session failed.
        """
        text = self._text.of(pack)
        step = images_per_call(self._session, TILES_PER_CALL)
        found = []
        for start in range(0, len(frames), step):
            part = frames[start : start + step]
            pixels = stack_images(self._session, [framed.pixels for framed in part])
            outputs = self._session.run({"image": pixels, **text})
            for index, framed in enumerate(part):
                scores = _class_scores(outputs["logits"][index], pack)
                corners = _corner_boxes(outputs["boxes"][index], self._frame)
                if score_floor is not None:
                    keep = scores.max(axis=1) >= score_floor
                    corners, scores = corners[keep], scores[keep]
                found.append(Detections(framed.frame.boxes_to_tile(corners), scores))
        return found


def _class_scores(logits: NDArray[np.float32], pack: PromptPack) -> NDArray[np.float32]:
    """Largest sigmoid over all tokens of all phrases of each class, float32 [Q, K]."""
    columns = [
        logits[:, np.r_[tuple(slice(start, end) for start, end in group)]].max(axis=1)
        for group in pack.spans
    ]
    best = np.stack(columns, axis=1)
    # tanh form of the sigmoid: no overflow for the large negative logits of padded tokens
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * best)), dtype=np.float32)


def _corner_boxes(boxes: NDArray[np.float32], frame: tuple[int, int]) -> NDArray[np.float32]:
    """From cx cy w h in 0..1 of the frame to xyxy in frame pixels."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1)
    height, width = frame
    return np.asarray(corners * np.array([width, height, width, height]), dtype=np.float32)


class _TextInputs:
    """A pack's arrays as one graph wants them: padded where its T is static."""

    def __init__(self, session: Session) -> None:
        spec = next(spec for spec in session.inputs if spec.name == "text_features")
        self._length, self._width = spec.shape[1], spec.shape[2]

    def of(self, pack: PromptPack) -> dict[str, NDArray[Any]]:
        """The graph's text inputs.

        Raises:
            PackError: no detector text in the pack, too many tokens, or another width.
        """
        if not pack.has_detector:
            raise PackError("the prompt pack holds no text for a detector; make it again")
        features, mask = pack.text_features, pack.text_token_mask
        attention, positions = pack.text_self_attention_mask, pack.position_ids
        count, width = features.shape[1:]
        if isinstance(self._width, int) and width != self._width:
            raise PackError(
                f"the detector expects text features of width {self._width}, "
                f"the prompt pack has {width}; make it again with this bundle"
            )
        pad = self._length - count if isinstance(self._length, int) else 0
        if pad < 0:
            raise PackError(
                f"the detector takes at most {self._length} tokens, the prompt pack has {count}; "
                "use fewer or shorter words"
            )
        if pad:
            features = np.pad(features, ((0, 0), (0, pad), (0, 0)))
            mask = np.pad(mask, ((0, 0), (0, pad)))
            attention = np.pad(attention, ((0, 0), (0, pad), (0, pad)))
            # a padding token attends to itself: a row without any key has no softmax
            attention[0, count:, count:] = np.eye(pad, dtype=np.bool_)
            positions = np.pad(positions, ((0, 0), (0, pad)))
        return {
            "text_features": features,
            "text_token_mask": mask,
            "text_self_attention_mask": attention,
            "position_ids": positions,
        }
