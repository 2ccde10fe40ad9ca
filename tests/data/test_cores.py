"""The number of cores that a process may use."""

import os

import joblib
import pytest

from rosenblatt.data.cores import cores


@pytest.fixture(autouse=True)
def no_limit(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_all_cores_are_used_unless_a_variable_sets_fewer(monkeypatch):
    assert cores() == joblib.cpu_count()
    for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        with monkeypatch.context() as context:
            context.setenv(name, "1")
            assert cores() == 1


@pytest.mark.parametrize("text", ["", "0", "many", "100000", " 100000 , 2"])
def test_a_variable_that_sets_no_lower_number_changes_nothing(monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert cores() == joblib.cpu_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the affinity of a process cannot be set here")
def test_cores_are_those_of_the_affinity_of_the_process():
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(affinity)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, affinity)


@pytest.mark.slow
def test_workers_of_joblib_share_the_cores():
    counts = joblib.Parallel(n_jobs=2)(joblib.delayed(cores)() for _ in range(2))
    assert counts == [max(1, joblib.cpu_count() // 2)] * 2
