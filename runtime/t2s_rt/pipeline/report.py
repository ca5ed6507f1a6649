"""What a run found and did: the report beside the map, and the closing table's rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["REPORT_SCHEMA", "ClassReport", "SceneReport", "TileCounts", "Timings"]

REPORT_SCHEMA = 1


@dataclass(frozen=True)
class TileCounts:
    """What became of a scene's tiles.

    Attributes:
        total: all tiles.
        done: computed, in this run or an interrupted one before.
        resumed: of all, those taken over from an interrupted run.
        skipped: without data.
        failed: could not be read or computed.
    """

    total: int
    done: int
    resumed: int
    skipped: int
    failed: int


@dataclass(frozen=True)
class ClassReport:
    """One class on the map.

    Attributes:
        value: in the class map.
        name: of the class.
        kind: ``thing``, ``stuff`` or ``both``.
        colour: red, green, blue.
        found: whether any pixel has the class; else it abstained.
        pixels: of the class.
        share: of the pixels that have data, 0..1.
        area_m2: on the ground; None without a CRS.
        objects: polygons of the class.
    """

    value: int
    name: str
    kind: str
    colour: tuple[int, int, int]
    found: bool
    pixels: int
    share: float
    area_m2: float | None
    objects: int


@dataclass(frozen=True)
class Timings:
    """How the tiles of one run were computed, and what reading them cost.

    Attributes:
        wall_s: seconds from the first tile to the last band of the map.
        read_s: seconds in which the scene was read or a tile prepared.
        read_hidden_s: of these, seconds in which something else was at work, too.
        tiles_at_once: groups of tiles computed side by side.
        tiles_per_call: tiles that met an image encoder in one call, at most.
        encoders_side_by_side: whether the encoders of a tile ran at once.
    """

    wall_s: float = 0.0
    read_s: float = 0.0
    read_hidden_s: float = 0.0
    tiles_at_once: int = 1
    tiles_per_call: int = 1
    encoders_side_by_side: bool = False

    @property
    def overlap(self) -> float | None:
        """Share of the reading, 0..1, that hid behind other work; None where nothing was read."""
        return self.read_hidden_s / self.read_s if self.read_s > 0.0 else None

    def to_json(self) -> dict[str, Any]:
        """The entry ``timings`` of ``STEM.json``."""
        overlap = self.overlap
        return {
            "wall_s": round(self.wall_s, 4),
            "read_s": round(self.read_s, 4),
            "read_hidden_s": round(self.read_hidden_s, 4),
            "overlap": None if overlap is None else round(overlap, 4),
            "tiles_at_once": self.tiles_at_once,
            "tiles_per_call": self.tiles_per_call,
            "encoders_side_by_side": self.encoders_side_by_side,
        }


@dataclass(frozen=True)
class SceneReport:
    """One scene's run.

    Attributes:
        scene: path of the scene.
        stem: what its outputs are named after.
        outputs: the files, by kind: labels, confidence, polygons, preview, report.
        route: words to masks by which way.
        precision: of the graphs.
        backend: that ran them; empty where none was needed.
        bundle: name of the bundle.
        pack: fingerprint of the pack's text encoders.
        working_gsd: metres per pixel that the models saw; None if unknown.
        tiles: counts.
        failures: tile window and reason of each failed tile.
        classes: in the order of the map's values.
        nodata_pixels: pixels without data or without a computed tile.
        seconds: by stage, of this run and of an interrupted one before; summed over tiles, so
            that tiles computed side by side add up to more than the time that went by.
        versions: of the programs that made it.
        warnings: what the user should know.
        settings: everything that decided the result.
        timings: of this run.
        choice: why this backend, in a few words; empty where none was needed.
    """

    scene: Path
    stem: str
    outputs: Mapping[str, Path]
    route: str
    precision: str
    backend: str
    bundle: str
    pack: str
    working_gsd: float | None
    tiles: TileCounts
    failures: Sequence[Mapping[str, Any]]
    classes: Sequence[ClassReport]
    nodata_pixels: int
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    warnings: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    timings: Timings = Timings()
    choice: str = ""

    @property
    def found(self) -> tuple[str, ...]:
        """Names of classes that are on the map."""
        return tuple(item.name for item in self.classes if item.found)

    @property
    def abstained(self) -> tuple[str, ...]:
        """Names of classes that are not."""
        return tuple(item.name for item in self.classes if not item.found)

    def to_json(self) -> str:
        """The text of ``STEM.json``, schema version 1."""
        entry = {
            "schema_version": REPORT_SCHEMA,
            "scene": str(self.scene),
            "stem": self.stem,
            "outputs": {kind: path.name for kind, path in self.outputs.items()},
            "versions": dict(self.versions),
            "route": self.route,
            "precision": self.precision,
            "backend": self.backend,
            "backend_choice": self.choice,
            "bundle": self.bundle,
            "pack_fingerprint": self.pack,
            "working_gsd_m": self.working_gsd,
            "tiles": asdict(self.tiles),
            "failed_tiles": [dict(failure) for failure in self.failures],
            "classes": [asdict(item) for item in self.classes],
            "classes_found": list(self.found),
            "classes_abstained": list(self.abstained),
            "nodata_pixels": self.nodata_pixels,
            "seconds": {name: round(spent, 4) for name, spent in self.seconds.items()},
            "timings": self.timings.to_json(),
            "warnings": list(self.warnings),
            "settings": dict(self.settings),
        }
        # paths may hold bytes that are no text; ASCII keeps the file valid JSON whatever they are
        return json.dumps(entry, indent=2, ensure_ascii=True) + "\n"
