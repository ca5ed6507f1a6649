"""MobileSAM's image encoder and its export form against timm's TinyViT blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.oracles import originals
from tests.oracles.compare import assert_same_numbers
from tests.oracles.mobile_sam import MobileSamEncoder, official_names, randomise_statistics
from tests.oracles.weights import randomise
from torch import Tensor

from t2s_engines.graphs.files import save_model
from t2s_export.architectures.sam import (
    MOBILE_SAM,
    SAM_VIT_B,
    MaskDecoderGraph,
    MaskEncoderGraph,
    MobileSamConfig,
    Sam,
)
from t2s_export.architectures.sam.tiny_vit import TinyVit
from t2s_export.checkpoints import find_model
from t2s_export.graphs.to_onnx import export_graph
from t2s_export.parity import check_parity
from t2s_export.parity_cases import Case, image_cases, mask_decoder_cases
from t2s_export.references import MaskDecoderReference, MaskEncoderReference
from t2s_rt.errors import UsageError

SMALL = MobileSamConfig(
    160,
    16,
    embed_dims=(8, 16, 24, 32),
    depths=(1, 2, 1, 2),
    num_heads=(1, 2, 3, 2),
    window_sizes=(3, 7, 4, 5),
    out_channels=32,
    decoder_heads=4,
    decoder_mlp_dim=48,
    iou_hidden_dim=24,
)
"""Grids of 40, 20, 10 and 10: windows of 7 and 4 need padding, those of 5 do not."""
WHOLE = replace(SMALL, image_size=96, window_sizes=(3, 12, 7, 6))
"""Grids of 24, 12, 6 and 6: one window a grid, once with padding."""


@dataclass(frozen=True)
class Pair:
    """One set of random weights in both forms."""

    original: MobileSamEncoder
    ours: Sam

    @property
    def encoder(self) -> TinyVit:
        assert isinstance(self.ours.image_encoder, TinyVit)
        return self.ours.image_encoder

    def images(self, batch: int = 2) -> Tensor:
        size = self.ours.config.image_size
        generator = torch.Generator().manual_seed(5)
        shape = (batch, size, size, 3)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def build_original(config: MobileSamConfig) -> MobileSamEncoder:
    return MobileSamEncoder(
        originals.tiny_vit(),
        originals.segment_anything(),
        config.embed_dims,
        config.depths,
        config.num_heads,
        config.window_sizes,
        config.out_channels,
    )


@pytest.fixture(scope="module", params=[SMALL, WHOLE], ids=["grid10", "grid6"])
def pair(request: pytest.FixtureRequest) -> Pair:
    original = build_original(request.param)
    randomise(original, seed=11)
    randomise_statistics(original, seed=12)
    ours = Sam(request.param).eval()
    randomise(ours, seed=13)
    ours.image_encoder.load_state_dict(official_names(original.state_dict()))
    ours.requires_grad_(False)
    original.requires_grad_(False)
    return Pair(original, ours)


def test_every_part_equals_timms(pair: Pair) -> None:
    image, encoder = pair.images(), pair.encoder
    patches, *stages, embedding = pair.original(image)
    planes = ((image.float() - encoder.mean) / encoder.std).permute(0, 3, 1, 2)
    assert_same_numbers(encoder.patch_embed(planes), patches)
    before = patches
    for layer, expected in zip(encoder.layers, stages, strict=True):
        assert_same_numbers(layer(before), expected)
        before = expected
    assert_same_numbers(encoder.neck(before), embedding)
    assert_same_numbers(pair.ours.encode(image), embedding)


def test_export_form_equals_timms(pair: Pair) -> None:
    image = pair.images()
    assert_same_numbers(MaskEncoderGraph(pair.ours)(image), pair.original(image)[-1])


def test_export_form_leaves_the_model_alone(pair: Pair) -> None:
    before = {name: tensor.clone() for name, tensor in pair.ours.state_dict().items()}
    MaskEncoderGraph(pair.ours)
    after = pair.ours.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_graphs_equal_the_model_for_any_batch(pair: Pair, tmp_path: Path) -> None:
    size = (pair.ours.config.image_size,) * 2
    encoder = MaskEncoderGraph(pair.ours)
    noise = Case("noise", {"image": pair.images(3)})
    cases = [*image_cases(size), noise]
    exported = export_graph("mask_encoder", encoder, cases[0].feeds)
    path = save_model(exported.to_model(), tmp_path / "encoder.onnx")[0]
    parity = check_parity("mask_encoder", MaskEncoderReference(pair.ours), path, cases)
    assert parity.cosine > 0.9999999
    prompts = mask_decoder_cases(encoder, size)
    exported = export_graph("mask_decoder", MaskDecoderGraph(pair.ours), prompts[0].feeds)
    path = save_model(exported.to_model(), tmp_path / "decoder.onnx")[0]
    check_parity("mask_decoder", MaskDecoderReference(pair.ours), path, prompts)


def test_every_parameter_and_statistic_reaches_the_graph(pair: Pair) -> None:
    image, encoder = pair.images(1), pair.encoder
    expected = MaskEncoderGraph(pair.ours)(image)
    scale = expected.abs().max()
    generator = torch.Generator().manual_seed(3)
    weights = encoder.state_dict()
    silent = []
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            continue
        kept = tensor.clone()
        tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator))
        moved = (MaskEncoderGraph(pair.ours)(image) - expected).abs().max() / scale
        if moved < 1e-4:
            silent.append(name)
        tensor.copy_(kept)
    assert not silent
    assert len(weights) > 150


def _conv_norm(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    statistics = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{name}.c.weight": shape,
        **{f"{name}.bn.{part}": shape[:1] for part in statistics},
        f"{name}.bn.num_batches_tracked": (),
    }


def _linear(name: str, out: int, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def _attention_block(name: str, width: int, heads: int, window: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.attn.attention_biases": (heads, window * window),
        f"{name}.attn.norm.weight": (width,),
        f"{name}.attn.norm.bias": (width,),
        **_linear(f"{name}.attn.qkv", 3 * width, width),
        **_linear(f"{name}.attn.proj", width, width),
        f"{name}.mlp.norm.weight": (width,),
        f"{name}.mlp.norm.bias": (width,),
        **_linear(f"{name}.mlp.fc1", 4 * width, width),
        **_linear(f"{name}.mlp.fc2", width, 4 * width),
        **_conv_norm(f"{name}.local_conv", (width, 1, 3, 3)),
    }


def official_encoder_table() -> dict[str, tuple[int, ...]]:
    """Names and shapes below ``image_encoder.`` in mobile_sam.pt, from MobileSAM's source."""
    table = {
        **_conv_norm("patch_embed.seq.0", (32, 3, 3, 3)),
        **_conv_norm("patch_embed.seq.2", (64, 32, 3, 3)),
    }
    for block in range(2):
        name = f"layers.0.blocks.{block}"
        table |= _conv_norm(f"{name}.conv1", (256, 64, 1, 1))
        table |= _conv_norm(f"{name}.conv2", (256, 1, 3, 3))
        table |= _conv_norm(f"{name}.conv3", (64, 256, 1, 1))
    for stage, (width, before) in enumerate(((128, 64), (160, 128), (320, 160))):
        name = f"layers.{stage}.downsample"
        table |= _conv_norm(f"{name}.conv1", (width, before, 1, 1))
        table |= _conv_norm(f"{name}.conv2", (width, 1, 3, 3))
        table |= _conv_norm(f"{name}.conv3", (width, width, 1, 1))
    sizes = ((1, 2, 128, 4, 7), (2, 6, 160, 5, 14), (3, 2, 320, 10, 7))
    for stage, depth, width, heads, window in sizes:
        for block in range(depth):
            table |= _attention_block(f"layers.{stage}.blocks.{block}", width, heads, window)
    for index, shape in enumerate(((256, 320, 1, 1), (256,), (256, 256, 3, 3), (256,))):
        table[f"neck.{index}.weight"] = shape
        if len(shape) == 1:
            table[f"neck.{index}.bias"] = shape
    return table


