"""Is the float16 file near its float32 file? Read from disk and run as its rounding graph.

The rounding graph models float16 storage with float32 arithmetic on ONNX Runtime's CPU provider,
which by itself would compute the float16 file in float32 and hide every overflow. It proves the
file, not the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx

from t2s_engines.graphs.graph import Graph
from t2s_engines.graphs.ranking import given_ranking
from t2s_engines.graphs.rounding import rounding_graph
from t2s_engines.graphs.running import running
from t2s_export.parity import GraphParity, OutputParity, Tolerance, compare_outputs
from t2s_export.parity_cases import Case
from t2s_rt.contracts import Role

__all__ = ["FLOAT16_TOLERANCES", "check_float16"]

FLOAT16_TOLERANCES: Mapping[str, Tolerance] = {
    name: Tolerance(absolute=0.05, cosine=0.999)
    for name in (
        *("logits", "boxes", "image_embedding", "mask_logits", "iou"),
        *("embeddings", "patch_embeddings", "surgery_embeddings"),
    )
}
"""How far outputs of a float16 graph may be off, by output name."""

_AGAINST = "the fp32 graph, through the rounding graph on ONNX Runtime's CPU provider"
_RANKED = "; ranked as the fp32 graph ranks"


def check_float16(
    role: Role,
    float16: Path,
    float32: Path,
    cases: Iterable[Case],
    tolerances: Mapping[str, Tolerance] = FLOAT16_TOLERANCES,
) -> GraphParity:
    """Run both files on the same inputs, and on the same ranking of proposals, and compare.

    Args:
        role: the graphs' contract.
        float16: the typed float16 file; run as its rounding graph.
        float32: the float32 file, which has been compared with its module.
        cases: inputs.
        tolerances: by output name.

    Raises:
        ParityError: as ``check_parity``.
        GraphError: the file cannot be rounded or run.
    """
    worst: dict[str, OutputParity] = {}
    labels, exchanged = [], 0.0
    one, two = (Graph.from_model(onnx.load(path)) for path in (float32, float16))
    two, rankings = given_ranking(two)
    one.outputs |= {value: two.inputs[name] for name, value in rankings.items()}
    pairs = [(c, {name: tensor.numpy() for name, tensor in c.feeds.items()}) for c in cases]
    # one session after the other: each holds gigabytes
    with running(one) as run:
        results = [run(feeds) for _, feeds in pairs]
    with running(rounding_graph(two)) as run:
        for (case, feeds), expected in zip(pairs, results, strict=True):
            ranks = {name: expected.pop(value) for name, value in rankings.items()}
            found = run({**feeds, **ranks})
            figures, share = compare_outputs(
                role, expected, found, feeds, tolerances, f"fp16, {case.label}"
            )
            for name, figure in figures.items():
                worst[name] = figure.worst(worst.get(name, figure))
            exchanged = max(exchanged, share)
            labels.append(case.label)
    against = _AGAINST + (_RANKED if rankings else "")
    return GraphParity(role, tuple(labels), worst, exchanged, against)
