"""Select the best trial and an ensemble of a finished search; estimate selection bias and hyperparameter importance."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rosenblatt.data.schema.columns import Schema
from rosenblatt.errors import DivergedError, SpecError, TrainingInterruptedError, format_list
from rosenblatt.models.metadata import (
    EnsembleMember,
    ModelMetadata,
    SearchMetadata,
    SearchRung,
    TrialCounts,
    TrialRecord,
)
from rosenblatt.models.model import Model
from rosenblatt.spec.hyperparameters import format_value
from rosenblatt.training.workers import cores
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.ensembles import greedy_weights, one_standard_error_rule, optimism, row_losses
from rosenblatt.tuning.trials import Trial

HEALTHY_EPOCHS = 10  # epochs in which a trial that does not diverge has been cured
REPORTED_TRIALS = 5  # trials that are described
MIN_FULL_TRIALS = 5  # trials with networks for all folds, below which others are looked at too
ENSEMBLE_CANDIDATES = 25  # trials that an ensemble is chosen from: the best


@dataclass(frozen=True)
class SearchResult:
    """What came of a search."""

    best: Model  # of the best trial alone
    model: Model  # to use: the ensemble, or the best trial
    metadata: SearchMetadata


def select_model(search: SearchCoordinator, schema: Schema) -> SearchResult:
    """Choose among the trials of a search.

    Raises:
        DivergedError: where all trials ended in numbers that are not finite; names the hyperparameters that did it.
        TrainingInterruptedError: where it was interrupted before an epoch was over.
    """
    ranked = _ranked(search)
    ranked, rows, predictions = _out_of_fold_trials(search, ranked)
    y, weight = search.prepared.y[rows], search.prepared.weight[rows]
    target, quantile = ranked[0].target, ranked[0].resolved_spec.training.quantile
    losses = np.stack([row_losses(target, y, prediction, quantile) for prediction in predictions]) * (
        weight / weight.mean()
    )
    sizes = [trial.n_parameters for trial in ranked]
    best_index = one_standard_error_rule(losses, sizes) if search.search_spec.one_standard_error else 0
    best = ranked[best_index]
    weights = np.zeros(len(ranked))
    weights[best_index] = 1.0
    if search.search_spec.ensemble and not search.search_spec.one_standard_error and len(ranked) > 1:

        def cost(raw_predictions: np.ndarray) -> float:
            return float(np.average(row_losses(target, y, raw_predictions, quantile), weights=weight))

        weights = greedy_weights(cost, predictions)
    members = sorted(((w, i) for i, w in enumerate(weights) if w > 0), key=lambda pair: (-pair[0], pair[1]))
    metadata = ModelMetadata(
        rows=len(search.prepared.data.y),
        interrupted=search.interrupted,
        members=len(search.folds) * len(members),
        failures=(),
    )
    spec = search.spec
    best_model = Model(spec, schema, (best.to_trained_trial(),), metadata)
    model = Model(spec, schema, tuple(ranked[i].to_trained_trial(float(w)) for w, i in members), metadata)
    rng = np.random.default_rng([spec.training.seed, 5])
    selection_bias = optimism(losses, rng) if spec.training.scoring == "loss" else None
    multi_objective = search.search_spec.goal == "score_and_size"
    pareto_front = [
        trial for trial in ranked if multi_objective and not any(_dominates(other, trial) for other in ranked)
    ]
    return SearchResult(
        best_model, model, _search_metadata(search, best, ranked, weights, selection_bias, pareto_front)
    )


def _ranked(search: SearchCoordinator) -> list[Trial]:
    """The trials to choose from, the best first: those with networks for all folds; for most, where there are none."""
    trained = [trial for trial in search.trials if trial.n_trained and trial.state != "failed"]
    if not trained and search.interrupted:
        raise TrainingInterruptedError(
            "The search was stopped before the first epoch was over: there is nothing to keep yet."
        )
    if not trained:
        raise DivergedError(_divergence_message(search))
    folds = len(search.folds)
    candidates = [trial for trial in trained if trial.n_trained == folds]
    if len(candidates) < MIN_FULL_TRIALS and search.last_rung and search.rungs[-2].fraction == 1.0:
        # so few that those count too which wait for the other folds
        folds = search.rungs[-2].folds
        candidates = [trial for trial in trained if trial.rung >= search.last_rung - 1]
    if not candidates:
        folds = max(trial.n_trained for trial in trained)
        candidates = [trial for trial in trained if trial.n_trained == folds]
    return sorted(candidates, key=lambda trial: (-trial.mean_score(folds), trial.number))[:ENSEMBLE_CANDIDATES]


def _out_of_fold_trials(
    search: SearchCoordinator, trials: list[Trial]
) -> tuple[list[Trial], np.ndarray, list[np.ndarray]]:
    """The trials that were validated on the same rows, these, and what each says of them: the mean over deals."""
    folds = [
        fold
        for fold in range(len(search.folds))
        if all((member := trial.members[fold]) is not None and member.is_trained for trial in trials)
    ]
    if not folds:  # they have come to different folds: the best one alone
        return _out_of_fold_trials(search, trials[:1])
    rows = np.unique(np.concatenate([search.folds[fold].validation for fold in folds]))
    positions = np.full(len(search.prepared.y), -1)
    positions[rows] = np.arange(rows.size)
    missing = [(trial, fold) for trial in trials for fold in folds if fold not in trial.out_of_fold_predictions]
    for trial, _ in missing:
        trial.rows = search.prepared.rows(trial.resolved_spec)
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda pair: pair[0].predict_out_of_fold(pair[1], search.folds[pair[1]]), missing))
    predictions = []
    for trial in trials:
        total, counts = np.zeros((rows.size, *trial.out_of_fold_predictions[folds[0]].shape[1:])), np.zeros(rows.size)
        for fold in folds:
            total[positions[search.folds[fold].validation]] += trial.out_of_fold_predictions[fold]
            counts[positions[search.folds[fold].validation]] += 1
        trial.rows = None
        predictions.append(total / counts.reshape(-1, *(1,) * (total.ndim - 1)))
    return trials, rows, predictions


def _dominates(trial: Trial, other: Trial) -> bool:
    """Whether one is no worse in both score and size, and better in one of them."""
    is_better = trial.score > other.score or trial.n_parameters < other.n_parameters
    return is_better and trial.score >= other.score and trial.n_parameters <= other.n_parameters


def _diagnose_divergence(search: SearchCoordinator, trial: Trial) -> list[str]:
    """The hyperparameters of a trial that diverged which, one at a time put back to what they are without the search,
    let it learn for longer than it did."""
    default_params = search.space.params_from_spec(search.prepared.resolve(search.space.base))
    fold = next((k for k, member in enumerate(trial.members) if member and member.failure), 0)
    target_epochs = max(HEALTHY_EPOCHS, 3 * trial.epochs)
    names = []
    for name in trial.params:
        params = trial.params | {name: default_params.get(name)}
        if params in (trial.params, trial.params | {name: None}):
            continue
        try:
            resolved_spec = search.prepared.resolve(search.space.spec(params))
        except SpecError:
            continue
        encoder = search.prepared.encoder(resolved_spec)
        other = Trial(trial.number, params, resolved_spec, encoder, trial.target, [None] * len(search.folds))
        other.rows = search.prepared.rows(resolved_spec)
        if not other.train_fold(
            fold, search.folds[fold], target_epochs, None, np.zeros(1, np.uint8), is_last_rung=False
        ).failure:
            names.append(name)
    return names


def _divergence_message(search: SearchCoordinator) -> str:
    """Which hyperparameters made all trials diverge: those which, put back to what they are without the search, let a
    trial learn."""
    failed_trial = next(trial for trial in search.trials if trial.state == "failed")
    causes = _diagnose_divergence(search, failed_trial)
    cause_text = " and ".join(f"{name} {format_value(failed_trial.params[name])}" for name in causes)
    explanation = (
        f"With the default {format_list(causes)} trial {failed_trial.number} learns: {cause_text} did it. Narrow the "
        "space there."
        if causes
        else f"Not one hyperparameter alone did it; trial {failed_trial.number} had "
        + ", ".join(f"{name} {format_value(value)}" for name, value in failed_trial.params.items())
        + "."
    )
    if not any(member and member.failure for member in failed_trial.members):  # it never began
        return f"All {len(search.trials)} trials failed: {failed_trial.reason}"
    return f"All {len(search.trials)} trials ended in numbers that are not finite: {failed_trial.reason}. {explanation}"


def _search_metadata(
    search: SearchCoordinator,
    best: Trial,
    ranked: list[Trial],
    weights: np.ndarray,
    selection_bias: float | None,
    pareto_front: list[Trial],
) -> SearchMetadata:
    states = [trial.state for trial in search.trials]
    sign = -1 if search.spec.training.scoring == "loss" else 1
    steps = sum(trial.steps for trial in search.trials)
    counts = {state: states.count(state) for state in ("finished", "stopped", "failed")}

    def full_record(trial: Trial) -> TrialRecord:
        return TrialRecord(**trial.record() | {"score": sign * trial.mean_score(len(search.folds))})

    return SearchMetadata(
        trials=TrialCounts(proposed=len(states), **counts),
        refused=len(search.rejected_proposals),
        refusal=search.rejected_proposals[0] if search.rejected_proposals else "",
        folds=len(search.folds),
        rungs=tuple(SearchRung(fraction=round(rung.fraction, 4), folds=rung.folds) for rung in search.rungs),
        scoring=search.spec.training.scoring,
        best=full_record(best),
        optimism=selection_bias,
        ensemble=tuple(
            EnsembleMember(trial=trial.number, weight=w) for trial, w in zip(ranked, weights, strict=True) if w > 0
        ),
        top=tuple(full_record(trial) for trial in ranked[:REPORTED_TRIALS]),
        front=tuple(TrialRecord(**trial.record() | {"score": sign * trial.score}) for trial in pareto_front),
        importance=search.sampler.importance(),
        seconds=round(search.wall_seconds, 2),
        network_steps=steps,
        steps_per_second=round(steps / max(search.wall_seconds, 1e-9)),
        cores_busy=round(search.utilization, 3),
        history=tuple((trial.number, sign * trial.score) for trial in search.trials if trial.scores),
    )
