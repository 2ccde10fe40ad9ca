"""A function is tuned on machines: each trial counts once whatever happens to them, and its output is in its run."""

from __future__ import annotations

import time

import pytest

import rosenblatt
from rosenblatt.runs.store.queries import find_runs, load_all_curves, load_output, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.spec.dimensions import uniform
from rosenblatt.workflows.tune_machines import MachineTrainer
from tests.cluster.machines import machines
from tests.cluster.test_faults import cluster_on

pytestmark = pytest.mark.slow_cluster
N_EPOCHS, N_TRIALS = 6, 8


def train(params, run):
    print(f"trial of {params['x']}")
    for epoch in range(N_EPOCHS):
        run.log({"loss": params["x"] ** 2 + 1 / (epoch + 1)}, step=epoch)
        time.sleep(0.5)
    if params["x"] > 0.5:
        raise ValueError("too large")


def search(on=None):
    options = {"trials": N_TRIALS, "metric": "loss", "sampler": "random", "progress": False, "workers": 8}
    return rosenblatt.tune(train, {"x": uniform(-1.0, 1.0)}, on=on, experiment=f"on {on}", **options)


def summaries(result):
    return [(trial.number, trial.params, trial.state, trial.score, trial.reason) for trial in result.trials]


def test_a_search_ends_as_without_the_loss_of_a_machine(tmp_path, own_store, monkeypatch, capfd):
    lost_trials = []
    on_report = MachineTrainer._on_report

    with machines(3) as rig, cluster_on(tmp_path, rig):

        def lose_machine(trainer, running, message):
            on_report(trainer, running, message)
            is_new = message.item.number not in lost_trials
            if message.machine == rig[2].name and message.report.points and is_new:
                lost_trials.append(message.item.number)
                rig[2].power_off()

        monkeypatch.setattr(MachineTrainer, "_on_report", lose_machine)
        result = search("lab")
    assert len(lost_trials) == 1
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if rig[2].name in line and "1 trial moved" in line], lines
    assert summaries(result) == summaries(search())
    store = Store(f"sqlite:///{own_store}/runs.db")
    trials = find_runs(store, parent=result.run)
    assert sorted(trial.number for trial in trials) == list(range(N_TRIALS))
    for trial in trials:
        assert list(load_all_curves(store, trial.id)["loss"].steps) == list(range(N_EPOCHS))
        output = "".join(text for _, text in load_output(store, trial.id))
        details = run_details(store, trial.id)
        assert details.host in {machine.name for machine in rig}
        assert output.count("trial of ") == 1
        assert (trial.state == "failed") == ('in train\n    raise ValueError("too large")' in output)
    assert run_details(store, f"{result.run}-{lost_trials[0]}").host != rig[2].name
    assert {"failed", "finished"} == {trial.state for trial in trials}
    store.close()
