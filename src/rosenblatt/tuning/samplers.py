"""Propose the hyperparameters of new trials with Optuna's samplers, from a space and the scores of earlier trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from rosenblatt.errors import SpecError, ignore_warnings
from rosenblatt.spec.dimensions import Choice, Dimension, Integer, LogUniform
from rosenblatt.spec.hyperparameters import format_value
from rosenblatt.spec.scoring import Direction
from rosenblatt.spec.search import SearchSpec
from rosenblatt.tuning.combinations import combinations
from rosenblatt.tuning.space import Space

MAX_HISTORY = 200  # trials that tpe and gp use, half of them the best and half the latest; their cost grows with it
N_STARTUP_TRIALS = 10  # random trials before the first proposal of tpe and gp
MAX_REPEATS = 10  # repeated proposals in a row, after which a random combination is proposed that is new
MIN_IMPORTANCE_TRIALS = 8  # number of trials from which on importances are computed


@dataclass
class Observation:
    """A proposed trial and its scores, as a sampler sees it."""

    params: dict[str, Any]
    score: float | None = None  # latest score, or None before the first
    n_parameters: int = 0
    state: TrialState = TrialState.RUNNING
    curve: dict[int, float] = field(default_factory=dict)  # scores by epoch


class Sampler:
    """Proposes values for the dimensions of a space."""

    def __init__(self, search: SearchSpec, space: Space, seed: int, direction: Direction) -> None:
        self._search, self._space, self._seed, self._direction = search, space, seed, direction
        self._distributions = {name: _distribution(d) for name, d in space.dimensions.items()}
        self._multi_objective = search.goal == "score_and_size"
        self._generation = 0  # number of times the study was rebuilt
        self._study = self._new_study()
        self._running: dict[int, optuna.Trial] = {}
        self._n_new_results, self._proposed = 0, dict[tuple[tuple[str, str], ...], Observation]()  # by `_key`
        self.observations: dict[int, Observation] = {}  # by trial; rejected proposals have negative numbers

    def ask(self, number: int) -> dict[str, Any] | None:
        """Propose values for a trial, or None if everything in the space has been proposed."""
        if self._search.sampler != "grid":
            for _ in range(MAX_REPEATS):
                with ignore_warnings():  # a sampler may warn that it falls back to another
                    trial = self._study.ask()
                    params = self._suggest(trial)
                if _key(params) not in self._proposed:
                    self._running[number] = trial
                    self.enqueue(number, params)
                    return params
                self._tell_repeated(trial, self._proposed[_key(params)])
        rng = np.random.default_rng([self._seed, len(self.observations)])
        all_params = combinations(self._space, rng, on_grid=self._search.sampler == "grid")
        new_params = next((params for params in all_params if _key(params) not in self._proposed), None)
        if new_params is not None:
            self.enqueue(number, new_params)
        return new_params

    def _tell_repeated(self, trial: optuna.Trial, earlier: Observation) -> None:
        """Give the study the score of the earlier trial again, as if it had been repeated."""
        if earlier.score is None or earlier.state == TrialState.FAIL:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        repeated = self._to_frozen_trial(earlier)
        for epochs, score in repeated.intermediate_values.items():
            trial.report(score, epochs)
        self._study.tell(trial, repeated.values, state=repeated.state)

    def enqueue(self, number: int, params: dict[str, Any]) -> None:
        """Add a trial that was not proposed by this sampler."""
        params = {name: tuple(value) if isinstance(value, list) else value for name, value in params.items()}
        self.observations[number] = self._proposed[_key(params)] = Observation(params)

    def tell(self, number: int, score: float, epochs: int, n_parameters: int, finished: bool) -> None:
        """Set the score of a trial after a number of epochs; called at each rung of a trial."""
        observation = self.observations.get(number)
        if observation is None:
            return
        observation.score, observation.n_parameters = score, n_parameters
        observation.state = TrialState.COMPLETE if finished else TrialState.PRUNED
        observation.curve[epochs] = score
        trial = self._running.pop(number, None)
        frozen_trial = self._to_frozen_trial(observation)
        if trial is not None and trial.study is self._study:
            if not self._multi_objective:
                trial.report(score, epochs)
            values = frozen_trial.values if frozen_trial.state == TrialState.COMPLETE else None
            self._study.tell(trial, values, state=frozen_trial.state)
        elif self._search.sampler not in ("cma_es", "nsga2"):  # these use only trials that they proposed
            self._study.add_trial(frozen_trial)
        self._n_new_results += 1
        has_new_history = self._n_new_results >= MAX_HISTORY // 2 and len(self.observations) > MAX_HISTORY
        if self._search.sampler in ("tpe", "gp") and has_new_history:
            self._rebuild_study()

    def fail(self, number: int) -> None:
        """Mark a trial as failed."""
        observation = self.observations.get(number)
        if observation is not None:
            observation.state = TrialState.FAIL
            trial = self._running.pop(number, None)
            if trial is not None and trial.study is self._study:
                self._study.tell(trial, state=TrialState.FAIL)

    def replace(self, number: int, params: dict[str, Any]) -> None:
        """Use other values for a trial than those that were proposed, which may be proposed again."""
        self._proposed.pop(_key(self.observations[number].params), None)
        self.fail(number)
        self.enqueue(number, params)

    def reject(self, number: int) -> None:
        """Reject a proposal that cannot be trained: it is not proposed again, and its number is free."""
        self.fail(number)
        if number in self.observations:
            self.observations[min([*self.observations, 0]) - 1] = self.observations.pop(number)

    @property
    def study(self) -> optuna.Study:
        """All trials as an Optuna study: final scores as values, scores at earlier rungs as intermediate values."""
        study = create_study(self._directions())
        for number, observation in self.observations.items():
            if observation.state != TrialState.RUNNING and number >= 0:
                study.add_trial(self._to_frozen_trial(observation, keep_pruned=True))
        return study

    def importance(self) -> dict[str, float]:
        """Importance of each hyperparameter for good scores, most important first (PED-ANOVA: Watanabe et al. 2023).

        Empty if too few trials have a score.
        """
        scored = self._scored_observations()
        names = [name for name in self._distributions if all(name in observation.params for observation in scored)]
        names = [name for name in names if len({format_value(observation.params[name]) for observation in scored}) > 1]
        if len(scored) < MIN_IMPORTANCE_TRIALS or not names:
            return {}
        study = create_study([self._direction])
        for observation in scored:
            completed = Observation(observation.params, observation.score, state=TrialState.COMPLETE)
            study.add_trial(self._to_frozen_trial(completed, single_objective=True))
        with ignore_warnings():
            importances = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), params=names
            )
        return dict(sorted(importances.items(), key=lambda item: -item[1]))

    def _scored_observations(self) -> list[Observation]:
        return [observation for observation in self.observations.values() if observation.score is not None]

    def _directions(self) -> list[Direction]:
        return [self._direction, Direction.MINIMIZE] if self._multi_objective else [self._direction]

    def _new_study(self) -> optuna.Study:
        seed = int(np.random.default_rng([self._seed, self._generation]).integers(2**31))
        with ignore_warnings():
            sampler = _sampler(self._search, self._space, seed)
        return create_study(self._directions(), sampler)

    def _rebuild_study(self) -> None:
        """Start a new study from the best and the latest trials."""
        self._generation, self._n_new_results = self._generation + 1, 0
        self._study = self._new_study()
        scored = self._scored_observations()
        best = sorted(scored, key=lambda observation: -self._direction.to_maximize(observation.score or 0.0))
        selected = {id(observation) for observation in (*best[: MAX_HISTORY // 2], *scored[-(MAX_HISTORY // 2) :])}
        for observation in scored:
            if id(observation) in selected:
                self._study.add_trial(self._to_frozen_trial(observation))

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for name, dimension in self._space.dimensions.items():
            if not self._space.is_active(name, params):
                continue
            if isinstance(dimension, Choice):
                text = trial.suggest_categorical(name, [_to_optuna(value) for value in dimension.values])
                params[name] = next(value for value in dimension.values if _to_optuna(value) == text)
            elif isinstance(dimension, Integer):
                params[name] = trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
            else:
                is_log = isinstance(dimension, LogUniform)
                params[name] = trial.suggest_float(name, dimension.low, dimension.high, log=is_log)
        return params

    def _to_frozen_trial(
        self, observation: Observation, keep_pruned: bool = False, single_objective: bool = False
    ) -> FrozenTrial:
        """Convert to Optuna's form; samplers that ignore pruned trials get them as complete ones."""
        state, values = observation.state, [float(observation.score or 0.0)]
        ignores_pruned = self._multi_objective or self._search.sampler == "cma_es"
        if state == TrialState.PRUNED and ignores_pruned and not keep_pruned:
            state = TrialState.COMPLETE
        if self._multi_objective and not single_objective:
            values.append(float(observation.n_parameters))
        return create_trial(
            state=state,
            values=values if state == TrialState.COMPLETE else None,
            params={name: _to_optuna(value) for name, value in observation.params.items()},
            distributions={name: self._distributions[name] for name in observation.params},
            intermediate_values={} if self._multi_objective else dict(observation.curve),
        )


