"""Train nano: ``python -m t2s_export.nano.train``.

From nothing but synthetic scenes: scenes are rendered once into the run folder, then each stage
trains its model and writes its checkpoint. Averaged weights are written at every validation, so a
broken-off run leaves a usable checkpoint. A stage is at most 40 minutes on two CPU cores;
``--resume`` takes up a broken-off run, and after a finished one starts the next from its
checkpoint, which keeps the history of all.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import click
import torch

from t2s_export.architectures.clip import Clip
from t2s_export.checkout import source_checkout
from t2s_export.nano.checkpoints import (
    CHECKPOINT_DIR,
    STAGES,
    CheckpointInfo,
    StageName,
    checkpoint_path,
    load,
    load_into,
    read_info,
    save,
)
from t2s_export.nano.clip_stage import ClipStage
from t2s_export.nano.curves import draw_curves
from t2s_export.nano.data import ShardSet, prepare_shards
from t2s_export.nano.detector_stage import DetectorStage
from t2s_export.nano.loop import Budget, Progress, Stage, TrainingLoop
from t2s_export.nano.models import nano_config
from t2s_export.nano.report import Reporter
from t2s_export.nano.sam_stage import SamStage
from t2s_rt.errors import BackendError, T2SError, UsageError

__all__ = ["TrainOptions", "train_stage"]

DEFAULT_MINUTES = 40.0
DEFAULT_SCENES = 2400
_ROOT = source_checkout()


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Options of a training run.

    Attributes:
        minutes: training time of the stage.
        steps: exact number of steps instead of minutes.
        device: ``auto``, ``cpu`` or ``cuda``.
        resume: take up the run folder's state; without one start from the committed checkpoint.
        runs: folder of states, logs and rendered scenes.
        checkpoints: where checkpoints are read and written.
        images: where the curves go, None for nowhere.
        scenes: number of rendered training scenes.
        seed: seed of weights and batches.
        validate_minutes: training minutes between validations.
    """

    minutes: float = DEFAULT_MINUTES
    steps: int | None = None
    device: str = "auto"
    resume: bool = False
    runs: Path = Path("runs")
    checkpoints: Path = CHECKPOINT_DIR
    images: Path | None = _ROOT / "docs" / "images"
    scenes: int = DEFAULT_SCENES
    seed: int = 0
    validate_minutes: float = 5.0


def _device(name: str) -> torch.device:
    """The device of a name; ``auto`` is CUDA where there is one."""
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise BackendError(
            "--device cuda: expected a CUDA device, found none; use --device cpu or auto"
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and present) else "cpu")


def _prepared_loop(
    name: StageName, stage: Stage[Any], budget: Budget, device: torch.device, options: TrainOptions
) -> TrainingLoop[Any]:
    """A loop at its start, at an unfinished run's state, or at the checkpoint's weights."""

    def fresh() -> TrainingLoop[Any]:
        folder, workers = options.runs / name, 1 if device.type == "cpu" else 8
        return TrainingLoop(stage, folder, budget, device, options.seed, workers)

    loop = fresh()
    if options.resume and loop.resume():
        if loop.spent < 1:
            return loop
        loop = fresh()  # that run is over: a new one goes on from its checkpoint
    loop.clear()
    if options.resume and checkpoint_path(name, options.checkpoints).is_file():
        loop.start_from(lambda model: load_into(model, name, options.checkpoints))
        loop.progress.history = list(read_info(name, options.checkpoints).history)
    return loop


def _stage(name: StageName, shards: ShardSet, checkpoints: Path) -> Stage[Any]:
    """What a stage trains; SAM needs CLIP's checkpoint to start from."""
    if name == "sam":
        return SamStage(shards, trunk=cast(Clip, load("clip", checkpoints)))
    return cast(Stage[Any], {"detector": DetectorStage, "clip": ClipStage}[name](shards))


def train_stage(name: StageName, options: TrainOptions) -> Progress:
    """Train one stage, write its checkpoint and its curves.

    Raises:
        UsageError: options that cannot be met.
        BackendError: no such device.
        BundleError: ``resume`` without a run state and with an unusable checkpoint; no
            checkpoint of CLIP to start SAM from.
    """
    device = _device(options.device)
    with Reporter(name) as reporter:
        folder = prepare_shards(options.runs, options.scenes, progress=reporter.rendering)
        stage = _stage(name, ShardSet(folder), options.checkpoints)
        loop = _prepared_loop(name, stage, Budget(options.minutes, options.steps), device, options)
        version = ShardSet(folder).generator_version

        def keep(figures: dict[str, float]) -> None:
            reporter.validation(figures)
            run = {
                "minutes": round(loop.progress.seconds / 60, 2),
                "budget_minutes": options.minutes,
                "steps": loop.progress.step,
                "images": loop.progress.images,
                "scenes": options.scenes,
                "device": device.type,
                "precision": "bfloat16" if loop.mixed else "float32",
                "seed": options.seed,
                "generator_version": version,
                "validation": {k: round(v, 4) for k, v in figures.items()},
            }
            config = dataclasses.asdict(nano_config(name))
            runs = (*loop.progress.history, run)
            save(loop.average, CheckpointInfo(name, version, config, runs), options.checkpoints)
            if options.images is not None:
                png = options.images / f"nano_{name}_curves.png"
                draw_curves(loop.folder / "log.jsonl", png, f"nano {name}")

        return loop.run(reporter.step, keep, options.validate_minutes)


@click.command(context_settings={"show_default": True})
@click.option("--stage", type=click.Choice([*STAGES, "all"]), default="all", help="What to train.")
@click.option(
    "--minutes", type=float, default=DEFAULT_MINUTES, help="Training minutes of each stage."
)
@click.option("--steps", type=int, help="Train exactly so many steps instead of minutes.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--resume", is_flag=True, help="Go on from the run folder, else the checkpoint.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Run folder.")
@click.option(
    "--checkpoints", type=click.Path(path_type=Path), default=CHECKPOINT_DIR, help="Output folder."
)
@click.option(
    "--images", type=click.Path(path_type=Path), default=_ROOT / "docs" / "images", help="Curves."
)
@click.option("--scenes", type=click.IntRange(min=4), default=DEFAULT_SCENES, help="Scenes.")
@click.option("--seed", type=int, default=0)
@click.option("--validate-minutes", type=float, default=5.0, help="Minutes between validations.")
def main(stage: str, minutes: float, steps: int | None, **rest: Any) -> None:
    """Train nano's models from scratch on synthetic scenes."""
    options = TrainOptions(minutes=minutes, steps=steps, **rest)
    names = STAGES if stage == "all" else (cast(StageName, stage),)
    try:
        if minutes <= 0:
            raise UsageError(f"--minutes: expected more than 0, found {minutes}; give e.g. 40")
        for name in names:
            train_stage(name, options)
    except T2SError as error:
        click.echo(f"t2s_export.nano.train: {error}", err=True)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
