"""Plots of training: learning curves, the history of a search, importance of hyperparameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from rosenblatt.inspection.plots.figure import BLUE, COLORS, GREY, ORANGE, Plot, make_figure, with_style
from rosenblatt.models.model import Model


@with_style
def learning_curves(model: Model) -> Plot:
    """The loss of each network, epoch by epoch, and the score of its validation rows; a dot marks the epoch kept."""
    has_scores = any(network.scores for network in model.networks)
    scoring = model.resolved_spec.training.scoring
    figure, axes = make_figure(2 if has_scores else 1, 7.2, 3)
    for index, network in enumerate(model.trials[0].networks):
        color, epochs = COLORS[index % len(COLORS)], np.arange(1, len(network.losses) + 1)
        axes[0].plot(epochs, network.losses, color=color, lw=1)
        if has_scores:
            scores = np.asarray(network.scores)
            axes[1].plot(epochs[: len(scores)], scores, color=color, lw=1)
            axes[1].plot(network.best_epoch, scores[network.best_epoch - 1], "o", color=color, ms=4)
    axes[0].set(xlabel="epoch", ylabel="training loss")
    if has_scores:
        axes[1].set(xlabel="epoch", ylabel=f"validation {scoring}")
    suffix = f" of trial {model.trials[0].number}, which weighs most" if len(model.trials) > 1 else ""
    caption = f"One line a network{suffix}. Each keeps the epoch that was best on its validation rows (the dot)."
    return Plot("Learning curves", caption, figure)


@with_style
def search_history(search: dict[str, Any]) -> Plot:
    """The validation score of each trial of a search, and the best one so far; from a model's fact "search"."""
    trial_numbers, scores = (np.array(values) for values in zip(*search["history"], strict=True))
    lower_is_better = search["scoring"] == "loss"
    best = (np.minimum if lower_is_better else np.maximum).accumulate(scores)
    figure, (ax,) = make_figure(1, 7.2, 3)
    ax.plot(trial_numbers, scores, "o", color=GREY, ms=3, alpha=0.6)
    ax.plot(trial_numbers, best, color=BLUE, lw=1.5, drawstyle="steps-post")
    ensemble_trials = {member["trial"] for member in search["ensemble"]}
    in_ensemble = np.isin(trial_numbers, list(ensemble_trials))
    ax.plot(trial_numbers[in_ensemble], scores[in_ensemble], "o", color=ORANGE, ms=5)
    limits = np.quantile(scores, [0.0, 0.9] if lower_is_better else [0.1, 1.0])
    padding = 0.08 * (limits[1] - limits[0] or 1.0)
    ax.set(xlabel="trial", ylabel=f"validation {search['scoring']}", ylim=(limits[0] - padding, limits[1] + padding))
    caption = (
        "Each dot is a trial, at the last score it reached (a tenth, the worst, may lie outside); the line is the best "
        "so far. Orange ones make the model."
    )
    return Plot("The search", caption, figure)


@with_style
def hyperparameter_importance(search: dict[str, Any]) -> Plot:
    """What share of the difference between good trials and others each hyperparameter makes."""
    top = list(search["importance"].items())[:12][::-1]
    figure, (ax,) = make_figure(1, 7.2, max(1.6, 0.8 + 0.26 * len(top)))
    ax.barh([name for name, _ in top], [fraction for _, fraction in top], color=BLUE, height=0.7)
    ax.set(xlabel="share of importance")
    caption = "What told good trials from others (Watanabe et al. 2023), of the hyperparameters that all trials had."
    return Plot("Importance of hyperparameters", caption, figure)
