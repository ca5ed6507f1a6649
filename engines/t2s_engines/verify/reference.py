"""The reference: float32 graphs on ONNX Runtime's CPU provider, and every call that a flight makes.

The calls are not invented. The runtime's own models and its route ``fused`` run over recorded
sessions, so that each graph is compared on the inputs, shapes and chunks that ``infer`` gives it.
What ``fused`` does not call is called once more: the other CLIP graphs, and prompts at fixed places
for the decoders, which on ground without objects would not be asked at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2s_engines.verify.calls import Call, Recorder
from t2s_engines.verify.tiles import VerifyTile
from t2s_rt.backends import Session, open_session
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.contracts import Role
from t2s_rt.models import IMAGE_ROLES, ClipEncoder, Models
from t2s_rt.prompts import PromptPack
from t2s_rt.routes import RouteName, RouteSettings, load_route
from t2s_rt.routes.decision import decide, map_rule
from t2s_rt.routes.features import TileFeatures

__all__ = [
    "CHAIN",
    "REFERENCE_BACKEND",
    "Reference",
    "TileReference",
    "chain_roles",
    "label_map",
    "needed_roles",
]

REFERENCE_BACKEND = "onnxruntime-cpu"
CHAIN: RouteName = "fused"
"""The route that is judged end to end: it asks every kind of graph."""

# xyxy in shares of a tile's side: sizes from a car to a field
_PROBE_BOXES = np.array(
    [
        (0.10, 0.10, 0.16, 0.14), (0.30, 0.62, 0.42, 0.74), (0.55, 0.20, 0.72, 0.42),
        (0.70, 0.70, 0.78, 0.92), (0.05, 0.45, 0.45, 0.95), (0.20, 0.10, 0.90, 0.60),
    ],
    np.float32,
)  # fmt: skip
_PROBE_POINTS = np.array([[(0.25, 0.25)], [(0.75, 0.25)], [(0.5, 0.5)], [(0.3, 0.8)]], np.float32)
_CROPS = ((0.0, 0.0, 0.3, 0.4), (0.3, 0.3, 0.7, 0.7), (0.6, 0.1, 1.0, 0.3))
"""row0, col0, row1, col1 in shares of the side."""


@dataclass(frozen=True, eq=False)
class TileReference:
    """What the reference says about one tile.

    Attributes:
        calls: of every role that was asked.
        labels: uint8 ``[H, W]`` class map of the route ``fused``; None where the bundle lacks
            one of its graphs.
    """

    calls: Mapping[Role, list[Call]]
    labels: NDArray[np.uint8] | None


class Reference:
    """Opened reference sessions; a context manager.

    Args:
        bundle: whose fp32 graphs.
        pack: the classes to look for.
        roles: to be compared.
        threads: of ONNX Runtime; None takes one per core.
        opener: from a graph to its session, for tests.

    Raises:
        BundleError: the bundle lacks an fp32 graph.
        BackendError: ONNX Runtime is missing or refuses a graph.
    """

    def __init__(
        self,
        bundle: Bundle,
        pack: PromptPack,
        roles: Collection[Role],
        threads: int | None = None,
        opener: Callable[[GraphEntry], Session] | None = None,
    ) -> None:
        self._pack = pack
        self.settings = RouteSettings()
        self.chain = bool(chain_roles(bundle, roles))
        open_one = opener or (lambda e: open_session(e, REFERENCE_BACKEND, threads=threads))
        self.sessions: dict[Role, Recorder] = {}
        with ExitStack() as stack:
            for role in needed_roles(bundle, roles):
                session = Recorder(open_one(bundle.graph(role, "fp32")))
                self.sessions[role] = session
                stack.callback(session.close)
            self._stack = stack.pop_all()
        flying = {r: s for r, s in self.sessions.items() if r not in ("clip_dense", "clip_image")}
        if "clip_patches" not in flying and "clip_dense" in self.sessions:
            flying["clip_dense"] = self.sessions["clip_dense"]
        self.models = Models.over(flying)

    def __enter__(self) -> Reference:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def look(self, tile: VerifyTile, index: int) -> TileReference:
        """Show a tile to every graph and take down the calls.

        Raises:
            BackendError: a reference session failed.
        """
        features = TileFeatures(self.models, tile.image, tile.valid, self._pack)
        labels = label_map(features, self._pack, self.settings) if self.chain else None
        self._probe(tile, features)
        calls = {role: session.take(index) for role, session in self.sessions.items()}
        return TileReference({role: found for role, found in calls.items() if found}, labels)

    def _probe(self, tile: VerifyTile, features: TileFeatures) -> None:
        """Ask what the route did not ask; features keep what it did."""
        image, side = tile.image, np.float32(tile.image.shape[0])
        if self.models.detector is not None:
            _ = features.detections
        if self.models.segmenter is not None:
            embedding = features.embedding
            if not tile.empty:
                self.models.segmenter.decode_boxes(embedding, _PROBE_BOXES * side)
                points = _PROBE_POINTS * side
                labels = np.ones(points.shape[:2], np.float32)
                self.models.segmenter.decode(embedding, points, labels)
        for role in ("clip_patches", "clip_dense"):
            if role in self.sessions and not self.sessions[role].calls:
                ClipEncoder(self.sessions[role], None).dense(image)
        if "clip_image" in self.sessions:
            crops = [
                image[int(a * side) : int(c * side), int(b * side) : int(d * side)]
                for a, b, c, d in _CROPS
            ]
            ClipEncoder(None, self.sessions["clip_image"]).embed(crops)


def label_map(
    features: TileFeatures, pack: PromptPack, settings: RouteSettings
) -> NDArray[np.uint8]:
    """Class map uint8 ``[H, W]`` of one tile by the route ``fused``."""
    result = load_route(CHAIN)(features, pack, settings)
    labels, _ = decide(result.scores, map_rule(pack, CHAIN, settings))
    labels[~features.valid] = 0
    return labels


def chain_roles(bundle: Bundle, roles: Collection[Role]) -> list[Role]:
    """Graphs of the route ``fused`` in a bundle; none where it lacks one, or none is judged."""
    present = set(bundle.roles)
    clip: Role = "clip_patches" if "clip_patches" in present else "clip_dense"
    needed: list[Role] = ["detector", clip, "mask_encoder", "mask_decoder"]
    if not present.issuperset(needed):
        return []
    if "mask_decoder_local" in present:
        needed.append("mask_decoder_local")
    return needed if set(needed) & set(roles) else []


def needed_roles(bundle: Bundle, roles: Collection[Role]) -> list[Role]:
    """Graphs that must run for some to be judged: decoders need an embedding, the route all."""
    needed = {*roles, *chain_roles(bundle, roles)}
    if needed & {"mask_encoder", "mask_decoder", "mask_decoder_local"}:
        needed |= {"mask_encoder", "mask_decoder"}
    return [role for role in IMAGE_ROLES if role in needed]
