"""All graphs of a device together: each is fed with what the others made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from t2s_engines.verify.figures import Comparison
from t2s_engines.verify.judging import Judge, some
from t2s_engines.verify.reference import Reference, TileReference, label_map
from t2s_engines.verify.sketch import Sketch
from t2s_engines.verify.tally import Tally
from t2s_engines.verify.tiles import VerifyTile
from t2s_rt.backends import Session
from t2s_rt.contracts import Role
from t2s_rt.errors import T2SError
from t2s_rt.models import Models
from t2s_rt.prompts import PromptPack
from t2s_rt.routes.features import TileFeatures

__all__ = ["OWN_EMBEDDING", "Chain"]

OWN_EMBEDDING = "own embedding"
_DECODERS: tuple[Role, ...] = ("mask_decoder", "mask_decoder_local")
_CALLS = 4
"""Calls of each decoder and tile that are made again with the device's embedding."""


class Chain:
    """Judges what the graphs make together.

    Args:
        judges: opened; roles without a judge are computed by the reference.
        reference: for those.
        pack: the classes to look for.
        tiles: as calls count them.
        roles: graphs of the route ``fused``; none where it cannot run.
        sketches: by tile, for pictures.

    Attributes:
        roles: as given, empty where a session could not be opened.
        tally: of the figures.
        faults: errors on the way.
    """

    def __init__(
        self,
        judges: Mapping[Role, Judge],
        reference: Reference,
        pack: PromptPack,
        tiles: Sequence[VerifyTile],
        roles: Collection[Role],
        sketches: dict[int, Sketch],
    ) -> None:
        self._judges, self._reference, self._pack = judges, reference, pack
        self._tiles, self._sketches = tiles, sketches
        self.tally, self.faults = Tally(), list[str]()
        opened = all(judges[role].session is not None for role in roles if role in judges)
        self.roles = tuple(roles) if opened else ()
        self._models = Models.over({role: self._session(role) for role in self.roles})

    def _session(self, role: Role) -> Session:
        judge = self._judges.get(role)
        found = None if judge is None else judge.session
        return self._reference.sessions[role] if found is None else found

    def tile(self, index: int, seen: TileReference) -> None:
        """Show a tile to all graphs together; after an error nothing more is shown."""
        if any(judge.faults for judge in self._judges.values()) or self.faults:
            return
        try:
            self._decode(index, seen)
            self._map(index, seen)
        except T2SError as error:
            self.faults.append(f"cannot run: {error}")
        finally:
            # what the reference computed in place of others is no call to compare
            for session in self._reference.sessions.values():
                session.calls = []

    def _decode(self, index: int, seen: TileReference) -> None:
        """Masks of the reference's prompts, from the device's own embedding."""
        encoder = self._judges.get("mask_encoder")
        images = seen.calls.get("mask_encoder")
        judged = [role for role in _DECODERS if role in self._judges and role in seen.calls]
        if encoder is None or not images or not judged:
            return
        embedding = encoder.answer(images[0].feeds)
        if embedding is None:
            return
        for role in judged:
            judge = self._judges[role]
            own = Comparison(
                judge.comparison.entry, list(self._tiles), self._pack,
                self._reference.settings, self.tally, self._sketches,
            )  # fmt: skip
            for call in some(seen.calls[role], _CALLS):
                found = judge.answer({**call.feeds, **embedding})
                if found is not None:
                    own.add(call, found, OWN_EMBEDDING)

    def _map(self, index: int, seen: TileReference) -> None:
        """The class map of the route ``fused``."""
        if not self.roles or seen.labels is None:
            return
        tile = self._tiles[index]
        features = TileFeatures(self._models, tile.image, tile.valid, self._pack)
        labels = label_map(features, self._pack, self._reference.settings)
        self._sketches.setdefault(index, Sketch()).labels = [seen.labels, labels]
        wrong = (labels != seen.labels)[tile.valid]
        if tile.empty:
            made_up = wrong & (seen.labels == 0)[tile.valid]
            self.tally.add("hallucinated pixels", float(made_up.mean()), index)
            return
        agreement = float(1 - np.mean(wrong))
        self.tally.add("label agreement mean", agreement, index, int(tile.valid.sum()))
        self.tally.add("label agreement worst", agreement, index)
