"""Propose the hyperparameters of new trials with Optuna's samplers, from a space and the scores of earlier trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from rosenblatt.errors import SpecError, ignore_warnings
from rosenblatt.spec.dimensions import Choice, Dimension, Integer, LogUniform
from rosenblatt.spec.hyperparameters import format_value
from rosenblatt.spec.search import SearchSpec
from rosenblatt.tuning.space import Space

MAX_HISTORY = 200  # trials that tpe and gp are shown, whose time grows with them: the best and the latest
GRID_POINTS = 5  # of a range, on a grid
N_STARTUP_TRIALS = 10  # trials at random before tpe and gp learn from them
MAX_REPEATS = 30  # proposals in a row that were made before, after which there seem to be no others


@dataclass
class TrialRecord:
    """What a sampler knows of a proposal."""

    params: dict[str, Any]
    score: float | None = None  # higher is better; None while nothing is known
    n_parameters: int = 0  # number of parameters
    epochs: int = 0
    state: TrialState = TrialState.RUNNING
    curve: dict[int, float] = field(default_factory=dict)  # scores by epoch


class Sampler:
    """Proposes values for the dimensions of a space."""

    def __init__(self, search: SearchSpec, space: Space, seed: int) -> None:
        self._search, self._space, self._seed = search, space, seed
        self._distributions = {name: _distribution(d) for name, d in space.dimensions.items()}
        self._multi_objective = search.goal == "score_and_size"
        self._generation = 0
        self._study = self._new_study()
        self._running: dict[int, optuna.Trial] = {}
        self._n_new_results, self._proposed_keys = 0, set[tuple[tuple[str, str], ...]]()
        self.records: dict[int, TrialRecord] = {}

    def ask(self, number: int) -> dict[str, Any] | None:
        """Values for the trial of this number; None where all there are were proposed before."""
        for _ in range(MAX_REPEATS):
            with ignore_warnings():  # about samplers that fall back on others
                trial = self._study.ask()
                params = self._suggest(trial)
            if _key(params) not in self._proposed_keys:
                self._running[number] = trial
                self.enqueue(number, params)
                return params
            if self._search.sampler != "grid":
                self._study.tell(trial, state=TrialState.FAIL)
            elif self._grid_size() <= len(self._proposed_keys):
                return None
        return None

    def enqueue(self, number: int, params: dict[str, Any]) -> None:
        """Take up a trial that was not asked for, with values of the space."""
        params = {name: tuple(value) if isinstance(value, list) else value for name, value in params.items()}
        self.records[number] = TrialRecord(params)
        self._proposed_keys.add(_key(params))

    def tell(self, number: int, score: float, epochs: int, n_parameters: int, finished: bool) -> None:
        """What score a trial has after some epochs, and whether that is its last; scores may be told again later."""
        record = self.records.get(number)
        if record is None:
            return
        record.score, record.epochs, record.n_parameters = score, epochs, n_parameters
        record.state = TrialState.COMPLETE if finished else TrialState.PRUNED
        record.curve[epochs] = score
        trial = self._running.pop(number, None)
        if self._search.sampler == "grid":  # which learns nothing, and ends a study when it is told the last
            return
        frozen_trial = self._to_frozen_trial(record)
        if trial is not None and trial.study is self._study:
            if not self._multi_objective:
                trial.report(score, epochs)
            values = frozen_trial.values if frozen_trial.state == TrialState.COMPLETE else None
            self._study.tell(trial, values, state=frozen_trial.state)
        elif self._search.sampler not in ("cma_es", "nsga2"):  # these learn from their own proposals only
            self._study.add_trial(frozen_trial)
        self._n_new_results += 1
        if (
            self._search.sampler in ("tpe", "gp")
            and self._n_new_results >= MAX_HISTORY // 2
            and len(self.records) > MAX_HISTORY
        ):
            self._rebuild_study()

    def fail(self, number: int) -> None:
        """A trial ended without a score."""
        record = self.records.get(number)
        if record is not None:
            record.state = TrialState.FAIL
            trial = self._running.pop(number, None)
            if trial is not None and trial.study is self._study and self._search.sampler != "grid":
                self._study.tell(trial, state=TrialState.FAIL)

    def reject(self, number: int) -> None:
        """What was proposed cannot be: the number is free for another, and it is not proposed again."""
        self.fail(number)
        if number in self.records:
            self.records[min([*self.records, 0]) - 1] = self.records.pop(number)

    @property
    def study(self) -> optuna.Study:
        """All trials, as a study of Optuna: scores as values, those of earlier rungs as intermediate ones."""
        study = _create_study(self._directions())
        for number, record in self.records.items():
            if record.state != TrialState.RUNNING and number >= 0:  # those below were refused
                study.add_trial(self._to_frozen_trial(record, keep_pruned=True))
        return study

    def importance(self) -> dict[str, float]:
        """What share of the difference between good trials and others each dimension makes (Watanabe et al. 2023).

        Empty where too few trials were finished.
        """
        scored_records = [record for record in self.records.values() if record.score is not None]
        shared_names = [name for name in self._distributions if all(name in record.params for record in scored_records)]
        shared_names = [
            name for name in shared_names if len({format_value(record.params[name]) for record in scored_records}) > 1
        ]
        if len(scored_records) < 8 or not shared_names:
            return {}
        study = _create_study(["maximize"])
        for record in scored_records:
            study.add_trial(
                self._to_frozen_trial(
                    TrialRecord(record.params, record.score, state=TrialState.COMPLETE), single_objective=True
                )
            )
        with ignore_warnings():
            importances = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), params=shared_names
            )
        return dict(sorted(importances.items(), key=lambda item: -item[1]))

    def _directions(self) -> list[Literal["maximize", "minimize"]]:
        return ["maximize", "minimize"] if self._multi_objective else ["maximize"]

    def _new_study(self) -> optuna.Study:
        seed = int(np.random.default_rng([self._seed, self._generation]).integers(2**31))
        with ignore_warnings():
            sampler = _sampler(self._search, self._space, seed)
        return _create_study(self._directions(), sampler)

    def _rebuild_study(self) -> None:
        """Go on with the best and the latest trials only."""
        self._generation, self._n_new_results = self._generation + 1, 0
        self._study = self._new_study()
        scored_records = [record for record in self.records.values() if record.score is not None]
        best = sorted(scored_records, key=lambda record: -float(record.score or 0))[: MAX_HISTORY // 2]
        latest = scored_records[-(MAX_HISTORY // 2) :]
        kept_ids = {id(record) for record in (*best, *latest)}
        for record in scored_records:
            if id(record) in kept_ids:
                self._study.add_trial(self._to_frozen_trial(record))

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
        self, record: TrialRecord, keep_pruned: bool = False, single_objective: bool = False
    ) -> FrozenTrial:
        state, score = record.state, record.score
        if (
            (self._multi_objective or self._search.sampler == "cma_es")
            and state == TrialState.PRUNED
            and not keep_pruned
        ):
            state = TrialState.COMPLETE
        values = (
            [float(score or 0.0), float(record.n_parameters)]
            if self._multi_objective and not single_objective
            else [float(score or 0.0)]
        )
        return create_trial(
            state=state,
            values=values if state == TrialState.COMPLETE else None,
            params={name: _to_optuna(value) for name, value in record.params.items()},
            distributions={name: self._distributions[name] for name in record.params},
            intermediate_values={} if self._multi_objective else dict(record.curve),
        )

    def _grid_size(self) -> int:
        return int(np.prod([len(points) for points in _grid(self._space).values()]))


def _create_study(
    directions: list[Literal["maximize", "minimize"]], sampler: optuna.samplers.BaseSampler | None = None
) -> optuna.Study:
    """Create a study without Optuna's message about it; the verbosity of Optuna's logger stays the user's."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        return optuna.create_study(directions=directions, sampler=sampler)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _key(params: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, format_value(value)) for name, value in params.items())


