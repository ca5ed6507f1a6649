"""A whole bundle with tiny ONNX graphs whose results are known by formula.

Sizes: detector frame 32, mask frame 32 (embedding 3 x 8 x 8), CLIP frame 16 (patch 4), text
width 4, CLIP width 3. ``write_tiny_bundle`` fills a folder; ``TABLE`` and ``CLIP_TABLE`` are the
text encoders' weights, from which tests compute what they expect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from t2s_rt.bundle import (
    BundleManifest,
    FileRecord,
    GraphRecord,
    TextRecord,
    file_record,
    write_manifest,
)
from t2s_rt.contracts import CONTRACTS, OPSET, Role, TensorSpec

PHRASES = (
    "building",
    "house",
    "roof",
    "road",
    "street",
    "tree",
    "water",
    "parking lot",
    "low vegetation",
    "grass",
    "container",
    "boat",
)
WORDS = tuple(sorted({word for phrase in PHRASES for word in phrase.split()}))
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?", *WORDS)
CLIP = ("<pad>", *WORDS, "<|startoftext|>", "<|endoftext|>")

_RANDOM = np.random.default_rng(7)
TABLE = _RANDOM.normal(size=(len(BERT), 4)).astype(np.float32)
CLIP_TABLE = _RANDOM.normal(size=(len(CLIP), 3)).astype(np.float32)
QUERIES = _RANDOM.normal(size=(1, 5, 4)).astype(np.float32)
BOXES = np.array(
    [[[0.5, 0.5, 1, 1], [0.25, 0.5, 0.5, 1], [0.5, 0.25, 0.25, 0.5], [0.9, 0.9, 0.4, 0.4],
      [0.1, 0.2, 0.1, 0.1]]], dtype=np.float32,
)  # fmt: skip

SIZES: dict[Role, dict[str, int]] = {
    "detector": {"H": 32, "W": 32, "D": 4, "Q": 5, "B": 1},
    "detector_text": {"D": 4},
    "mask_encoder": {"H": 32, "W": 32, "C": 3, "h": 8, "w": 8},
    "mask_decoder": {"C": 3, "h": 8, "w": 8},
    "mask_decoder_local": {"C": 3, "h": 8, "w": 8, "S": 4},
    "clip_image": {"H": 16, "W": 16, "D": 3},
    "clip_dense": {"H": 16, "W": 16, "D": 3, "h": 4, "w": 4},
    "clip_patches": {"H": 16, "W": 16, "D": 3, "h": 4, "w": 4},
    "clip_text": {"D": 3, "L": 6},
}


def _decoder(side: int, *more: str) -> tuple[str, dict[str, Any]]:
    """Every mask is the mean of the prompt's coordinates plus 0, 1, 2, 3."""
    inputs = ", ".join(
        (
            "float[1,3,8,8] image_embedding",
            "float[N,P,2] point_coords",
            "float[N,P] point_labels",
            *more,
        )
    )
    graph = """
        => (float[N,4,SIDE,SIDE] mask_logits, float[N,4] iou) {
          mean = ReduceMean <axes = [1, 2], keepdims = 0> (point_coords)
          column = Unsqueeze (mean, last)
          iou = Add (column, ramp)
          small = Unsqueeze (iou, ends)
          mask_logits = Add (small, blank)
        }"""
    constants = {
        "last": np.array([1]),
        "ramp": np.arange(4, dtype=np.float32)[None],
        "ends": np.array([2, 3]),
        "blank": np.zeros((1, 1, side, side), np.float32),
    }
    return f"({inputs})" + graph.replace("SIDE", str(side)), constants


_PATCHES = """pixels = Cast <to = 1> (image)
planes = Transpose <perm = [0, 3, 1, 2]> (pixels)
pooled = AveragePool <kernel_shape = [4, 4], strides = [4, 4]> (planes)
flat = Reshape (pooled, shape)
rows = Transpose <perm = [0, 2, 1]> (flat)
safe = Add (rows, one)
length = ReduceL2 <axes = [2], keepdims = 1> (safe)
patch_embeddings = Div (safe, length)"""