def test_names_and_shapes_are_the_official_ones() -> None:
    with torch.device("meta"):
        ours, with_vit = Sam(MOBILE_SAM).state_dict(), Sam(SAM_VIT_B).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in ours.items()}
    prefix = "image_encoder."
    expected = {prefix + name: shape for name, shape in official_encoder_table().items()}
    others = {k: tuple(v.shape) for k, v in with_vit.items() if not k.startswith(prefix)}
    assert shapes == expected | others
    with torch.device("meta"):
        original = official_names(build_original(MOBILE_SAM).state_dict())
    assert {k: tuple(v.shape) for k, v in original.items()} == official_encoder_table()


def test_the_official_file_has_the_size_of_these_tensors() -> None:
    with torch.device("meta"):
        tensors = Sam(MOBILE_SAM).state_dict().values()
    classifier = 2 * 320 + (320 + 1) * 1000  # norm_head and head, 1000 classes
    content = sum(t.numel() * t.element_size() for t in tensors) + 4 * classifier
    size = find_model("mobile_sam").bytes
    assert size is not None
    # torch.save adds some 380 bytes of names and alignment to each tensor
    assert 0 < size - content < 512 * (len(tensors) + 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 100}, "MobileSamConfig: expected image_size"),
        ({"patch_size": 8}, "patch_size to be 16"),
        ({"num_heads": (1, 2, 5, 2)}, r"embed_dims\[2\]"),
        ({"decoder_heads": 24}, "decoder_heads"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(SMALL, **change)
