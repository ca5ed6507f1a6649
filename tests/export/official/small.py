"""Small models built by the original packages and saved as their publishers do.

The vocabularies are the official ones, so that everything about text is real; only the widths and
depths are not.
"""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tests.export.sam.conftest import SMALL as SAM
from tests.export.sam.conftest import build_original as build_sam
from tests.oracles import grounding_dino_original, originals, transformers_models
from tests.oracles.weights import randomise
from torch import Tensor, nn

from t2s_export.architectures.clip import Clip, ClipConfig
from t2s_export.architectures.grounding_dino import SWIN_T, GroundingDino
from t2s_export.architectures.sam import Sam
from t2s_export.checkpoints import table
from t2s_export.checkpoints.table import Architecture
from t2s_export.official.presets import Preset

CLIP = ClipConfig(
    image_size=64,
    patch_size=16,
    width=48,
    layers=3,
    heads=3,
    embed_dim=32,
    text_width=32,
    text_layers=2,
    text_heads=2,
    surgery_blocks=2,
)
DINO = dataclasses.replace(
    SWIN_T,
    encoder_layers=1,
    decoder_layers=2,
    queries=300,
    ffn_width=256,
    bert_layers=1,
    bert_width=32,
    bert_heads=2,
    bert_ffn_width=64,
)
"""The original fixes the widths of Swin-T. With few queries one tie would count as a difference."""
ROWS = (
    Architecture("sam", "small_sam", Sam, SAM),
    Architecture("grounding_dino", "small_dino", GroundingDino, DINO),
    Architecture("clip", "small_clip", Clip, CLIP),
)
PRESET = Preset("small", "small_dino", "small_sam", "small_clip", "Small ones, for tests.")
SIZES = ("--detector-size", "128", "--clip-size", "256")
"""Frames that go with the small models, on the command line."""


