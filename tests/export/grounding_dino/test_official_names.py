"""Our parameters are the official checkpoint's, by name and shape."""

from __future__ import annotations

import pytest
import torch
from tests.oracles import grounding_dino_original as original

from t2s_export.architectures.grounding_dino import (
    SWIN_B,
    SWIN_T,
    GroundingDino,
    GroundingDinoConfig,
    from_official,
)
from t2s_rt.errors import UsageError


@pytest.mark.parametrize(("variant", "config"), [("swin_t", SWIN_T), ("swin_b", SWIN_B)])
def test_names_and_shapes_at_official_size(variant: str, config: GroundingDinoConfig) -> None:
    expected = from_official(original.build(variant, device="meta").state_dict())
    with torch.device("meta"):
        ours = GroundingDino(config).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in expected.items()
    }


def test_prefixes_and_training_leftovers_go() -> None:
    head = torch.ones(3)
    state = {
        "module.bbox_embed.0.layers.0.bias": head,
        "module.bbox_embed.1.layers.0.bias": head.clone(),
        "module.transformer.decoder.bbox_embed.1.layers.0.bias": head,
        "module.label_enc.weight": torch.zeros(2, 2),
        "module.bert.embeddings.position_ids": torch.zeros(1, 2),
        "module.bert.pooler.dense.bias": torch.zeros(2),
        "module.feat_map.bias": torch.arange(2.0),
    }
    translated = from_official(state)
    assert set(translated) == {"bbox_embed.0.layers.0.bias", "feat_map.bias"}
    assert torch.equal(translated["feat_map.bias"], torch.arange(2.0))


def test_unshared_box_heads_are_refused() -> None:
    state = {
        "bbox_embed.0.layers.0.bias": torch.zeros(3),
        "bbox_embed.1.layers.0.bias": torch.ones(3),
    }
    with pytest.raises(UsageError, match=r"share one box head.*bbox_embed\.1"):
        from_official(state)
