"""Is the graph in the file the module that was exported? Compared output by output.

The detector keeps its best queries by TopK. Neighbouring scores differ by as little as 1e-6, so
the last digit of a float can swap two rows or exchange the last one kept. A reference that can
follow the graph's choice does so, and the choice is judged by its scores; beyond that, rows are
matched by box and score before they are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from t2s_export.errors import (
    ParityDtypeError,
    ParityNonFiniteError,
    ParityShapeError,
    ParityToleranceError,
)
from t2s_export.graphs.to_onnx import run_module
from t2s_export.parity_cases import Case
from t2s_export.parity_session import ParitySession
from t2s_export.references import DetectorReference
from t2s_rt.contracts import CONTRACTS, Role, TensorSpec

__all__ = [
    "TOLERANCES",
    "GraphParity",
    "OutputParity",
    "Tolerance",
    "check_parity",
    "compare_outputs",
]

Array = NDArray[np.generic]
FloatArray = NDArray[np.float64]
Outputs = dict[str, Array]

_UNMATCHED_SHARE = 0.01
"""Share of detector queries that a tie at the end of the TopK may exchange."""
_MASKED_LOGIT = -100.0
"""Logits of padding are only required to be below this: their sigmoid is zero anyway."""


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be off.

    Attributes:
        absolute: largest difference of any element, times the largest reference element where
            that is above 1.
        cosine: smallest cosine between the outputs, each taken as one long vector.
    """

    absolute: float = 1e-3
    cosine: float = 0.99999


TOLERANCES: Mapping[str, Tolerance] = {
    "boxes": Tolerance(absolute=1e-4),
    "patch_embeddings": Tolerance(absolute=1e-4),
    "surgery_embeddings": Tolerance(absolute=1e-4),
    "embeddings": Tolerance(absolute=1e-4),
}
"""Tolerances of outputs that are bounded by 1; all others have the defaults."""


@dataclass(frozen=True)
class OutputParity:
    """Worst figures of one output over all cases.

    Attributes:
        max_abs: largest absolute difference.
        cosine: smallest cosine.
        reference_max: largest absolute value on the torch side.
    """

    max_abs: float
    cosine: float
    reference_max: float

    def worst(self, other: OutputParity) -> OutputParity:
        """The worse of both figures."""
        return OutputParity(
            max(self.max_abs, other.max_abs),
            min(self.cosine, other.cosine),
            max(self.reference_max, other.reference_max),
        )


@dataclass(frozen=True)
class GraphParity:
    """What the comparison of one graph found.

    Attributes:
        role: which graph.
        cases: names of the inputs tried.
        outputs: figures by output.
        exchanged: largest share of queries without a partner (detector only, else 0).
        against: what it was compared with, and where.
    """

    role: Role
    cases: tuple[str, ...]
    outputs: Mapping[str, OutputParity]
    exchanged: float
    against: str = "the torch module, on ONNX Runtime's CPU provider"

    @property
    def max_abs(self) -> float:
        """Largest difference of any output."""
        return max(output.max_abs for output in self.outputs.values())

    @property
    def cosine(self) -> float:
        """Smallest cosine of any output."""
        return min(output.cosine for output in self.outputs.values())

    def as_record(self) -> dict[str, Any]:
        """For ``bundle.json``: figures rounded to what they mean."""
        return {
            "against": self.against,
            "cases": list(self.cases),
            "exchanged_queries": round(self.exchanged, 6),
            "outputs": {
                name: {
                    "max_abs": float(f"{output.max_abs:.2g}"),
                    "cosine": round(output.cosine, 8),
                }
                for name, output in self.outputs.items()
            },
        }


