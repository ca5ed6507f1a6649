"""The stages of Grounding DINO: what the original's parts take and give, in our layouts.

The original has images as maps ``[B, C, h, w]`` or tokens ``[B, S, D]``, text and queries as
``[T, B, D]``; ours has the batch first everywhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from t2s_bench.reference.stages import Stages
from t2s_export.architectures.grounding_dino import DetectorGraph

__all__ = ["watch_detector"]

Given = dict[str, Any]


def watch_detector(
    stages: Stages,
    original: Any,
    graph: DetectorGraph,
    image: Tensor,
    text: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    """Watch every stage of one call of the original.

    Args:
        stages: takes the figures.
        original: the package's model.
        graph: ours, folded, with the same weights.
        image: uint8 ``[1, H, W, 3]``.
        text: features, token mask, self-attention mask and positions of the caption.
    """
    _watch_backbone(stages, original, graph, image)
    _watch_encoder(stages, original.transformer, graph, text)
    _watch_selection(stages, original.transformer, graph)
    _watch_decoder(stages, original.transformer, graph, text)


def _watch_backbone(stages: Stages, original: Any, graph: DetectorGraph, image: Tensor) -> None:
    model, geometry = graph.model, graph.geometry
    theirs, ours = original.backbone[0], cast(Any, model.backbone[0])

    def tokens(output: Tensor) -> Tensor:
        return output.flatten(2).transpose(1, 2)

    stages.watch(
        "patches",
        theirs.patch_embed,
        lambda *_: cast(Tensor, ours.patch_embed(image, geometry)),
        lambda _, __, output: tokens(output),
    )
    for index, layer in enumerate(theirs.layers):

        def run(args: tuple[Any, ...], _: Given, __: Any, index: int = index) -> Sequence[Tensor]:
            stage = ours.layers[index]
            found = [stage(args[0], geometry)]
            if stage.downsample is not None:
                found.append(stage.downsample(found[0], *geometry.stages[index]))
            return found

        last = index == len(theirs.layers) - 1
        stages.watch(
            f"Swin stage {index}",
            layer,
            run,
            lambda _, __, output, last=last: (output[0],) if last else (output[0], output[3]),  # type: ignore[misc]
        )
    for level, projection in enumerate(original.input_proj):
        part = model.input_proj[level]
        stages.watch(
            f"input projection {level}",
            projection,
            lambda args, _, __, part=part: cast(Tensor, part(args[0])),  # type: ignore[misc]
        )
    stages.watch(
        "image tokens",
        original.transformer,
        lambda *_: model.image_tokens(image, geometry),
        lambda args, *_: torch.cat([tokens(source) for source in args[0]], 1),
    )


def _watch_encoder(
    stages: Stages, theirs: Any, graph: DetectorGraph, text: tuple[Tensor, ...]
) -> None:
    geometry, ours = graph.geometry, graph.model.transformer
    inputs = graph.model.text_inputs(*text)
    length = inputs.length

    def positions(*_: Any) -> Tensor:
        return geometry.positions(ours.level_embed)

    stages.watch(
        "positions", theirs.encoder, positions, lambda _, given, __: cast(Tensor, given["pos"])
    )
    for index in range(len(theirs.encoder.layers)):
        fusion, words, image = (
            cast(Any, layers[index])
            for layers in (
                ours.encoder.fusion_layers,
                ours.encoder.text_layers,
                ours.encoder.layers,
            )
        )

        def fuse(_: Any, given: Given, __: Any, part: Any = fusion) -> Sequence[Tensor]:
            found = part(given["v"], given["l"], inputs.token_bias, geometry, length)
            return cast(Sequence[Tensor], found)

        def read(_: Any, given: Given, __: Any, part: Any = words) -> Tensor:
            return cast(Tensor, part(given["src"].transpose(0, 1), inputs, geometry))

        def look(_: Any, given: Given, __: Any, part: Any = image) -> Tensor:
            return cast(Tensor, part(given["src"], given["pos"], geometry))

        stages.watch(f"fusion {index}", theirs.encoder.fusion_layers[index], fuse)
        stages.watch(
            f"text layer {index}",
            theirs.encoder.text_layers[index],
            read,
            lambda _, __, output: cast(Tensor, output.transpose(0, 1)),
        )
        stages.watch(f"image layer {index}", theirs.encoder.layers[index], look)


def _watch_selection(stages: Stages, theirs: Any, graph: DetectorGraph) -> None:
    geometry, ours = graph.geometry, graph.model.transformer

    memory = stages.note(theirs.encoder)

    def proposals(*_: Any) -> Tensor:
        # the original empties the tokens of proposals that leave the frame, as we do
        return cast(Tensor, ours.enc_output_norm(ours.enc_output(memory[-1][0] * geometry.valid)))

    stages.watch("proposals", theirs.enc_output_norm, proposals)
    stages.watch(
        "proposal boxes",
        theirs.enc_out_bbox_embed,
        lambda args, *_: ours.enc_out_bbox_embed(args[0]),
    )


def _watch_decoder(
    stages: Stages, theirs: Any, graph: DetectorGraph, text: tuple[Tensor, ...]
) -> None:
    geometry, ours = graph.geometry, graph.model.transformer.decoder
    inputs = graph.model.text_inputs(*text)
    counts = (ours.queries, inputs.length)
    head = cast(Any, graph.model.bbox_embed[0])

    def first(x: Tensor) -> Tensor:
        return x.transpose(0, 1)

    def reference(given: Given) -> Tensor:
        return first(given["tgt_reference_points"])[:, :, 0]

    for index, layer in enumerate(theirs.decoder.layers):
        part = cast(Any, ours.layers[index])

        def run(_: Any, given: Given, __: Any, part: Any = part) -> Tensor:
            found = part(
                first(given["tgt"]),
                first(given["tgt_query_pos"]),
                reference(given),
                first(given["memory"]),
                given["memory_text"],
                inputs.token_bias,
                geometry,
                counts,
            )
            return cast(Tensor, found)

        stages.watch(
            f"query positions {index}",
            layer,
            lambda _, given, __: cast(
                Tensor, ours.ref_point_head(reference(given), geometry, ours.queries)
            ),
            lambda _, given, __: first(given["tgt_query_pos"]),
        )
        stages.watch(f"decoder layer {index}", layer, run, lambda _, __, output: first(output))

    def refined(_: Any, __: Any, output: Any) -> Tensor:
        states, boxes = output
        return cast(Tensor, ours.box_refinement(head(states[-1]), boxes[-2]))

    def original_boxes(_: Any, __: Any, output: Any) -> Tensor:
        misc: Any = importlib.import_module("groundingdino.util.misc")
        states, boxes = output
        deltas = theirs.decoder.bbox_embed[-1](states[-1])
        return cast(Tensor, (deltas + misc.inverse_sigmoid(boxes[-2])).sigmoid())

    stages.watch("last boxes", theirs.decoder, refined, original_boxes)
