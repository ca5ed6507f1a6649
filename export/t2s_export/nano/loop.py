"""The training loop that all three stages share: schedule, EMA, resume, log and progress."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from t2s_export.nano.optimiser import MuonAdamW
from t2s_export.nano.precision import fast_bfloat16

__all__ = ["Budget", "Hyper", "Progress", "Stage", "TrainingLoop"]

BatchT = TypeVar("BatchT")


@dataclass(frozen=True)
class Hyper:
    """Optimisation of a stage.

    Attributes:
        lr: peak learning rate.
        muon_rate: factor on it for hidden matrices, which Muon trains.
        batch: frames in a lane's share of a step.
        lanes: shares of a step, each on a thread and core of its own on a CPU; their gradients
            are averaged. Two threads with a share each are faster than one share on two threads.
        warm_up: steps of linear warm-up.
        flat: share of the budget at the peak rate; a cosine to 2 % follows.
        weight_decay: on matrices only; never on norms, biases, embeddings and position tables.
        clip: largest gradient norm.
        ema: decay of the averaged weights that are validated and kept.
        mixed: compute in bfloat16 where the device has instructions for it; weights, losses and
            validation stay float32.
    """

    lr: float = 1e-3
    muon_rate: float = 1.0
    batch: int = 1
    lanes: int = 2
    warm_up: int = 200
    flat: float = 0.35
    weight_decay: float = 1e-2
    clip: float = 1.0
    ema: float = 0.999
    mixed: bool = True


class Stage(Protocol[BatchT]):
    """What a stage tells the loop."""

    name: str
    hyper: Hyper
    fresh: bool
    """Whether the weights began at random, so that what eases the first minutes applies."""

    def build(self) -> nn.Module:
        """The freshly initialised module."""

    def rate(self, name: str) -> float:
        """Factor on the learning rate of the parameter ``name``."""

    def batch(self, rng: np.random.Generator, spent: float) -> BatchT:
        """Draw one lane's batch on the CPU; depends on ``rng`` and the share spent only."""

    def count(self, batch: BatchT) -> int:
        """Number of frames in a batch."""

    def losses(self, model: nn.Module, batch: BatchT) -> tuple[Tensor, dict[str, float]]:
        """The loss to minimise and its parts for the log."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures on the validation slice; higher is better."""


