"""Error message for a search all of whose trials failed: which hyperparameters made them diverge."""

from __future__ import annotations

import numpy as np

from rosenblatt.errors import SpecError, format_list
from rosenblatt.spec.hyperparameters import format_value
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.trial import Proposal, Trial
from rosenblatt.tuning.work_queue import WorkItem

HEALTHY_EPOCHS = 10  # epochs after which a trial counts as not diverging


def divergence_message(search: SearchCoordinator) -> str:
    """Why all trials failed, with the hyperparameters whose default values prevent it."""
    n_trials = len(search.history.trials)
    subject = "The only trial" if n_trials == 1 else f"All {n_trials} trials"
    trial = next(trial for trial in search.history.trials if trial.state == "failed")
    params = trial.proposal.params
    causes = _find_causes(search, trial)
    if not any(member and member.failure for member in trial.folds.members):  # training never started
        return f"{subject} failed: {trial.reason}"
    if causes:
        values = " and ".join(f"{name} {format_value(params[name])}" for name in causes)
        explanation = (
            f"With the default {format_list(causes)} trial {trial.number} trains, so the cause is {values}. Narrow the "
            "search space there."
        )
    else:
        values = ", ".join(f"{name} {format_value(value)}" for name, value in params.items())
        explanation = f"No single hyperparameter is the cause; trial {trial.number} had {values}."
    return f"{subject} ended in numbers that are not finite: {trial.reason}. {explanation}"


def _find_causes(search: SearchCoordinator, trial: Trial) -> list[str]:
    """Hyperparameters of a diverged trial that, set to their default one at a time, let it train for longer."""
    plan, params = search.plan, trial.proposal.params
    index = next((k for k, member in enumerate(trial.folds.members) if member and member.failure), 0)
    epochs = max(HEALTHY_EPOCHS, 3 * trial.statistics.epochs)
    causes = []
    for name in params:
        changed_params = params | {name: plan.default_params.get(name)}
        if changed_params in (params, params | {name: None}):
            continue
        try:
            proposal = Proposal.from_params(changed_params, plan.space, search.prepared)
        except SpecError:
            continue
        changed_trial = Trial.new(trial.number, proposal, len(plan.folds))
        changed_trial.rows = search.prepared.rows(proposal.resolved_spec)
        scorer = search.epoch_scorer(changed_trial)
        item = WorkItem(changed_trial, index, plan.folds[index], epochs, scorer, is_last_rung=False)
        if not item(np.zeros(1, np.uint8)).failure:
            causes.append(name)
    return causes
