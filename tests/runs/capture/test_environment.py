"""Facts of the environment that are part of a run's identity."""

from __future__ import annotations

import pytest

from rosenblatt.runs.capture.environment import Environment, capture_environment


@pytest.mark.parametrize("name", ["LANG", "LC_ALL", "SLURM_JOB_ID"])
def test_variables_of_the_session_are_recorded_but_do_not_identify_a_run(monkeypatch, name):
    monkeypatch.setenv(name, "first")
    environment = capture_environment()
    monkeypatch.setenv(name, "second")
    assert environment.variables[name] == "first"
    assert environment.identity_facts() == capture_environment().identity_facts()


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "TZ", "PYTHONHASHSEED"])
def test_variables_that_may_change_results_identify_a_run(name):
    assert Environment(variables={name: "1"}).identity_facts() != Environment(variables={name: "2"}).identity_facts()
