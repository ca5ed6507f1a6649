"""A world of plain colours in which every model's right answer is known.

A scene is painted in the colours of ``PALETTE``; the fake detector finds each connected patch
of a thing's colour, the fake SAM returns the connected patch under a point or box, and the fake
CLIP sees the colour of each patch. So a route is right exactly when it gives back the painting.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.models import DenseFeatures, Detections, FrameMap, MaskSet
from t2s_rt.prompts import PackClass, PromptPack
from t2s_rt.prompts.bank import Kind

PALETTE: dict[str, tuple[int, int, int]] = {
    "building": (200, 30, 30),
    "car": (30, 30, 200),
    "tree": (20, 120, 20),
    "road": (90, 90, 90),
    "field": (220, 200, 60),
    "water": (10, 60, 120),
    "ground": (170, 140, 110),
}
WORDS = tuple(PALETTE)
FINGERPRINT = "ab" * 32
KINDS: dict[str, Kind] = {"building": "thing", "car": "thing", "tree": "both"}
LOW = 4
"""Tile pixels per low-resolution mask pixel."""


def embedding(word: str) -> NDArray[np.float32]:
    """One axis per word of the palette, plus one for everything else ("redundant")."""
    out = np.zeros(len(WORDS) + 1, dtype=np.float32)
    out[WORDS.index(word) if word in WORDS else len(WORDS)] = 1.0
    return out


def pack_of(*names: str, **thresholds: dict[str, float]) -> PromptPack:
    """A pack that asks for some words; the rest of the palette are its other words."""
    others = tuple(word for word in WORDS if word not in names)
    tokens = 2 + 2 * len(names)
    return PromptPack(
        classes=tuple(
            PackClass(name, (), PALETTE[name], KINDS.get(name, "stuff"), thresholds.get(name, {}))
            for name in names
        ),
        bundle_name="colours",
        fingerprint=FINGERPRINT,
        caption=" . ".join(names),
        token_ids=np.arange(tokens, dtype=np.int32),
        special_ids=(0,),
        spans=tuple(((1 + 2 * i, 2 + 2 * i),) for i in range(len(names))),
        text_features=np.zeros((1, tokens, 4), np.float32),
        text_token_mask=np.ones((1, tokens), bool),
        text_self_attention_mask=np.ones((1, tokens, tokens), bool),
        position_ids=np.zeros((1, tokens), np.int32),
        class_embeddings=tuple(embedding(name)[None] for name in names),
        other_words=others,
        other_embeddings=np.array([embedding(word) for word in others], np.float32).reshape(
            -1, len(WORDS) + 1
        ),
        redundant_embedding=embedding(""),
        templates=("{}",),
        logit_scale=20.0,
    )


def paint_scene(
    height: int, width: int, *patches: tuple[str, tuple[int, int, int, int]]
) -> NDArray[np.uint8]:
    """Ground with rectangles ``(word, (row0, row1, col0, col1))``."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = PALETTE["ground"]
    for word, (row0, row1, col0, col1) in patches:
        image[row0:row1, col0:col1] = PALETTE[word]
    return image


def is_word(image: NDArray[np.uint8], word: str) -> NDArray[np.bool_]:
    distance = np.abs(image.astype(np.int32) - np.array(PALETTE[word])).max(axis=2)
    return np.asarray(distance <= 12)