def create_study(directions: Iterable[Direction], sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    """Create a study without Optuna's message about it; the verbosity of Optuna's logger stays the user's."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        return optuna.create_study(directions=[direction.value for direction in directions], sampler=sampler)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _key(params: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, format_value(value)) for name, value in params.items())


def _to_optuna(value: Any) -> Any:
    """Convert a value to a type that Optuna supports: lists become text."""
    return format_value(value) if isinstance(value, tuple) else value


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution([_to_optuna(value) for value in dimension.values])
    if isinstance(dimension, Integer):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=isinstance(dimension, LogUniform))


def _sampler(search: SearchSpec, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    samplers = optuna.samplers
    if search.sampler in ("random", "grid"):  # a grid needs no study
        return samplers.RandomSampler(seed)
    if search.sampler == "quasi_random":
        return samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
    if search.sampler == "tpe":
        conditional = any(
            dimension.when or not space.is_active(name, {}) for name, dimension in space.dimensions.items()
        )
        return samplers.TPESampler(
            seed=seed, multivariate=True, group=conditional, n_startup_trials=N_STARTUP_TRIALS, constant_liar=True
        )
    if search.sampler == "gp":
        if find_spec("torch") is None:
            raise SpecError("The sampler gp needs PyTorch, which is not installed. Run pip install torch, or use tpe.")
        return samplers.GPSampler(seed=seed, n_startup_trials=N_STARTUP_TRIALS)
    if search.sampler == "cma_es":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return samplers.NSGAIISampler(seed=seed, population_size=24)