def check_parity(
    role: Role,
    module: torch.nn.Module,
    path: Path,
    cases: Iterable[Case],
    tolerances: Mapping[str, Tolerance] = TOLERANCES,
) -> GraphParity:
    """Run a graph file and its module on the same inputs and compare.

    Args:
        role: the graph's contract.
        module: what was exported.
        path: the ONNX file, read by ONNX Runtime's CPU provider.
        cases: inputs; sizes of dynamic dimensions should vary among them.
        tolerances: by output name.

    Raises:
        ParityShapeError: an output is missing, superfluous or of another shape.
        ParityDtypeError: an output has another element type than the contract.
        ParityNonFiniteError: NaN or infinity on either side.
        ParityToleranceError: a difference beyond its tolerance.
    """
    follower = module if isinstance(module, DetectorReference) else None
    worst: dict[str, OutputParity] = {}
    labels, exchanged = [], 0.0
    with ParitySession(path, watch_choice=follower is not None) as session:
        for case in cases:
            found = session.run(case)
            if follower is not None:
                follower.follow(session.choice)
            feeds = {name: tensor.numpy() for name, tensor in case.feeds.items()}
            expected = {k: v.numpy() for k, v in run_module(role, module, case.feeds).items()}
            if follower is not None:
                _check_choice(f"{role} ({case.label})", follower.shortfall, tolerances)
            figures, share = compare_outputs(role, expected, found, feeds, tolerances, case.label)
            for name, figure in figures.items():
                worst[name] = figure.worst(worst.get(name, figure))
            exchanged = max(exchanged, share)
            labels.append(case.label)
    return GraphParity(role, tuple(labels), worst, exchanged)


def compare_outputs(
    role: Role,
    expected: Mapping[str, Array],
    found: Mapping[str, Array],
    feeds: Mapping[str, Array],
    tolerances: Mapping[str, Tolerance] = TOLERANCES,
    label: str = "",
) -> tuple[dict[str, OutputParity], float]:
    """Compare the outputs of one call; raises as ``check_parity``.

    Args:
        role: which contract.
        expected: outputs of the torch module, by name.
        found: outputs of the graph, by name.
        feeds: the inputs of the call; the detector's token mask says which logits count.
        tolerances: by output name.
        label: names the case in messages.

    Returns:
        Figures by output, and the share of queries without a partner.
    """
    where = f"{role} ({label})" if label else role
    for spec in CONTRACTS[role].outputs:
        _check_form(where, spec, expected[spec.name], found)
    left = {name: value.astype(np.float64) for name, value in expected.items()}
    right = {name: found[name].astype(np.float64) for name in expected}
    exchanged = 0.0
    if role == "detector":
        tokens = np.broadcast_to(
            feeds["text_token_mask"].astype(bool),
            (left["logits"].shape[0], left["logits"].shape[2]),
        )
        exchanged = _match_queries(where, left, right, tokens, tolerances)
    figures = {}
    for name in left:
        figures[name] = _figures(left[name], right[name])
        _check_tolerance(where, name, figures[name], tolerances.get(name, Tolerance()))
    return figures, exchanged


def _check_choice(where: str, shortfall: float, tolerances: Mapping[str, Tolerance]) -> None:
    """A choice of queries may differ from the best one by ties only."""
    limit = tolerances.get("logits", Tolerance()).absolute
    if shortfall > limit:
        raise ParityToleranceError(
            f"{where}: expected the best proposals as queries, their scores within {limit:.2g} of "
            f"the largest, found a choice {shortfall:.3g} away; the exported graph ranks others"
        )


def _check_form(where: str, spec: TensorSpec, expected: Array, found: Mapping[str, Array]) -> None:
    """Shape, dtype and finiteness of one output."""
    if spec.name not in found:
        raise ParityShapeError(
            f"{where}: expected an output {spec.name}, found {sorted(found)}; the graph's outputs "
            "are not those of its contract"
        )
    value = found[spec.name]
    if value.shape != expected.shape:
        raise ParityShapeError(
            f"{where}: expected {spec.name} of shape {list(expected.shape)}, found "
            f"{list(value.shape)}; a size was made constant or outputs are swapped"
        )
    if str(value.dtype) != spec.dtype or str(expected.dtype) != spec.dtype:
        raise ParityDtypeError(
            f"{where}: expected {spec.name} as {spec.dtype}, found {value.dtype} from the graph "
            f"and {expected.dtype} from torch; cast at the border"
        )
    for side, array in (("torch module", expected), ("graph", value)):
        bad = int(array.size - np.isfinite(array.astype(np.float64)).sum())
        if bad:
            raise ParityNonFiniteError(
                f"{where}: expected finite numbers in {spec.name}, found {bad} of {array.size} "
                f"NaN or infinite from the {side}"
            )


