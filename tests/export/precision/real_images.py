"""Tiles of real scenes, read as ``infer`` reads them, and what nano's graphs make of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_rt.bundle import load_bundle
from t2s_rt.models.frames import FrameMap
from t2s_rt.pipeline.source import SceneReader
from t2s_rt.pipeline.tiles import TilePixels, pad_tile
from t2s_rt.prompts import load_pack
from t2s_rt.scene import TileGrid, open_scene, working_grid

SCENES = (
    ("labelled/loveda/img_0.png", 0.3),
    ("labelled/loveda/img_1.png", 0.3),
    ("labelled/isprs_potsdam/img_2_10_0_0_512_512.png", 0.1),
    ("labelled/dubai_mbrsc/image_part_001.jpg", None),
    ("labelled/dubai_mbrsc/image_part_004.jpg", None),
    ("geotiff/opengeos/m_4709963_se_14_1_20140720.tif", None),
    ("geotiff/opengeos/2020.tif", None),
    ("geotiff/deepness/dummy_fotomap_small.tif", None),
)
"""Files below T2S_TEST_DATA with the ground resolution that ``--scene-gsd`` would be given."""

Arrays = dict[str, NDArray[Any]]


def tiles(folder: Path) -> list[tuple[str, NDArray[np.uint8]]]:
    """The middle tile of every scene at nano's resolution, padded, uint8 ``[576, 576, 3]`` RGB."""
    bundle = load_bundle(verify=False)
    found = []
    for name, gsd in SCENES:
        with open_scene(folder / name, scene_gsd=gsd) as scene:
            working = working_grid(scene, bundle.gsd)
            grid = TileGrid(working.height, working.width, bundle.tile_size, 0)
            window = grid[len(grid) // 2]
            reader = SceneReader(scene, working)
            part = TilePixels.timed(partial(reader.tile, window))
        assert part.valid.mean() > 0.5, name
        found.append((name, pad_tile(part, bundle.tile_size).image))
    return found


def detector_feeds(tile: NDArray[np.uint8], frame: tuple[int, int]) -> Arrays:
    """The detector's inputs for the bundle's default words."""
    bundle = load_bundle(verify=False)
    assert bundle.default_pack is not None
    pack = load_pack(bundle.default_pack, bundle)
    return {
        **image_feeds(tile, frame),
        "text_features": pack.text_features,
        "text_token_mask": pack.text_token_mask,
        "text_self_attention_mask": pack.text_self_attention_mask,
        "position_ids": pack.position_ids,
    }


def image_feeds(tile: NDArray[np.uint8], frame: tuple[int, int]) -> Arrays:
    """A tile in a model frame."""
    return {"image": FrameMap.fit((tile.shape[0], tile.shape[1]), frame).image_to_frame(tile)[None]}


def box_prompts(outputs: Mapping[str, NDArray[Any]], frame: int, count: int = 24) -> Arrays:
    """The detector's best boxes as prompts: two corners each, in pixels of SAM's frame."""
    best = np.argsort(-outputs["logits"][0].max(-1), kind="stable")[:count]
    boxes = outputs["boxes"][0][best]
    corners = np.stack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    coords = np.clip(corners, 0, 1).astype(np.float32) * np.float32(frame)
    labels = np.tile(np.array([2, 3], np.float32), (len(boxes), 1))
    return {"point_coords": coords, "point_labels": labels}
