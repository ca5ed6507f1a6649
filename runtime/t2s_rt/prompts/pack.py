"""The prompt pack: the classes of a mission with their text embeddings.

A pack is a value: arrays and words, checked when it is made, whether by :func:`build_pack` or
by :func:`load_pack`. It needs neither text encoder nor tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import PackError
from t2s_rt.prompts.bank import Colour, Kind
from t2s_rt.prompts.grammar import MAX_CLASSES

__all__ = ["PackClass", "PromptPack", "unit_rows"]

Span = tuple[int, int]


@dataclass(frozen=True)
class PackClass:
    """One class of a pack.

    Attributes:
        name: what maps and tables call it.
        synonyms: phrases that mean the same; the name is always searched for too.
        colour: red, green, blue in 0..255.
        kind: ``thing``, ``stuff`` or ``both``.
        thresholds: by route, 0..1; only those that differ from the routes' defaults.
        asked: how many of ``synonyms`` the user typed; the rest came from the prompt bank.
    """

    name: str
    synonyms: tuple[str, ...]
    colour: Colour
    kind: Kind
    thresholds: Mapping[str, float] = field(default_factory=dict)
    asked: int = 0

    @property
    def phrases(self) -> tuple[str, ...]:
        """The name, then the synonyms: the order of spans and embeddings."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True, eq=False)
class PromptPack:
    """Classes and their text embeddings for one bundle's text encoders.

    Arrays of a part that the bundle lacks are empty: T = 0 without a detector, D = 0 without
    CLIP.

    Attributes:
        classes: in the order of the class map's values 1, 2, ...
        bundle_name: the bundle it was made with, for messages.
        fingerprint: of the text encoders it was made with.
        caption: the detector's caption.
        token_ids: int32 [T], with [CLS] and [SEP].
        special_ids: ids of the separators that bound phrases; masks and positions follow from
            them and ``token_ids``.
        spans: [class][phrase] -> tokens [start, end) of the caption; empty without a detector.
        text_features: float32 [1, T, D], detector input.
        text_token_mask: bool [1, T], detector input.
        text_self_attention_mask: bool [1, T, T], detector input.
        position_ids: int32 [1, T], detector input.
        class_embeddings: for each class float32 [phrases, D] of CLIP, unit length, synonyms
            kept apart.
        other_words: labels that compete with the classes so that scores are absolute.
        other_embeddings: float32 [O, D], unit length, of ``other_words``.
        redundant_embedding: float32 [D], unit length, of the empty text (CLIP Surgery).
        templates: sentences that CLIP's embeddings are means over.
        logit_scale: factor on cosine similarities before the softmax over labels.
    """

    classes: tuple[PackClass, ...]
    bundle_name: str
    fingerprint: str
    caption: str
    token_ids: NDArray[np.int32]
    special_ids: tuple[int, ...]
    spans: tuple[tuple[Span, ...], ...]
    text_features: NDArray[np.float32]
    text_token_mask: NDArray[np.bool_]
    text_self_attention_mask: NDArray[np.bool_]
    position_ids: NDArray[np.int32]
    class_embeddings: tuple[NDArray[np.float32], ...]
    other_words: tuple[str, ...]
    other_embeddings: NDArray[np.float32]
    redundant_embedding: NDArray[np.float32]
    templates: tuple[str, ...]
    logit_scale: float

    def __post_init__(self) -> None:
        """Check every size against every other.

        Raises:
            PackError: what does not fit.
        """
        count = len(self.classes)
        if not 1 <= count <= MAX_CLASSES:
            raise PackError(f"prompt pack: expected 1 to {MAX_CLASSES} classes, found {count}")
        names = [item.name for item in self.classes]
        if len(set(names)) != count:
            raise PackError("prompt pack: expected every class name once, found one twice")
        length = self.token_ids.size
        width = self.text_features.shape[-1]
        dim = self.redundant_embedding.shape[-1]
        expected: dict[str, tuple[str, tuple[int, ...]]] = {
            "token_ids": ("int32", (length,)),
            "text_features": ("float32", (1, length, width)),
            "text_token_mask": ("bool", (1, length)),
            "text_self_attention_mask": ("bool", (1, length, length)),
            "position_ids": ("int32", (1, length)),
            "other_embeddings": ("float32", (len(self.other_words), dim)),
            "redundant_embedding": ("float32", (dim,)),
        }
        for name, (dtype, shape) in expected.items():
            _check_array(name, getattr(self, name), dtype, shape)
        if len(self.class_embeddings) != count:
            raise PackError(
                f"prompt pack: expected embeddings of {count} classes, "
                f"found {len(self.class_embeddings)}"
            )
        for item, array in zip(self.classes, self.class_embeddings, strict=True):
            _check_array(f"embeddings of {item.name}", array, "float32", (len(item.phrases), dim))
        if dim:
            _check_unit(np.concatenate((*self.class_embeddings, self.other_embeddings)))
            _check_unit(self.redundant_embedding[None])
        self._check_spans(length)

    def _check_spans(self, length: int) -> None:
        wanted = [len(item.phrases) for item in self.classes] if length else []
        if [len(group) for group in self.spans] != wanted:
            raise PackError("prompt pack: expected one token span for each phrase of each class")
        for group in self.spans:
            for start, end in group:
                if not 0 < start < end < length:
                    raise PackError(
                        f"prompt pack: expected spans within {length} tokens, found {start}..{end}"
                    )

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of the class map."""
        return tuple(item.name for item in self.classes)

    @property
    def has_detector(self) -> bool:
        """Whether it can feed a detector."""
        return self.token_ids.size > 0

    @property
    def has_clip(self) -> bool:
        """Whether it holds CLIP embeddings."""
        return self.redundant_embedding.size > 0


def unit_rows(array: NDArray[Any]) -> NDArray[np.float32]:
    """The array as float32 with its last axis scaled to unit length; zero rows stay zero."""
    rows = np.asarray(array, dtype=np.float32)
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1.0), dtype=np.float32)


def _check_unit(rows: NDArray[np.float32]) -> None:
    lengths = np.linalg.norm(rows, axis=-1)
    if np.any(np.abs(lengths - 1.0) > 1e-3):
        raise PackError("prompt pack: expected CLIP embeddings of unit length, found others")


def _check_array(name: str, array: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise PackError(
            f"prompt pack, {name}: expected {dtype} {list(shape)}, "
            f"found {array.dtype} {list(array.shape)}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise PackError(f"prompt pack, {name}: expected finite numbers, found NaN or infinity")
