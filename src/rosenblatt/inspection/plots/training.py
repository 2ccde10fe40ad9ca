"""Plots of training: learning curves, the history of a search, importance of hyperparameters."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from rosenblatt.inspection.plots.figure import BLUE, COLORS, GREY, NARROW, ORANGE, WIDE, Plot, make_figure, with_style
from rosenblatt.models.metadata import SearchMetadata
from rosenblatt.models.model import Model
from rosenblatt.spec.scoring import scoring_direction

MAX_HYPERPARAMETERS = 12  # the most important ones are drawn


@with_style
def learning_curves(model: Model) -> Plot:
    """Training loss and validation score of each network by epoch; a dot marks the epoch whose parameters are kept."""
    has_scores = any(network.scores for network in model.networks)
    scoring = model.resolved_spec.training.scoring
    figure, axes = make_figure(2, WIDE, 3.2) if has_scores else make_figure(1, NARROW, 3.2)
    for index, network in enumerate(model.trials[0].networks):
        color, epochs = COLORS[index % len(COLORS)], np.arange(1, len(network.losses) + 1)
        axes[0].plot(epochs, network.losses, color=color, lw=1)
        if has_scores:
            scores = np.asarray(network.scores)
            axes[1].plot(epochs[: len(scores)], scores, color=color, lw=1)
            axes[1].plot(network.best_epoch, scores[network.best_epoch - 1], "o", color=color, ms=4)
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set(xlabel="epoch", ylabel="training loss")
    caption = "One line per network"
    caption += f" of trial {model.trials[0].number}, the one with the largest weight." if len(model.trials) > 1 else "."
    if has_scores:
        axes[1].set(xlabel="epoch", ylabel=f"validation {scoring}")
        caption += " The dots mark the epochs with the best validation scores, whose parameters are kept."
    return Plot("Learning curves", caption, figure)


@with_style
def search_history(search: SearchMetadata) -> Plot:
    """Validation score of each trial of a search, and the best score so far."""
    trial_numbers, scores = (np.array(values) for values in zip(*search.history, strict=True))
    minimize = scoring_direction(search.scoring) == "minimize"
    best = (np.minimum if minimize else np.maximum).accumulate(scores)
    figure, (ax,) = make_figure(1, WIDE, 3.2)
    ax.plot(trial_numbers, scores, "o", color=GREY, ms=3, alpha=0.6)
    ax.plot(trial_numbers, best, color=BLUE, lw=1.5, drawstyle="steps-post")
    ensemble_trials = {member.trial for member in search.ensemble}
    in_ensemble = np.isin(trial_numbers, list(ensemble_trials))
    ax.plot(trial_numbers[in_ensemble], scores[in_ensemble], "o", color=ORANGE, ms=5)
    limits = np.quantile(scores, [0.0, 0.9] if minimize else [0.1, 1.0])
    padding = 0.08 * (limits[1] - limits[0] or 1.0)
    ax.set(xlabel="trial", ylabel=f"validation {search.scoring}", ylim=(limits[0] - padding, limits[1] + padding))
    caption = (
        "Dots are the last scores of the trials (the worst tenth may be outside the plot), the line is the best score "
        "so far. Orange trials are part of the model."
    )
    return Plot("Search", caption, figure)


@with_style
def hyperparameter_importance(search: SearchMetadata) -> Plot:
    """Importance of hyperparameters for the difference between good trials and others."""
    top = list(search.importance.items())[:MAX_HYPERPARAMETERS][::-1]
    figure, (ax,) = make_figure(1, NARROW, max(1.6, 0.8 + 0.26 * len(top)))
    ax.barh([name for name, _ in top], [fraction for _, fraction in top], color=BLUE, height=0.7)
    ax.set(xlabel="fraction of the total importance")
    caption = (
        "How much each hyperparameter distinguishes good trials from others (Watanabe et al. 2023), for the "
        "hyperparameters that all trials share."
    )
    return Plot("Importance of hyperparameters", caption, figure)
