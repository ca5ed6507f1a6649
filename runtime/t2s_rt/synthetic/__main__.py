"""Synthetic scenes on the command line.

`python -m t2s_rt.synthetic --contact-sheet PATH` makes a picture of many scenes with their truth;
`--scenes DIR` writes them as GeoTIFFs for `t2s-rt eval synthetic DIR`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from t2s_rt.synthetic import CLASSES, HELD_OUT_SEEDS, render, scene_spec
from t2s_rt.synthetic.writer import write_scene


def contact_sheet(
    seeds: list[int], gsds: list[float | None], size: int, columns: int, truth: bool = True
) -> npt.NDArray[np.uint8]:
    """RGB uint8 picture of scenes in rows, each with its class map beside it if `truth`."""
    palette = np.array([c.colour for c in CLASSES], np.uint8)
    cells = []
    for k, seed in enumerate(seeds):
        scene = render(scene_spec(seed, size, gsds[k % len(gsds)]))
        cell = scene.image
        if truth:
            cell = np.hstack([cell, palette[scene.classes]])
        cells.append(np.pad(cell, ((2, 2), (2, 2), (0, 0)), constant_values=255))
    while len(cells) % columns:
        cells.append(np.full_like(cells[0], 255))
    rows = [np.hstack(cells[k : k + columns]) for k in range(0, len(cells), columns)]
    return np.asarray(np.vstack(rows), np.uint8)


def write_folder(root: Path, first: int, count: int, size: int, gsd: float | None) -> None:
    """Write `count` scenes from seed `first` as `root/images/SEED.tif` and `root/labels/SEED.tif`.

    `size` is their side in pixels; `gsd` metres per pixel, each scene's own if None.
    """
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        image, labels = (root / folder / f"{seed}.tif" for folder in ("images", "labels"))
        write_scene(scene_spec(seed, size, gsd), image, labels)


def main() -> None:
    """Write the contact sheet as PNG, or a folder of scenes."""
    parser = argparse.ArgumentParser(prog="python -m t2s_rt.synthetic", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--contact-sheet", metavar="PATH")
    what.add_argument("--scenes", metavar="DIR", help="write DIR/images and DIR/labels")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--gsd", type=float, default=None)
    parser.add_argument("--first", type=int, default=HELD_OUT_SEEDS.start)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--no-truth", action="store_true")
    args = parser.parse_args()
    if args.scenes is not None:
        write_folder(Path(args.scenes), args.first, args.count, args.size, args.gsd)
        return
    seeds = [args.first + k for k in range(args.count)]
    gsds: list[float | None] = [args.gsd] if args.gsd else [0.1, 0.2, 0.3, 0.6]
    sheet = contact_sheet(seeds, gsds, args.size, args.columns, not args.no_truth)
    if not cv2.imwrite(args.contact_sheet, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise SystemExit(f"cannot write {args.contact_sheet}")


if __name__ == "__main__":
    main()
