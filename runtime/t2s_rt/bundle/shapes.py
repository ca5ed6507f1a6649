"""Shapes with symbols: does an array, or a graph's record, fit its contract?

A size is an integer, a symbol such as ``"T"``, or a product such as ``"4h"`` or ``"hw"``; every
letter is one symbol of the table in :mod:`t2s_rt.contracts`. Symbols are bound as they are met,
and must then keep their value throughout one graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from t2s_rt.contracts import GraphContract, Role, TensorSpec

__all__ = ["bind_shape", "check_graph", "check_graphs_agree", "known_shape", "show_shape"]


def show_shape(shape: Sequence[int | str]) -> str:
    """A shape for messages: ``[1, T, 96]``."""
    return f"[{', '.join(str(size) for size in shape)}]"


def bind_shape(
    expected: Sequence[int | str], found: Sequence[int | str], bound: dict[str, int]
) -> str | None:
    """Compare a shape with a pattern; returns what is wrong, or None.

    Args:
        expected: the pattern.
        found: sizes; a symbol among them stands for any size and is not compared.
        bound: sizes of symbols met so far; extended in place.
    """
    if len(expected) != len(found):
        return f"expected {len(expected)} dimensions {show_shape(expected)}, found {len(found)}"
    for want, have in zip(expected, found, strict=True):
        if isinstance(have, str):
            continue
        value = _evaluate(want, have, bound)
        if value != have:
            meaning = f"{want} = {value}" if isinstance(want, str) else f"{want}"
            return f"expected {meaning} in {show_shape(expected)}, found {show_shape(found)}"
    return None


def known_shape(pattern: Sequence[int | str], bound: Mapping[str, int]) -> tuple[int, ...] | None:
    """The sizes of a pattern whose symbols are all bound, else None."""
    sizes = []
    for size in pattern:
        letters = "" if isinstance(size, int) else size.lstrip("0123456789")
        if isinstance(size, str) and size in bound:  # also a product that was remembered as one
            sizes.append(bound[size])
        elif all(letter in bound for letter in letters):
            sizes.append(_evaluate(size, 0, dict(bound)))
        else:
            return None
    return tuple(sizes)


def _evaluate(pattern: int | str, found: int, bound: dict[str, int]) -> int:
    """The pattern's size; a symbol met for the first time takes the size that makes it fit."""
    if isinstance(pattern, int):
        return pattern
    letters = pattern.lstrip("0123456789")
    factor = int(pattern[: len(pattern) - len(letters)] or 1)
    free = [letter for letter in letters if letter not in bound]
    known = factor
    for letter in letters:
        known *= bound.get(letter, 1)
    if not free:
        return known
    if len(free) > 1:  # a product of two unknown sizes: remember it as one
        return bound.setdefault(pattern, found)
    bound[free[0]] = found // known if known else 0
    return known * bound[free[0]]


def check_graph(
    contract: GraphContract,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    image_size: tuple[int, int] | None,
) -> str | None:
    """Compare a graph's recorded tensors with its role's contract; returns what is wrong.

    Names, order, dtypes and ranks are the contract's; a dynamic size keeps the contract's
    symbol; H and W are static and equal ``image_size``.
    """
    bound: dict[str, int] = {}
    if image_size is not None:
        bound.update(H=image_size[0], W=image_size[1])
    for side, wanted, given in (
        ("inputs", contract.inputs, inputs),
        ("outputs", contract.outputs, outputs),
    ):
        names = [tensor.name for tensor in given]
        expected = [tensor.name for tensor in wanted]
        if names != expected:
            return f"expected the {side} {', '.join(expected)}, found {', '.join(names)}"
        for want, have in zip(wanted, given, strict=True):
            problem = _check_tensor(want, have, bound)
            if problem:
                return f"{side} {want.name}: {problem}"
    has_image = any("H" in tensor.shape for tensor in contract.inputs)
    if has_image != (image_size is not None):
        return f"expected {'an' if has_image else 'no'} image_size, found {image_size}"
    return None


def _check_tensor(want: TensorSpec, have: TensorSpec, bound: dict[str, int]) -> str | None:
    if have.dtype != want.dtype:
        return f"expected dtype {want.dtype}, found {have.dtype}"
    if len(want.shape) == len(have.shape):
        for pattern, size in zip(want.shape, have.shape, strict=True):
            if isinstance(size, str) and (size != pattern or pattern in ("H", "W")):
                return f"expected {show_shape(want.shape)}, found {show_shape(have.shape)}"
    return bind_shape(want.shape, have.shape, bound)


_SHARED: tuple[tuple[str, tuple[tuple[Role, str], ...]], ...] = (
    (
        "image embedding",
        (
            ("mask_encoder", "image_embedding"),
            ("mask_decoder", "image_embedding"),
            ("mask_decoder_local", "image_embedding"),
        ),
    ),
    ("text features", (("detector", "text_features"), ("detector_text", "text_features"))),
    (
        "CLIP embedding",
        (
            ("clip_image", "embeddings"),
            ("clip_dense", "image_embedding"),
            ("clip_patches", "patch_embeddings"),
            ("clip_text", "embeddings"),
        ),
    ),
)
"""Tensors that pass from one graph to the next: their sizes must agree."""

_Graph = tuple[str, Role, Sequence[TensorSpec], Sequence[TensorSpec]]


def check_graphs_agree(graphs: Iterable[_Graph]) -> str | None:
    """Do graphs that hand tensors to each other agree on channels and sizes?

    Args:
        graphs: (label, role, inputs, outputs) of each graph.

    Returns:
        What disagrees, or None.
    """
    listed = list(graphs)
    for meaning, members in _SHARED:
        first: tuple[str, tuple[int | str, ...]] | None = None
        for label, role, inputs, outputs in listed:
            for tensor in (*inputs, *outputs):
                if (role, tensor.name) not in members:
                    continue
                # the batch and text length may be dynamic in one and static in the other
                sizes = tensor.shape[1:] if len(tensor.shape) != 3 else tensor.shape[2:]
                if first is None:
                    first = (label, sizes)
                elif sizes != first[1]:
                    return (
                        f"{first[0]} and {label} disagree on the {meaning}: "
                        f"{show_shape(first[1])} and {show_shape(sizes)}"
                    )
    return None
