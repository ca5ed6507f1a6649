"""The loop: resumed runs equal unbroken ones; checkpoints; shards; the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from t2s_export.nano.checkpoints import CheckpointInfo, load, read_info, save
from t2s_export.nano.curves import draw_curves, read_log
from t2s_export.nano.data import ShardSet, prepare_shards
from t2s_export.nano.loop import Budget, Hyper, TrainingLoop
from t2s_export.nano.models import build_model
from t2s_export.nano.train import main
from t2s_rt.errors import BundleError, UsageError
from t2s_rt.synthetic import HELD_OUT_SEEDS, TRAINING_SEEDS, render, scene_spec


class Line:
    """A stage that fits a line: small enough to compare runs bit by bit."""

    name = "line"
    hyper = Hyper(lr=0.05, batch=4, warm_up=3, ema=0.9)

    def __init__(self) -> None:
        self.fresh = True

    def build(self) -> nn.Module:
        return nn.Linear(3, 1)

    def rate(self, name: str) -> float:
        return 1.0

    def batch(self, rng: np.random.Generator, spent: float) -> Tensor:
        return torch.from_numpy(rng.standard_normal((4, 3)).astype(np.float32))

    def count(self, batch: Tensor) -> int:
        return len(batch)

    def losses(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, dict[str, float]]:
        error = model(batch)[:, 0] - batch.sum(1) - 2
        loss = (error**2).mean()
        return loss, {"error": float(loss.detach())}

    def validate(self, model: nn.Module) -> dict[str, float]:
        weight = next(model.parameters())
        return {"closeness": float(1 / (1 + (weight - 1).abs().sum()))}


def _run(folder: Path, steps: int, total: int, resume: bool) -> TrainingLoop[Tensor]:
    loop: TrainingLoop[Tensor] = TrainingLoop(
        Line(), folder, Budget(1.0, total), torch.device("cpu"), seed=5
    )
    if resume:
        assert loop.resume()
    batches = loop._batches()
    for _ in range(steps):
        loop.step(next(batches))
    loop.save_state()
    return loop


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole = _run(tmp_path / "whole", 12, 12, resume=False)
    _run(tmp_path / "parts", 5, 12, resume=False)
    parts = _run(tmp_path / "parts", 7, 12, resume=True)
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, parts.average.state_dict()[name])
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name])
    assert parts.progress.step == 12 and parts.progress.images == 96


def test_lanes_average_their_gradients(tmp_path: Path) -> None:
    stage = Line()
    loop: TrainingLoop[Tensor] = TrainingLoop(stage, tmp_path, Budget(1.0, 10), torch.device("cpu"))
    batches = next(loop._batches())
    before = {n: p.detach().clone() for n, p in loop.model.named_parameters()}
    reference = nn.Linear(3, 1)
    reference.load_state_dict(before)
    torch.stack([stage.losses(reference, b)[0] for b in batches]).mean().backward()  # type: ignore[no-untyped-call]
    loop.step(batches)
    for name, parameter in reference.named_parameters():
        assert parameter.grad is not None
        moved = before[name] - dict(loop.model.named_parameters())[name].detach()
        assert torch.equal(moved.sign(), parameter.grad.sign())


def test_training_learns_and_logs(tmp_path: Path) -> None:
    loop: TrainingLoop[Tensor] = TrainingLoop(
        Line(), tmp_path, Budget(1.0, 120), torch.device("cpu")
    )
    seen: list[dict[str, float]] = []
    loop.run(lambda *_: None, seen.append, log_steps=10)
    lines = read_log(tmp_path / "log.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.2 * losses[0]
    assert seen[-1]["closeness"] > 0.5
    draw_curves(tmp_path / "log.jsonl", tmp_path / "curves.png", "line")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_rate_warms_up_stays_and_falls(tmp_path: Path) -> None:
    loop: TrainingLoop[Tensor] = TrainingLoop(
        Line(), tmp_path, Budget(1.0, 100), torch.device("cpu")
    )
    factors = []
    for step in range(101):
        loop.progress.step = step
        factors.append(loop.rate_factor())
    assert factors[0] == pytest.approx(1 / 3) and factors[3] == factors[30] == 1
    assert all(a >= b for a, b in zip(factors[35:], factors[36:], strict=False))
    assert factors[100] == pytest.approx(0.02)


@pytest.mark.parametrize("stage", ["detector", "sam", "clip"])
def test_checkpoints_come_back_as_they_were_in_half_precision(stage: str, tmp_path: Path) -> None:
    model = build_model(stage)
    config = json.loads(json.dumps(vars(model.config)))
    info = CheckpointInfo(stage, "9.9", config, ({"minutes": 1},))  # type: ignore[arg-type]
    save(model, info, tmp_path)
    assert read_info(info.stage, tmp_path) == info
    back = load(info.stage, tmp_path)
    assert not back.training
    for name, value in model.state_dict().items():
        found = back.state_dict()[name]
        assert found.dtype == value.dtype
        assert torch.equal(found, value.half().float() if value.is_floating_point() else value)


def test_broken_and_missing_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="train it with"):
        load("sam", tmp_path)
    (tmp_path / "sam.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="expected a safetensors file"):
        load("sam", tmp_path)
    model = build_model("clip")
    save(model, CheckpointInfo("clip", "1", vars(model.config), ()), tmp_path)
    (tmp_path / "clip.safetensors").rename(tmp_path / "sam.safetensors")
    with pytest.raises(BundleError, match="stage sam"):
        load("sam", tmp_path)
    save(model, CheckpointInfo("clip", "1", {"limbs": 4}, ()), tmp_path)
    with pytest.raises(BundleError, match=r"sizes of a clip of this version.*'limbs'"):
        load("clip", tmp_path)


def test_committed_checkpoints_load_and_are_small() -> None:
    from t2s_export.nano.checkpoints import CHECKPOINT_DIR, STAGES

    for stage in STAGES:
        load(stage)
        assert read_info(stage).history
    assert sum(p.stat().st_size for p in CHECKPOINT_DIR.glob("*.safetensors")) < 15e6


def test_shards_hold_the_generator_s_scenes(shard_folder: Path, shards: ShardSet) -> None:
    assert shards.training_count + len(shards.validation_samples()) == shards.count == 8
    sample = shards.sample(0)
    from t2s_export.nano.data import _render_scene

    again = _render_scene(TRAINING_SEEDS[0], 640)
    np.testing.assert_array_equal(sample.image, again["image"])
    np.testing.assert_array_equal(sample.instances, again["instances"])
    counts = np.bincount(sample.instances.ravel(), minlength=len(sample.pixels) + 1)[1:]
    np.testing.assert_array_equal(counts, sample.pixels)
    assert prepare_shards(shard_folder.parent, 8, size=640) == shard_folder


def test_instances_agree_with_the_scene_s_objects() -> None:
    scene = render(scene_spec(TRAINING_SEEDS[1], 256, 0.3))
    assert not set(HELD_OUT_SEEDS) & {TRAINING_SEEDS[0], TRAINING_SEEDS[-1]}
    for thing in scene.objects[:20]:
        assert int((scene.instances == thing.id).sum()) == thing.pixels


def test_too_many_scenes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="training scenes"):
        prepare_shards(tmp_path, 2)


def test_command_trains_resumes_and_refuses(shard_folder: Path, tmp_path: Path) -> None:
    base = ["--stage", "clip", "--scenes", "8", "--runs", str(tmp_path / "runs")]
    out = ["--checkpoints", str(tmp_path / "out"), "--images", str(tmp_path / "images")]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / shard_folder.name).symlink_to(shard_folder)
    runner = CliRunner()
    result = runner.invoke(main, [*base, *out, "--steps", "2", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert read_info("clip", tmp_path / "out").history[-1]["steps"] == 2
    assert (tmp_path / "images" / "nano_clip_curves.png").is_file()
    # the run is over, so the next goes on from its checkpoint
    result = runner.invoke(main, [*base, *out, "--steps", "1", "--device", "cpu", "--resume"])
    assert result.exit_code == 0, result.output
    history = read_info("clip", tmp_path / "out").history
    assert [run["steps"] for run in history] == [2, 1]
    result = runner.invoke(main, [*base, *out, "--minutes", "-1"])
    assert result.exit_code == 2 and "expected more than 0" in result.output
    if not torch.cuda.is_available():
        result = runner.invoke(main, [*base, *out, "--device", "cuda"])
        assert result.exit_code == 5 and "expected a CUDA device" in result.output