@dataclass(frozen=True)
class Budget:
    """How long to train: minutes of training time, or exactly ``steps`` steps."""

    minutes: float
    steps: int | None = None

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget that is spent, 0..1."""
        done = seconds / (60 * self.minutes) if self.steps is None else step / self.steps
        return min(1.0, done)


@dataclass
class Progress:
    """Where a run stands; saved with its state.

    Attributes:
        step: optimiser steps done.
        seconds: training time without validation and saving.
        images: frames seen.
        validations: figures by time, each with ``minutes`` and ``step``.
        history: earlier runs that these weights went through.
    """

    step: int = 0
    seconds: float = 0.0
    images: int = 0
    validations: list[dict[str, float]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


class TrainingLoop(Generic[BatchT]):
    """Trains one stage within a budget.

    A run's state (weights, averaged weights, optimiser, progress) lies in ``folder/state.pt`` and
    its log in ``folder/log.jsonl``. Batch *k* of a run depends only on the seed, *k* and
    the share of the budget spent, so a resumed run sees what an unbroken one would have seen.

    Args:
        stage: what to train.
        folder: run folder of this stage.
        budget: when to stop.
        device: where to train.
        seed: seed of weights and batches.
        workers: threads that prepare batches.
    """

    def __init__(
        self,
        stage: Stage[BatchT],
        folder: Path,
        budget: Budget,
        device: torch.device,
        seed: int = 0,
        workers: int = 1,
    ) -> None:
        self.stage, self.folder, self.budget = stage, folder, budget
        self.device, self.seed, self.workers = device, seed, workers
        self.mixed = stage.hyper.mixed and fast_bfloat16(device)
        torch.manual_seed(seed)
        self.model = stage.build().to(device)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        hyper = stage.hyper
        self.optimiser = MuonAdamW(
            self.model, hyper.lr, hyper.weight_decay, stage.rate, hyper.muon_rate
        )
        self.progress = Progress()
        self._replicas = [self._replica() for _ in range(stage.hyper.lanes)]
        threads = min(stage.hyper.lanes, os.cpu_count() or 1) if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(threads)
        folder.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Forget an earlier run in this folder."""
        for name in ("state.pt", "log.jsonl"):
            (self.folder / name).unlink(missing_ok=True)

    def save_state(self) -> None:
        """Write the run's state; the file appears whole or not at all."""
        partial = self.folder / "state.pt.partial"
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "progress": vars(self.progress),
                "seed": self.seed,
            },
            partial,
        )
        os.replace(partial, self.folder / "state.pt")

    def resume(self) -> bool:
        """Take up the run folder's latest state; False where there is none."""
        path = self.folder / "state.pt"
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])
        self.seed = state["seed"]
        self.stage.fresh = not self.progress.history
        return True

    def start_from(self, weights: Callable[[nn.Module], None]) -> None:
        """Begin a new run from given weights instead of random ones."""
        self.stage.fresh = False
        weights(self.model)
        self.average.load_state_dict(self.model.state_dict())

    @property
    def spent(self) -> float:
        """Share of the budget that is spent, 0..1."""
        return self.budget.progress(self.progress.step, self.progress.seconds)

    def rate_factor(self) -> float:
        """Warm-up, flat, cosine: factor on the peak learning rate now."""
        hyper = self.stage.hyper
        warm = min(1.0, (self.progress.step + 1) / hyper.warm_up)
        spent = self.spent
        if spent < hyper.flat:
            return warm
        phase = (spent - hyper.flat) / (1 - hyper.flat)
        return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * phase)))

    def _replica(self) -> nn.Module:
        """A module with the same weights in memory and gradients of its own."""
        replica = copy.deepcopy(self.model)
        mine = [*replica.parameters(), *replica.buffers()]
        for own, shared in zip(
            mine, [*self.model.parameters(), *self.model.buffers()], strict=True
        ):
            own.data = shared.data
        return replica

    def _lane(self, lane: int, batch: BatchT) -> dict[str, float]:
        """Forward and backward of one share of the step; gradients stay in the replica."""
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # of this thread
        model = self._replicas[lane].train()
        model.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            loss, parts = self.stage.losses(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": float(loss.detach()), **parts}

    def step(self, batches: Sequence[BatchT]) -> dict[str, float]:
        """One optimiser step; a step with a gradient that is no number is skipped."""
        hyper, factor = self.stage.hyper, self.rate_factor()
        for group in self.optimiser.param_groups:
            group["lr"] = hyper.lr * factor * group["rate"]
        results = list(self._pool.map(self._lane, range(len(batches)), batches))
        columns = zip(*(r.parameters() for r in self._replicas), strict=True)
        for own, column in zip(self.model.parameters(), columns, strict=True):
            gradients = [p.grad for p in column if p.grad is not None]
            own.grad = sum(gradients[1:], gradients[0]) / len(batches) if gradients else None
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), hyper.clip)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        decay = min(hyper.ema, (1 + self.progress.step) / (10 + self.progress.step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.model.parameters()), 1 - decay
            )
        self.progress.step += 1
        self.progress.images += sum(self.stage.count(batch) for batch in batches)
        parts = {k: float(np.mean([r[k] for r in results])) for k in results[0]}
        return {**parts, "norm": float(norm), "lr": hyper.lr * factor}

    def _batches(self) -> Iterator[list[BatchT]]:
        """Batches from the current step on, prepared ahead by worker threads."""
        lanes = self.stage.hyper.lanes

        def draw(step: int, spent: float) -> list[BatchT]:
            return [
                self.stage.batch(np.random.default_rng([self.seed, step, lane]), spent)
                for lane in range(lanes)
            ]

        with ThreadPoolExecutor(self.workers) as pool:
            ahead: list[Future[list[BatchT]]] = []
            step = self.progress.step
            try:
                while True:
                    while len(ahead) < 2 * self.workers:
                        spent = self.budget.progress(step, self.progress.seconds)
                        ahead.append(pool.submit(draw, step, spent))
                        step += 1
                    yield ahead.pop(0).result()
            finally:
                for future in ahead:
                    future.cancel()

    def run(
        self,
        on_step: Callable[[Progress, float, dict[str, float]], None],
        on_validation: Callable[[dict[str, float]], None],
        validate_minutes: float = 5.0,
        log_steps: int = 20,
    ) -> Progress:
        """Train until the budget is spent.

        Args:
            on_step: called after each step with the progress, the share spent and the means of
                the log's figures since the last log line.
            on_validation: called with the figures after each validation, the last included.
            validate_minutes: training minutes between validations.
            log_steps: steps between lines of the log.
        """
        recent: list[dict[str, float]] = []
        next_validation = self.progress.seconds + 60 * validate_minutes
        batches = self._batches()
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            while self.spent < 1:
                start = time.perf_counter()
                recent.append(self.step(next(batches)))
                self.progress.seconds += time.perf_counter() - start
                keys = recent[-1].keys()
                means = {k: float(np.mean([r[k] for r in recent if k in r])) for k in keys}
                spent = self.spent
                on_step(self.progress, spent, means)
                if self.progress.step % log_steps == 0:
                    self._write(log, means)
                    recent = []
                if self.progress.seconds >= next_validation and spent < 1:
                    next_validation += 60 * validate_minutes
                    self._validate(log, on_validation)
            batches.close()  # type: ignore[attr-defined]
            self._validate(log, on_validation)
        return self.progress

    def _write(self, log: Any, values: dict[str, float]) -> None:
        where = {"step": self.progress.step, "minutes": self.progress.seconds / 60}
        log.write(json.dumps({**where, "images": self.progress.images, **values}) + "\n")
        log.flush()

    def _validate(self, log: Any, on_validation: Callable[[dict[str, float]], None]) -> None:
        with torch.no_grad():
            figures = self.stage.validate(self.average)
        where = {"step": float(self.progress.step), "minutes": self.progress.seconds / 60}
        self.progress.validations.append({**where, **figures})
        self._write(log, {f"val_{name}": value for name, value in figures.items()})
        self.save_state()
        on_validation(figures)