class SharedCounter(Counter[str]):
    """Counts calls that may come from several threads."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()

    def add(self, key: str) -> None:
        """One more."""
        with self._lock:
            self[key] += 1


class FakeDetector:
    def __init__(self, calls: SharedCounter, score: float = 0.8) -> None:
        self.calls, self.score = calls, score

    def frame(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image

    def detect_frames(self, frames: list[NDArray[np.uint8]], pack: Any) -> list[Detections]:
        return [self.detect(image, pack) for image in frames]

    def detect(self, image: NDArray[np.uint8], pack: Any) -> Detections:
        self.calls.add("detector")
        boxes, scores = [], []
        for index, pack_class in enumerate(pack.classes):
            if pack_class.kind == "stuff" or pack_class.name not in PALETTE:
                continue
            found = is_word(image, pack_class.name).astype(np.uint8)
            count, _, stats, _ = cv2.connectedComponentsWithStats(found)
            for x, y, w, h, _area in stats[1:count]:
                boxes.append((x, y, x + w, y + h))
                row = np.zeros(len(pack.classes))
                row[index] = self.score
                scores.append(row)
        # one query that sees nothing, as real detectors have many
        boxes.append((0, 0, image.shape[1], image.shape[0]))
        scores.append(np.full(len(pack.classes), 0.01))
        return Detections(np.array(boxes, np.float32), np.array(scores, np.float32))


class FakeSegmenter:
    def __init__(self, calls: SharedCounter) -> None:
        self.calls = calls

    def frame(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image

    def encode_frames(self, frames: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        return [self.encode(image) for image in frames]

    def encode(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.calls.add("mask_encoder")
        return image

    def _patch(self, image: NDArray[np.uint8], x: float, y: float) -> NDArray[np.float32]:
        row = min(max(int(y), 0), image.shape[0] - 1)
        col = min(max(int(x), 0), image.shape[1] - 1)
        near = np.abs(image.astype(np.int32) - image[row, col].astype(np.int32)).max(axis=2) <= 12
        _, marks = cv2.connectedComponents(near.astype(np.uint8))
        mask = (marks == marks[row, col]).astype(np.float32)
        height, width = mask.shape
        small = cv2.resize(mask, (width // LOW, height // LOW), interpolation=cv2.INTER_AREA)
        return np.asarray((small - 0.5) * 20.0, dtype=np.float32)

    def _set(self, logits: list[NDArray[np.float32]]) -> MaskSet:
        one = np.array(logits)
        nothing = np.full_like(one, -10.0)
        return MaskSet(
            np.stack([one, nothing, one, nothing], axis=1),
            np.tile(np.array([0.9, 0.95, 0.92, 0.2], np.float32), (len(one), 1)),
            FrameMap.fit((LOW * one.shape[1], LOW * one.shape[2]), (64, 64)),
        )

    def decode_boxes(self, embedding: Any, boxes: NDArray[np.float32]) -> MaskSet:
        self.calls.add("mask_decoder")
        return self._set(
            [self._patch(embedding, (b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in boxes]
        )

    def decode(self, embedding: Any, coords: Any, labels: Any) -> MaskSet:
        self.calls.add("mask_decoder")
        first = [points[label == 1][0] for points, label in zip(coords, labels, strict=True)]
        return self._set([self._patch(embedding, x, y) for x, y in first])


class FakeClip:
    def __init__(self, calls: SharedCounter, patch: int = 8) -> None:
        self.calls, self.patch = calls, patch

    def _embed(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        shares = np.array([is_word(image, word).mean() for word in WORDS] + [0.0], np.float32)
        return self._unit(shares)

    @staticmethod
    def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors = vectors.copy()
        vectors[..., -1] = np.where(vectors.sum(axis=-1) == 0, 1.0, vectors[..., -1])
        return np.asarray(
            vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32
        )

    def windows(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image

    def dense_windows(self, tiles: list[NDArray[np.uint8]]) -> list[DenseFeatures]:
        return [self.dense(image) for image in tiles]

    def dense(self, image: NDArray[np.uint8]) -> DenseFeatures:
        self.calls.add("clip_dense")
        height, width = image.shape[:2]
        size = (width // self.patch, height // self.patch)
        planes = [
            cv2.resize(is_word(image, word).astype(np.float32), size, interpolation=cv2.INTER_AREA)
            for word in WORDS
        ]
        grid = self._unit(np.stack([*planes, np.zeros_like(planes[0])], axis=2))
        return DenseFeatures(grid, grid, self._embed(image))

    def embed(self, crops: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.calls.add("clip_image")
        return np.array([self._embed(crop) for crop in crops], np.float32)


class FakeModels:
    """Stands in for t2s_rt.models.Models; counts every call."""

    def __init__(self, score: float = 0.8) -> None:
        self.calls = SharedCounter()
        self.detector: Any = FakeDetector(self.calls, score)
        self.segmenter: Any = FakeSegmenter(self.calls)
        self.clip: Any = FakeClip(self.calls)
        self.closed = False
        self.sessions: tuple[Any, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.choice = "fake"

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeModels:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
