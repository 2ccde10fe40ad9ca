"""Saved state of a search: trials without their networks, decisions, and counters, as pydantic models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from rosenblatt.tuning.policy import Decision
from rosenblatt.tuning.trial import Trial, TrialState, TrialStatistics


class SavedTrial(BaseModel):
    """A trial without its networks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    params: dict[str, Any]
    state: TrialState
    reason: str
    rung: int
    scores: list[float]
    statistics: TrialStatistics
    final_scores: list[float]
    inherited_from: list[tuple[int, int]]

    @classmethod
    def from_trial(cls, trial: Trial) -> SavedTrial:
        """The present state of a trial."""
        return cls(
            number=trial.number, params=trial.proposal.params, state=trial.state, reason=trial.reason, rung=trial.rung,
            scores=trial.scores, statistics=trial.statistics, final_scores=trial.folds.final_scores,
            inherited_from=trial.inherited_from,
        )  # fmt: skip

    def restore(self, trial: Trial) -> None:
        """Bring a new trial with these hyperparameters into this state."""
        trial.state, trial.reason, trial.rung, trial.scores = self.state, self.reason, self.rung, list(self.scores)
        trial.statistics, trial.inherited_from = self.statistics, list(self.inherited_from)
        trial.folds.final_scores = list(self.final_scores)


class SearchState(BaseModel):
    """Everything about a search that changed since the previous state, and its counters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: list[SavedTrial]
    decisions: list[Decision]
    rejections: list[str]
    is_exhausted: bool
    wall_seconds: float
    busy_seconds: float
    rng: dict[str, Any]  # state of the random generator of population-based training


def latest_trials(states: Sequence[SearchState]) -> list[SavedTrial]:
    """The last state of each trial, by number."""
    latest = {trial.number: trial for state in states for trial in state.trials}
    return [latest[number] for number in sorted(latest)]
