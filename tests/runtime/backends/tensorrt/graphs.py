"""Two small graphs that belong together, as SAM's encoder and decoder do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray

from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import Role, TensorSpec

Arrays = dict[str, NDArray[Any]]

ENCODER = """<ir_version: 8, opset_import: ["": 17]> encoder
(uint8[B,8,8,3] image) => (float[B,3,8,8] image_embedding)
<float[3,1,1] scale = {0.5, 2.0, -1.0}>
{
  floats = Cast <to = 1> (image)
  planes = Transpose <perm = [0, 3, 1, 2]> (floats)
  image_embedding = Mul (planes, scale)
}"""
DECODER = """<ir_version: 8, opset_import: ["": 17]> decoder
(float[1,3,8,8] image_embedding, float[N,P,2] point_coords, float[N,P] point_labels)
=> (float[N,3,8,8] mask_logits, float[N,P] iou)
<int64[3] axes = {1, 2, 3}>
{
  sums = ReduceSum <keepdims = 0> (point_coords, axis)
  weights = Mul (sums, point_labels)
  total = ReduceSum <keepdims = 1> (weights, one)
  column = Unsqueeze (total, last)
  spread = Unsqueeze (column, last)
  mask_logits = Mul (image_embedding, spread)
  iou = Identity (weights)
}"""
_DECODER_WEIGHTS = "<int64[1] axis = {2}, int64[1] one = {1}, int64[1] last = {-1}>"


def write_encoder(folder: Path) -> GraphEntry:
    """The encoder; see :func:`encode` for what it computes."""
    return _write(
        folder / "encoder.onnx",
        ENCODER,
        "mask_encoder",
        (TensorSpec("image", "uint8", ("B", 8, 8, 3), ""),),
        (TensorSpec("image_embedding", "float32", ("B", 3, 8, 8), ""),),
        (8, 8),
    )


def write_decoder(folder: Path) -> GraphEntry:
    """The decoder; see :func:`decode`."""
    text = DECODER.replace("<int64[3] axes = {1, 2, 3}>", _DECODER_WEIGHTS)
    return _write(
        folder / "decoder.onnx",
        text,
        "mask_decoder",
        (
            TensorSpec("image_embedding", "float32", (1, 3, 8, 8), ""),
            TensorSpec("point_coords", "float32", ("N", "P", 2), ""),
            TensorSpec("point_labels", "float32", ("N", "P"), ""),
        ),
        (
            TensorSpec("mask_logits", "float32", ("N", 3, 8, 8), ""),
            TensorSpec("iou", "float32", ("N", "P"), ""),
        ),
        None,
    )


def _write(
    path: Path,
    text: str,
    role: Role,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    size: tuple[int, int] | None,
) -> GraphEntry:
    onnx.save(onnx.parser.parse_model(text), str(path))
    return GraphEntry(
        role=role,
        precision="fp32",
        path=path,
        sha256="0" * 64,
        inputs=inputs,
        outputs=outputs,
        image_size=size,
        opset=17,
        source={},
    )


def image(seed: int, batch: int = 1) -> NDArray[np.uint8]:
    """A random image uint8 [B, 8, 8, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (batch, 8, 8, 3), dtype=np.uint8)


def encode(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the encoder computes."""
    scale = np.array([0.5, 2.0, -1.0], np.float32)
    scaled = pixels.astype(np.float32) * scale
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def prompts(seed: int, count: int) -> Arrays:
    """Random points for the decoder."""
    random = np.random.default_rng(seed)
    return {
        "point_coords": random.random((count, 2, 2), dtype=np.float32),
        "point_labels": np.ones((count, 2), np.float32),
    }


def decode(embedding: NDArray[np.float32], points: Arrays) -> NDArray[np.float32]:
    """The decoder's ``mask_logits``."""
    weights = points["point_coords"].sum(axis=2) * points["point_labels"]
    masks: NDArray[np.float32] = embedding * weights.sum(axis=1)[:, None, None, None]
    return masks
