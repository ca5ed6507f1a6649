"""The tensors of every graph: the single source of truth.

Export writes these names, dtypes and shapes into ``bundle.json``; the runtime reads them from
there and checks them against this module. Symbols in shapes:

=====  ==========================================================
B      images in one call
H, W   height and width of the model frame in pixels
T      text tokens of the caption
D      width of the text features or of the embedding
Q      object queries
C      channels of the image embedding
h, w   rows and columns of the image embedding or patch grid
hw     number of patches, ``h * w``
N      prompts or texts in one call
P      points of one prompt
L      tokens of one text
S      side of a local decoder's window in image tokens
=====  ==========================================================

Images enter as ``uint8 [B, H, W, 3]`` RGB; cast, scaling and normalisation are inside the graph.
Every output is float32. Pixel coordinates are continuous with (0, 0) at the outer corner of the
first pixel, so a pixel's centre lies at +0.5; only ``point_coords`` counts pixel indices, whose
centres are whole numbers, as SAM does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

__all__ = [
    "CONTRACTS",
    "OPSET",
    "PRECISIONS",
    "ROLES",
    "TEXT_ROLES",
    "GraphContract",
    "Precision",
    "Role",
    "TensorSpec",
]

Role = Literal[
    "detector",
    "detector_text",
    "mask_encoder",
    "mask_decoder",
    "mask_decoder_local",
    "clip_image",
    "clip_dense",
    "clip_patches",
    "clip_text",
]
Precision = Literal["fp32", "fp16", "int8"]
ROLES: tuple[Role, ...] = get_args(Role)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
TEXT_ROLES: tuple[Role, ...] = ("detector_text", "clip_text")
"""Roles that embed words, on the ground: float32 only, and what a prompt pack is bound to."""
OPSET = 17
"""ONNX opset of fp32 and fp16 graphs: the newest that TensorRT 8.6 to 11 all import."""


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor at a graph's border.

    Attributes:
        name: the tensor's name in the ONNX file.
        dtype: numpy name: ``uint8``, ``int32``, ``float32`` or ``bool``.
        shape: sizes; a string is a symbol of the table above, or a product of symbols.
        meaning: what it holds, with unit, range and frame.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    meaning: str


@dataclass(frozen=True)
class GraphContract:
    """Inputs and outputs of one role, in the order of the ONNX file."""

    role: Role
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


_IMAGE = TensorSpec("image", "uint8", ("B", "H", "W", 3), "RGB pixels 0..255 in the model frame")
_EMBEDDING = ("B", "C", "h", "w")
_POSITIONS = TensorSpec(
    "position_ids", "int32", (1, "T"), "place of each token within its own phrase"
)
_SELF_ATTENTION = TensorSpec(
    "text_self_attention_mask", "bool", (1, "T", "T"), "true where a token may see another"
)

_DETECTOR = GraphContract(
    "detector",
    (
        _IMAGE,
        TensorSpec("text_features", "float32", (1, "T", "D"), "projected text-encoder output"),
        TensorSpec("text_token_mask", "bool", (1, "T"), "true where a token is no padding"),
        _SELF_ATTENTION,
        _POSITIONS,
    ),
    (
        TensorSpec("logits", "float32", ("B", "Q", "T"), "query-token similarity before sigmoid"),
        TensorSpec("boxes", "float32", ("B", "Q", 4), "cx cy w h in 0..1 of the model frame"),
    ),
)
_DETECTOR_TEXT = GraphContract(
    "detector_text",
    (
        TensorSpec("input_ids", "int32", (1, "T"), "WordPiece ids of the caption"),
        _POSITIONS,
        _SELF_ATTENTION,
    ),
    (TensorSpec("text_features", "float32", (1, "T", "D"), "what the prompt pack stores"),),
)
_MASK_ENCODER = GraphContract(
    "mask_encoder",
    (_IMAGE,),
    (TensorSpec("image_embedding", "float32", _EMBEDDING, "SAM image embedding"),),
)
_MASK_DECODER = GraphContract(
    "mask_decoder",
    (
        TensorSpec("image_embedding", "float32", (1, "C", "h", "w"), "of one image"),
        TensorSpec(
            "point_coords",
            "float32",
            ("N", "P", 2),
            "x y as pixel indices of the model frame; the graph adds SAM's half pixel",
        ),
        TensorSpec(
            "point_labels",
            "float32",
            ("N", "P"),
            "-1 padding, 0 negative, 1 positive, 2 and 3 the corners of a box",
        ),
    ),
    (
        TensorSpec(
            "mask_logits", "float32", ("N", 4, "4h", "4w"), "all four masks, before the threshold 0"
        ),
        TensorSpec("iou", "float32", ("N", 4), "predicted IoU of each mask"),
    ),
)
_MASK_DECODER_LOCAL = GraphContract(
    "mask_decoder_local",
    (
        *_MASK_DECODER.inputs,
        TensorSpec(
            "window", "int32", ("N", 2), "row and column of each window's first image token"
        ),
    ),
    (
        TensorSpec(
            "mask_logits",
            "float32",
            ("N", 4, "4S", "4S"),
            "all four masks over the prompt's window, before the threshold 0",
        ),
        TensorSpec("iou", "float32", ("N", 4), "predicted IoU of each mask"),
    ),
)
_CLIP_IMAGE = GraphContract(
    "clip_image",
    (_IMAGE,),
    (TensorSpec("embeddings", "float32", ("B", "D"), "unit length"),),
)
_CLIP_DENSE = GraphContract(
    "clip_dense",
    (_IMAGE,),
    (
        TensorSpec(
            "patch_embeddings",
            "float32",
            ("B", "hw", "D"),
            "last block with q-q + k-k + v-v attention, row-major patches, unit length",
        ),
        TensorSpec(
            "surgery_embeddings",
            "float32",
            ("B", "hw", "D"),
            "v-v dual path of CLIP Surgery, row-major patches, unit length",
        ),
        TensorSpec("image_embedding", "float32", ("B", "D"), "class token, unit length"),
    ),
)
_CLIP_PATCHES = GraphContract("clip_patches", (_IMAGE,), _CLIP_DENSE.outputs[:1])
"""``clip_dense`` for the routes that read no surgery embeddings: one path less to compute."""
_CLIP_TEXT = GraphContract(
    "clip_text",
    (TensorSpec("input_ids", "int32", ("N", "L"), "byte-pair ids, padded with zeros"),),
    (TensorSpec("embeddings", "float32", ("N", "D"), "unit length"),),
)

CONTRACTS: Mapping[Role, GraphContract] = MappingProxyType(
    {
        contract.role: contract
        for contract in (
            _DETECTOR,
            _DETECTOR_TEXT,
            _MASK_ENCODER,
            _MASK_DECODER,
            _MASK_DECODER_LOCAL,
            _CLIP_IMAGE,
            _CLIP_DENSE,
            _CLIP_PATCHES,
            _CLIP_TEXT,
        )
    }
)
