"""Small models of each family, as rows that the tables of the loader may hold for a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.export.clip.conftest import small as small_clip
from tests.export.sam.conftest import LARGER, SMALL

from t2s_export.architectures.clip import Clip
from t2s_export.architectures.grounding_dino import GroundingDino, GroundingDinoConfig
from t2s_export.architectures.sam import Sam
from t2s_export.checkpoints import table
from t2s_export.checkpoints.table import Architecture

CLIP = small_clip(quick_gelu=True)
DINO = GroundingDinoConfig(
    frame=96,
    swin_width=16,
    swin_depths=(2, 2, 2, 2),
    swin_heads=(1, 2, 4, 8),
    swin_window=4,
    d_model=64,
    heads=4,
    ffn_width=128,
    encoder_layers=2,
    decoder_layers=2,
    queries=50,
    encoder_points=2,
    decoder_points=2,
    vocabulary_size=1100,
    bert_width=32,
    bert_layers=2,
    bert_heads=2,
    bert_ffn_width=48,
    bert_positions=64,
)
ROWS = (
    Architecture("sam", "small", Sam, SMALL),
    Architecture("sam", "larger", Sam, LARGER),
    Architecture("grounding_dino", "small", GroundingDino, DINO),
    Architecture("clip", "small", Clip, CLIP),
)


@contextmanager
def known(*rows: Architecture) -> Iterator[None]:
    """Let the loader know these architectures only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "ARCHITECTURES", rows)
        yield


def save(state: Any, path: Path, **options: Any) -> Path:
    """Save with torch, in the way of today or of before 1.6."""
    torch.save(state, path, **options)
    return path
