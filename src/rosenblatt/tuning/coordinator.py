"""Coordinate a hyperparameter search: propose trials, dispatch their folds to workers, compare scores, promote.

Workers train one fold of a trial up to one rung at a time. The parts of a search are its plan (`plan.py`), its history
(`history.py`), its sampler and stopping rule (`policy.py`), its work queue (`work_queue.py`), its memory (`memory.py`)
and its time budget (`time_budget.py`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np

from rosenblatt.errors import SpecError, format_count
from rosenblatt.models.prepared import PreparedData, ScorerFactory
from rosenblatt.spec.spec import Spec
from rosenblatt.training.population import EpochScorer
from rosenblatt.training.workers import POLL_INTERVAL_S, WorkerPool
from rosenblatt.tuning.device_workers import DeviceWorker
from rosenblatt.tuning.history import SearchHistory
from rosenblatt.tuning.memory import SearchMemory
from rosenblatt.tuning.plan import make_plan
from rosenblatt.tuning.policy import Ask, Enqueue, Fail, Promote, Reject, Report, SearchPolicy, Tell
from rosenblatt.tuning.population_based import inherit_networks, truncation_selection
from rosenblatt.tuning.progress import SearchProgress
from rosenblatt.tuning.search_state import SavedTrial, SearchState, latest_trials
from rosenblatt.tuning.stopping import make_stopping_rule
from rosenblatt.tuning.time_budget import TimeBudget
from rosenblatt.tuning.trial import Proposal, Trial
from rosenblatt.tuning.work_queue import FoldEvaluator, WorkItem, WorkQueue, WorkResult
from rosenblatt.tuning.workers import MakeWorkers, Workers, list_nodes

ROUND_SIZE = 4  # trials proposed per round of a synchronous search
QUEUE_DEPTH = 2  # work items that wait per worker, so that no worker is idle while decisions are made
MAX_QUEUE_DEPTH = 256  # the same for workers that an item takes long to reach
MAX_IDLE_FRACTION = 0.05  # of a worker's time that waiting for a proposal may cost
MAX_REJECTIONS = 1000  # rejected proposals after which a search proposes no more
PROGRESS_INTERVAL_S = 0.1  # seconds between two progress reports


class SearchCoordinator:
    """A hyperparameter search, carried out by `run`; its history can be read at any time.

    Args:
        spec: hyperparameters, search space (`spec.space`; if empty, the default space) and settings (`spec.search`).
        prepared: the data.
        scorer_factory: makes the function that scores an epoch; None to score by the validation loss.
        threads: worker threads; None for one per core.
        evaluate: called by worker threads with a trial and a fold whenever the fold has reached a rung.
        make_workers: starts the workers; by default threads on a CPU, or one stack on a GPU.

    Raises:
        SpecError: if the space does not fit the data, or a class has fewer rows than there are folds.
    """

    def __init__(
        self,
        spec: Spec,
        prepared: PreparedData,
        scorer_factory: ScorerFactory | None = None,
        threads: int | None = None,
        evaluate: FoldEvaluator | None = None,
        make_workers: MakeWorkers | None = None,
    ) -> None:
        self.prepared = prepared
        self.plan = make_plan(spec, prepared)
        self.history = SearchHistory()
        self.policy = self._make_policy()
        self.queue = WorkQueue()
        self.memory = SearchMemory(self.plan, self.history, prepared)
        self.time_budget = TimeBudget(None, 1, self.history.trials, self.plan.folds)
        self.rng = np.random.default_rng([spec.training.seed, 4])
        self.interrupted = False
        self.threads = threads
        self._ask_seconds = 0.0  # of the latest proposal
        self._scorer_factory, self._evaluate, self._make_workers = scorer_factory, evaluate, make_workers
        self._scorers: dict[str, EpochScorer] = {}

    def _make_policy(self) -> SearchPolicy:
        from rosenblatt.tuning.samplers import Sampler  # loads Optuna, in 0.2 s

        plan = self.plan
        stopping_rule = make_stopping_rule(plan.spec.search, len(plan.rungs), plan.direction)
        if plan.uses_default_space:
            stopping_rule.exempt.add(0)  # so that a search is never worse than no search
        sampler = Sampler(plan.spec.search, plan.space, plan.spec.training.seed, plan.direction)
        return SearchPolicy(sampler, stopping_rule)

    def run(
        self,
        deadline: float | None = None,
        on_progress: Callable[[SearchProgress], None] | None = None,
        save_checkpoint: Callable[[], None] | None = None,
        prediction_rows: int = 0,
    ) -> None:
        """Search until all trials have ended, time is up, or the user presses Ctrl-C. What was trained so far is kept.

        Args:
            deadline: end of the search, a `time.monotonic`, or later by the time that a cluster takes to start. It ends
                earlier by the time of refits and predictions, but not before a network was trained for an epoch.
            on_progress: called with the progress about ten times a second.
            save_checkpoint: called after trials have reached a rung, and at the end.
            prediction_rows: rows that networks predict after the search, within its time.
        """
        opened, workers, results = time.monotonic(), self.start_workers(), list[WorkResult]()
        started = time.monotonic()
        deadline = deadline and deadline + (started - opened if self._make_workers else 0.0)
        self.threads = workers.threads
        refit_rows = len(self.prepared.data.y) if self.plan.refits else 0
        self.time_budget = TimeBudget(
            deadline, workers.threads, self.history.trials, self.plan.folds, refit_rows, prediction_rows
        )
        saved_revision, last_report = self.history.revision, 0.0
        try:
            while self._dispatch(workers) or self.queue.n_in_flight:
                result = self.queue.receive(workers, self._poll_interval())
                results += [result] if result is not None else []
                if results and not (self.plan.is_synchronous and self.queue.n_in_flight):
                    self._process_results(results)
                    if save_checkpoint and self._has_progressed(saved_revision):
                        save_checkpoint()
                        saved_revision = self.history.revision
                if on_progress and time.monotonic() - last_report > PROGRESS_INTERVAL_S:
                    last_report = time.monotonic()
                    on_progress(self.progress(last_report - started, workers))
                if (self.time_budget.remaining or 0.0) < 0 and self._has_usable_result():
                    break
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            workers.close()
            self.history.wall_seconds += time.monotonic() - started
            # save first: a resumed search then repeats the work that was cut short
            if save_checkpoint:
                save_checkpoint()
            self._process_results(results + [result for result in workers.drain() if result is not None])
            self._stop_unfinished_trials()

    # Propose

    def _propose(self) -> Trial | None:
        """Propose a new trial; None if there are no more proposals."""
        history = self.history
        while not self._no_more_proposals():
            number = len(history.trials)
            params = self._next_params(number)
            if params is None:
                history.is_exhausted = True
                if history.rejections and not history.trials:
                    raise SpecError(history.rejections[0])
                return None
            try:
                return self.new_trial(number, params)
            except SpecError as error:
                history.rejections.append(str(error))
                self.policy.make(Reject(number))
                history.is_exhausted = len(history.rejections) >= MAX_REJECTIONS
                if history.is_exhausted and not history.trials:
                    raise
        return None

    def _next_params(self, number: int) -> dict[str, Any] | None:
        is_first = number == 0 and not self.history.rejections
        params = self.plan.first_params if is_first else None
        if params is None:
            started = time.perf_counter()
            params = self.policy.make(Ask(number))
            self._ask_seconds = time.perf_counter() - started
            return params
        if self.plan.space.contains(params):
            self.policy.make(Enqueue(number, params))
        return params

    def _no_more_proposals(self) -> bool:
        max_trials = self.plan.max_trials
        return self.history.is_exhausted or (max_trials is not None and len(self.history.trials) >= max_trials)

    def new_trial(self, number: int, params: dict[str, Any]) -> Trial:
        """Add a trial with these hyperparameters. Raises SpecError if they cannot be combined."""
        proposal, trials = Proposal.from_params(params, self.plan.space, self.prepared), self.history.trials
        if trials and proposal.target.output_type != trials[0].proposal.target.output_type:
            raise SpecError(
                "Losses that yield probabilities and losses that do not cannot be searched together. Remove one kind "
                "from the space."
            )
        trial = Trial.new(number, proposal, len(self.plan.folds))
        self.history.add(trial)
        return trial

    # Dispatch

    def start_workers(self) -> Workers:
        """Start the workers that the caller wants, or those of the device: threads on a CPU, one stack on a GPU."""
        if self._make_workers is not None:
            return self._make_workers(self.threads)
        device = self.plan.spec.training.device
        return WorkerPool(self.threads) if device == "cpu" else DeviceWorker(device)

    def _dispatch(self, workers: Workers) -> bool:
        """Keep the workers supplied; whether any work was submitted."""
        self.threads = self.time_budget.threads = max(workers.threads, 1)  # machines may join or be lost
        if workers.stop[0]:
            return False
        if self.plan.is_synchronous:
            return self._dispatch_round(workers)
        n_before = self.queue.n_in_flight
        max_in_flight = self.threads * (1 + self._queue_depth(workers))  # also if there is no machine at the moment
        while self.queue.n_in_flight < max_in_flight:
            if not self.queue:
                if self.queue.n_in_flight >= self.threads and not self._proposes_ahead(workers):
                    break
                trial = self._next_trial()
                if trial is None:
                    break
                self._start_rung(trial)
            if self._no_more_proposals():
                self.queue.sort_by_cost()
            workers.submit(self.queue.pop())
        return self.queue.n_in_flight > n_before

    @property
    def _item_seconds(self) -> float:
        """Mean time of a work item so far."""
        return self.history.busy_seconds / max(self.queue.n_received, 1)

    def _queue_depth(self, workers: Workers) -> int:
        """Work items that wait per worker: more where the next item takes long to arrive."""
        if not workers.latency_s or not self._item_seconds:
            return QUEUE_DEPTH
        return QUEUE_DEPTH + min(ceil(workers.latency_s / self._item_seconds), MAX_QUEUE_DEPTH)

    def _proposes_ahead(self, workers: Workers) -> bool:
        """Whether trials are proposed before a worker is free: late proposals know more scores, but cost idle time."""
        idle_seconds = self._ask_seconds * workers.threads + workers.latency_s
        return idle_seconds > MAX_IDLE_FRACTION * self._item_seconds

    def _dispatch_round(self, workers: Workers) -> bool:
        """Submit all work of a round, once the previous round is done; whether there was any."""
        if self.queue.n_in_flight:
            return False
        if not self.queue:  # otherwise a resumed search has the rest of a round
            n_new = 0
            while (trial := self._next_trial(n_new)) is not None:
                n_new += trial.rung < 0
                self._start_rung(trial)
        if self._no_more_proposals():
            self.queue.sort_by_cost()
        while self.queue:
            workers.submit(self.queue.pop())
        return self.queue.n_in_flight > 0

    def _next_trial(self, n_new: int = 0) -> Trial | None:
        """The next promoted trial, or else a new one; `n_new` counts the new trials of this round."""
        plan = self.plan
        while (number := self.policy.make(Promote(self._no_more_proposals()))) is not None:
            trial = self.history.trials[number]
            is_too_late = trial.rung + 1 == plan.last_rung and self.time_budget.cannot_finish(trial)
            if trial.state == "paused" and not is_too_late:
                return trial
        if plan.is_population_based:
            if any(trial.rung >= 0 for trial in self.history.trials):
                return None
        elif plan.is_synchronous and n_new >= ROUND_SIZE:
            return None
        has_memory = not self.queue.n_in_flight or not self.memory.is_full
        return self._propose() if has_memory and self.time_budget.allows_new_trial() else None

    def _start_rung(self, trial: Trial) -> None:
        """Queue the folds of a trial for its next rung."""
        plan, resolved_spec = self.plan, trial.proposal.resolved_spec
        rung, is_last_rung = plan.rungs[trial.rung + 1], trial.rung + 1 == plan.last_rung
        trial.state, trial.pending_folds = "running", rung.folds
        trial.rows = self.prepared.rows(resolved_spec)
        self.history.mark_changed(trial)
        epochs, scorer = rung.epochs(resolved_spec), self.epoch_scorer(trial)
        self.queue.add(
            WorkItem(trial, index, plan.folds[index], epochs, scorer, is_last_rung, self._evaluate)
            for index in range(rung.folds)
        )

    def epoch_scorer(self, trial: Trial) -> EpochScorer | None:
        """The function that scores the epochs of a trial; None to score them by the validation loss."""
        if self._scorer_factory is None:
            return None
        target = trial.proposal.target
        key = target.model_dump_json()
        if key not in self._scorers:
            self._scorers[key] = self._scorer_factory(target, self.prepared.y, self.prepared.given_weight)
        return self._scorers[key]

    def _poll_interval(self) -> float:
        """Seconds to wait for a result."""
        remaining = self.time_budget.remaining
        return POLL_INTERVAL_S if remaining is None else min(POLL_INTERVAL_S, max(remaining, 0.001))

    # Process results

    def _process_results(self, results: list[WorkResult]) -> None:
        """Process results in the order of trials, and clear the list."""
        for result in sorted(results):
            self._process_result(result)
        results.clear()

    def _process_result(self, result: WorkResult) -> None:
        """Process the result of a fold; after the last fold of a rung, compare the trial with others."""
        trial = self.history.trials[result.trial]
        self.history.mark_changed(trial)
        trial.pending_folds -= 1
        trial.statistics.seconds += result.seconds
        trial.folds.seconds[result.fold] = trial.folds.seconds.get(result.fold, 0.0) + result.seconds
        self.history.busy_seconds += result.seconds
        if result.failure and trial.state != "failed":
            trial.state, trial.reason = "failed", result.failure
            self.queue.discard(trial)
            self.policy.make(Fail(trial.number))
            self._exploit()
        trial.update_statistics()
        if trial.pending_folds:
            return
        if trial.state == "failed":
            trial.rows = None
            # the networks of the first failed trial are kept to find out why it diverged
            if any(other.state == "failed" for other in self.history.trials[: trial.number]):
                self.history.discard_networks(trial)
        elif self._rung_is_complete(trial):
            self._finish_rung(trial)

    def _rung_is_complete(self, trial: Trial) -> bool:
        """Whether all members have reached the epochs of the rung; not so if training was interrupted."""
        rung = self.plan.rungs[trial.rung + 1]
        target_epochs = rung.epochs(trial.proposal.resolved_spec)
        return all(
            member is not None and (member.finished or len(member.history) >= min(target_epochs, member.epochs))
            for member in trial.folds.members[: rung.folds]
        )

    def _finish_rung(self, trial: Trial) -> None:
        """Score a trial at its rung, and let the sampler and the stopping rule know."""
        trial.rung += 1
        rung, finished = self.plan.rungs[trial.rung], trial.rung == self.plan.last_rung
        trial.scores.append(trial.mean_score(rung.folds))
        epochs = rung.epochs(trial.proposal.resolved_spec)
        self.policy.make(Tell(trial.number, trial.score, epochs, trial.statistics.n_parameters, finished))
        trial.state, trial.rows = "finished" if finished else "paused", None
        if finished:
            trial.folds.release_training_state()
        elif not self.plan.is_population_based:
            self.policy.make(Report(trial.number, trial.rung, trial.score))
        self._exploit()
        self.memory.free()

    def _exploit(self) -> None:
        """Once the whole population has reached a rung, replace its worst trials by copies of its best."""
        if not self.plan.is_population_based:
            return
        alive = [trial for trial in self.history.trials if trial.state not in ("failed", "stopped")]
        if any(trial.state != "paused" for trial in alive):
            return
        scores, trials = {trial.number: trial.score for trial in alive}, self.history.trials
        for loser, winner in truncation_selection(scores, self.plan.direction, self.rng).items():
            inherit_networks(trials[winner], trials[loser], self.plan.space, self.prepared, self.rng)
            self.history.mark_changed(trials[loser])
        for trial in alive:
            self.policy.make(Report(trial.number, trial.rung, trial.score))

    def _has_progressed(self, revision: int) -> bool:
        """Whether trials have reached a rung or ended since a revision of the history."""
        return any(trial.state != "running" for trial in self.history.changed_since(revision))

    def _has_usable_result(self) -> bool:
        """Whether a network has been trained for an epoch, or a trial has failed."""
        return any(trial.folds.n_trained or trial.state == "failed" for trial in self.history.trials)

    def _stop_unfinished_trials(self) -> None:
        for trial in self.history.trials:
            if trial.state == "running":
                self.history.stop(trial, "interrupted")
            elif trial.state == "paused":
                self.history.stop(trial, f"not among the best at rung {trial.rung + 1}")

    # Report and resume

    @property
    def early_end(self) -> str:
        """Why the search has proposed fewer trials than were requested; empty unless it ran out of combinations."""
        history, max_trials = self.history, self.plan.max_trials
        if not history.is_exhausted:
            return ""
        limit = "its time was up" if max_trials is None else format_count(max_trials, "trial")
        if len(history.rejections) >= MAX_REJECTIONS:
            reason = f"{len(history.rejections):,} proposals could not be combined, such as: {history.rejections[0]}"
        else:
            reason = "the space has no further combination"
        return f"the search ended after {format_count(len(history.trials), 'trial')}, before {limit}: {reason}"

    def progress(
        self, seconds: float, workers: Workers | None = None, refit_progress: tuple[int, int] | None = None
    ) -> SearchProgress:
        """The progress after a number of seconds."""
        trials, deadline = self.history.trials, self.time_budget.deadline
        counts = Counter(trial.state for trial in trials)
        best = max(trials, key=lambda trial: trial.score_to_maximize, default=None)
        return SearchProgress(
            proposed=len(trials),
            running=counts["running"],
            paused=counts["paused"],
            stopped=counts["stopped"],
            finished=counts["finished"],
            failed=counts["failed"],
            total_trials=self.plan.max_trials,
            best=best.score if best is not None and np.isfinite(best.score) else None,
            steps=sum(trial.statistics.steps for trial in trials),
            seconds=seconds,
            seconds_left=None if deadline is None else max(deadline - time.monotonic(), 0.0),
            refit_progress=refit_progress,
            nodes=list_nodes(workers) if workers else (),
        )

    def state_since(self, revision: int, n_decisions: int) -> SearchState:
        """The state of the search, with the trials that changed and the decisions made after an earlier state."""
        history = self.history
        return SearchState(
            trials=[SavedTrial.from_trial(trial) for trial in history.changed_since(revision)],
            decisions=self.policy.decisions[n_decisions:],
            rejections=history.rejections,
            is_exhausted=history.is_exhausted,
            wall_seconds=history.wall_seconds,
            busy_seconds=history.busy_seconds,
            rng=dict(self.rng.bit_generator.state),
        )

    def restore(self, states: Sequence[SearchState]) -> None:
        """Bring a new search into a saved state, except for the networks of its trials."""
        for state in states:
            for decision in state.decisions:
                self.policy.make(decision)
        for saved in latest_trials(states):
            params = {name: tuple(v) if isinstance(v, list) else v for name, v in saved.params.items()}
            saved.restore(self.new_trial(saved.number, params))
        if states:
            self.history.rejections, self.history.is_exhausted = list(states[-1].rejections), states[-1].is_exhausted
            self.history.wall_seconds, self.history.busy_seconds = states[-1].wall_seconds, states[-1].busy_seconds
            self.rng.bit_generator.state = states[-1].rng

    def requeue_running_trials(self) -> None:
        """Queue the work again that was in flight when the state was saved."""
        for trial in self.history.trials:
            if trial.state == "running":
                self._start_rung(trial)

    @property
    def utilization(self) -> float:
        """Fraction of the workers' time in which they trained."""
        return self.history.busy_seconds / max(self.history.wall_seconds * (self.threads or 1), 1e-9)
