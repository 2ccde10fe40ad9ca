"""Training of the networks of one spec by the workers of a search, such as those of a cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from queue import Empty

from rosenblatt.data.splits import Fold
from rosenblatt.models.prepared import PreparedData
from rosenblatt.training.member import EpochRecord, Member
from rosenblatt.training.population import EpochScorer
from rosenblatt.training.rows import Rows
from rosenblatt.training.workers import POLL_INTERVAL_S
from rosenblatt.tuning.trial import Proposal, Trial
from rosenblatt.tuning.trial_folds import TrialFolds
from rosenblatt.tuning.work_queue import WorkItem, WorkResult
from rosenblatt.tuning.workers import MakeWorkers, Workers

ITEM_DURATION_S = 5.0  # seconds of training between two states of a network that reach this machine


class NetworkTraining:
    """Trains members by workers; its method `train` is a `TrainMembers`.

    A member is a work item of some epochs at a time, so that little is lost with a machine, and progress is seen.

    Args:
        make_workers: starts the workers.
        prepared: the rows of the members.
    """

    def __init__(self, make_workers: MakeWorkers, prepared: PreparedData) -> None:
        self._make_workers, self._prepared = make_workers, prepared

    def train(
        self, members: Sequence[Member], rows: Rows, scorer: EpochScorer | None = None, threads: int | None = None
    ) -> Generator[EpochRecord, None, None]:
        """Train all members; yield a record after each epoch of a member, as `population.train`."""
        trials = [self._make_trial(number, member, rows) for number, member in enumerate(members)]
        folds = [Fold(member.state.order.copy(), member.validation) for member in members]  # sent to machines once
        workers = self._make_workers(threads)
        try:
            for trial, fold, member in zip(trials, folds, members, strict=True):
                workers.submit(
                    WorkItem(trial, 0, fold, min(member.n_epochs + 1, member.epochs), scorer, is_last_rung=False)
                )
            n_running = len(members)
            while n_running:
                result = _wait(workers)
                if result is None:
                    continue
                member, trial = members[result.trial], trials[result.trial]
                n_before = trial.statistics.epochs
                if result.failure and not member.failure:
                    member.fail(result.failure)
                trial.statistics.epochs = member.n_epochs
                is_done = bool(member.failure) or member.finished or member.n_epochs >= member.epochs
                if is_done:
                    n_running -= 1
                else:
                    n_new = max(int(ITEM_DURATION_S * (member.n_epochs - n_before) / max(result.seconds, 1e-3)), 1)
                    target_epochs = min(member.n_epochs + n_new, member.epochs)
                    workers.submit(WorkItem(trial, 0, folds[result.trial], target_epochs, scorer, is_last_rung=False))
                for record in member.history[n_before - member.n_dropped :]:
                    is_last = is_done and not member.failure and record.epoch == member.n_epochs
                    yield record._replace(member=result.trial, last=is_last)
        finally:
            workers.close()

    def _make_trial(self, number: int, member: Member, rows: Rows) -> Trial:
        """A trial with one network, as workers know it."""
        spec = member.spec
        proposal = Proposal({}, spec, self._prepared.encoder(spec), self._prepared.target(spec))
        trial = Trial(number, proposal, TrialFolds([member]), rows=rows)
        trial.statistics.epochs = member.n_epochs
        return trial


def _wait(workers: Workers) -> WorkResult | None:
    """Wait a moment for the next result."""
    try:
        result: WorkResult | None = workers.get(POLL_INTERVAL_S)
    except Empty:
        return None
    return result
