"""Memory of a search: frees networks and encoded tables when they exceed the limit."""

from __future__ import annotations

from rosenblatt.models.prepared import PreparedData, encoding_key
from rosenblatt.tuning.history import SearchHistory
from rosenblatt.tuning.plan import SearchPlan

MAX_KEPT_TRIALS = 40  # finished trials, and paused trials, whose networks are kept


class SearchMemory:
    """Memory that the networks and the encoded tables of a search use."""

    def __init__(self, plan: SearchPlan, history: SearchHistory, prepared: PreparedData) -> None:
        self._plan, self._history, self._prepared = plan, history, prepared

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        used = sum(trial.folds.n_bytes for trial in self._history.active_trials) + self._prepared.bytes
        return used >= self._plan.memory_limit

    def free(self) -> None:
        """Release networks of all but the best finished and paused trials; if memory is full, of more paused trials
        and the encoded tables that no running trial uses."""
        trials = self._history.active_trials
        finished = sorted(
            (t for t in trials if t.state == "finished" and t.folds.n_bytes),
            key=lambda t: (-t.score_to_maximize, t.number),
        )
        for trial in finished[MAX_KEPT_TRIALS:]:
            self._history.discard_networks(trial)
        if self._plan.is_population_based and not self.is_full:
            return
        paused = sorted(
            (t for t in trials if t.state == "paused"), key=lambda t: (-t.rung, -t.score_to_maximize, t.number)
        )
        while paused and (len(paused) > MAX_KEPT_TRIALS or self.is_full):
            worst = paused.pop()
            self._history.stop(worst, f"not among the best at rung {worst.rung + 1}; dropped to save memory")
            self._history.discard_networks(worst)
        if self.is_full:
            self._prepared.evict_except(
                {encoding_key(trial.proposal.resolved_spec) for trial in trials if trial.state == "running"}
            )
