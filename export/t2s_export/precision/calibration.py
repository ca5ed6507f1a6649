"""Inputs on which the precision of a graph is decided, and what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2s_engines.graphs.graph import Array
from t2s_export.parity_cases import Case, scene_image

__all__ = ["Calibration", "calibration_inputs", "from_cases", "with_images", "with_scenes"]


@dataclass(frozen=True)
class Calibration:
    """One set of inputs.

    Attributes:
        name: where they come from: a file's name, or a generator's seed.
        feeds: an array per input of the contract.
        sha256: of the arrays.
    """

    name: str
    feeds: Mapping[str, Array]
    sha256: str


def calibration_inputs(name: str, feeds: Mapping[str, Array]) -> Calibration:
    """Inputs with their hash: names, types, shapes and bytes, sorted by name."""
    digest = hashlib.sha256()
    for key in sorted(feeds):
        value = np.ascontiguousarray(feeds[key])
        digest.update(f"{key} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return Calibration(name, dict(feeds), digest.hexdigest())


def from_cases(cases: Iterable[Case]) -> tuple[Calibration, ...]:
    """The inputs of parity cases: synthetic scenes of fixed seeds, with their prompts."""
    return tuple(
        calibration_inputs(
            f"synthetic scene, {case.label}",
            {name: tensor.numpy() for name, tensor in case.feeds.items()},
        )
        for case in cases
    )


def with_images(
    case: Case, images: Iterable[tuple[str, NDArray[np.uint8]]]
) -> tuple[Calibration, ...]:
    """The inputs of one case with other images, one at a time.

    Args:
        case: of a graph that takes an image; its other inputs stay.
        images: name and pixels uint8 ``[H, W, 3]`` RGB in the size of the graph's frame.
    """
    others = {name: tensor.numpy() for name, tensor in case.feeds.items() if name != "image"}
    return tuple(
        calibration_inputs(name, {"image": image[None], **others}) for name, image in images
    )


def with_scenes(case: Case, size: tuple[int, int], seeds: Iterable[int]) -> tuple[Calibration, ...]:
    """The inputs of one case with synthetic scenes of ``size`` (height, width)."""
    return with_images(
        case, ((f"t2s_rt.synthetic, seed {seed}", scene_image(size, seed)) for seed in seeds)
    )
