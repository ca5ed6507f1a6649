"""The dense paths against a literal reading of their papers, written independently below."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.export.clip.conftest import Pair
from tests.export.clip.test_parity import images
from tests.oracles.compare import assert_same_numbers

from t2s_export.architectures.clip import ClipDenseGraph

Array = npt.NDArray[np.float64]


class Literal:
    """CLIP's image tower in numpy, token by token as the papers write it, float64."""

    def __init__(self, pair: Pair) -> None:
        self.config = pair.ours.config
        self.weights = {
            name.removeprefix("visual."): tensor.double().numpy()
            for name, tensor in pair.original.state_dict().items()
            if name.startswith("visual.")
        }

    def norm(self, name: str, x: Array) -> Array:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return np.asarray((x - mean) / np.sqrt(variance + 1e-5) * scale + shift)

    def tokens(self, image: npt.NDArray[np.uint8]) -> Array:
        patch = self.config.patch_size
        grid = image.shape[0] // patch
        mean = np.array([0.48145466, 0.4578275, 0.40821073])
        std = np.array([0.26862954, 0.26130258, 0.27577711])
        pixels = (image / 255.0 - mean) / std
        rows = []
        for y in range(grid):
            for x in range(grid):
                block = pixels[y * patch : (y + 1) * patch, x * patch : (x + 1) * patch]
                rows.append(np.einsum("yxc,dcyx->d", block, self.weights["conv1.weight"]))
        positions = self.positions(grid)
        tokens = np.vstack([self.weights["class_embedding"], *rows]) + positions
        return self.norm("ln_pre", tokens)

    def positions(self, grid: int) -> Array:
        """Bilinear between patch centres, edges repeated; the class token's row stays."""
        known = self.weights["positional_embedding"]
        side = self.config.grid
        table = known[1:].reshape(side, side, -1)
        at = np.clip((np.arange(grid) + 0.5) * side / grid - 0.5, 0, side - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, side - 1)
        part = (at - low)[:, None]
        wide = table[low] * (1 - part[..., None]) + table[high] * part[..., None]
        new = wide[:, low] * (1 - part) + wide[:, high] * part
        return np.vstack([known[:1], new.reshape(grid * grid, -1)])

    def projections(self, block: str, x: Array) -> tuple[Array, Array, Array]:
        """q, k and v, each [heads, tokens, d]."""
        weight = self.weights[f"{block}.attn.in_proj_weight"]
        packed = x @ weight.T + self.weights[f"{block}.attn.in_proj_bias"]
        q, k, v = np.split(packed, 3, axis=-1)
        heads = self.config.heads
        a, b, c = (part.reshape(len(x), heads, -1).transpose(1, 0, 2) for part in (q, k, v))
        return a, b, c

    def attention(self, a: Array, b: Array) -> Array:
        scores = a @ b.transpose(0, 2, 1) * a.shape[-1] ** -0.5
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(powers / powers.sum(-1, keepdims=True))

    def output(self, block: str, x: Array) -> Array:
        joined = x.transpose(1, 0, 2).reshape(x.shape[1], -1)
        weight = self.weights[f"{block}.attn.out_proj.weight"]
        return np.asarray(joined @ weight.T + self.weights[f"{block}.attn.out_proj.bias"])

    def mlp(self, block: str, x: Array) -> Array:
        hidden = x @ self.weights[f"{block}.mlp.c_fc.weight"].T
        hidden = torch.from_numpy(hidden + self.weights[f"{block}.mlp.c_fc.bias"])
        if self.config.quick_gelu:
            active = hidden * torch.sigmoid(1.702 * hidden)
        else:
            active = torch.nn.functional.gelu(hidden)
        weight = self.weights[f"{block}.mlp.c_proj.weight"]
        return np.asarray(active.numpy() @ weight.T + self.weights[f"{block}.mlp.c_proj.bias"])

    def project(self, x: Array) -> Array:
        features = self.norm("ln_post", x) @ self.weights["proj"]
        return np.asarray(features / np.linalg.norm(features, axis=-1, keepdims=True))

    def run(self, image: npt.NDArray[np.uint8]) -> tuple[Array, Array, Array]:
        """Patch, surgery and class embeddings of one image."""
        o = self.tokens(image)
        x = o
        layers = self.config.layers
        first = layers - self.config.surgery_blocks
        for index in range(layers):
            block = f"transformer.resblocks.{index}"
            if index == first:
                x = o
            h = self.norm(f"{block}.ln_1", o)
            q, k, v = self.projections(block, h)
            if index == layers - 1:  # SegEarth-OV: no residual, no feed-forward
                weights = self.attention(q, q) + self.attention(k, k) + self.attention(v, v)
                patches = self.output(block, weights @ v)
            o = o + self.output(block, self.attention(q, k) @ v)
            o = o + self.mlp(block, self.norm(f"{block}.ln_2", o))
            if index >= first:  # CLIP Surgery: v-v attention on the side, no feed-forward
                x = x + self.output(block, self.attention(v, v) @ v)
        x = np.vstack([o[:1], x[1:]])
        return self.project(patches)[1:], self.project(x)[1:], self.project(o)[0]


@pytest.mark.parametrize("form", ["model", "graph"])
@pytest.mark.parametrize("size", [32, 56, 16], ids=["own size", "larger", "smaller"])
def test_dense_embeddings_are_the_papers(pair: Pair, size: int, form: str) -> None:
    image = images(size)
    ours = pair.ours.dense if form == "model" else ClipDenseGraph(pair.ours, size)
    found = ours(image)
    literal = Literal(pair)
    expected = [literal.run(one) for one in image.numpy()]
    for index, tensor in enumerate(found):
        assert_same_numbers(tensor, np.stack([each[index] for each in expected]), 1e-4)
        assert np.allclose(np.linalg.norm(tensor.numpy(), axis=-1), 1.0, atol=1e-5)


def test_class_embedding_is_the_one_of_encode_image(pair: Pair) -> None:
    image = images(40)
    assert_same_numbers(pair.ours.dense(image)[2], pair.ours.encode_image(image))
