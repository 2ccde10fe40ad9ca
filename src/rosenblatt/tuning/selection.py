"""In: a search that has ended. Out: its best trial, an ensemble, how much of the best score is luck, what mattered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from rosenblatt.data.schema.columns import Schema
from rosenblatt.errors import DivergedError, SpecError, StoppedEarlyError, listed
from rosenblatt.models.model import Model
from rosenblatt.spec.hyperparameters import in_words
from rosenblatt.training.workers import cores
from rosenblatt.tuning.coordinator import Search
from rosenblatt.tuning.ensembles import greedy_weights, optimism, row_losses, within_one_error
from rosenblatt.tuning.trials import Trial

CURED = 10  # epochs in which a trial that does not diverge has been cured
TOP = 5  # trials that are described
FEW = 5  # trials with networks for all folds, below which others are looked at too
CANDIDATES = 25  # trials that an ensemble is chosen from: the best


@dataclass(frozen=True)
class Outcome:
    """What came of a search."""

    best: Model  # of the best trial alone
    model: Model  # to use: the ensemble, or the best trial
    facts: dict[str, Any]  # of the search, as JSON


def outcome(search: Search, schema: Schema) -> Outcome:
    """Choose among the trials of a search.

    Raises:
        DivergedError: where all trials ended in numbers that are not finite; names the hyperparameters that did it.
        StoppedEarlyError: where it was interrupted before an epoch was over.
    """
    ranked = _ranked(search)
    ranked, rows, said = _out_of_fold(search, ranked)
    y, weight = search.prepared.y[rows], search.prepared.weight[rows]
    target, quantile = ranked[0].target, ranked[0].chosen.training.quantile
    losses = np.stack([row_losses(target, y, one, quantile) for one in said]) * (weight / weight.mean())
    sizes = [trial.size for trial in ranked]
    chosen = within_one_error(losses, sizes) if search.search.simplest else 0
    best = ranked[chosen]
    weights = np.zeros(len(ranked))
    weights[chosen] = 1.0
    if search.search.ensemble and not search.search.simplest and len(ranked) > 1:

        def cost(decoded: np.ndarray) -> float:
            return float(np.average(row_losses(target, y, decoded, quantile), weights=weight))

        weights = greedy_weights(cost, said)
    members = sorted(((w, i) for i, w in enumerate(weights) if w > 0), key=lambda pair: (-pair[0], pair[1]))
    facts = {
        "rows": len(search.prepared.data.y),
        "interrupted": search.interrupted,
        "members": len(search.folds) * len(members),
        "failures": [],
    }
    spec = search.spec
    alone = Model(spec, schema, (best.network(),), facts)
    model = Model(spec, schema, tuple(ranked[i].network(float(w)) for w, i in members), facts)
    rng = np.random.default_rng([spec.training.seed, 5])
    luck = optimism(losses, rng) if spec.training.scoring == "loss" else None
    two_goals = search.search.goal == "score_and_size"
    front = [trial for trial in ranked if two_goals and not any(_beats(other, trial) for other in ranked)]
    return Outcome(alone, model, _facts(search, best, ranked, weights, luck, front))


def _ranked(search: Search) -> list[Trial]:
    """The trials to choose from, the best first: those with networks for all folds; for most, where there are none."""
    trained = [trial for trial in search.trials if trial.trained and trial.state != "failed"]
    if not trained and search.interrupted:
        raise StoppedEarlyError("The search was stopped before the first epoch was over: there is nothing to keep yet.")
    if not trained:
        raise DivergedError(_blame(search))
    folds = len(search.folds)
    compared = [trial for trial in trained if trial.trained == folds]
    if len(compared) < FEW and search.last and search.rungs[-2].share == 1.0:
        # so few that those count too which wait for the other folds
        folds = search.rungs[-2].folds
        compared = [trial for trial in trained if trial.rung >= search.last - 1]
    if not compared:
        folds = max(trial.trained for trial in trained)
        compared = [trial for trial in trained if trial.trained == folds]
    return sorted(compared, key=lambda trial: (-trial.mean_score(folds), trial.number))[:CANDIDATES]


def _out_of_fold(search: Search, trials: list[Trial]) -> tuple[list[Trial], np.ndarray, list[np.ndarray]]:
    """The trials that were validated on the same rows, these, and what each says of them: the mean over deals."""
    folds = [
        fold
        for fold in range(len(search.folds))
        if all((member := trial.members[fold]) is not None and member.trained for trial in trials)
    ]
    if not folds:  # they have come to different folds: the best one alone
        return _out_of_fold(search, trials[:1])
    rows = np.unique(np.concatenate([search.folds[fold].spared for fold in folds]))
    place = np.full(len(search.prepared.y), -1)
    place[rows] = np.arange(rows.size)
    silent = [(trial, fold) for trial in trials for fold in folds if fold not in trial.said]
    for trial, _ in silent:
        trial.rows = search.prepared.rows(trial.chosen)
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda one: one[0].say(one[1], search.folds[one[1]]), silent))
    said = []
    for trial in trials:
        total, counts = np.zeros((rows.size, *trial.said[folds[0]].shape[1:])), np.zeros(rows.size)
        for fold in folds:
            total[place[search.folds[fold].spared]] += trial.said[fold]
            counts[place[search.folds[fold].spared]] += 1
        trial.rows = None
        said.append(total / counts.reshape(-1, *(1,) * (total.ndim - 1)))
    return trials, rows, said


def _beats(one: Trial, other: Trial) -> bool:
    """Whether one is no worse in both score and size, and better in one of them."""
    better = one.score > other.score or one.size < other.size
    return better and one.score >= other.score and one.size <= other.size


def _cures(search: Search, trial: Trial) -> list[str]:
    """The hyperparameters of a trial that diverged which, one at a time put back to what they are without the search,
    let it learn for longer than it did."""
    usual = search.space.values_of(search.prepared.resolved(search.space.base))
    fold = next((k for k, member in enumerate(trial.members) if member and member.failure), 0)
    until = max(CURED, 3 * trial.epochs)
    found = []
    for name in trial.values:
        changed = trial.values | {name: usual.get(name)}
        if changed in (trial.values, trial.values | {name: None}):
            continue
        try:
            chosen = search.prepared.resolved(search.space.spec(changed))
        except SpecError:
            continue
        encoder = search.prepared.encoder(chosen)
        other = Trial(trial.number, changed, chosen, encoder, trial.target, [None] * len(search.folds))
        other.rows = search.prepared.rows(chosen)
        if not other.work(fold, search.folds[fold], until, None, np.zeros(1, np.uint8), last=False).failure:
            found.append(name)
    return found


def _blame(search: Search) -> str:
    """Which hyperparameters made all trials diverge: those which, put back to what they are without the search, let a
    trial learn."""
    first = next(trial for trial in search.trials if trial.state == "failed")
    cures = _cures(search, first)
    told = " and ".join(f"{name} {in_words(first.values[name])}" for name in cures)
    why = (
        f"With the default {listed(cures)} trial {first.number} learns: {told} did it. Narrow the space there."
        if cures
        else f"Not one hyperparameter alone did it; trial {first.number} had "
        + ", ".join(f"{name} {in_words(value)}" for name, value in first.values.items())
        + "."
    )
    if not any(member and member.failure for member in first.members):  # it never began
        return f"All {len(search.trials)} trials failed: {first.reason}"
    return f"All {len(search.trials)} trials ended in numbers that are not finite: {first.reason}. {why}"


def _facts(
    search: Search,
    best: Trial,
    ranked: list[Trial],
    weights: np.ndarray,
    luck: float | None,
    front: list[Trial],
) -> dict[str, Any]:
    states = [trial.state for trial in search.trials]
    sign = -1 if search.spec.training.scoring == "loss" else 1
    steps = sum(trial.steps for trial in search.trials)
    return {
        "trials": {"proposed": len(states), **{s: states.count(s) for s in ("finished", "stopped", "failed")}},
        "refused": len(search.refused),
        "refusal": search.refused[0] if search.refused else "",
        "folds": len(search.folds),
        "rungs": [{"share": round(rung.share, 4), "folds": rung.folds} for rung in search.rungs],
        "scoring": search.spec.training.scoring,
        "best": best.record() | {"score": sign * best.mean_score(len(search.folds))},
        "optimism": luck,
        "ensemble": [
            {"trial": trial.number, "weight": float(w)} for trial, w in zip(ranked, weights, strict=True) if w > 0
        ],
        "top": [trial.record() | {"score": sign * trial.mean_score(len(search.folds))} for trial in ranked[:TOP]],
        "front": [trial.record() | {"score": sign * trial.score} for trial in front],
        "importance": search.sampler.importance(),
        "seconds": round(search.wall, 2),
        "network_steps": steps,
        "steps_per_second": round(steps / max(search.wall, 1e-9)),
        "cores_busy": round(search.utilization, 3),
        "history": [[trial.number, sign * trial.score] for trial in search.trials if trial.scores],
    }
