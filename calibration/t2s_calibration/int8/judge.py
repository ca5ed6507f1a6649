"""How near a graph with int8 layers is to the float32 graph, in what a user would see.

Masks of an encoder are decoded by the float32 decoder from the same prompts; boxes are compared
query by query with the float32 ranking given to both; CLIP's embeddings by the class that each
patch or crop gets. The figures have the names and meaning of ``verify``; what the budget limits
ends in "mean".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from t2s_calibration.int8.inputs import calls_of
from t2s_engines.criteria import Figures, figures, summary
from t2s_engines.graphs.graph import Array, Graph
from t2s_engines.graphs.ranking import given_ranking
from t2s_engines.graphs.running import running
from t2s_engines.verify.tiles import VerifyTile
from t2s_rt.backends import open_session
from t2s_rt.backends.fake import FakeSession
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.evaluation.agreement import frame_maps, mask_ious
from t2s_rt.models import ImageEmbedding, Segmenter
from t2s_rt.prompts import PromptPack
from t2s_rt.routes.labels import LabelSet
from t2s_rt.routes.painting import mask_boxes, nms
from t2s_rt.routes.proposals import grid_points

__all__ = ["Judge", "limited", "shortfall"]

_BACKEND = "onnxruntime-cpu"
_GRID = 8
"""Points along each side whose masks give the boxes that masks are compared in."""
_BOXES = 16
_SAME = 0.7
_FEWEST_PIXELS = 64
"""Masks smaller than this, in frame pixels, are specks that no vector output keeps."""
# xyxy in shares of the side, for where SAM finds nothing by itself
_FIXED = np.array(
    [(0.1, 0.1, 0.25, 0.2), (0.35, 0.3, 0.65, 0.6), (0.6, 0.65, 0.9, 0.95)], np.float32
)


def limited(found: Figures) -> Figures:
    """The figures that a budget limits."""
    return {name: value for name, value in found.items() if name.endswith("mean")}


def shortfall(found: Figures, budget: float) -> float:
    """Distance of the worst limited figure from 1 in units of what the budget allows."""
    return max((1 - value) / (1 - budget) for value in limited(found).values())


@dataclass(frozen=True, eq=False)
class _Case:
    """One call, and what float32 answers.

    Attributes:
        feeds: inputs by name, given rankings included.
        expected: outputs by name.
        masks: of a mask encoder: its prompts and their masks.
    """

    feeds: Mapping[str, Array]
    expected: Mapping[str, Array]
    masks: tuple[ImageEmbedding, NDArray[np.float32], NDArray[np.bool_]] | None = None


class Judge:
    """Compares graphs of one role with its float32 graph; a context manager.

    Args:
        bundle: of the graph; a mask encoder needs its decoder too.
        entry: the float32 graph.
        graph: the same, as it is run.
        pack: classes.
        tiles: to compare on, none of those that ranges come from.

    Raises:
        BundleError: there is no mask decoder for a mask encoder.
        BackendError, GraphError: the float32 graphs cannot be run.
    """

    def __init__(
        self,
        bundle: Bundle,
        entry: GraphEntry,
        graph: Graph,
        pack: PromptPack,
        tiles: Sequence[VerifyTile],
    ) -> None:
        self._entry, self._labels = entry, LabelSet.from_pack(pack)
        self._answer: dict[str, Array] = {}
        self._segmenter: Segmenter | None = None
        with ExitStack() as stack:
            if entry.role == "mask_encoder":
                self._segmenter = self._with_decoders(bundle, stack)
            given, rankings = given_ranking(graph)
            types = given.inputs
            outputs = {**graph.outputs, **{value: types[name] for name, value in rankings.items()}}
            calls = [call for tile in tiles for call in calls_of(entry, tile.image, pack)]
            with running(replace(graph, outputs=outputs)) as run:
                self._cases = [self._case(graph, rankings, call, run(call)) for call in calls]
            self._stack = stack.pop_all()
        self.trials = 0

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def figures(self, graph: Graph, only: int | None = None) -> Figures:
        """Compare a graph.

        Args:
            graph: with the same inputs and outputs.
            only: index of the one call to compare on; None takes all.

        Raises:
            GraphError: ONNX Runtime refuses the graph.
        """
        self.trials += 1
        return summary(self._each(graph, self._cases if only is None else [self._cases[only]]))

    def worst_call(self, graph: Graph) -> int:
        """Index of the call on which a graph does worst."""
        found = [shortfall(one, 0.0) for one in self._each(graph, self._cases)]
        return int(np.argmax(found))

    def _each(self, graph: Graph, cases: Sequence[_Case]) -> list[Figures]:
        with running(given_ranking(graph)[0]) as run:
            return [self._compare(case, run(case.feeds)) for case in cases]

    def _compare(self, case: _Case, found: Mapping[str, Array]) -> Figures:
        role = self._entry.role
        own = figures(role, case.expected, found, case.feeds, paired=True)
        if case.masks is not None and min(own.values()) >= 0:
            own |= self._masks(case, found["image_embedding"])
        elif role.startswith("clip"):
            agreement = [
                self._same_class(case.expected[name], found[name])
                for name in case.expected
                if name.endswith("embeddings")
            ]
            own["label agreement mean"] = float(np.mean(agreement))
        return own

    def _same_class(self, expected: Array, found: Array) -> float:
        best = [
            self._labels.cosines(side.reshape(-1, side.shape[-1]).astype(np.float32)).argmax(1)
            for side in (expected, found)
        ]
        return float((best[0] == best[1]).mean())

    def _masks(self, case: _Case, embedding: Array) -> Figures:
        if case.masks is None or self._segmenter is None:
            return {}
        known, boxes, masks = case.masks
        own = ImageEmbedding(embedding, known.frame)
        overlaps = mask_ious(masks, self._decoded(own, boxes))
        return {"mask IoU mean": float(overlaps.mean()), "mask IoU worst": float(overlaps.min())}

    def _decoded(self, embedding: ImageEmbedding, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        if self._segmenter is None:
            raise TypeError("only a mask encoder's embeddings are decoded")
        logits = self._segmenter.decode_boxes(embedding, boxes).logits[:, 0]
        return np.asarray(frame_maps(logits) > 0)

    def _case(
        self, graph: Graph, rankings: Mapping[str, str], call: Mapping[str, Array],
        outputs: Mapping[str, Array],
    ) -> _Case:  # fmt: skip
        given = {name: outputs[value] for name, value in rankings.items()}
        expected = {name: outputs[name] for name in graph.outputs}
        masks = None if self._segmenter is None else self._prompts(self._segmenter, call, expected)
        return _Case({**call, **given}, expected, masks)

    def _prompts(
        self, segmenter: Segmenter, call: Mapping[str, Array], expected: Mapping[str, Array]
    ) -> tuple[ImageEmbedding, NDArray[np.float32], NDArray[np.bool_]]:
        """Boxes around what SAM itself finds in the tile, and some fixed ones, with their masks."""
        self._answer = dict(expected)
        embedding = segmenter.encode(np.asarray(call["image"][0], np.uint8))
        height, width = embedding.tile_size
        found = segmenter.decode(embedding, *grid_points(np.ones((height, width), bool), _GRID))
        logits, scores = found.best(multimask=True)
        boxes = mask_boxes(logits > 0)
        scale = np.array([width / logits.shape[2], height / logits.shape[1]] * 2, np.float32)
        order = [i for i in nms(boxes, scores, _SAME) if (logits[i] > 0).any()][:_BOXES]
        sides = np.array([width, height] * 2, np.float32)
        chosen = np.concatenate([boxes[order] * scale, _FIXED * sides]).astype(np.float32)
        masks = self._decoded(embedding, chosen)
        large = masks.sum((1, 2)) >= _FEWEST_PIXELS
        kept = large if large.any() else np.ones_like(large)
        return embedding, chosen[kept], masks[kept]

    def _with_decoders(self, bundle: Bundle, stack: ExitStack) -> Segmenter:
        """A segmenter whose encoder answers with ``_answer``."""
        encoder = FakeSession(self._entry, lambda _: dict(self._answer))
        decoder = stack.enter_context(open_session(bundle.graph("mask_decoder"), _BACKEND))
        local = None
        if "mask_decoder_local" in bundle.roles:
            local = stack.enter_context(open_session(bundle.graph("mask_decoder_local"), _BACKEND))
        return Segmenter(encoder, decoder, local)
