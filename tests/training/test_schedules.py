import numpy as np
import pytest

from rosenblatt.spec.scoring import Direction
from rosenblatt.spec.training import TrainingSpec
from rosenblatt.training.schedules import SCHEDULES, plateau, schedule_factors

SPEC = TrainingSpec()


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_factor_is_between_0_and_1(name):
    factors = SCHEDULES[name](np.linspace(0, 1, 101), SPEC)
    assert factors.min() >= 0
    assert factors.max() <= 1


@pytest.mark.parametrize("name", ["cosine", "flat_cosine", "log_cosine", "warmup_cosine", "one_cycle"])
def test_annealing_schedules_end_at_0(name):
    assert SCHEDULES[name](np.ones(1), SPEC)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["step", "exponential"])
def test_step_and_exponential_end_at_schedule_end(name):
    spec = TrainingSpec(schedule_end=0.05, schedule_drops=3)
    assert SCHEDULES[name](np.ones(1), spec)[0] == pytest.approx(0.05)
    assert SCHEDULES[name](np.zeros(1), spec)[0] == 1


def test_step_has_the_requested_number_of_drops():
    factors = SCHEDULES["step"](np.linspace(0, 1, 1001), TrainingSpec(schedule_drops=3))
    assert len(np.unique(factors)) == 4


def test_log_cosine_peaks_in_each_of_its_four_cycles():
    factors = SCHEDULES["log_cosine"](np.linspace(0, 1, 100_001), SPEC)
    interior = factors[1:-1]
    peaks = interior[(interior > factors[:-2]) & (interior > factors[2:])]
    assert len(peaks) == 4
    np.testing.assert_allclose(peaks, 1, atol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_warmup_cosine_rises_during_the_warmup_and_then_falls(warmup):
    factors = SCHEDULES["warmup_cosine"](np.linspace(0, 1, 1001), TrainingSpec(warmup=warmup))
    assert factors.argmax() == round(warmup * 1000)
    assert factors.max() == 1


@pytest.mark.parametrize("direction", Direction)
def test_plateau_drops_after_patience_epochs_without_a_better_score(direction):
    spec = TrainingSpec(schedule="plateau", plateau_patience=2, plateau_factor=0.1)
    scores = [1, 2, 2, 2, 3, 1, 1, 1, 1]
    scores = [direction.to_maximize(score) for score in scores]
    factors = [plateau(scores[:n], direction, spec) for n in range(len(scores) + 1)]
    np.testing.assert_allclose(factors, [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_learning_rate_dropout_and_decay_have_separate_schedules():
    spec = TrainingSpec(schedule="cosine", dropout_schedule="flat_cosine")
    factors = schedule_factors(spec, np.array([0, 50, 100]), 100)
    np.testing.assert_allclose(factors, [[1, 1, 1], [0.5, 1, 1], [0, 0, 1]], atol=1e-12)
