import numpy as np
import pytest

from rosenblatt.training.schedules import SCHEDULES, factor


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_factor_stays_between_0_and_1(name):
    factors = [factor(SCHEDULES[name], t) for t in np.linspace(0, 1, 101)]
    assert min(factors) >= 0
    assert max(factors) <= 1


@pytest.mark.parametrize("name", ["cosine", "flat_cosine", "log_cosine", "one_cycle"])
def test_training_ends_with_steps_of_length_0(name):
    assert factor(SCHEDULES[name], 1.0) == pytest.approx(0, abs=1e-12)


def test_log_cosine_peaks_in_each_of_its_four_cycles():
    factors = np.array([factor(SCHEDULES["log_cosine"], t) for t in np.linspace(0, 1, 100_001)])
    inner = factors[1:-1]
    peaks = inner[(inner > factors[:-2]) & (inner > factors[2:])]
    assert len(peaks) == 4
    np.testing.assert_allclose(peaks, 1, atol=1e-6)
