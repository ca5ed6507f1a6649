"""The original Grounding DINO package, built from its configuration, without hub or CUDA operator.

The package expects to download its tokenizer and BERT, imports plotting libraries and relies on
names that newer timm and transformers have moved. This module supplies what is missing; the
model code that runs is the original's.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_bench.reference.packages import quiet, require

__all__ = [
    "CONFIGURATIONS",
    "build",
    "detect",
    "encode_text",
    "forward",
    "load",
    "real_linspace",
    "text_masks",
]

PACKAGES = ("torchvision", "timm", "transformers", "addict", "yapf", "groundingdino")
CONFIGURATIONS = {
    "swin_t": "GroundingDINO_SwinT_OGC.py",
    "swin_b": "GroundingDINO_SwinB_cfg.py",
}
SPECIAL_TOKENS = [101, 102, 1012, 1029]
"""[CLS], [SEP], full stop and question mark in the vocabulary of bert-base-uncased."""


class _Tokenizer:
    """All that the model's constructor asks of the tokenizer."""

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        return SPECIAL_TOKENS


_bert_sizes: dict[str, int] = {}


def _language_model(name: str) -> nn.Module:
    """BERT base with random weights, with the methods that transformers has dropped."""
    transformers = importlib.import_module("transformers")
    bert: nn.Module = transformers.BertModel(transformers.BertConfig(**_bert_sizes))
    for method in ("get_head_mask", "get_extended_attention_mask", "invert_attention_mask"):
        if not hasattr(bert, method):
            setattr(bert, method, lambda *arguments, **keywords: None)
    return bert


def load() -> types.ModuleType:
    """Import the package.

    Raises:
        MissingOriginalError: it, or what it needs, is not installed.
    """
    require(PACKAGES)
    with quiet():
        timm = importlib.import_module("timm.layers")
        sys.modules.setdefault("timm.models.layers", timm)
        # pulls matplotlib and pycocotools, and is only for drawing
        visualizer = types.ModuleType("groundingdino.util.visualizer")
        visualizer.COCOVisualizer = object  # type: ignore[attr-defined]
        sys.modules.setdefault("groundingdino.util.visualizer", visualizer)
        names: Any = importlib.import_module("groundingdino.util.get_tokenlizer")
        names.get_tokenlizer = lambda name: _Tokenizer()
        names.get_pretrained_language_model = _language_model
        return importlib.import_module("groundingdino.models")


def build(
    variant: str,
    device: str = "cpu",
    sizes: dict[str, int] | None = None,
    bert_sizes: dict[str, int] | None = None,
) -> nn.Module:
    """Build an original model with random weights.

    Args:
        variant: a key of `CONFIGURATIONS`.
        device: "cpu", or "meta" for names and shapes only.
        sizes: changes of the original's configuration file.
        bert_sizes: changes of the configuration of BERT base.
    """
    models: Any = load()
    package = importlib.import_module("groundingdino")
    slconfig: Any = importlib.import_module("groundingdino.util.slconfig")
    folder = str(package.__path__[0])
    with quiet():
        arguments = slconfig.SLConfig.fromfile(f"{folder}/config/{CONFIGURATIONS[variant]}")
        for name, value in (sizes or {}).items():
            setattr(arguments, name, value)
        _bert_sizes.clear()
        _bert_sizes.update(bert_sizes or {})
        arguments.device = "cpu"
        arguments.use_checkpoint = False
        arguments.use_transformer_ckpt = False
        if device == "meta":
            # stochastic depth reads its rates from a tensor, which a meta tensor cannot give
            with torch.device("meta"), real_linspace():
                model: nn.Module = models.build_model(arguments)
        else:
            model = models.build_model(arguments)
    return model.eval()


@contextlib.contextmanager
def real_linspace() -> Iterator[None]:
    """Let ``torch.linspace`` have values on the meta device: some constructors read them."""
    original = torch.linspace

    def on_cpu(*arguments: Any, **keywords: Any) -> Tensor:
        return original(*arguments, **{**keywords, "device": "cpu"})

    with mock.patch.object(torch, "linspace", on_cpu):
        yield