def _match_queries(
    where: str,
    left: dict[str, FloatArray],
    right: dict[str, FloatArray],
    tokens: NDArray[np.bool_],
    tolerances: Mapping[str, Tolerance],
) -> float:
    """Bring the graph's rows into the module's order, drop padding and rows without a partner.

    Edits both sides in place; afterwards logits hold one row per kept query and real token.
    """
    limits = [tolerances.get(name, Tolerance()).absolute for name in ("logits", "boxes")]
    kept: dict[str, list[FloatArray]] = {"logits": [], "boxes": []}
    kept_right: dict[str, list[FloatArray]] = {"logits": [], "boxes": []}
    worst = 0.0
    for image, real in enumerate(tokens):
        for side in (left, right):
            padding = side["logits"][image][:, ~real]
            if padding.size and padding.max() > _MASKED_LOGIT:
                raise ParityToleranceError(
                    f"{where}: expected logits of padding below {_MASKED_LOGIT:g}, found "
                    f"{padding.max():g}; text_token_mask does not reach the class head"
                )
        rows = [(side["boxes"][image], side["logits"][image][:, real]) for side in (left, right)]
        order = _partners(rows[0], rows[1])
        boxes, logits = rows[1][0][order], rows[1][1][order]
        scale = max(1.0, float(np.abs(rows[0][1]).max(initial=0.0)))
        good = (np.abs(boxes - rows[0][0]).max(1) <= limits[1]) & (
            np.abs(logits - rows[0][1]).max(1) <= limits[0] * scale
        )
        share = 1.0 - float(good.mean())
        # many rows off are no tie: compare them all, so that the figures show the fault
        chosen = good if share <= _UNMATCHED_SHARE else np.ones_like(good)
        worst = max(worst, share)
        kept["boxes"].append(rows[0][0][chosen].reshape(-1))
        kept["logits"].append(rows[0][1][chosen].reshape(-1))
        kept_right["boxes"].append(boxes[chosen].reshape(-1))
        kept_right["logits"].append(logits[chosen].reshape(-1))
    for name in ("logits", "boxes"):
        left[name] = np.concatenate(kept[name])
        right[name] = np.concatenate(kept_right[name])
    return worst


def _partners(reference: Sequence[FloatArray], graph: Sequence[FloatArray]) -> NDArray[np.intp]:
    """For each row of the reference, the row of the graph nearest in box and in scores."""
    from scipy.optimize import linear_sum_assignment

    scores = [1.0 / (1.0 + np.exp(-np.clip(side[1], -60, 60))) for side in (reference, graph)]
    cost = np.abs(reference[0][:, None] - graph[0][None]).max(-1)
    cost += np.abs(scores[0][:, None] - scores[1][None]).max(-1)
    return np.asarray(linear_sum_assignment(cost)[1], dtype=np.intp)


def _figures(expected: FloatArray, found: FloatArray) -> OutputParity:
    a, b = expected.reshape(-1), found.reshape(-1)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    same = 1.0 if np.array_equal(a, b) else 0.0
    cosine = min(1.0, float(a @ b) / norms) if norms > 0 else same
    return OutputParity(
        float(np.abs(a - b).max(initial=0.0)), cosine, float(np.abs(a).max(initial=0.0))
    )


def _check_tolerance(where: str, name: str, figures: OutputParity, allowed: Tolerance) -> None:
    limit = allowed.absolute * max(1.0, figures.reference_max)
    if figures.max_abs > limit or figures.cosine < allowed.cosine:
        raise ParityToleranceError(
            f"{where}: expected {name} within {limit:.2g} and cosine {allowed.cosine:g} of the "
            f"torch module, found max abs {figures.max_abs:.3g} and cosine {figures.cosine:.7f}; "
            "the exported graph computes something else"
        )
