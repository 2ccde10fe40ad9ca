"""Settings of a search over a training function, and its result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from rosenblatt.errors import SpecError, did_you_mean
from rosenblatt.runs.store.locations import LOCAL_PLACE
from rosenblatt.runs.store.records import metric_direction
from rosenblatt.spec.scoring import Direction
from rosenblatt.tuning.function_stopping import FunctionStoppingRule
from rosenblatt.workflows.tune_record import TuneTrial


@dataclass(frozen=True)
class TuneSettings:
    """Settings of `tune`, checked when they are created. Raises SpecError."""

    trials: int
    metric: str
    direction: Literal["minimize", "maximize", "auto"]
    sampler: str
    stopping: FunctionStoppingRule
    reduction_factor: int
    minutes: float | None
    workers: int | None
    seed: int
    experiment: str
    data: Sequence[str | Path]
    reuse: bool
    store: str | None
    progress: bool | None
    on: str | None = None
    cores_per_trial: int = 1
    gpus_per_trial: int = 0

    def __post_init__(self) -> None:
        rules = get_args(FunctionStoppingRule)
        if self.direction not in ("minimize", "maximize", "auto"):
            raise SpecError(
                f"direction must be minimize, maximize or auto, but it is {self.direction!r}."
                f"{did_you_mean(str(self.direction), ('minimize', 'maximize', 'auto'))}"
            )
        if self.stopping not in rules:
            raise SpecError(
                f"stopping must be none, asha or median, but it is {self.stopping!r}."
                f"{did_you_mean(self.stopping, rules)}"
            )
        if self.reduction_factor < 2:
            raise SpecError(
                f"reduction_factor must be a whole number of at least 2, but it is {self.reduction_factor!r}."
            )
        self._check_machines()

    def _check_machines(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise SpecError(f"workers must be a whole number of at least 1, but it is {self.workers!r}.")
        if self.cores_per_trial < 1 or self.gpus_per_trial < 0:
            raise SpecError(
                "A trial needs cores_per_trial of at least 1 and gpus_per_trial of at least 0, but got "
                f"{self.cores_per_trial!r} and {self.gpus_per_trial!r}."
            )
        if self.on is None and (self.cores_per_trial, self.gpus_per_trial) != (1, 0):
            raise SpecError("cores_per_trial and gpus_per_trial are for the machines of a cluster. Add on=PLACE.")
        if self.on is not None and self.reuse:
            raise SpecError(
                "reuse=True compares with what trials read on this machine, so it cannot be combined with on=PLACE. "
                "Remove one of them; an interrupted search is resumed anyway, by `rosenblatt runs resume`."
            )

    def move_to(self, place: str) -> TuneSettings:
        """The settings of the same search at another place. Raises SpecError."""
        if place == LOCAL_PLACE:
            return replace(self, on=None, cores_per_trial=1, gpus_per_trial=0)
        return replace(self, on=place)

    @property
    def score_direction(self) -> Direction:
        """The direction, resolved from the name of the metric if it is "auto"."""
        if self.direction != "auto":
            return Direction(self.direction)
        return Direction.MINIMIZE if metric_direction(self.metric) == "min" else Direction.MAXIMIZE


@dataclass(frozen=True)
class TuneResult:
    """Result of `tune`."""

    trials: list[TuneTrial]
    metric: str
    direction: Direction
    run: str  # id of the run of the search

    @property
    def scored_trials(self) -> list[TuneTrial]:
        """Trials with a finite score."""
        return [trial for trial in self.trials if trial.score is not None and math.isfinite(trial.score)]

    @property
    def best(self) -> TuneTrial:
        """The trial with the best score. Raises SpecError if no trial has a finite score."""
        scored = self.scored_trials
        if not scored:
            reasons = {trial.reason for trial in self.trials if trial.reason}
            raise SpecError(f"No trial logged a finite {self.metric!r}. {'; '.join(sorted(reasons))[:500]}")
        return max(scored, key=lambda trial: (self.direction.to_maximize(float(trial.score or 0.0)), -trial.number))

    @property
    def best_params(self) -> dict[str, Any]:
        """The hyperparameters of the best trial."""
        return self.best.params
