"""``t2s-rt export edge|base|large``. Imports torch only when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t2s_export.choices import DEFORMABLE_FORMS
from t2s_export.extra import needs_extra
from t2s_export.official.presets import PRESETS, ExportOptions, Preset
from t2s_export.progress import ExportProgress

if TYPE_CHECKING:
    from t2s_export.official.parts import Kind

__all__ = ["preset_commands"]

_SHARES = {
    "detector_text": 12.0,
    "detector": 70.0,
    "mask_encoder": 63.0,
    "mask_decoder": 13.0,
    "clip_image": 11.0,
    "clip_dense": 16.0,
    "clip_patches": 14.0,
    "clip_text": 4.0,
}
"""Seconds that each graph of ``base`` took on two cores, for the bar's remaining time."""
_ABOUT = """{help}

    The checkpoints and the two vocabularies lie in one folder; `t2s-rt models pull` fetches them.
    Files of the authors' own and of transformers, OpenAI and open_clip will do. Every graph is
    compared with its torch module before the bundle's folder appears.
    """
_FILE = click.Path(exists=True, dir_okay=True, path_type=Path)


def preset_commands() -> list[click.Command]:
    """A command for each preset."""
    return [_command(preset) for preset in PRESETS.values()]


def _command(preset: Preset) -> click.Command:
    def run(**choices: Any) -> None:
        _export(preset, **choices)

    run.__doc__ = _ABOUT.format(help=preset.help)
    command: Any = run
    for option in reversed(_options()):
        command = option(command)
    return click.command(preset.name)(command)


def _options() -> list[Any]:
    return [
        click.option(
            "--checkpoints",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder of checkpoints and vocabularies.  [default: that of `models pull`]",
        ),
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            required=True,
            metavar="DIR",
            help="Folder to write the bundle to; made if missing.",
        ),
        *(
            click.option(
                f"--{kind}",
                type=_FILE,
                metavar="FILE",
                help=f"Checkpoint of {title}, of any size, instead of the folder's.",
            )
            for kind, title in (
                ("sam", "Segment Anything"),
                ("detector", "Grounding DINO"),
                ("clip", "CLIP"),
            )
        ),
        click.option(
            "--quick-gelu/--gelu",
            default=None,
            help="Activation of a CLIP that the registry does not know.",
        ),
        click.option(
            "--deformable",
            type=click.Choice(DEFORMABLE_FORMS),
            default=ExportOptions.deformable,
            show_default=True,
            help="Form of the detector's deformable attention. Some TensorRT releases compute "
            "grid_sample wrongly (TensorRT#4813).",
        ),
        click.option(
            "--detector-size",
            type=int,
            default=ExportOptions.detector_size,
            show_default=True,
            help="Side of the detector's frame, pixels.",
        ),
        click.option(
            "--clip-size",
            type=click.IntRange(1, 4096),
            help="Side of dense CLIP's windows, pixels.  [default: 512, or 518 for patches of 14]",
        ),
        click.option(
            "--gsd",
            type=float,
            default=ExportOptions.gsd,
            show_default=True,
            help="Metres per pixel that scenes are brought to.",
        ),
        click.option(
            "--calibration",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Images that the precision of fp16 graphs is decided on: up to 4, the middle of "
            "each.  [default: synthetic scenes]",
        ),
        click.option("--name", help="Name of the bundle.  [default: the command's]"),
        click.option("--force", is_flag=True, help="Replace a bundle that is there."),
    ]


def _export(
    preset: Preset,
    *,
    checkpoints: Path | None,
    output: Path,
    sam: Path | None,
    detector: Path | None,
    clip: Path | None,
    force: bool,
    **choices: Any,
) -> None:
    from t2s_export.checkpoints import default_folder

    options = ExportOptions(**choices)
    named: dict[Kind, Path | None] = {"detector": detector, "sam": sam, "clip": clip}
    with needs_extra():
        from t2s_export.official.export import export_official
    progress = ExportProgress(_SHARES)
    try:
        export_official(
            preset,
            checkpoints or default_folder(),
            output,
            options,
            chosen={kind: path for kind, path in named.items() if path is not None},
            replace_existing=force,
            progress=progress.built,
            starting=progress.starting,
        )
        progress.end()
    finally:
        progress.close()
    click.echo(f"wrote {output}")
