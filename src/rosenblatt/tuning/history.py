"""History of a search: its trials, its rejected proposals, its duration, and which trials changed when."""

from __future__ import annotations

from rosenblatt.tuning.trial import Trial

MIN_ACTIVE = 100  # trials that are looked at without removing those that have ended


class SearchHistory:
    """Everything a search has done so far."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.rejections: list[str] = []  # why proposals were rejected
        self.is_exhausted = False  # whether the sampler has no more proposals
        self.wall_seconds = 0.0  # duration of the search
        self.busy_seconds = 0.0  # time its workers trained, summed over workers
        self.revision = 0  # number of changes so far
        self._active: dict[int, Trial] = {}  # trials that were active when they last changed, by number
        self._max_active = MIN_ACTIVE  # size from which on others are removed
        self._revisions: dict[int, int] = {}  # revision of the last change, by trial, in order of revision

    def add(self, trial: Trial) -> None:
        """Add a new trial."""
        self.trials.append(trial)
        self.mark_changed(trial)

    def mark_changed(self, trial: Trial) -> None:
        """Note that a trial has changed, so that it is saved again."""
        self.revision += 1
        self._revisions.pop(trial.number, None)
        self._revisions[trial.number] = self.revision
        self._active[trial.number] = trial

    @property
    def active_trials(self) -> list[Trial]:
        """All trials that may be trained further or have networks, in any order, and few others."""
        if len(self._active) > self._max_active:
            self._active = {number: trial for number, trial in self._active.items() if _is_active(trial)}
            self._max_active = 2 * len(self._active) + MIN_ACTIVE
        return list(self._active.values())

    def changed_since(self, revision: int) -> list[Trial]:
        """Trials that have changed after a revision, by number."""
        numbers = []
        for number, changed_at in reversed(self._revisions.items()):
            if changed_at <= revision:
                break
            numbers.append(number)
        return [self.trials[number] for number in sorted(numbers)]

    def discard_networks(self, trial: Trial) -> None:
        """Release the networks of a trial."""
        trial.folds.discard_networks()
        self.mark_changed(trial)

    def stop(self, trial: Trial, reason: str) -> None:
        """End a trial before its last rung."""
        trial.state, trial.reason = "stopped", reason
        self.mark_changed(trial)


def _is_active(trial: Trial) -> bool:
    """Whether a trial may be trained further or has networks."""
    return trial.folds.n_bytes > 0 or trial.pending_folds > 0 or trial.state in ("running", "paused")