@contextmanager
def known() -> Iterator[None]:
    """Let the loader know the small architectures only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "ARCHITECTURES", ROWS)
        yield


def save_sam(path: Path, seed: int = 1) -> Path:
    """A ``.pth`` of segment_anything."""
    model = build_sam(originals.segment_anything(), SAM)
    randomise(model, seed)
    torch.save(model.state_dict(), path)
    return path


def save_detector(path: Path, seed: int = 2, image_seed: int | None = None) -> Path:
    """A ``.pth`` of groundingdino, wrapped as theirs are.

    Args:
        path: where to.
        seed: of all weights.
        image_seed: of the image backbone's weights, if others are wanted.
    """
    model = grounding_dino_original.build(
        "swin_t",
        sizes={
            "enc_layers": DINO.encoder_layers,
            "dec_layers": DINO.decoder_layers,
            "num_queries": DINO.queries,
            "dim_feedforward": DINO.ffn_width,
        },
        bert_sizes={
            "num_hidden_layers": DINO.bert_layers,
            "hidden_size": DINO.bert_width,
            "num_attention_heads": DINO.bert_heads,
            "intermediate_size": DINO.bert_ffn_width,
        },
    )
    randomise(model, seed)
    if image_seed is not None:
        randomise(cast(nn.Module, model.backbone), image_seed)
    torch.save({"model": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
    return path


def save_transformers_sam(folder: Path, seed: int = 4) -> Path:
    """A folder as transformers saves it."""
    sizes = {"hidden_size": SAM.out_channels}
    frame = {"image_size": SAM.image_size, "patch_size": SAM.patch_size}
    model = transformers_models.sam(
        {
            **frame,
            "hidden_size": SAM.embed_dim,
            "output_channels": SAM.out_channels,
            "num_hidden_layers": SAM.depth,
            "num_attention_heads": SAM.num_heads,
            "window_size": SAM.window_size,
            "global_attn_indexes": list(SAM.global_blocks),
            "num_pos_feats": SAM.out_channels // 2,
            "mlp_dim": SAM.mlp_ratio * SAM.embed_dim,
        },
        {**sizes, **frame},
        {
            **sizes,
            "mlp_dim": SAM.decoder_mlp_dim,
            "num_attention_heads": SAM.decoder_heads,
            "iou_head_hidden_dim": SAM.iou_hidden_dim,
        },
    )
    randomise(model, seed)
    return transformers_models.save(model, folder)


def save_transformers_detector(folder: Path, seed: int = 5) -> Path:
    """A folder as transformers saves it."""
    model = transformers_models.grounding_dino(
        {
            "embed_dim": DINO.swin_width,
            "depths": list(DINO.swin_depths),
            "num_heads": list(DINO.swin_heads),
            "window_size": DINO.swin_window,
        },
        {
            "hidden_size": DINO.bert_width,
            "num_hidden_layers": DINO.bert_layers,
            "num_attention_heads": DINO.bert_heads,
            "intermediate_size": DINO.bert_ffn_width,
            "vocab_size": DINO.vocabulary_size,
            "max_position_embeddings": DINO.bert_positions,
        },
        encoder_layers=DINO.encoder_layers,
        decoder_layers=DINO.decoder_layers,
        encoder_ffn_dim=DINO.ffn_width,
        decoder_ffn_dim=DINO.ffn_width,
        num_queries=DINO.queries,
    )
    randomise(model, seed)
    return transformers_models.save(model, folder)


def open_clip_model(seed: int = 3, quick_gelu: bool = True) -> Any:
    """open_clip's model at our size, its weights exact in half precision."""
    package = originals.open_clip()
    model = package.CLIP(
        embed_dim=CLIP.embed_dim,
        vision_cfg=package.CLIPVisionCfg(
            layers=CLIP.layers,
            width=CLIP.width,
            head_width=CLIP.width // CLIP.heads,
            patch_size=CLIP.patch_size,
            image_size=CLIP.image_size,
        ),
        text_cfg=package.CLIPTextCfg(
            context_length=CLIP.context_length,
            vocab_size=CLIP.vocab_size,
            width=CLIP.text_width,
            heads=CLIP.text_heads,
            layers=CLIP.text_layers,
        ),
        quick_gelu=quick_gelu,
    ).eval()
    randomise(model, seed)
    with torch.no_grad():
        model.logit_scale.fill_(4.6052)
    return model.half().float().requires_grad_(False)


class _Archived(nn.Module):
    """What OpenAI saved: the model with scalars beside its parameters."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name in ("input_resolution", "context_length", "vocab_size"):
            field = {"input_resolution": "image_size"}.get(name, name)
            self.register_buffer(name, torch.tensor(getattr(CLIP, field)))

    def forward(self, image: Tensor) -> Tensor:
        visual: Any = self.visual
        scale: Any = self.logit_scale
        return cast(Tensor, visual(image) * scale.exp())


def save_openai_clip(path: Path, seed: int = 3) -> Path:
    """A TorchScript archive in half precision, as OpenAI published."""
    towers = _Archived(open_clip_model(seed)).half().eval()
    example = torch.zeros(1, 3, CLIP.image_size, CLIP.image_size, dtype=torch.float16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        traced: Any = torch.jit.trace(towers, example, check_trace=False)  # type: ignore[no-untyped-call]
        traced.save(str(path))
    return path


def save_open_clip(path: Path, seed: int = 3) -> Path:
    """A training checkpoint of open_clip."""
    model = open_clip_model(seed, quick_gelu=False)
    torch.save({"epoch": 1, "state_dict": model.state_dict()}, path)
    return path


def copy_vocabularies(folder: Path, test_data: Path) -> None:
    """Both vocabularies under the registry's names."""
    places = {
        "bert/vocab.txt": "bert-base-uncased-vocab.txt",
        "clip/bpe_simple_vocab_16e6.txt.gz": "bpe_simple_vocab_16e6.txt.gz",
    }
    for source, name in places.items():
        shutil.copy(test_data / "tokenizers" / source, folder / name)
