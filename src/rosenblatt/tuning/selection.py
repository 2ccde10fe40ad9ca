"""Select the best trial and an ensemble of a finished search; estimate the selection bias."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rosenblatt.data.cores import cores
from rosenblatt.data.schema.columns import Schema
from rosenblatt.errors import DivergedError, TrainingInterruptedError
from rosenblatt.models.metadata import (
    EnsembleMember,
    ModelMetadata,
    SearchMetadata,
    SearchRung,
    TrialCounts,
    TrialRecord,
)
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedTrial
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.divergence import divergence_message
from rosenblatt.tuning.ensembles import greedy_weights, one_standard_error_rule, optimism, row_losses, shrink_weights
from rosenblatt.tuning.trial import Trial

REPORTED_TRIALS = 5  # best trials in the metadata
MIN_FULL_TRIALS = 5  # if fewer trials were trained on all folds, others are candidates too
ENSEMBLE_CANDIDATES = 25  # best trials from which an ensemble is selected


@dataclass(frozen=True)
class SearchResult:
    """Result of a search."""

    best: Model  # of the best trial alone
    model: Model  # for predictions: the ensemble, or the best trial
    metadata: SearchMetadata


@dataclass(frozen=True)
class _Candidates:
    """Trials to select from, best first, and their predictions for the same validation rows."""

    trials: list[Trial]
    rows: np.ndarray  # (n,)
    predictions: list[np.ndarray]  # (n, K) of each trial


def select_model(search: SearchCoordinator, schema: Schema) -> SearchResult:
    """Select the best trial and the ensemble.

    Raises:
        DivergedError: if all trials failed; the message names the hyperparameters that caused it.
        TrainingInterruptedError: if the search was interrupted before the end of the first epoch.
    """
    plan, settings = search.plan, search.plan.spec.search
    candidates = _predict_candidates(search, _rank_trials(search))
    trials, losses = candidates.trials, _candidate_losses(search, candidates)
    best_index = _best_of_ties(search, trials, losses)
    if settings.one_standard_error:
        best_index = one_standard_error_rule(losses, [trial.statistics.n_parameters for trial in trials])
    weights = np.zeros(len(trials))
    weights[best_index] = 1.0
    if settings.ensemble and not settings.one_standard_error and len(trials) > 1:
        weights = _ensemble_weights(search, candidates)
    members = sorted(((w, i) for i, w in enumerate(weights) if w > 0), key=lambda pair: (-pair[0], pair[1]))
    best_model = make_model(search, schema, (trials[best_index].to_trained_trial(),))
    ensemble = tuple(trials[i].to_trained_trial(float(w)) for w, i in members)
    rng = np.random.default_rng([plan.spec.training.seed, 5])
    selection_bias = optimism(losses, rng) if plan.spec.training.scoring == "loss" else None
    metadata = _search_metadata(search, trials[best_index], trials, weights, selection_bias)
    return SearchResult(best_model, make_model(search, schema, ensemble), metadata)


def make_model(search: SearchCoordinator, schema: Schema, trials: tuple[TrainedTrial, ...]) -> Model:
    """The model that averages the networks of trials by their weights."""
    metadata = ModelMetadata(
        rows=len(search.prepared.data.y),
        interrupted=search.interrupted,
        members=len(search.plan.folds) * len(trials),
        failures=(),
    )
    return Model(search.plan.spec, schema, trials, metadata)


def _rank_trials(search: SearchCoordinator) -> list[Trial]:
    """The candidates, best first: trials with networks for all folds, or else for the most folds."""
    plan = search.plan
    trained = [trial for trial in search.history.trials if trial.folds.n_trained and trial.state != "failed"]
    if not trained and search.interrupted:
        raise TrainingInterruptedError(
            "The search was interrupted before the end of its first epoch, so there is no model to save."
        )
    if not trained:
        raise DivergedError(divergence_message(search))
    n_folds = len(plan.folds)
    candidates = [trial for trial in trained if trial.folds.n_trained == n_folds]
    if len(candidates) < MIN_FULL_TRIALS and plan.last_rung and plan.rungs[-2].fraction == 1.0:
        # include trials that finished all epochs on the first folds
        n_folds = plan.rungs[-2].folds
        candidates = [trial for trial in trained if trial.rung >= plan.last_rung - 1]
    if not candidates:
        n_folds = max(trial.folds.n_trained for trial in trained)
        candidates = [trial for trial in trained if trial.folds.n_trained == n_folds]
    ranked = sorted(
        candidates, key=lambda trial: (-plan.direction.to_maximize(trial.mean_score(n_folds)), trial.number)
    )
    return ranked[:ENSEMBLE_CANDIDATES]


def _predict_candidates(search: SearchCoordinator, trials: list[Trial]) -> _Candidates:
    """Predict the validation rows of the folds that all trials share; the best trial alone if they share none."""
    folds = [
        fold
        for fold in range(len(search.plan.folds))
        if all((member := trial.folds.members[fold]) is not None and member.is_trained for trial in trials)
    ]
    if not folds:
        return _predict_candidates(search, trials[:1])
    missing = [(trial, fold) for trial in trials for fold in folds if fold not in trial.folds.out_of_fold_predictions]
    for trial, _ in missing:
        trial.rows = search.prepared.rows(trial.proposal.resolved_spec)
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda pair: pair[0].predict_out_of_fold(pair[1], search.plan.folds[pair[1]]), missing))
    for trial in trials:
        trial.rows = None
    validation_rows = [search.plan.folds[fold].validation for fold in folds]
    rows, positions = np.unique(np.concatenate(validation_rows), return_inverse=True)
    counts = np.bincount(positions)
    predictions = []
    for trial in trials:
        parts = np.concatenate([trial.folds.out_of_fold_predictions[fold] for fold in folds])
        total = np.zeros((rows.size, *parts.shape[1:]))
        np.add.at(total, positions, parts)
        predictions.append(total / counts.reshape(-1, *(1,) * (total.ndim - 1)))
    return _Candidates(trials, rows, predictions)


def _best_of_ties(search: SearchCoordinator, trials: list[Trial], losses: np.ndarray) -> int:
    """The trial with the smallest loss among those that share the best score, as many do by accuracy on few rows."""
    n_folds = len(search.plan.folds)
    scores = np.array([trial.mean_score(n_folds) for trial in trials])
    tied = np.flatnonzero(scores == scores[0])
    return int(tied[losses[tied].mean(axis=1).argmin()])


def _candidate_losses(search: SearchCoordinator, candidates: _Candidates) -> np.ndarray:
    """Weighted losses of the validation rows, (trials, n)."""
    proposal = candidates.trials[0].proposal
    y, weight = search.prepared.y[candidates.rows], search.prepared.weight[candidates.rows]
    losses = [
        row_losses(proposal.target, y, prediction, proposal.resolved_spec.training.quantile)
        for prediction in candidates.predictions
    ]
    return np.stack(losses) * (weight / weight.mean())


def _ensemble_weights(search: SearchCoordinator, candidates: _Candidates) -> np.ndarray:
    """Weights of the trials in the ensemble with the smallest loss, (trials,); see docs/search.md.

    The ensemble is moved towards the trial of the default hyperparameters, if there is one, so that a search on few
    rows is hardly ever worse than no search.
    """
    proposal = candidates.trials[0].proposal
    y, weight = search.prepared.y[candidates.rows], search.prepared.weight[candidates.rows]

    def losses(raw_predictions: np.ndarray) -> np.ndarray:
        return row_losses(proposal.target, y, raw_predictions, proposal.resolved_spec.training.quantile)

    weights = greedy_weights(
        lambda predictions: float(np.average(losses(predictions), weights=weight)), candidates.predictions
    )
    numbers = [trial.number for trial in candidates.trials]
    if search.plan.uses_default_space and 0 in numbers:
        default, predictions = numbers.index(0), candidates.predictions
        ensemble = sum(weights[i] * predictions[i] for i in np.flatnonzero(weights))
        gains = (losses(predictions[default]) - losses(ensemble)) * (weight / weight.mean())
        weights = shrink_weights(weights, default, gains)
    return weights


def _pareto_front(trials: list[Trial]) -> list[Trial]:
    """Trials that no other trial dominates in score and number of parameters."""
    return [trial for trial in trials if not any(_dominates(other, trial) for other in trials)]


def _dominates(trial: Trial, other: Trial) -> bool:
    """Whether a trial is better than another in score or size, and no worse in the other one."""
    n_parameters, other_n_parameters = trial.statistics.n_parameters, other.statistics.n_parameters
    score, other_score = trial.score_to_maximize, other.score_to_maximize
    is_better = score > other_score or n_parameters < other_n_parameters
    return is_better and score >= other_score and n_parameters <= other_n_parameters


def _search_metadata(
    search: SearchCoordinator, best: Trial, ranked: list[Trial], weights: np.ndarray, selection_bias: float | None
) -> SearchMetadata:
    plan, history, n_folds = search.plan, search.history, len(search.plan.folds)
    states = [trial.state for trial in history.trials]
    counts = {state: states.count(state) for state in ("finished", "stopped", "failed")}
    steps = sum(trial.statistics.steps for trial in history.trials)
    front = _pareto_front(ranked) if plan.spec.search.goal == "score_and_size" else []

    def full_record(trial: Trial) -> TrialRecord:
        return trial.record().with_fields(score=trial.mean_score(n_folds))

    return SearchMetadata(
        trials=TrialCounts(proposed=len(states), **counts),
        refused=len(history.rejections),
        refusal=history.rejections[0] if history.rejections else "",
        folds=n_folds,
        rungs=tuple(SearchRung(fraction=round(rung.fraction, 4), folds=rung.folds) for rung in plan.rungs),
        scoring=plan.spec.training.scoring,
        best=full_record(best),
        optimism=selection_bias,
        ensemble=tuple(
            EnsembleMember(trial=trial.number, weight=w) for trial, w in zip(ranked, weights, strict=True) if w > 0
        ),
        top=tuple(full_record(trial) for trial in ranked[:REPORTED_TRIALS]),
        front=tuple(trial.record() for trial in front),
        importance=search.policy.sampler.importance(),
        seconds=round(history.wall_seconds, 2),
        network_steps=steps,
        steps_per_second=round(steps / max(history.wall_seconds, 1e-9)),
        cores_busy=round(search.utilization, 3),
        history=tuple((trial.number, trial.score) for trial in history.trials if trial.scores),
    )
