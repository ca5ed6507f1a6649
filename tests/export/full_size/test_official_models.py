"""The official models at full size, by the functions of ``t2s-rt bench models``.

All in one file, so that they run one after the other: each needs up to 5 GB. Random weights, in
the official file format, through our loader; what a row must hold is said in ``faults``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.oracles.originals import skipped_where_missing

from t2s_bench.models.measure import MODELS, measure_models
from t2s_bench.models.prove import faults
from t2s_bench.models.table import models_table
from t2s_rt.contracts import TEXT_ROLES

pytestmark = pytest.mark.slow

IN_CI = ("sam_vit_b", "mobile_sam", "swin_t", "ViT-B-16")
GRAPHS = {
    "sam": {"mask_encoder", "mask_decoder, boxes", "mask_decoder, points"},
    "detector": {"detector_text", "detector, gather", "detector, grid_sample"},
    "clip": {"clip_image", "clip_dense", "clip_text"},
}


@pytest.mark.parametrize("model", IN_CI)
def test_an_official_model_equals_its_original(model: str) -> None:
    found = set()
    with skipped_where_missing():
        rows = measure_models([model], timings=False, repeat=1, command="pytest")
        for row in rows:
            assert faults(row) == []
            # text encoders stay on the ground, in float32
            assert row["role"] in TEXT_ROLES or set(row["fp16"]) == set(row["onnx"])
            # a record has to hold what a machine without the packages can show
            assert row["graph"] in models_table({"rows": [json.loads(json.dumps(row))]})
            found.add(row["graph"])
            if row["role"] == "detector":
                # as good a selection by the original's own scores
                assert row["selection"]["score_loss"] < 1e-3
                assert row["selection"]["shared"] > 0.99
    assert found == GRAPHS[MODELS[model]]


def test_every_model_of_the_record_holds_its_limits() -> None:
    record = json.loads(
        (Path(__file__).parents[3] / "bench" / "records" / "models.json").read_text()
    )
    assert [sentence for row in record["rows"] for sentence in faults(row)] == []
    assert {row["model"] for row in record["rows"]} >= set(IN_CI)
