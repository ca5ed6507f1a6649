"""Both forms of deformable attention keep places in float32 and move values in float16."""

from __future__ import annotations

import onnx
import pytest
import torch
from tests.export.grounding_dino.conftest import SMALL
from tests.oracles.weights import randomise

from t2s_engines.graphs.graph import Graph
from t2s_engines.preflight import check
from t2s_export.architectures.grounding_dino import DetectorGraph, GroundingDino
from t2s_export.choices import DeformableForm
from t2s_export.graphs.to_onnx import export_graph
from t2s_export.parity_cases import Case
from t2s_export.precision import choose_islands, from_cases, islands_by_rule, typed_float16

F16, F32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


def case() -> Case:
    generator = torch.Generator().manual_seed(5)
    tokens = 7
    feeds = {
        "image": torch.randint(0, 256, (2, 128, 128, 3), generator=generator, dtype=torch.uint8),
        "text_features": torch.randn(1, tokens, SMALL.d_model, generator=generator),
        "text_token_mask": torch.ones(1, tokens, dtype=torch.bool),
        "text_self_attention_mask": torch.ones(1, tokens, tokens, dtype=torch.bool),
        "position_ids": torch.arange(tokens, dtype=torch.int32)[None],
    }
    return Case("B=2 T=7", feeds)


def exported(form: DeformableForm) -> Graph:
    model = GroundingDino(SMALL)
    randomise(model, seed=3)
    return export_graph("detector", DetectorGraph(model, 128, form), case().feeds).graph


def kinds(graph: Graph, operator: str, scope: str = "cross_attn") -> set[tuple[int, ...]]:
    """Float types of the inputs and outputs of an operator inside a kind of attention."""
    types = graph.types()
    return {
        tuple(
            types[name].elem_type
            for name in (*node.input, *node.output)
            if name in types and types[name].elem_type in (F16, F32)
        )
        for node in graph.nodes
        if node.op_type == operator and scope in node.name
    }


def test_grid_sample_reads_values_and_places_in_float32() -> None:
    graph = exported("grid_sample")
    typed = typed_float16(graph, islands_by_rule(graph))
    check(typed)
    assert kinds(typed, "GridSample") == {(F32, F32, F32)}
    assert kinds(typed, "ReduceSum") == {(F32, F32)}  # the weighted samples, until their sum
    assert kinds(typed, "MatMul") == {(F16, F16, F16)}


def test_the_gather_form_moves_values_in_float16_and_weighs_places_in_float32() -> None:
    graph = exported("gather")
    typed = typed_float16(graph, islands_by_rule(graph))
    check(typed)
    assert "GridSample" not in typed.operator_counts()
    for operator in ("Floor", "Min", "Clip", "Equal"):
        assert {kind for found in kinds(typed, operator) for kind in found} == {F32}, operator
    assert kinds(typed, "ReduceSum") == {(F16, F16)}
    # rows of the value table in float16; halves of the corner weights in float32
    assert kinds(typed, "Gather") == {(F16, F16), (F32, F32), ()}


@pytest.mark.parametrize("form", ["grid_sample", "gather"])
def test_random_weights_need_no_more_than_the_rules(form: DeformableForm) -> None:
    graph = exported(form)
    decision = choose_islands("detector", graph, from_cases([case()]))
    assert decision.met, decision.after
    assert decision.flop_share > 0.5
