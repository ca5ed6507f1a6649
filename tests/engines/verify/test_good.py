"""What is right must pass: a verdict that fails good graphs would be switched off."""

from __future__ import annotations

import pytest
from tests.engines.verify.doubles import Bench, verdict_of

from t2s_engines.graphs.rounding import rounding_graph
from t2s_engines.verify.judging import Target
from t2s_engines.verify.verification import CHAIN_ROLE, Outcome, verify_targets
from t2s_rt.backends import open_session
from t2s_rt.contracts import Precision
from t2s_rt.errors import UsageError
from t2s_rt.models import IMAGE_ROLES


@pytest.fixture(scope="module")
def single(bench: Bench) -> Outcome:
    """The fp32 graphs on one thread: other sums, the same graphs."""
    targets = []
    for role in IMAGE_ROLES:
        entry = bench.bundle.graph(role)
        targets.append(
            Target(entry, lambda e=entry: open_session(e, "onnxruntime-cpu", threads=1))  # type: ignore[misc]
        )
    return bench.verify(*targets)


@pytest.fixture(scope="module")
def half(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What nano's fp16 graphs compute, by their rounding graphs."""
    folder = tmp_path_factory.mktemp("half")
    return bench.verify(
        *(
            bench.target(role, rounding_graph(bench.graph(role, "fp16")), folder, "fp16")
            for role in IMAGE_ROLES
        )
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_nano_passes(request: pytest.FixtureRequest, precision: Precision) -> None:
    outcome: Outcome = request.getfixturevalue("single" if precision == "fp32" else "half")
    assert outcome.passed, [fault for verdict in outcome.verdicts for fault in verdict.faults]
    roles = [verdict.role for verdict in outcome.verdicts]
    assert roles == [*IMAGE_ROLES, CHAIN_ROLE]
    assert {verdict.precision for verdict in outcome.verdicts} == {precision}


def test_everything_that_was_promised_is_judged(half: Outcome) -> None:
    detector = verdict_of(half, "detector")
    judged = {*detector.floors, *detector.ceilings}
    modes = ("", ", batched", ", repeated")
    for name in ("recall", "precision", "box IoU mean", "cosine boxes", "non-finite values"):
        assert {name + mode for mode in modes} <= judged
    assert {"hallucinated boxes", "hallucinated boxes, batched"} <= judged
    # a call of the local decoder is full as the runtime makes it: there is no larger batch
    for role, kinds in (("mask_decoder", modes), ("mask_decoder_local", ("", ", repeated"))):
        judged = set(verdict_of(half, role).floors)
        for name in ("mask IoU mean", "mask IoU worst", "cosine iou", "cosine mask_logits"):
            assert {name + mode for mode in kinds} <= judged
    chain = verdict_of(half, CHAIN_ROLE)
    assert {"label agreement mean", "label agreement worst", "mask IoU worst, own embedding"} <= (
        chain.floors.keys()
    )
    assert "hallucinated pixels" in chain.ceilings
    embeddings = verdict_of(half, "clip_dense").floors
    for name in ("patch_embeddings", "surgery_embeddings", "image_embedding"):
        assert f"cosine {name}" in embeddings


def test_fp16_is_told_from_fp32(single: Outcome, half: Outcome) -> None:
    """The figures see rounding, so that passing says something."""
    for role in IMAGE_ROLES:
        errors = [
            max(v for k, v in verdict_of(outcome, role).figures.items() if k.startswith("max err"))
            for outcome in (single, half)
        ]
        assert errors[0] < 0.2 * errors[1]


def test_one_graph_per_role(bench: Bench) -> None:
    def same(answer: object, feeds: object) -> object:
        raise AssertionError("never called")

    target = bench.fake("clip_image", same)  # type: ignore[arg-type]
    for targets in ((), (target, target)):
        with pytest.raises(UsageError, match="one graph for each role"):
            verify_targets(bench.bundle, bench.pack, targets, bench.tiles)
