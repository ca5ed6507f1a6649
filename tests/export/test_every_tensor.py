"""Every tensor of a checkpoint reaches the exported graph: change it, and an output changes.

What does not is listed here with its reason, and is as silent in the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from tests.export.clip.conftest import Pair as ClipPair
from tests.export.clip.conftest import pair as clip_pair
from tests.export.clip.test_parity import images as clip_images
from tests.export.clip.test_parity import texts
from tests.export.grounding_dino.conftest import SMALL as SMALL_DETECTOR
from tests.export.sam.conftest import SMALL
from tests.oracles import originals
from tests.oracles.perturb import silent_tensors
from tests.oracles.weights import randomise
from torch import Tensor, nn

from t2s_export.architectures.clip import (
    ClipDenseGraph,
    ClipImageGraph,
    ClipPatchesGraph,
    ClipTextGraph,
)
from t2s_export.architectures.grounding_dino import (
    DetectorGraph,
    DetectorTextGraph,
    GroundingDino,
)
from t2s_export.architectures.sam import MaskDecoderGraph, MaskEncoderGraph, Sam

__all__ = ["clip_pair"]


def names(model: nn.Module, *prefixes: str) -> set[str]:
    """Floating tensors below any of these prefixes."""
    return {
        name
        for name, tensor in model.state_dict().items()
        if name.startswith(prefixes) and tensor.is_floating_point()
    }


def ending(all_names: Iterable[str], suffix: str) -> set[str]:
    return {name for name in all_names if name.endswith(suffix)}


def test_segment_anything() -> None:
    original = originals.sam_like(SMALL)
    randomise(original, seed=11)
    ours = Sam(SMALL).eval()
    ours.load_state_dict(original.state_dict())
    generator = torch.Generator().manual_seed(4)
    size = SMALL.image_size
    image = torch.randint(0, 256, (1, size, size, 3), generator=generator, dtype=torch.uint8)
    embedding = torch.randn(1, 32, SMALL.grid, SMALL.grid, generator=generator)
    # every label: both kinds of points, both corners, padding
    coords = torch.rand((2, 3, 2), generator=generator) * size
    labels = torch.tensor([[1.0, 0.0, -1.0], [2.0, 3.0, -1.0]])

    def original_masks() -> Sequence[Tensor]:
        encoder, decoder = original.prompt_encoder, original.mask_decoder
        results: list[Tensor] = []
        for given in (
            {"points": (coords[:1, :2], labels[:1, :2]), "boxes": None},
            {"points": None, "boxes": coords[1:, :2].reshape(1, 4)},
        ):
            sparse, dense = encoder(**given, masks=None)
            results += decoder.predict_masks(embedding, encoder.get_dense_pe(), sparse, dense)
        return results

    found = silent_tensors(
        ours,
        {
            "encoder": lambda: [MaskEncoderGraph(ours)(image)],
            "decoder": lambda: MaskDecoderGraph(ours)(embedding, coords, labels),
        },
    )
    planes = image.permute(0, 3, 1, 2).float()
    expected = silent_tensors(
        original,
        {
            "encoder": lambda: [original.image_encoder(original.preprocess(planes))],
            "decoder": original_masks,
        },
    )
    assert found == expected
    decoder = names(ours, "prompt_encoder.", "mask_decoder.")
    assert found["encoder"] == decoder
    # a bias of keys adds the same to all scores of a query, which the softmax takes away
    keys = ending(decoder, "k_proj.bias")
    # mask prompts, which no contract has
    masks = names(ours, "prompt_encoder.mask_downscaling.")
    assert found["decoder"] == names(ours, "image_encoder.") | keys | masks
    assert len(keys) == 7 and len(masks) == 10


def test_grounding_dino() -> None:
    config = replace(SMALL_DETECTOR, encoder_layers=1, decoder_layers=2, queries=20)
    model = GroundingDino(config).eval()
    randomise(model, seed=3)
    generator = torch.Generator().manual_seed(5)
    image = torch.randint(0, 256, (1, 96, 96, 3), generator=generator, dtype=torch.uint8)
    places = torch.arange(7)
    mask = (places[:, None] // 3 == places[None] // 3)[None]
    positions = (places % 3).int()[None]
    features = torch.randn(1, 7, config.d_model, generator=generator)
    tokens = torch.ones(1, 7, dtype=torch.bool)
    ids = torch.randint(0, config.vocabulary_size, (1, 7), generator=generator).int()
    found = silent_tensors(
        model,
        {
            "detector": lambda: DetectorGraph(model, 96)(image, features, tokens, mask, positions),
            "text": lambda: [DetectorTextGraph(model)(ids, positions, mask)],
        },
    )
    text = names(model, "bert.", "feat_map.")
    assert found["detector"] == text
    # a bias of keys adds the same to all scores of a query, which the softmax takes away
    keys = ending(text, "attention.self.key.bias")
    assert found["text"] == names(model, "") - text | keys
    assert len(keys) == config.bert_layers


def test_clip(clip_pair: ClipPair) -> None:
    original, ours = clip_pair.original, clip_pair.ours
    config = ours.config
    image, larger, ids = clip_images(32), clip_images(48, 1), texts()
    found = silent_tensors(
        ours,
        {
            "image": lambda: [ClipImageGraph(ours, 32)(image)],
            "patches": lambda: [ClipPatchesGraph(ours, 48)(larger)],
            "dense": lambda: ClipDenseGraph(ours, 48)(larger),
            "text": lambda: [ClipTextGraph(ours)(ids)],
        },
    )
    planes = image.permute(0, 3, 1, 2).float() / 255
    expected = silent_tensors(
        original,
        {
            "image": lambda: [original.encode_image(planes, normalize=True)],
            "text": lambda: [original.encode_text(ids, normalize=True)],
        },
    )
    assert {name: found[name] for name in expected} == expected
    everything, visual = names(ours, ""), names(ours, "visual.")
    # the temperature of the training loss; cosines need none
    assert "logit_scale" in everything - visual
    assert found["image"] == found["dense"] == everything - visual
    assert found["text"] == visual | {"logit_scale"}
    # SegEarth-OV: the last block gives its attention alone
    last = f"visual.transformer.resblocks.{config.layers - 1}."
    skipped = names(ours, last + "ln_2.", last + "mlp.")
    assert found["patches"] == everything - visual | skipped
    assert len(skipped) == 6
