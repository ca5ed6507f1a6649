"""The dense paths against a literal reading of their papers, written independently."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.export.clip.conftest import Pair
from tests.export.clip.test_parity import images
from tests.oracles.compare import assert_same_numbers

from t2s_bench.reference.clip_papers import ClipPapers
from t2s_export.architectures.clip import ClipDenseGraph


@pytest.mark.parametrize("form", ["model", "graph"])
@pytest.mark.parametrize("size", [32, 56, 16], ids=["own size", "larger", "smaller"])
def test_dense_embeddings_are_the_papers(pair: Pair, size: int, form: str) -> None:
    image = images(size)
    config = pair.ours.config
    ours = pair.ours.dense if form == "model" else ClipDenseGraph(pair.ours, size)
    found = ours(image)
    papers = ClipPapers(
        pair.original.state_dict(),
        heads=config.heads,
        surgery_blocks=config.surgery_blocks,
        quick_gelu=config.quick_gelu,
    )
    expected = [papers.surgery(one) for one in image]
    for index, tensor in enumerate(found):
        assert_same_numbers(tensor, torch.stack([each[index] for each in expected]), 1e-4)
        assert np.allclose(np.linalg.norm(tensor.numpy(), axis=-1), 1.0, atol=1e-5)


def test_class_embedding_is_the_one_of_encode_image(pair: Pair) -> None:
    image = images(40)
    assert_same_numbers(pair.ours.dense(image)[2], pair.ours.encode_image(image))
