"""Losses of rows, greedy ensembles, selection bias, and the one-standard-error rule."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_pinball_loss, mean_squared_error

from rosenblatt.data.tasks.target import Target
from rosenblatt.tuning.ensembles import (
    greedy_weights,
    one_standard_error_rule,
    optimism,
    row_losses,
    shrink_weights,
)

RNG = np.random.default_rng(0)


def test_row_losses_are_those_of_scikit_learn():
    y = RNG.integers(3, size=50)
    probabilities = RNG.dirichlet(np.ones(3), 50)
    target = Target(names=("y",), task="multiclass", labels=("a", "b", "c"))
    assert row_losses(target, y, probabilities).mean() == pytest.approx(log_loss(y, probabilities))
    values, predictions = RNG.normal(size=(50, 1)), RNG.normal(size=(50, 1))
    target = Target.fit_regression(("y",), values, "none")
    expected = mean_squared_error(values, predictions) / values.std() ** 2
    assert row_losses(target, values, predictions).mean() == pytest.approx(expected)
    quantile = target.model_copy(update={"loss": "quantile"})
    expected = mean_pinball_loss(values, predictions, alpha=0.9) / values.std()
    assert row_losses(quantile, values, predictions, 0.9).mean() == pytest.approx(expected)
    absolute = target.model_copy(update={"loss": "absolute"})
    expected = np.abs(values - predictions).mean() / values.std() / 2
    assert row_losses(absolute, values, predictions).mean() == pytest.approx(expected)
    counts = target.model_copy(update={"loss": "poisson"})
    exact = row_losses(counts, np.full((1, 1), 3.0), np.full((1, 1), 3.0))
    assert exact < row_losses(counts, np.full((1, 1), 3.0), np.full((1, 1), 2.0))
    labels = Target(names=("a", "b"), task="multilabel")
    labels_true = RNG.integers(2, size=(50, 2))
    label_probabilities = RNG.random((50, 2))
    expected = np.mean([log_loss(labels_true[:, k], label_probabilities[:, k]) for k in range(2)])
    assert row_losses(labels, labels_true, label_probabilities).mean() == pytest.approx(expected, rel=1e-6)
    sums = Target(names=("y",), task="binary", labels=("a", "b"), output_type="sums")
    assert row_losses(sums, np.array([0, 1]), np.array([[-1.0, 1.0], [-1.0, 1.0]])).tolist() == [1, 0]


def test_trials_whose_errors_cancel_are_combined():
    y_true = RNG.normal(size=300)
    noise = RNG.normal(size=300)
    predictions = [y_true + noise, y_true - noise, y_true + 3 * RNG.normal(size=300)]
    weights = greedy_weights(lambda mean: float(((mean - y_true) ** 2).mean()), predictions)
    np.testing.assert_allclose(weights, [0.5, 0.5, 0.0])


def test_an_ensemble_has_at_most_the_loss_of_the_best_trial():
    y_true = RNG.normal(size=100)
    for _ in range(20):
        predictions = [y_true + RNG.normal(size=100) * RNG.random() for _ in range(5)]

        def cost(mean):
            return float(((mean - y_true) ** 2).mean())

        weights = greedy_weights(cost, predictions)
        assert weights.sum() == pytest.approx(1)
        assert (
            cost(sum(w * prediction for w, prediction in zip(weights, predictions, strict=True)))
            <= min(map(cost, predictions)) + 1e-12
        )


def test_optimism_is_the_selection_bias_of_the_best_of_equal_trials():
    """The best of 50 equally good trials looks better by the expected maximum of 50 normal deviates, 2.25 standard
    errors; the bootstrap estimate is close to it."""
    losses = 1 + RNG.normal(size=(50, 400))
    expected = 2.25 / np.sqrt(400)
    assert 0.5 * expected < optimism(losses, np.random.default_rng(0)) < 1.5 * expected
    separated_losses = losses + np.arange(50)[:, None]
    assert optimism(separated_losses, np.random.default_rng(0)) < 0.2 * expected
    assert optimism(losses[:1], np.random.default_rng(0)) == 0


def test_the_smallest_trial_within_one_standard_error_is_selected():
    base = RNG.normal(size=500) ** 2
    noise = RNG.normal(size=(4, 500))
    losses = np.stack([base, base + 0.01 * noise[1], base + 0.5 + 0.01 * noise[2], base + 0.4 * noise[3] - 0.001])
    assert one_standard_error_rule(losses[:3], sizes=[1000, 10, 1]) in (0, 1)
    close_losses = np.stack([base, base + 0.2 * (noise[1] - noise[1].mean()) + 0.005])
    assert one_standard_error_rule(close_losses, sizes=[1000, 10]) == 1
    distant_losses = np.stack([base, base + 0.2 * (noise[1] - noise[1].mean()) + 0.05])
    assert one_standard_error_rule(distant_losses, sizes=[1000, 10]) == 0


def test_an_ensemble_is_moved_towards_a_trial_unless_it_is_clearly_better():
    weights, noise = np.array([0.75, 0.25, 0.0]), RNG.normal(size=400)
    noise -= noise.mean()
    assert shrink_weights(weights, 2, noise - 0.1).tolist() == [0, 0, 1]  # worse than the trial
    assert shrink_weights(weights, 2, noise).tolist() == [0, 0, 1]
    as_good_as_its_error = shrink_weights(weights, 2, noise + 2 * noise.std() / 20)
    np.testing.assert_allclose(as_good_as_its_error, [0.375, 0.125, 0.5])
    clearly_better = shrink_weights(weights, 2, noise + 1)
    assert clearly_better.tolist() == weights.tolist()  # no trial of a tiny weight, whose networks would be saved
