"""Class and text embeddings against open_clip."""

from __future__ import annotations

import pytest
import torch
from tests.export.clip.conftest import Pair
from tests.oracles import originals
from tests.oracles.compare import assert_same_numbers
from torch import Tensor, nn

from t2s_export.architectures.clip import Clip, ClipDenseGraph, ClipImageGraph, ClipTextGraph
from t2s_export.architectures.clip.config import PIXEL_MEAN, PIXEL_STD
from t2s_export.graphs.to_onnx import export_graph
from t2s_rt.contracts import Role
from t2s_rt.errors import UsageError


def images(size: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    return torch.randint(0, 256, (batch, size, size, 3), generator=generator, dtype=torch.uint8)


def texts(length: int = 12) -> Tensor:
    """Three texts: start, words, the highest id at the end, padded with zeros."""
    rows = [[58, 4, 9, 59], [58, 30, 31, 2, 17, 5, 59], [58, 1, 59]]
    return torch.tensor([row + [0] * (length - len(row)) for row in rows], dtype=torch.int32)


def test_normalisation_is_the_originals() -> None:
    package = originals.open_clip()
    mean = torch.tensor(package.OPENAI_DATASET_MEAN, dtype=torch.float64) * 255
    std = torch.tensor(package.OPENAI_DATASET_STD, dtype=torch.float64) * 255
    torch.testing.assert_close(torch.tensor(PIXEL_MEAN, dtype=torch.float64), mean)
    torch.testing.assert_close(torch.tensor(PIXEL_STD, dtype=torch.float64), std)


@pytest.mark.parametrize("form", ["model", "graph"])
def test_class_embeddings_equal_the_original(pair: Pair, form: str) -> None:
    image = images(32)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    planes = (image.permute(0, 3, 1, 2).float() / 255 - mean) / std
    expected = pair.original.encode_image(planes, normalize=True)
    ours = pair.ours.encode_image if form == "model" else ClipImageGraph(pair.ours, 32)
    assert_same_numbers(ours(image), expected)


@pytest.mark.parametrize("form", ["model", "graph"])
def test_text_embeddings_equal_the_original(pair: Pair, form: str) -> None:
    ids = texts()
    expected = pair.original.encode_text(ids, normalize=True)
    ours = pair.ours.encode_text if form == "model" else ClipTextGraph(pair.ours)
    assert_same_numbers(ours(ids), expected)


def test_padding_and_what_follows_the_end_change_no_text(pair: Pair) -> None:
    full = pair.ours.encode_text(texts())
    assert_same_numbers(pair.ours.encode_text(texts(7)), full)
    other = texts()
    other[other == 0] = 3
    assert_same_numbers(pair.ours.encode_text(other), full)
    repeated = texts()
    repeated[repeated == 0] = 59  # Hugging Face pads with the end token: the first one counts
    assert_same_numbers(pair.ours.encode_text(repeated), full)


def test_a_text_that_is_too_long_is_refused(pair: Pair) -> None:
    with pytest.raises(UsageError, match="at most 12 tokens, found 13"):
        pair.ours.encode_text(texts(13))


def test_graphs_leave_the_model_alone(pair: Pair) -> None:
    before = {name: tensor.clone() for name, tensor in pair.ours.state_dict().items()}
    ClipImageGraph(pair.ours, 64)
    ClipTextGraph(pair.ours)
    after = pair.ours.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_sizes_between_patches_are_refused(pair: Pair) -> None:
    with pytest.raises(UsageError, match="multiple of the patch size 8"):
        ClipImageGraph(pair.ours, 36)
    with pytest.raises(UsageError, match="found 36 x 36"):
        pair.ours.encode_image(images(36))


def test_export_does_not_depend_on_the_batch_that_was_traced(pair: Pair) -> None:
    """So that full-size models may be traced with a single image."""
    dense, crop = ClipDenseGraph(pair.ours, 40), ClipImageGraph(pair.ours, 32)
    graphs: tuple[tuple[Role, nn.Module, int], ...] = (
        ("clip_dense", dense, 40),
        ("clip_image", crop, 32),
    )
    for role, graph, size in graphs:
        first, second = (
            export_graph(role, graph, {"image": images(size, batch)}).to_model() for batch in (1, 2)
        )
        assert first.SerializeToString(deterministic=True) == second.SerializeToString(
            deterministic=True
        )


def test_no_constant_is_infinite(pair: Pair) -> None:
    model: Clip = pair.ours
    assert all(torch.isfinite(buffer).all() for buffer in model.buffers())
