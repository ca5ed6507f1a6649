"""Inputs on which graphs are compared with their modules: scenes, captions, prompts.

The first case of each list is the one that is traced, so its dynamic sizes are above 1, differ
from each other and avoid sizes that models have; the others have different dynamic sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from t2s_export.graphs.to_onnx import run_module

__all__ = [
    "Case",
    "detector_cases",
    "detector_text_cases",
    "image_cases",
    "mask_decoder_cases",
    "mask_decoder_local_cases",
    "scene_image",
    "text_cases",
]

_FIRST_SEED = 4711
"""Any fixed scene will do; what matters is that it looks like one."""


@dataclass(frozen=True)
class Case:
    """One set of inputs.

    Attributes:
        label: its dynamic sizes, for messages and the record.
        feeds: a tensor per input of the contract.
    """

    label: str
    feeds: dict[str, torch.Tensor]


def scene_image(size: tuple[int, int], seed: int = _FIRST_SEED) -> NDArray[np.uint8]:
    """A synthetic overhead scene, uint8 [H, W, 3] RGB."""
    from t2s_rt.synthetic import render, scene_spec

    return render(scene_spec(seed, size=max(size), gsd=0.3)).image[: size[0], : size[1]]


def image_cases(size: tuple[int, int], batches: Sequence[int] = (2, 1)) -> list[Case]:
    """Scenes in batches of different sizes."""
    cases = []
    for index, batch in enumerate(batches):
        images = [scene_image(size, _FIRST_SEED + index * 10 + row) for row in range(batch)]
        cases.append(Case(f"B={batch}", {"image": torch.from_numpy(np.stack(images))}))
    return cases


def detector_text_cases(
    captions: Sequence[Sequence[int]], special_ids: Collection[int]
) -> list[Case]:
    """Token ids of captions, with the masks and positions that the runtime gives them.

    Args:
        captions: token ids with [CLS] and [SEP], of different lengths.
        special_ids: ids of [CLS], [SEP], "." and "?".
    """
    from t2s_rt.prompts import caption_inputs

    cases = []
    for ids in captions:
        _, attention, positions = caption_inputs(ids, special_ids)
        feeds = {
            "input_ids": torch.tensor([list(ids)], dtype=torch.int32),
            "position_ids": torch.from_numpy(positions),
            "text_self_attention_mask": torch.from_numpy(attention),
        }
        cases.append(Case(f"T={len(ids)}", feeds))
    return cases


def detector_cases(
    text_module: torch.nn.Module,
    text: Sequence[Case],
    size: tuple[int, int],
    batches: Sequence[int] = (2, 1, 1),
    padding: int = 5,
) -> list[Case]:
    """Scenes together with text features; the last case's caption is padded.

    Args:
        text_module: the text branch, which gives the features.
        text: cases of the text branch; one for each batch size.
        size: model frame, (height, width).
        batches: images of each case.
        padding: tokens of padding in the last case.
    """
    cases = []
    for index, (batch, source) in enumerate(zip(batches, text, strict=False)):
        features = run_module("detector_text", text_module, source.feeds)["text_features"]
        extra = padding if index == len(batches) - 1 else 0
        length = features.shape[1]
        total = length + extra
        mask = torch.zeros(1, total, dtype=torch.bool)
        mask[:, :length] = True
        # a padded token sees itself, so that no row of the attention is empty
        attention = torch.eye(total, dtype=torch.bool)[None].clone()
        attention[:, :length, :length] = source.feeds["text_self_attention_mask"]
        image = image_cases(size, (batch,))[0].feeds["image"]
        feeds = {
            "image": image,
            "text_features": torch.nn.functional.pad(features, (0, 0, 0, extra)),
            "text_token_mask": mask,
            "text_self_attention_mask": attention,
            "position_ids": torch.nn.functional.pad(source.feeds["position_ids"], (0, extra)),
        }
        cases.append(Case(f"B={batch} T={total} padding={extra}", feeds))
    return cases


def mask_decoder_cases(
    encoder: torch.nn.Module,
    size: tuple[int, int],
    counts: Sequence[tuple[int, int]] = ((3, 5), (1, 2), (17, 2), (2, 1)),
    image: NDArray[np.uint8] | None = None,
) -> list[Case]:
    """A scene's embedding with boxes, points and padding as prompts.

    Args:
        encoder: the image encoder, which gives the embedding.
        size: model frame, (height, width).
        counts: (N prompts, P points) of each case.
        image: uint8 ``[H, W, 3]`` RGB of that size; None takes a synthetic scene.
    """
    feeds = (
        image_cases(size, (1,))[0].feeds if image is None else {"image": torch.tensor(image[None])}
    )
    embedding = run_module("mask_encoder", encoder, feeds)["image_embedding"]
    generator = np.random.default_rng(0)
    cases = []
    for prompts, points in counts:
        limits = np.array([size[1], size[0]], dtype=np.float32)
        places = generator.uniform(0, 1, (prompts, points, 2)).astype(np.float32) * limits
        labels = generator.integers(0, 2, (prompts, points)).astype(np.float32)
        labels[:, 0] = 1
        if points == 2:  # corners of boxes
            places = np.sort(places, axis=1)
            labels[:] = (2, 3)
        elif points > 2:  # the original pads prompts without a box with one such point
            places[:, -1], labels[:, -1] = 0, -1
        feeds = {
            "image_embedding": embedding,
            "point_coords": torch.from_numpy(places),
            "point_labels": torch.from_numpy(labels),
        }
        cases.append(Case(f"N={prompts} P={points}", feeds))
    return cases


def mask_decoder_local_cases(cases: Sequence[Case], cells: int) -> list[Case]:
    """Cases of the whole decoder with windows drawn for their prompts, both corners included.

    Args:
        cases: from :func:`mask_decoder_cases`.
        cells: side of a window in image tokens.
    """
    generator = np.random.default_rng(1)
    local = []
    for case in cases:
        count = len(case.feeds["point_coords"])
        last = np.array(case.feeds["image_embedding"].shape[2:]) - cells
        first = generator.integers(0, last + 1, (count, 2))
        first[0], first[-1] = 0, last
        window = torch.from_numpy(first.astype(np.int32))
        local.append(Case(case.label, {**case.feeds, "window": window}))
    return local


def text_cases(texts: Sequence[Sequence[int]], counts: Sequence[int] = (3, 1)) -> list[Case]:
    """Byte-pair ids padded with zeros to the longest of each batch.

    Args:
        texts: token ids with start and end of text; used one after the other, cyclically.
        counts: texts of each case.
    """
    cases = []
    taken = 0
    for count in counts:
        chosen = [texts[(taken + row) % len(texts)] for row in range(count)]
        taken += count
        ids = np.zeros((count, max(len(text) for text in chosen)), dtype=np.int32)
        for row, text in enumerate(chosen):
            ids[row, : len(text)] = text
        cases.append(Case(f"N={count} L={ids.shape[1]}", {"input_ids": torch.from_numpy(ids)}))
    return cases
