"""Coordinate a hyperparameter search: propose trials, dispatch their folds to workers, compare scores, promote.

Worker threads train one fold of a trial up to one rung at a time; the queue keeps `QUEUE_DEPTH` work items ahead per
worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty
from typing import Any

import numpy as np

from rosenblatt.data.media.columns import media_types
from rosenblatt.errors import SpecError
from rosenblatt.models.prepared import PreparedData, ScorerFactory, encoding_key
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member
from rosenblatt.training.population import EpochScorer
from rosenblatt.training.recipes import make_training_config
from rosenblatt.training.state import TrainingConfig
from rosenblatt.training.workers import POLL_INTERVAL_S, WorkerPool
from rosenblatt.tuning.default_spaces import default_space
from rosenblatt.tuning.device_workers import DeviceWorker
from rosenblatt.tuning.planning import check_search, make_folds, make_rungs, memory_limit, should_refit
from rosenblatt.tuning.population_based import perturb, truncation_selection
from rosenblatt.tuning.samplers import Sampler
from rosenblatt.tuning.space import Space
from rosenblatt.tuning.stopping import make_stopping_rule
from rosenblatt.tuning.time_budget import TimeBudget
from rosenblatt.tuning.trials import Trial, WorkItem, WorkResult

DEFAULT_TRIALS = 100  # where only a space is given
DEFAULT_POPULATION = 16  # trials of population-based training, where their number is not given
ROUND_SIZE = 16  # trials that are proposed together where all is decided in rounds
QUEUE_DEPTH = 2  # work that waits for each thread, so that none is idle while the coordinator thinks
MAX_REJECTIONS = 1000  # proposals that cannot be combined, after which no more are made
PROGRESS_INTERVAL_S = 0.1  # seconds between two looks at how far it has come
MAX_KEPT_TRIALS = 40  # finished trials whose networks are kept, for the ensemble


@dataclass(frozen=True)
class SearchProgress:
    """How far a search has come."""

    proposed: int
    running: int
    paused: int
    stopped: int
    finished: int
    failed: int
    total_trials: int | None  # trials there will be, where that is known
    best: float  # score so far; higher is better
    steps: int
    seconds: float
    seconds_left: float | None  # seconds, where there is an end
    refit_progress: tuple[int, int] | None = None  # networks that were trained again on all rows, and how many will be


class SearchCoordinator:
    """A search, which `run` carries out; its trials can be read at any time.

    Args:
        spec: hyperparameters, what is searched (`spec.space`, or else the default space), how (`spec.search`).
        scorer_factory: makes what scores an epoch; else the loss does.

    Raises:
        SpecError: for a space that does not fit, or more folds than there are rows of a class.
    """

    def __init__(
        self,
        spec: Spec,
        prepared: PreparedData,
        scorer_factory: ScorerFactory | None = None,
        threads: int | None = None,
    ) -> None:
        rows, target = len(prepared.data.y), prepared.target(spec)
        self.uses_default_space = not spec.space
        if self.uses_default_space:
            media = media_types(prepared.data.frame)
            spec = spec.model_copy(update={"space": default_space(spec, target.task, rows, media)})
        check_search(spec)
        self.spec, self.search_spec, self.prepared = spec, spec.search, prepared
        self.space = Space.from_spec(spec)
        self.folds = make_folds(spec, prepared)
        self.refits_at_end = should_refit(spec, self.folds, prepared)
        self.rungs = make_rungs(spec, self.folds, prepared.resolve(self.space.base)["epochs"])
        self._stopping = make_stopping_rule(self.search_spec, len(self.rungs))
        self.sampler = Sampler(self.search_spec, self.space, spec.training.seed)
        if self.uses_default_space:
            self._stopping.exempt.add(0)  # so that a search is never worse than no search
        self._decision_handlers: dict[str, Callable[..., Any]] = {
            name: getattr(self.sampler, name) for name in ("ask", "enqueue", "tell", "fail", "reject")
        } | {name: getattr(self._stopping, name) for name in ("report", "next_promotion")}
        self.trials: list[Trial] = []
        self.rejected_proposals: list[str] = []  # proposals that cannot be combined, and why
        self.decisions: list[list[Any]] = []  # what sampler and stopping were asked, in its order
        self.rng = np.random.default_rng([spec.training.seed, 4])
        self.unsaved_trials: set[int] = set()  # trials that changed since whoever keeps them kept them
        self.interrupted = self.exhausted = False
        self.wall_seconds = self.busy_seconds = 0.0  # seconds: of the search, and of its threads' work
        self._scorer_factory, self._epoch_scorers = scorer_factory, dict[str, EpochScorer]()
        self._n_threads, self._queue = threads, list[tuple[Trial, int]]()
        self._in_flight = 0
        self.time_budget = TimeBudget(None, 1, self.trials, self.folds)
        self._synchronous = self.search_spec.deterministic or self.search_spec.stopping == "pbt"
        self._memory_limit = memory_limit(self.search_spec)
        self._max_trials = self.search_spec.trials
        if self._max_trials is None and self.search_spec.stopping == "pbt":
            self._max_trials = DEFAULT_POPULATION
        if self._max_trials is None and self.search_spec.minutes is None:
            self._max_trials = DEFAULT_TRIALS

    def run(
        self,
        deadline: float | None = None,
        on_progress: Callable[[SearchProgress], None] | None = None,
        save_checkpoint: Callable[[], None] | None = None,
        prediction_rows: int = 0,
    ) -> None:
        """Search until all is done, or Ctrl-C, or `deadline` (`time.monotonic`), before which time is kept to train the
        best again, where that is to be, and for networks to predict `prediction_rows` rows.

        What was learnt by then stays. Whatever the deadline, one network learns for an epoch. `save_checkpoint` is
        called whenever trials have come to a rung.
        """
        started, results = time.monotonic(), list[WorkResult]()
        pool = self.start_workers()
        refit_rows = len(self.prepared.data.y) if self.refits_at_end else 0
        self.time_budget = TimeBudget(deadline, pool.threads, self.trials, self.folds, refit_rows, prediction_rows)
        try:
            last_report = 0.0
            while self._dispatch(pool) or self._in_flight:
                result = self._receive(pool)
                results += [result] if result is not None else []
                if results and (not self._synchronous or not self._in_flight):
                    self._process_results(results)
                    if save_checkpoint and any(
                        self.trials[number].state != "running" for number in self.unsaved_trials
                    ):
                        save_checkpoint()
                if time.monotonic() - last_report > PROGRESS_INTERVAL_S:
                    last_report = time.monotonic()
                    if on_progress:
                        on_progress(self.progress(last_report - started))
                if (self.time_budget.remaining or 0.0) < 0 and self._has_usable_result():
                    break
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            pool.close()
            self.wall_seconds += time.monotonic() - started
            self.threads = pool.threads
            # before what was stopped half-way is taken up: it is done again where the search goes on
            if save_checkpoint:
                save_checkpoint()
            self._process_results(results + [result for result in pool.drain() if result is not None])
            self._stop_unfinished_trials()

    @property
    def utilization(self) -> float:
        """The share of the threads' time in which they worked."""
        return self.busy_seconds / max(self.wall_seconds * self.threads, 1e-9)

    @property
    def last_rung(self) -> int:
        """The number of the last rung."""
        return len(self.rungs) - 1

    def record_decision(self, kind: str, *arguments: Any) -> Any:
        """Ask sampler or stopping, or tell them; remembered, so that a search that goes on can ask the same again."""
        result = self._decision_handlers[kind](*arguments)
        if kind != "next_promotion" or result is not None:  # which changes nothing
            self.decisions.append([kind, *arguments])
        return result

    def requeue_running_trials(self) -> None:
        """Give out again what was given out when the state was kept."""
        for trial in self.trials:
            if trial.state == "running":
                self._start_rung(trial)

    def start_workers(self) -> WorkerPool | DeviceWorker:
        """Threads that do its work."""
        device = self.spec.training.device
        return WorkerPool(self._n_threads) if device == "cpu" else DeviceWorker(device)

    # Proposing

    def _propose(self) -> Trial | None:
        """A new trial; None where there are no more to be had."""
        while not self.exhausted and (self._max_trials is None or len(self.trials) < self._max_trials):
            number = len(self.trials)
            params = self._default_params() if number == 0 and not self.rejected_proposals else None
            if params is None:
                params = self.record_decision("ask", number)
            elif self.space.contains(params):
                self.record_decision("enqueue", number, params)
            if params is None:
                self.exhausted = True
                return None
            try:
                return self.new_trial(number, params)
            except SpecError as error:
                self.rejected_proposals.append(str(error))
                self.record_decision("reject", number)
                self.exhausted = len(self.rejected_proposals) >= MAX_REJECTIONS
                if self.exhausted and not self.trials:
                    raise
        return None

    def _default_params(self) -> dict[str, Any] | None:
        """Those of the first trial, which is that without a search, where the space holds it or is the default one."""
        values = self.space.params_from_spec(self.prepared.resolve(self.space.base))
        return values if self.uses_default_space or self.space.contains(values) else None

    def new_trial(self, number: int, params: dict[str, Any]) -> Trial:
        """A trial with these values, which is one of the search's from now on. Raises SpecError."""
        resolved_spec = self.prepared.resolve(self.space.spec(params))
        encoder, target = self.prepared.encoder(resolved_spec), self.prepared.target(resolved_spec)
        if self.trials and target.output_type != self.trials[0].target.output_type:
            raise SpecError("Losses that teach probabilities and losses that do not cannot be searched together.")
        trial = Trial(number, params, resolved_spec, encoder, target, [None] * len(self.folds))
        self.trials.append(trial)
        self.unsaved_trials.add(number)
        return trial

    # Giving out work

    def _dispatch(self, pool: WorkerPool | DeviceWorker) -> bool:
        """Give the threads work for now and a little ahead, in rounds all there is; whether there was any."""
        if pool.stop[0] or (self._synchronous and self._in_flight):
            return False
        n_before, n_started = self._in_flight, 0
        resuming = bool(self._synchronous and self._queue)  # the rest of a round whose state was kept
        while self._synchronous or self._in_flight < pool.threads * (1 + QUEUE_DEPTH):
            if not self._queue or self._synchronous:
                trial = None if resuming else self._next_trial(n_started)
                if trial is None and not self._queue:
                    break
                if trial is not None:
                    n_started += trial.rung < 0
                    self._start_rung(trial)
                    if self._synchronous:
                        continue
            if self._no_more_proposals():
                self._queue.sort(key=lambda item: -self._cost(*item))  # the longest first, so that none is last alone
            for item in self._queue if self._synchronous else [self._queue.pop(0)]:
                self._submit(pool, *item)
            if self._synchronous:
                self._queue.clear()
                break
        return self._in_flight > n_before

    def _next_trial(self, n_started: int) -> Trial | None:
        """The trial that has earned its next rung, or a new one."""
        while (number := self.record_decision("next_promotion", self._no_more_proposals())) is not None:
            trial = self.trials[number]
            is_too_late = trial.rung + 1 == self.last_rung and self.time_budget.cannot_finish(trial)
            if trial.state == "paused" and not is_too_late:
                return trial
        if self._synchronous and n_started >= ROUND_SIZE and self.search_spec.stopping != "pbt":
            return None
        if self.search_spec.stopping == "pbt" and any(trial.rung >= 0 for trial in self.trials):
            return None
        return self._propose() if self._fits_in_memory() and self.time_budget.allows_new_trial() else None

    def _start_rung(self, trial: Trial) -> None:
        """Put a trial's work for its next rung among what is ready."""
        rung = self.rungs[trial.rung + 1]
        trial.state, trial.pending_folds = "running", rung.folds
        self.unsaved_trials.add(trial.number)
        trial.rows = self.prepared.rows(trial.resolved_spec)
        self._queue += [(trial, fold) for fold in range(rung.folds)]

    def _submit(self, pool: WorkerPool | DeviceWorker, trial: Trial, fold: int) -> None:
        rung = self.rungs[trial.rung + 1]
        is_last_rung, target_epochs = trial.rung + 1 == self.last_rung, rung.epochs(trial.resolved_spec)
        self._in_flight += 1
        pool.submit(WorkItem(trial, fold, self.folds[fold], target_epochs, self._epoch_scorer(trial), is_last_rung))

    def _epoch_scorer(self, trial: Trial) -> EpochScorer | None:
        if self._scorer_factory is None:
            return None
        key = trial.target.model_dump_json()
        if key not in self._epoch_scorers:
            self._epoch_scorers[key] = self._scorer_factory(trial.target, self.prepared.y)
        return self._epoch_scorers[key]

    def _cost(self, trial: Trial, fold: int) -> float:
        """How much work this is, about."""
        member = trial.members[fold]
        n_epochs = len(member.history) if member else 0
        n_parameters = trial.n_parameters or trial.encoder.width * 256
        return (
            (self.rungs[trial.rung + 1].epochs(trial.resolved_spec) - n_epochs)
            * self.folds[fold].train.size
            * n_parameters
        )

    def _no_more_proposals(self) -> bool:
        """Whether no more trials will be proposed."""
        return self.exhausted or (self._max_trials is not None and len(self.trials) >= self._max_trials)

    # Hearing what was done

    def _receive(self, pool: WorkerPool | DeviceWorker) -> WorkResult | None:
        """What was done next; None where nothing was for a while, or where work was left out."""
        seconds_left = self.time_budget.remaining
        try:
            result: WorkResult | None = pool.get(
                POLL_INTERVAL_S if seconds_left is None else min(POLL_INTERVAL_S, max(seconds_left, 0.001))
            )
        except Empty:
            return None
        self._in_flight -= 1
        return result

    def _process_results(self, results: list[WorkResult]) -> None:
        """Note what came of work, in the order of trials."""
        for result in sorted(results):
            self._process_result(result)
        results.clear()

    def _process_result(self, result: WorkResult) -> None:
        """Note what came of a fold's work; compare the trial with others where it was the last of its rung."""
        trial = self.trials[result.trial]
        self.unsaved_trials.add(trial.number)
        trial.pending_folds -= 1
        trial.seconds += result.seconds
        self.busy_seconds += result.seconds
        if result.failure and trial.state != "failed":
            trial.state, trial.reason = "failed", result.failure
            trial.pending_folds -= sum(other is trial for other, _ in self._queue)
            self._queue = [(other, fold) for other, fold in self._queue if other is not trial]
            self.record_decision("fail", trial.number)
            self._exploit()
        trial.update_statistics()
        if trial.state == "failed":
            if not trial.pending_folds:
                trial.rows = None
                # one is looked at, at the end
                if any(other.state == "failed" for other in self.trials[: trial.number]):
                    self._discard_networks(trial)
            return
        if trial.pending_folds or not self._rung_complete(trial):
            return
        trial.rung += 1
        rung, finished = self.rungs[trial.rung], trial.rung == self.last_rung
        trial.scores.append(trial.mean_score(rung.folds))
        self.record_decision(
            "tell", trial.number, trial.score, rung.epochs(trial.resolved_spec), trial.n_parameters, finished
        )
        trial.state, trial.rows = "finished" if finished else "paused", None
        if finished:
            trial.release_training_state()
        if not finished and self.search_spec.stopping != "pbt":
            self.record_decision("report", trial.number, trial.rung, trial.score)
        self._exploit()
        self._free_memory()

    def _rung_complete(self, trial: Trial) -> bool:
        """Whether all its members have come as far as the rung asks; they have not, where they were interrupted."""
        rung = self.rungs[trial.rung + 1]
        target_epochs = rung.epochs(trial.resolved_spec)
        return all(
            member is not None and (member.finished or len(member.history) >= min(target_epochs, member.epochs))
            for member in trial.members[: rung.folds]
        )

    def _exploit(self) -> None:
        """Where a whole population has reached a rung, the worst take over networks of the best, and all go on."""
        if self.search_spec.stopping != "pbt":
            return
        alive = [trial for trial in self.trials if trial.state not in ("failed", "stopped")]
        if any(trial.state != "paused" for trial in alive):
            return
        for loser, winner in truncation_selection({trial.number: trial.score for trial in alive}, self.rng).items():
            self._copy_networks(self.trials[winner], self.trials[loser])
        for trial in alive:
            self.record_decision("report", trial.number, trial.rung, trial.score)

    def _copy_networks(self, winner: Trial, loser: Trial) -> None:
        """Have a trial go on from another's networks, with its hyperparameters a little changed."""
        self.unsaved_trials.add(loser.number)
        loser.params = perturb(self.space, winner.params, self.rng)
        loser.resolved_spec = self.prepared.resolve(self.space.spec(loser.params))
        loser.encoder, loser.target = winner.encoder, winner.target
        loser.inherited_from.append((winner.epochs, winner.number))
        loser.members = [
            member and _with_new_hyperparameters(member.copy(), loser.resolved_spec, self.rng)
            for member in winner.members
        ]

    def _has_usable_result(self) -> bool:
        """Whether some network has learnt for an epoch, or could not."""
        return any(trial.n_trained or trial.state == "failed" for trial in self.trials)

    # Memory

    def _fits_in_memory(self) -> bool:
        """Whether another trial fits into the memory; one always does where nothing runs."""
        return not self._in_flight or self._memory_used() < self._memory_limit

    def _memory_used(self) -> int:
        return sum(trial.bytes for trial in self.trials) + self.prepared.bytes

    def _free_memory(self) -> None:
        """Let go of networks that have little hope: of all but the best finished and the best paused trials; where
        memory is short, of more of those that are paused."""
        for trial in sorted((t for t in self.trials if t.state == "finished" and t.bytes), key=lambda t: -t.score)[
            MAX_KEPT_TRIALS:
        ]:
            self._discard_networks(trial)
        if self.search_spec.stopping == "pbt" and self._memory_used() < self._memory_limit:
            return
        paused = sorted((t for t in self.trials if t.state == "paused"), key=lambda t: (-t.rung, -t.score))
        while paused and (len(paused) > MAX_KEPT_TRIALS or self._memory_used() >= self._memory_limit):
            worst = paused.pop()
            worst.state, worst.reason = (
                "stopped",
                f"not among the best at rung {worst.rung + 1}; dropped to save memory",
            )
            self._discard_networks(worst)
        if self._memory_used() >= self._memory_limit:
            self.prepared.evict_except(
                {encoding_key(trial.resolved_spec) for trial in self.trials if trial.state == "running"}
            )

    def _discard_networks(self, trial: Trial) -> None:
        trial.discard_networks()
        self.unsaved_trials.add(trial.number)

    def progress(self, seconds: float, refit_progress: tuple[int, int] | None = None) -> SearchProgress:
        """How far it has come in so many seconds."""
        count = dict.fromkeys(("running", "paused", "stopped", "finished", "failed"), 0)
        for trial in self.trials:
            count[trial.state] += 1
        deadline = self.time_budget.deadline
        return SearchProgress(
            proposed=len(self.trials),
            **count,
            total_trials=self._max_trials,
            best=max((trial.score for trial in self.trials), default=float("-inf")),
            steps=sum(trial.steps for trial in self.trials),
            seconds=seconds,
            seconds_left=None if deadline is None else max(deadline - time.monotonic(), 0.0),
            refit_progress=refit_progress,
        )

    def _stop_unfinished_trials(self) -> None:
        """What is not finished is stopped."""
        for trial in self.trials:
            if trial.state in ("running", "paused"):
                self.unsaved_trials.add(trial.number)
                reason = "interrupted" if trial.state == "running" else f"not among the best at rung {trial.rung + 1}"
                trial.state, trial.reason = "stopped", reason


def _with_new_hyperparameters(member: Member, resolved_spec: Spec, rng: np.random.Generator) -> Member:
    """A member that learns on with other hyperparameters and other random numbers."""
    member.spec = resolved_spec
    if isinstance(member.config, TrainingConfig):
        member.config = make_training_config(resolved_spec, member.architecture, member.config.strata)
    member.state.counter[0] = rng.integers(2**63, dtype=np.uint64)
    return member
