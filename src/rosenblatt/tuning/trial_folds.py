"""Folds of a trial: one network per fold, its scores, curves and out-of-fold predictions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rosenblatt.training.member import Member


@dataclass
class TrialFolds:
    """Networks of a trial, one per fold; scores and curves outlast networks that were discarded to save memory."""

    members: list[Member | None]  # None until training starts, and after the networks are discarded
    out_of_fold_predictions: dict[int, np.ndarray] = field(default_factory=dict)  # by fold, on its validation rows
    seconds: dict[int, float] = field(default_factory=dict)  # training time by fold
    n_bytes: int = 0  # memory of the networks and their training state
    final_scores: list[float] = field(default_factory=list)  # scores of discarded networks
    final_curves: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # their curves

    @property
    def trained(self) -> list[Member]:
        """Members that have been trained for at least one epoch."""
        return [member for member in self.members if member is not None and member.is_trained]

    @property
    def n_trained(self) -> int:
        """Number of folds whose network has been trained for at least one epoch."""
        return len(self.trained)

    @property
    def scores(self) -> list[float]:
        """Score of the best epoch of each fold; NaN for a fold that has not been trained."""
        return self.final_scores or [
            member.best_score if member is not None and member.is_trained else np.nan for member in self.members
        ]

    @property
    def curves(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Training loss and score of each epoch, two arrays (epochs,) by fold; no scores without validation rows."""
        curves = dict(self.final_curves)
        for fold, member in enumerate(self.members):
            if member is not None and member.history:
                scores = [record.score for record in member.history] if member.validation.size else []
                curves[fold] = np.array([record.loss for record in member.history]), np.array(scores)
        return curves

    def update_memory(self) -> None:
        """Update `n_bytes`."""
        members = [member for member in self.members if member is not None]
        self.n_bytes = sum(m.best.nbytes + sum(array.nbytes for array in m.state) for m in members)

    def release_training_state(self) -> None:
        """Release the state that is needed only to continue training."""
        for member in self.members:
            if member is not None:
                member.release_training_state()
        self.update_memory()

    def discard_networks(self) -> None:
        """Release all networks and predictions; scores and curves are kept."""
        self.final_scores, self.final_curves = self.scores, self.curves
        self.members, self.out_of_fold_predictions, self.n_bytes = [None] * len(self.members), {}, 0
