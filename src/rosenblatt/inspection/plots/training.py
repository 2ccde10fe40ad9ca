"""Plots of training: learning curves, the history of a search, importance of hyperparameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from rosenblatt.inspection.plots.figure import BLUE, COLORS, GREY, ORANGE, Picture, figure_of, styled
from rosenblatt.models.model import Model


@styled
def learning_curves(model: Model) -> Picture:
    """The loss of each network, epoch by epoch, and the score of its validation rows; a dot marks the epoch kept."""
    scored = any(network.scores for network in model.networks)
    scoring = model.chosen.training.scoring
    figure, axes = figure_of(2 if scored else 1, 7.2, 3)
    for index, network in enumerate(model.trials[0].networks):
        color, epochs = COLORS[index % len(COLORS)], np.arange(1, len(network.losses) + 1)
        axes[0].plot(epochs, network.losses, color=color, lw=1)
        if scored:
            sign = -1 if scoring == "loss" else 1
            scores = sign * np.asarray(network.scores)
            axes[1].plot(epochs[: len(scores)], scores, color=color, lw=1)
            axes[1].plot(network.best_epoch, scores[network.best_epoch - 1], "o", color=color, ms=4)
    axes[0].set(xlabel="epoch", ylabel="training loss")
    if scored:
        axes[1].set(xlabel="epoch", ylabel=f"validation {scoring}")
    of_trial = f" of trial {model.trials[0].number}, which weighs most" if len(model.trials) > 1 else ""
    caption = f"One line a network{of_trial}. Each keeps the epoch that was best on its validation rows (the dot)."
    return Picture("Learning curves", caption, figure)


@styled
def search_history(facts: dict[str, Any]) -> Picture:
    """The validation score of each trial of a search, and the best one so far; from a model's fact "search"."""
    numbers, scores = (np.array(values) for values in zip(*facts["history"], strict=True))
    lower = facts["scoring"] == "loss"
    best = (np.minimum if lower else np.maximum).accumulate(scores)
    figure, (ax,) = figure_of(1, 7.2, 3)
    ax.plot(numbers, scores, "o", color=GREY, ms=3, alpha=0.6)
    ax.plot(numbers, best, color=BLUE, lw=1.5, drawstyle="steps-post")
    joined = {one["trial"] for one in facts["ensemble"]}
    inside = np.isin(numbers, list(joined))
    ax.plot(numbers[inside], scores[inside], "o", color=ORANGE, ms=5)
    spread = np.quantile(scores, [0.0, 0.9] if lower else [0.1, 1.0])
    room = 0.08 * (spread[1] - spread[0] or 1.0)
    ax.set(xlabel="trial", ylabel=f"validation {facts['scoring']}", ylim=(spread[0] - room, spread[1] + room))
    caption = (
        "Each dot is a trial, at the last score it reached (a tenth, the worst, may lie outside); the line is the best "
        "so far. Orange ones make the model."
    )
    return Picture("The search", caption, figure)


@styled
def hyperparameter_importance(facts: dict[str, Any]) -> Picture:
    """What share of the difference between good trials and others each hyperparameter makes."""
    shown = list(facts["importance"].items())[:12][::-1]
    figure, (ax,) = figure_of(1, 7.2, max(1.6, 0.8 + 0.26 * len(shown)))
    ax.barh([name for name, _ in shown], [share for _, share in shown], color=BLUE, height=0.7)
    ax.set(xlabel="share of importance")
    caption = "What told good trials from others (Watanabe et al. 2023), of the hyperparameters that all trials had."
    return Picture("Importance of hyperparameters", caption, figure)
