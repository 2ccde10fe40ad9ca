"""Best trial of the spaces of a search, and its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from numbers import Integral
from typing import Any

from rosenblatt.data.schema.columns import Schema
from rosenblatt.errors import DivergedError, SpecError
from rosenblatt.estimators.search_metrics import Metrics
from rosenblatt.estimators.search_results import SpaceSearch
from rosenblatt.models.model import Model
from rosenblatt.models.scorers import make_epoch_scorer
from rosenblatt.spec.dimensions import choice
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.selection import SearchResult, make_model, select_model
from rosenblatt.tuning.trial import Trial


@dataclass(frozen=True)
class Selection:
    """The best trial, and the search of its space."""

    index: int  # among the trials of all spaces
    trial: Trial
    coordinator: SearchCoordinator
    result: SearchResult


def select_results(searches: Sequence[SpaceSearch], schema: Schema) -> list[SearchResult | None]:
    """The result of each space, None if all its trials failed. Raises DivergedError if those of all spaces did."""
    results: list[SearchResult | None] = []
    for search in searches:
        try:
            results.append(select_model(search.coordinator, schema))
        except DivergedError:
            results.append(None)
            if len(results) == len(searches) and not any(results):
                raise
    return results


def select_trial(
    searches: Sequence[SpaceSearch],
    results: Sequence[SearchResult | None],
    metrics: Metrics,
    cv_results: Mapping[str, Any],
) -> Selection:
    """The best trial of all spaces, or the one that the function `refit` chooses.

    Raises TypeError, IndexError or SpecError if `refit` returns no index of a trial that can be used.
    """
    starts = list(accumulate((len(search.trials) for search in searches[:-1]), initial=0))
    means = cv_results[f"mean_test_{metrics.comparison}"]
    indices = [s + result.best.trials[0].number for s, result in zip(starts, results, strict=True) if result]
    index = max(indices, key=lambda i: -float("inf") if means[i] != means[i] else means[i])
    if callable(metrics.refit):
        index = _choose_index(metrics.refit, cv_results)
    number = max(k for k, start in enumerate(starts) if start <= index)
    result = results[number]
    assert result is not None  # noqa: S101 - the trial did not fail
    coordinator = searches[number].coordinator
    return Selection(index, coordinator.history.trials[index - starts[number]], coordinator, result)


def _choose_index(refit: Callable[..., Any], cv_results: Mapping[str, Any]) -> int:
    index, n_trials = refit(cv_results), len(cv_results["params"])
    if isinstance(index, bool) or not isinstance(index, Integral):
        raise TypeError(f"refit must return the index of a trial, an integer, but it returned {index!r}.")
    if not 0 <= int(index) < n_trials:
        raise IndexError(f"refit must return the index of a trial, from 0 to {n_trials - 1}, but it returned {index}.")
    if cv_results["state"][int(index)] == "failed":
        raise SpecError(f"refit chose trial {index}, which failed. Choose one whose state is finished.")
    return int(index)


def best_model(selection: Selection, metrics: Metrics, schema: Schema) -> Model:
    """The model of the selected trial.

    If `refit` chose a trial that was stopped, or whose networks were not kept, it is trained again, to the end. Raises
    DivergedError if that fails.
    """
    trial, coordinator, best = selection.trial, selection.coordinator, selection.result.best
    if best.trials[0].number == trial.number:
        return best
    if trial.state == "finished" and trial.folds.n_trained == len(coordinator.plan.folds):
        return make_model(coordinator, schema, (trial.to_trained_trial(),))
    spec = coordinator.plan.spec.replace(
        trials=1, minutes=None, sampler="random", stopping="none", min_epochs="auto",
        reduction_factor=Spec().search.reduction_factor,
    )  # fmt: skip
    space = {name: choice(value) for name, value in trial.proposal.params.items()}
    scorer_factory = make_epoch_scorer(metrics.compared_scoring)
    repeated = SearchCoordinator(
        spec.with_search_space(space), coordinator.prepared, scorer_factory, coordinator.threads
    )
    repeated.run()
    return select_model(repeated, schema).best
