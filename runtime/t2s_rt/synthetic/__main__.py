"""`python -m t2s_rt.synthetic --contact-sheet PATH`: a picture of many scenes with their truth."""

from __future__ import annotations

import argparse

import cv2
import numpy as np
import numpy.typing as npt

from t2s_rt.synthetic import CLASSES, HELD_OUT_SEEDS, render, scene_spec


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


def main() -> None:
    """Write the contact sheet as PNG."""
    parser = argparse.ArgumentParser(prog="python -m t2s_rt.synthetic", description=__doc__)
    parser.add_argument("--contact-sheet", required=True, metavar="PATH")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--gsd", type=float, default=None)
    parser.add_argument("--first", type=int, default=HELD_OUT_SEEDS.start)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--no-truth", action="store_true")
    args = parser.parse_args()
    seeds = [args.first + k for k in range(args.count)]
    gsds: list[float | None] = [args.gsd] if args.gsd else [0.1, 0.2, 0.3, 0.6]
    sheet = contact_sheet(seeds, gsds, args.size, args.columns, not args.no_truth)
    if not cv2.imwrite(args.contact_sheet, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise SystemExit(f"cannot write {args.contact_sheet}")


if __name__ == "__main__":
    main()
