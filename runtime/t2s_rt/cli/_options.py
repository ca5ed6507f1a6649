"""Options that several commands share, so that they read and behave alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from t2s_rt.contracts import PRECISIONS
from t2s_rt.limits import TILES_PER_CALL

__all__ = [
    "DATASET_NAMES",
    "allow_unverified_opt",
    "backend_opt",
    "batch_opt",
    "bundle_opt",
    "dataset_args",
    "engine_cache_opt",
    "output_opt",
    "overwrite_opt",
    "precision_opt",
    "route_opt",
    "threads_opt",
]

DATASET_NAMES = ("loveda", "potsdam", "vaihingen", "uavid", "dubai", "synthetic")
"""Of ``t2s_rt.evaluation.datasets.DATASETS``, which loads numpy and rasterio: too much for help."""

_F = TypeVar("_F", bound=Callable[..., Any])


def bundle_opt(function: _F) -> _F:
    """``--bundle``: a bundle's folder; None is the embedded nano bundle."""
    return click.option(
        "--bundle",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder of a bundle that t2s-rt export wrote.  [default: nano, inside the package]",
    )(function)


def route_opt(function: _F) -> _F:
    """``--route``: words to masks by which way."""
    from t2s_rt.routes import DEFAULT_ROUTE, ROUTES

    return click.option(
        "--route",
        type=click.Choice(ROUTES),
        default=DEFAULT_ROUTE,
        show_default=True,
        help="How words become masks; t2s-rt infer --help explains them.",
    )(function)


def precision_opt(function: _F) -> _F:
    """``--precision``: of the graphs."""
    return click.option(
        "--precision",
        type=click.Choice(("auto", *PRECISIONS)),
        default="auto",
        show_default=True,
        help="Of the graphs; auto is fp32 on a CPU, and fp16 on a GPU where the bundle has it.",
    )(function)


def backend_opt(function: _F) -> _F:
    """``--backend``: what runs the graphs."""
    return click.option(
        "--backend",
        default="auto",
        show_default=True,
        metavar="NAME",
        help="What runs the graphs; auto takes the best one installed.",
    )(function)


def allow_unverified_opt(function: _F) -> _F:
    """``--allow-unverified``: of engines."""
    return click.option(
        "--allow-unverified",
        is_flag=True,
        help="Run TensorRT engines that t2s-rt verify did not pass on this device.",
    )(function)


def engine_cache_opt(function: _F) -> _F:
    """``--cache``: the folder of TensorRT engines."""
    return click.option(
        "--cache",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder of TensorRT engines.  [default: engines in T2S_CACHE or ~/.cache/t2s-rt]",
    )(function)


def output_opt(default: str) -> Callable[[_F], _F]:
    """``-o``: the folder of the outputs."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        default=Path(default),
        show_default=True,
        metavar="DIR",
        help="Folder for the outputs; made if missing.",
    )


def threads_opt(function: _F) -> _F:
    """``--threads``: of the backend."""
    return click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        help="Threads that compute.  [default: one per core]",
    )(function)


def batch_opt(function: _F) -> _F:
    """``--batch``: tiles that meet an image encoder in one call."""
    return click.option(
        "--batch",
        type=click.Choice(("auto", *map(str, range(1, TILES_PER_CALL + 1)))),
        default="auto",
        show_default=True,
        help="Tiles in one call of an image encoder; auto is 1 on a CPU, and on a GPU as many as "
        "a call may hold where the models are small.",
    )(function)


def dataset_args(split: str) -> Callable[[_F], _F]:
    """``DATASET ROOT --split --pack --gsd``: a labelled data set and how it is asked for."""
    parts: tuple[Callable[[Any], Any], ...] = (
        click.argument("dataset", type=click.Choice(DATASET_NAMES)),
        click.argument("root", type=click.Path(path_type=Path)),
        click.option(
            "--split",
            type=click.Choice(("train", "val", "test")),
            default=split,
            show_default=True,
            help="Which part of the data set.",
        ),
        click.option(
            "--pack",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Prompt pack made by t2s-rt prompts.  [default: the data set's own prompts]",
        ),
        click.option(
            "--gsd",
            type=click.FloatRange(0, min_open=True),
            metavar="METRES",
            help="Ground resolution of the images, metres per pixel.  [default: the data set's, "
            "else each file's own, else the bundle's]",
        ),
    )

    def decorate(function: _F) -> _F:
        for add in reversed(parts):
            function = add(function)
        return function

    return decorate


def overwrite_opt(function: _F) -> _F:
    """``--overwrite``: replace finished outputs."""
    return click.option(
        "--overwrite",
        is_flag=True,
        help="Replace finished outputs. An interrupted run goes on without it.",
    )(function)