GRAPHS: dict[Role, tuple[str, dict[str, Any]]] = {
    # features[t] = sum over the tokens that t attends to of TABLE[id], plus t's position
    "detector_text": (
        """(int32[1,T] input_ids, int32[1,T] position_ids, bool[1,T,T] text_self_attention_mask)
        => (float[1,T,4] text_features) {
          words = Gather <axis = 0> (table, input_ids)
          weights = Cast <to = 1> (text_self_attention_mask)
          mixed = MatMul (weights, words)
          places = Cast <to = 1> (position_ids)
          column = Unsqueeze (places, last)
          text_features = Add (mixed, column)
        }""",
        {"table": TABLE, "last": np.array([2])},
    ),
    # logits = QUERIES . text_features, plus the image's mean over 255
    "detector": (
        """(uint8[1,32,32,3] image, float[1,T,4] text_features, bool[1,T] text_token_mask,
        bool[1,T,T] text_self_attention_mask, int32[1,T] position_ids)
        => (float[1,5,T] logits, float[1,5,4] boxes) {
          pixels = Cast <to = 1> (image)
          mean = ReduceMean <keepdims = 0> (pixels)
          level = Div (mean, full)
          keys = Transpose <perm = [0, 2, 1]> (text_features)
          products = MatMul (queries, keys)
          logits = Add (products, level)
          boxes = Identity (places)
        }""",
        {"queries": QUERIES, "places": BOXES, "full": np.array(255, np.float32)},
    ),
    "mask_encoder": (
        """(uint8[B,32,32,3] image) => (float[B,3,8,8] image_embedding) {
          pixels = Cast <to = 1> (image)
          planes = Transpose <perm = [0, 3, 1, 2]> (pixels)
          image_embedding = AveragePool <kernel_shape = [4, 4], strides = [4, 4]> (planes)
        }""",
        {},
    ),
    "mask_decoder": _decoder(32),
    "mask_decoder_local": _decoder(16, "int32[N,2] window"),
    "clip_image": (
        """(uint8[B,16,16,3] image) => (float[B,3] embeddings) {
          pixels = Cast <to = 1> (image)
          mean = ReduceMean <axes = [1, 2], keepdims = 0> (pixels)
          safe = Add (mean, one)
          length = ReduceL2 <axes = [1], keepdims = 1> (safe)
          embeddings = Div (safe, length)
        }""",
        {"one": np.ones(1, np.float32)},
    ),
    "clip_dense": (
        f"""(uint8[B,16,16,3] image)
        => (float[B,16,3] patch_embeddings, float[B,16,3] surgery_embeddings,
            float[B,3] image_embedding) {{
          {_PATCHES}
          surgery_embeddings = Neg (patch_embeddings)
          mean = ReduceMean <axes = [1], keepdims = 0> (safe)
          size = ReduceL2 <axes = [1], keepdims = 1> (mean)
          image_embedding = Div (mean, size)
        }}""",
        {"one": np.ones(1, np.float32), "shape": np.array([0, 3, 16])},
    ),
    "clip_patches": (
        f"(uint8[B,16,16,3] image) => (float[B,16,3] patch_embeddings) {{ {_PATCHES} }}",
        {"one": np.ones(1, np.float32), "shape": np.array([0, 3, 16])},
    ),
    # the sum of CLIP_TABLE over all ids, padding included, at unit length
    "clip_text": (
        """(int32[N,6] input_ids) => (float[N,3] embeddings) {
          words = Gather <axis = 0> (table, input_ids)
          sum = ReduceMean <axes = [1], keepdims = 0> (words)
          length = ReduceL2 <axes = [1], keepdims = 1> (sum)
          embeddings = Div (sum, length)
        }""",
        {"table": CLIP_TABLE},
    ),
}


def write_graph(role: Role, path: Path) -> None:
    """Write the tiny graph of a role."""
    text, weights = GRAPHS[role]
    header = f'<ir_version: 8, opset_import: ["": {OPSET}]> {role} '
    model = onnx.parser.parse_model(header + text)
    for name, array in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def tensors(specs: tuple[TensorSpec, ...], sizes: dict[str, int]) -> tuple[TensorSpec, ...]:
    """The contract's tensors with static sizes put in."""

    def size(value: int | str) -> int | str:
        letters = str(value).lstrip("0123456789")
        if isinstance(value, int) or any(letter not in sizes for letter in letters):
            return value
        product = int(value[: len(value) - len(letters)] or 1)
        for letter in letters:
            product *= sizes[letter]
        return product

    return tuple(
        TensorSpec(spec.name, spec.dtype, tuple(size(v) for v in spec.shape), spec.meaning)
        for spec in specs
    )


def record(root: Path, role: Role) -> GraphRecord:
    """Write a role's graph into a folder and describe it."""
    name = f"{role}.fp32.onnx"
    write_graph(role, root / name)
    sizes = SIZES[role]
    return GraphRecord(
        role=role,
        precision="fp32",
        files=(file_record(root, name),),
        inputs=tensors(CONTRACTS[role].inputs, sizes),
        outputs=tensors(CONTRACTS[role].outputs, sizes),
        image_size=(sizes["H"], sizes["W"]) if "H" in sizes else None,
        opset=OPSET,
        source={"url": "https://example.org/tiny", "licence": "Apache-2.0"},
    )


def write_tokenizers(root: Path) -> dict[str, FileRecord]:
    """Write both tokenizers: BERT's and CLIP's code paths over a dozen words."""
    bert = Tokenizer(models.WordPiece({t: i for i, t in enumerate(BERT)}, unk_token="[UNK]"))
    bert.normalizer = normalizers.BertNormalizer(lowercase=True)
    bert.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bert.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    clip = Tokenizer(
        models.WordLevel({t: i for i, t in enumerate(CLIP)}, unk_token="<|endoftext|>")
    )
    clip.normalizer = normalizers.Lowercase()
    clip.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    start, end = len(CLIP) - 2, len(CLIP) - 1
    clip.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", start), ("<|endoftext|>", end)],
    )
    records = {}
    for name, tokenizer in (("detector", bert), ("clip", clip)):
        file = f"{name}_tokenizer.json"
        (root / file).write_text(tokenizer.to_str(), encoding="utf-8")
        records[name] = file_record(root, file)
    return records


def tiny_manifest(root: Path, **changes: Any) -> BundleManifest:
    """Write graphs and tokenizers and describe them; ``changes`` replace manifest fields."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "exporter": "tests",
        "gsd": 0.3,
        "tile_size": 32,
        "graphs": tuple(record(root, role) for role in GRAPHS),
        "tokenizers": write_tokenizers(root),
        "text": TextRecord(
            words=PHRASES,
            clip_other_words=("container",),
            clip_logit_scale=20.0,
            clip_context_length=6,
            max_detector_tokens=24,
        ),
    }
    return BundleManifest(**{**fields, **changes})


def write_tiny_bundle(root: Path, **changes: Any) -> Path:
    """Write the whole bundle into a folder, made if missing."""
    root.mkdir(parents=True, exist_ok=True)
    write_manifest(root, tiny_manifest(root, **changes))
    return root