def _to_optuna(value: Any) -> Any:
    """A value as Optuna keeps it: lists as text."""
    return format_value(value) if isinstance(value, tuple) else value


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution([_to_optuna(value) for value in dimension.values])
    if isinstance(dimension, Integer):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=isinstance(dimension, LogUniform))


def _grid(space: Space) -> dict[str, list[Any]]:
    points: dict[str, list[Any]] = {}
    for name, dimension in space.dimensions.items():
        if isinstance(dimension, Choice):
            points[name] = [_to_optuna(value) for value in dimension.values]
        elif isinstance(dimension, Integer) and not dimension.log:
            points[name] = list(range(dimension.low, dimension.high + 1))
        else:
            spacing = np.linspace if not isinstance(dimension, LogUniform | Integer) else np.geomspace
            grid_values = spacing(dimension.low, dimension.high, GRID_POINTS).tolist()
            points[name] = (
                sorted({round(value) for value in grid_values}) if isinstance(dimension, Integer) else grid_values
            )
            if not isinstance(dimension, Integer):
                points[name][0], points[name][-1] = dimension.low, dimension.high
    return points


def _sampler(search: SearchSpec, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    samplers = optuna.samplers
    if search.sampler == "random":
        return samplers.RandomSampler(seed)
    if search.sampler == "quasi_random":
        return samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
    if search.sampler == "tpe":
        conditional = any(
            dimension.when or not space.is_active(name, {}) for name, dimension in space.dimensions.items()
        )
        return samplers.TPESampler(
            seed=seed, multivariate=True, group=conditional, n_startup_trials=N_STARTUP_TRIALS, constant_liar=False
        )
    if search.sampler == "gp":
        if find_spec("torch") is None:
            raise SpecError("The sampler gp needs PyTorch. Install it (pip install torch), or use tpe.")
        return samplers.GPSampler(seed=seed, n_startup_trials=N_STARTUP_TRIALS)
    if search.sampler == "cma_es":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if search.sampler == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=24)
    return samplers.GridSampler(_grid(space), seed=seed)
