"""Writes scenes of any size as GeoTIFFs, window by window."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from t2s_rt.errors import UsageError
from t2s_rt.synthetic.render import render
from t2s_rt.synthetic.spec import CLASSES, SceneSpec, georeference


def write_scene(
    spec: SceneSpec,
    image_path: str | Path,
    classes_path: str | Path | None = None,
    window: int = 1024,
) -> None:
    """Write the scene's RGB image, and its class map if a path is given, in flat memory.

    Tiled, deflated GeoTIFFs with the scene's CRS and transform; the class map has a colour table.
    `window` is the side in pixels of the windows rendered one after the other.
    """
    import rasterio
    from rasterio.transform import Affine
    from rasterio.windows import Window

    if window < 1:
        raise UsageError(f"expected a window of at least 1 pixel, found {window}")
    crs, easting, northing = georeference(spec)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": spec.height,
        "width": spec.width,
        "dtype": "uint8",
        "crs": crs,
        "transform": Affine(spec.gsd, 0.0, easting, 0.0, -spec.gsd, northing),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    with ExitStack() as stack:
        image = stack.enter_context(
            rasterio.open(image_path, "w", count=3, photometric="RGB", **profile)
        )
        classes = None
        if classes_path is not None:
            classes = stack.enter_context(rasterio.open(classes_path, "w", count=1, **profile))
            classes.write_colormap(1, {c.id: (*c.colour, 255) for c in CLASSES})
        for row in range(0, spec.height, window):
            for col in range(0, spec.width, window):
                height, width = min(window, spec.height - row), min(window, spec.width - col)
                part = render(spec, (row, col, height, width))
                place = Window(col, row, width, height)
                image.write(part.image.transpose(2, 0, 1), window=place)
                if classes is not None:
                    classes.write(part.classes, 1, window=place)
