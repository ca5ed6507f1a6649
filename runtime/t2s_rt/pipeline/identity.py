"""What a run is recognised by: if any of it changes, an interrupted run is not gone on with."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2s_rt import __version__
from t2s_rt.bundle import Bundle, manifest_json
from t2s_rt.pipeline.settings import PipelineSettings

if TYPE_CHECKING:
    from t2s_rt.prompts import PromptPack

__all__ = ["pack_digest", "run_identity"]


def pack_digest(pack: PromptPack) -> str:
    """SHA-256 of everything in a pack that can change a map."""
    digest = hashlib.sha256()
    for item in pack.classes:
        words = (item.name, item.synonyms, item.colour, item.kind, sorted(item.thresholds.items()))
        digest.update(repr(words).encode("utf-8", "surrogatepass"))
    arrays = (
        pack.token_ids,
        pack.text_features,
        pack.text_token_mask,
        pack.text_self_attention_mask,
        pack.position_ids,
        *pack.class_embeddings,
        pack.other_embeddings,
        pack.redundant_embedding,
    )
    for array in arrays:
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(repr((pack.spans, pack.logit_scale)).encode())
    return digest.hexdigest()


def run_identity(
    scene: Path,
    bundle: Bundle,
    pack: PromptPack,
    settings: PipelineSettings,
    reading: dict[str, Any],
) -> dict[str, Any]:
    """All that decides the outputs of one scene, as JSON-ready values.

    Args:
        scene: path of the scene; its size and time of change stand for its content.
        bundle: whose graphs.
        pack: what is looked for.
        settings: of the pipeline.
        reading: how the scene is read (bands, ground resolution).
    """
    state = scene.stat()
    # how the backend runs decides no map, whose backend and precision are settings of their own
    decisive = {name: value for name, value in asdict(settings).items() if name != "options"}
    return {
        "version": __version__,
        "scene": [str(scene.resolve()), state.st_size, state.st_mtime_ns],
        "bundle": hashlib.sha256(manifest_json(bundle.manifest).encode()).hexdigest(),
        "pack": pack_digest(pack),
        "settings": decisive,
        "reading": reading,
    }