def text_masks(
    input_ids: Tensor, special_ids: Sequence[int] = SPECIAL_TOKENS
) -> tuple[Tensor, Tensor]:
    """The original's self-attention mask bool ``[B, T, T]`` and position ids ``[B, T]``.

    Args:
        input_ids: ``[B, T]``.
        special_ids: of [CLS], [SEP], full stop and question mark; by default BERT's.
    """
    load()
    module: Any = importlib.import_module("groundingdino.models.GroundingDINO.bertwarper")
    mask, positions, _ = module.generate_masks_with_special_tokens_and_transfer_map(
        {"input_ids": input_ids}, list(special_ids), None
    )
    return mask, positions


def encode_text(model: Any, input_ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """The original's BERT and projection, ``[B, T, 256]``.

    transformers wants an additive mask here, which its older versions made themselves.
    """
    bias = (~mask)[:, None].float() * torch.finfo(torch.float32).min
    bert = model.bert
    embedded = bert.embeddings(
        input_ids=input_ids,
        position_ids=positions,
        token_type_ids=torch.zeros_like(input_ids),
    )
    hidden = bert.encoder(embedded, attention_mask=bias)[0]
    features: Tensor = model.feat_map(hidden)
    return features


def detect(
    model: Any, image: Tensor, features: Tensor, token_mask: Tensor, mask: Tensor, positions: Tensor
) -> dict[str, Tensor]:
    """The original forward after its text encoder, and what its selection did.

    Arguments as for :func:`forward`.

    Returns:
        ``logits`` ``[B, Q, 256]`` (minus infinity beyond T), ``boxes`` ``[B, Q, 4]``, ``selected``
        int64 ``[B, Q]`` and ``scores`` ``[B, S]``, what the selection ranked.
    """
    with _recorded_topk() as seen:
        logits, boxes = forward(model, image, features, token_mask, mask, positions)
    return {"logits": logits, "boxes": boxes, "scores": seen[0][0], "selected": seen[0][1]}


def forward(
    model: Any, image: Tensor, features: Tensor, token_mask: Tensor, mask: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """The original forward after its text encoder.

    Args:
        model: from `build`.
        image: normalised float ``[B, 3, H, W]``.
        features: ``[B, T, 256]``.
        token_mask: bool ``[B, T]``.
        mask: bool ``[B, T, T]``.
        positions: integer ``[B, T]``.

    Returns:
        logits ``[B, Q, 256]`` (minus infinity beyond T) and boxes ``[B, Q, 4]``.
    """
    misc: Any = importlib.import_module("groundingdino.util.misc")
    text = {
        "encoded_text": features,
        "text_token_mask": token_mask,
        "position_ids": positions,
        "text_self_attention_masks": mask,
    }
    samples = misc.nested_tensor_from_tensor_list(image)
    with quiet():
        maps, places = model.backbone(samples)
    sources, masks = [], []
    for level, feature in enumerate(maps):
        tensor, padding = feature.decompose()
        sources.append(model.input_proj[level](tensor))
        masks.append(padding)
    extra = model.input_proj[len(maps)](maps[-1].tensors)
    padding = F.interpolate(samples.mask[None].float(), size=extra.shape[-2:]).bool()[0]
    places.append(model.backbone[1](misc.NestedTensor(extra, padding)))
    sources.append(extra)
    masks.append(padding)
    with quiet():
        states, references, *_ = model.transformer(sources, masks, None, places, None, None, text)
    deltas = model.bbox_embed[-1](states[-1])
    boxes: Tensor = (deltas + misc.inverse_sigmoid(references[-2])).sigmoid()
    logits: Tensor = model.class_embed[-1](states[-1], text)
    return logits, boxes


@contextlib.contextmanager
def _recorded_topk() -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Note what the model's selection ranks and keeps."""
    original = torch.topk
    seen: list[tuple[Tensor, Tensor]] = []

    def recording(scores: Tensor, *arguments: Any, **keywords: Any) -> Any:
        result = original(scores, *arguments, **keywords)
        seen.append((scores, result[1]))
        return result

    with mock.patch.object(torch, "topk", recording):
        yield seen
