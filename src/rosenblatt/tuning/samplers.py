"""In: a space, and what became of trials. Out: what to try next, by Optuna's samplers, asked in batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from rosenblatt.errors import SpecError, quietly
from rosenblatt.spec.dimensions import Choice, Dimension, Integer, LogUniform
from rosenblatt.spec.hyperparameters import in_words
from rosenblatt.spec.search import SearchSpec
from rosenblatt.tuning.space import Space

REMEMBERED = 200  # trials that tpe and gp are shown, whose time grows with them: the best and the latest
GRID_POINTS = 5  # of a range, on a grid
STARTUP = 10  # trials at random before tpe and gp learn from them
CANDIDATES, HANDS = 24, 8  # of tpe: candidates for a proposal, and proposals that are made together
REPEATED = 30  # proposals in a row that were made before, after which there seem to be no others

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass
class Told:
    """What a sampler knows of a proposal."""

    values: dict[str, Any]
    score: float | None = None  # higher is better; None while nothing is known
    size: int = 0  # number of parameters
    epochs: int = 0
    state: TrialState = TrialState.RUNNING
    curve: dict[int, float] = field(default_factory=dict)  # scores by epoch


class Sampler:
    """Proposes values for the dimensions of a space."""

    def __init__(self, search: SearchSpec, space: Space, seed: int) -> None:
        self._search, self._space, self._seed = search, space, seed
        self._distributions = {name: _distribution(d) for name, d in space.dimensions.items()}
        self._two_goals = search.goal == "score_and_size"
        self._generation = 0
        self._study = self._new_study()
        self._open: dict[int, optuna.Trial] = {}
        self._news, self._known = 0, set[tuple[tuple[str, str], ...]]()
        self.told: dict[int, Told] = {}

    def ask(self, number: int) -> dict[str, Any] | None:
        """Values for the trial of this number; None where all there are were proposed before."""
        for _ in range(REPEATED):
            with quietly():  # about samplers that fall back on others
                trial = self._study.ask()
                values = self._suggested(trial)
            if _key(values) not in self._known:
                self._open[number] = trial
                self.add(number, values)
                return values
            if self._search.sampler != "grid":
                self._study.tell(trial, state=TrialState.FAIL)
            elif self._on_grid() <= len(self._known):
                return None
        return None

    def add(self, number: int, values: dict[str, Any]) -> None:
        """Take up a trial that was not asked for, with values of the space."""
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        self.told[number] = Told(values)
        self._known.add(_key(values))

    def tell(self, number: int, score: float, epochs: int, size: int, finished: bool) -> None:
        """What score a trial has after some epochs, and whether that is its last; scores may be told again later."""
        told = self.told.get(number)
        if told is None:
            return
        told.score, told.epochs, told.size = score, epochs, size
        told.state = TrialState.COMPLETE if finished else TrialState.PRUNED
        told.curve[epochs] = score
        trial = self._open.pop(number, None)
        if self._search.sampler == "grid":  # which learns nothing, and ends a study when it is told the last
            return
        frozen = self._frozen(told)
        if trial is not None and trial.study is self._study:
            if not self._two_goals:
                trial.report(score, epochs)
            values = frozen.values if frozen.state == TrialState.COMPLETE else None
            self._study.tell(trial, values, state=frozen.state)
        elif self._search.sampler not in ("cma_es", "nsga2"):  # these learn from their own proposals only
            self._study.add_trial(frozen)
        self._news += 1
        if self._search.sampler in ("tpe", "gp") and self._news >= REMEMBERED // 2 and len(self.told) > REMEMBERED:
            self._remember()

    def fail(self, number: int) -> None:
        """A trial ended without a score."""
        told = self.told.get(number)
        if told is not None:
            told.state = TrialState.FAIL
            trial = self._open.pop(number, None)
            if trial is not None and trial.study is self._study and self._search.sampler != "grid":
                self._study.tell(trial, state=TrialState.FAIL)

    def refuse(self, number: int) -> None:
        """What was proposed cannot be: the number is free for another, and it is not proposed again."""
        self.fail(number)
        if number in self.told:
            self.told[min([*self.told, 0]) - 1] = self.told.pop(number)

    @property
    def study(self) -> optuna.Study:
        """All trials, as a study of Optuna: scores as values, those of earlier rungs as intermediate ones."""
        study = optuna.create_study(directions=self._directions())
        for number, told in self.told.items():
            if told.state != TrialState.RUNNING and number >= 0:  # those below were refused
                study.add_trial(self._frozen(told, whole=True))
        return study

    def importance(self) -> dict[str, float]:
        """What share of the difference between good trials and others each dimension makes (Watanabe et al. 2023).

        Empty where too few trials were finished.
        """
        scored = [told for told in self.told.values() if told.score is not None]
        common = [name for name in self._distributions if all(name in told.values for told in scored)]
        common = [name for name in common if len({in_words(told.values[name]) for told in scored}) > 1]
        if len(scored) < 8 or not common:
            return {}
        study = optuna.create_study(direction="maximize")
        for told in scored:
            study.add_trial(self._frozen(Told(told.values, told.score, state=TrialState.COMPLETE), one_goal=True))
        with quietly():
            found = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), params=common
            )
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _directions(self) -> list[Literal["maximize", "minimize"]]:
        return ["maximize", "minimize"] if self._two_goals else ["maximize"]

    def _new_study(self) -> optuna.Study:
        seed = int(np.random.default_rng([self._seed, self._generation]).integers(2**31))
        with quietly():
            sampler = _sampler(self._search, self._space, seed)
        return optuna.create_study(directions=self._directions(), sampler=sampler)

    def _remember(self) -> None:
        """Go on with the best and the latest trials only."""
        self._generation, self._news = self._generation + 1, 0
        self._study = self._new_study()
        known = [told for told in self.told.values() if told.score is not None]
        best = sorted(known, key=lambda told: -float(told.score or 0))[: REMEMBERED // 2]
        latest = known[-(REMEMBERED // 2) :]
        kept = {id(told) for told in (*best, *latest)}
        for told in known:
            if id(told) in kept:
                self._study.add_trial(self._frozen(told))

    def _suggested(self, trial: optuna.Trial) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, dimension in self._space.dimensions.items():
            if not self._space.holds(name, values):
                continue
            if isinstance(dimension, Choice):
                words = trial.suggest_categorical(name, [_word(value) for value in dimension.values])
                values[name] = next(value for value in dimension.values if _word(value) == words)
            elif isinstance(dimension, Integer):
                values[name] = trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
            else:
                is_log = isinstance(dimension, LogUniform)
                values[name] = trial.suggest_float(name, dimension.low, dimension.high, log=is_log)
        return values

    def _frozen(self, told: Told, whole: bool = False, one_goal: bool = False) -> FrozenTrial:
        state, score = told.state, told.score
        if (self._two_goals or self._search.sampler == "cma_es") and state == TrialState.PRUNED and not whole:
            state = TrialState.COMPLETE
        values = [float(score or 0.0), float(told.size)] if self._two_goals and not one_goal else [float(score or 0.0)]
        return create_trial(
            state=state,
            values=values if state == TrialState.COMPLETE else None,
            params={name: _word(value) for name, value in told.values.items()},
            distributions={name: self._distributions[name] for name in told.values},
            intermediate_values={} if self._two_goals else dict(told.curve),
        )

    def _on_grid(self) -> int:
        return int(np.prod([len(points) for points in _grid(self._space).values()]))


class _BatchedTPE(optuna.samplers.TPESampler):
    """Optuna's TPE, whose densities are made once for several proposals.

    The candidates drawn from the density of good trials are dealt into as many hands; the best of each is proposed.
    Where Optuna no longer calls these methods, each proposal costs as much as all of them here, and is as good.
    """

    def __init__(self, seed: int, group: bool) -> None:
        super().__init__(
            seed=seed,
            multivariate=True,
            group=group,
            n_startup_trials=STARTUP,
            n_ei_candidates=CANDIDATES * HANDS,
            constant_liar=False,
        )
        self._hands: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        self._space: dict[str, BaseDistribution] = {}

    def _sample(self, study: Any, trial: Any, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        waiting = self._hands.get(tuple(search_space))
        if waiting:
            return waiting.pop()
        self._space = search_space
        return super()._sample(study, trial, search_space)

    def _compute_acquisition_func(self, samples: dict[str, np.ndarray], below: Any, above: Any) -> np.ndarray:
        values = super()._compute_acquisition_func(samples, below, above)
        first, *others = (hand[values[hand].argmax()] for hand in np.array_split(np.arange(values.size), HANDS))
        self._hands[tuple(self._space)] = [
            {name: kind.to_external_repr(samples[name][one].item()) for name, kind in self._space.items()}
            for one in others
        ]
        return np.where(np.arange(values.size) == first, values, -np.inf)


def _key(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, in_words(value)) for name, value in values.items())


def _word(value: Any) -> Any:
    """A value as Optuna keeps it: lists as text."""
    return in_words(value) if isinstance(value, tuple) else value


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution([_word(value) for value in dimension.values])
    if isinstance(dimension, Integer):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=isinstance(dimension, LogUniform))


def _grid(space: Space) -> dict[str, list[Any]]:
    points: dict[str, list[Any]] = {}
    for name, dimension in space.dimensions.items():
        if isinstance(dimension, Choice):
            points[name] = [_word(value) for value in dimension.values]
        elif isinstance(dimension, Integer) and not dimension.log:
            points[name] = list(range(dimension.low, dimension.high + 1))
        else:
            between = np.linspace if not isinstance(dimension, LogUniform | Integer) else np.geomspace
            found = between(dimension.low, dimension.high, GRID_POINTS).tolist()
            points[name] = sorted({round(value) for value in found}) if isinstance(dimension, Integer) else found
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
        conditional = any(dimension.when or not space.holds(name, {}) for name, dimension in space.dimensions.items())
        return _BatchedTPE(seed=seed, group=conditional)
    if search.sampler == "gp":
        if find_spec("torch") is None:
            raise SpecError("The sampler gp needs PyTorch. Install it (pip install torch), or use tpe.")
        return samplers.GPSampler(seed=seed, n_startup_trials=STARTUP)
    if search.sampler == "cma_es":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if search.sampler == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=24)
    return samplers.GridSampler(_grid(space), seed=seed)
