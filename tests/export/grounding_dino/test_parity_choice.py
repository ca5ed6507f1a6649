"""Parity of a detector whose TopK meets ties: a tie is no fault, a wrong ranking is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.export.grounding_dino.conftest import CaptionMaker
from torch import Tensor, nn

from t2s_engines.graphs.files import save_model
from t2s_export.architectures.grounding_dino import DetectorGraph, GroundingDino, query_selection
from t2s_export.errors import ParityToleranceError
from t2s_export.graphs.to_onnx import export_graph
from t2s_export.parity import check_parity
from t2s_export.parity_cases import Case
from t2s_export.references import DetectorReference

original_scores = query_selection.proposal_scores


class Plain(nn.Module):
    """A reference that follows nobody."""

    def __init__(self, model: GroundingDino) -> None:
        super().__init__()
        self.inner = DetectorReference(model)

    def forward(self, *inputs: Tensor) -> Any:
        return self.inner(*inputs)


@pytest.fixture
def case(caption: CaptionMaker, images: Tensor) -> Case:
    text = caption(7)
    names = ("text_features", "text_token_mask", "text_self_attention_mask", "position_ids")
    return Case("B=2 T=7", {"image": images, **dict(zip(names, text, strict=True))})


def written(model: GroundingDino, case: Case, folder: Path) -> Path:
    graph = export_graph("detector", DetectorGraph(model, 128), case.feeds)
    return save_model(graph.to_model(), folder / "detector.onnx")[0]


def blurred(*arguments: Any) -> Tensor:
    """Scores on a grid so coarse that many are equal, each off by less than the tolerance."""
    scores = original_scores(*arguments)
    step = float(scores.abs().max()) * 1e-3
    return torch.round(scores / step) * step


def reversed_scores(*arguments: Any) -> Tensor:
    return -original_scores(*arguments)


def test_ties_are_followed(
    small: GroundingDino, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(query_selection, "proposal_scores", blurred)
        path = written(small, case, tmp_path)
    reference = DetectorReference(small)
    figures = check_parity("detector", reference, path, [case])
    assert figures.exchanged == 0.0 and figures.max_abs < 1e-3
    assert 0.0 < reference.shortfall <= 1e-3
    # without following, the same tie reads as a fault
    with pytest.raises(ParityToleranceError, match="something else"):
        check_parity("detector", Plain(small), path, [case])
    assert [file.name for file in tmp_path.iterdir()] == ["detector.onnx"]


def test_a_wrong_ranking_is_found(
    small: GroundingDino, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(query_selection, "proposal_scores", reversed_scores)
        path = written(small, case, tmp_path)
    with pytest.raises(ParityToleranceError, match="ranks others"):
        check_parity("detector", DetectorReference(small), path, [case])
    assert [file.name for file in tmp_path.iterdir()] == ["detector.onnx"]
