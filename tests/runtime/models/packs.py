"""Prompt packs made by hand, for models over fake sessions."""

from __future__ import annotations

import numpy as np

from t2s_rt.prompts import PackClass, PromptPack, caption_inputs

STOP, CLS, SEP = 1, 2, 3


def make_pack(spans: tuple[tuple[tuple[int, int], ...], ...], length: int) -> PromptPack:
    """A pack whose classes have the given token spans in a caption of ``length`` tokens."""
    ids = np.full(length, 9, np.int32)
    ids[0], ids[-1] = CLS, SEP
    for group in spans:
        for _, end in group:
            ids[end] = STOP
    masks = caption_inputs(ids, (STOP, CLS, SEP))
    classes = tuple(
        PackClass(f"class {i}", tuple(f"{i} {j}" for j in range(1, len(group))), (i, 0, 0), "thing")
        for i, group in enumerate(spans)
    )
    unit = np.array([[1, 0]], np.float32)
    return PromptPack(
        classes=classes,
        bundle_name="fake",
        fingerprint="0" * 64,
        caption="x",
        token_ids=ids,
        special_ids=(STOP, CLS, SEP),
        spans=spans,
        text_features=np.arange(length * 4, dtype=np.float32).reshape(1, length, 4),
        text_token_mask=masks.text_token_mask,
        text_self_attention_mask=masks.self_attention_mask,
        position_ids=masks.position_ids,
        class_embeddings=tuple(np.repeat(unit, len(group), axis=0) for group in spans),
        other_words=(),
        other_embeddings=np.zeros((0, 2), np.float32),
        redundant_embedding=unit[0],
        templates=("{}",),
        logit_scale=10.0,
    )
