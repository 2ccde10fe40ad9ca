"""The queue of experiments in the store: order, one runner for each, signs of life, cancelling."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rosenblatt.cluster.queue import (
    LOST_RUNNER,
    MAX_LOST_ATTEMPTS,
    NewExperiment,
    add_experiments,
    cancel_experiments,
    end_experiment,
    give_sign_of_life,
    load_experiments,
    release_lost,
    take_experiment,
    update_started,
)
from rosenblatt.errors import RunError
from rosenblatt.runs.store.owners import new_owner
from rosenblatt.runs.store.schema import queue

TAKE_ALL = """
import sys
from rosenblatt.cluster.queue import take_experiment
from rosenblatt.runs.store.owners import new_owner
from rosenblatt.runs.store.store import Store
store, owner = Store(sys.argv[1]), new_owner()
print("ready", flush=True)
sys.stdin.readline()
while experiment := take_experiment(store, owner, lambda _: True):
    print(experiment.number, flush=True)
"""


def make_experiment(name="a", **fields):
    values = {"arguments": ("fit", f"{name}.csv"), "folder": "/work", "machine": "here", "user": "ana"}
    return NewExperiment(**values | fields)


def take(store, owner="first"):
    return take_experiment(store, owner, lambda _: True)


def dead_owner():
    process = subprocess.Popen(["true"])
    token = new_owner(process.pid)
    process.wait()
    return token


def end_lease(store):
    with store.writing() as connection:
        connection.execute(queue.update().values(heartbeat=queue.c.heartbeat - 500))


def test_the_highest_priority_is_taken_first_and_then_the_oldest(store):
    experiments = [make_experiment("a"), make_experiment("b", priority=2), make_experiment("c")]
    assert add_experiments(store, experiments) == [1, 2, 3]
    taken = [take(store) for _ in range(4)]
    assert [experiment and experiment.number for experiment in taken] == [2, 1, 3, None]
    assert (taken[0].arguments, taken[0].state, taken[0].attempts) == (("fit", "b.csv"), "running", 1)
    assert taken[0].seconds < 60


def test_what_a_runner_may_not_take_waits_for_others(store):
    add_experiments(store, [make_experiment(machine="other"), make_experiment(machine="here")])
    assert take_experiment(store, "first", lambda experiment: experiment.machine == "here").number == 2
    assert take(store).number == 1


def test_several_processes_never_take_the_same_experiment(url, store):
    numbers = add_experiments(store, [make_experiment() for _ in range(30)])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE_ALL, url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ.copy(),
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    taken = [int(number) for process in processes for number in process.communicate()[0].split()]
    assert sorted(taken) == numbers


def test_a_sign_of_life_tells_which_experiments_were_cancelled(store):
    add_experiments(store, [make_experiment(), make_experiment()])
    first, second = take(store), take(store)
    assert give_sign_of_life(store, "first", {1, 2}) == {1, 2}
    assert [experiment.state for experiment in cancel_experiments(store, [first.number])] == ["running"]
    assert give_sign_of_life(store, "first", {1, 2}) == {second.number}
    assert not end_experiment(store, 1, "first", "finished")
    assert load_experiments(store, [1])[0].state == "cancelled"
    assert give_sign_of_life(store, "first", set()) == set()


def test_ended_experiments_stay_as_they_are(store):
    add_experiments(store, [make_experiment(), make_experiment()])
    take(store)
    assert end_experiment(store, 1, "first", "failed", "exit status 2")
    assert [experiment.number for experiment in cancel_experiments(store, [1, 2])] == [2]
    assert take(store) is None
    ended = load_experiments(store)
    assert [(e.number, e.state, e.reason) for e in ended] == [(2, "cancelled", None), (1, "failed", "exit status 2")]
    assert ended[1].ended >= ended[1].started >= ended[1].added


@pytest.mark.parametrize("numbers", [[7], [1, 7]])
def test_an_unknown_number_is_named(store, numbers):
    add_experiments(store, [make_experiment()])
    with pytest.raises(RunError, match="no experiment 7 in the queue"):
        cancel_experiments(store, numbers)
    assert load_experiments(store)[0].state == "waiting"


def test_an_experiment_of_a_killed_runner_waits_again(store):
    add_experiments(store, [make_experiment()])
    take(store, dead_owner())
    assert load_experiments(store)[0].is_lost
    (released,) = release_lost(store)
    assert (released.state, released.reason, released.is_lost) == ("waiting", LOST_RUNNER, False)
    assert take(store, "second").attempts == 2


def test_an_experiment_whose_process_still_ends_is_not_taken_yet(store):
    add_experiments(store, [make_experiment()])
    owner, process = dead_owner(), subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    take(store, owner)
    assert update_started(store, 1, owner, {"process": new_owner(process.pid), "run": "abc", "log": "here:/log"})
    assert [experiment.state for experiment in release_lost(store)] == ["running"]
    assert take(store) is None
    process.communicate()
    assert [experiment.state for experiment in release_lost(store)] == ["waiting"]
    assert load_experiments(store)[0].run == "abc"


def test_a_runner_of_another_machine_is_lost_without_a_sign_of_life(store):
    add_experiments(store, [make_experiment()])
    take(store, "elsewhere:1:1:aa")
    assert release_lost(store) == []
    end_lease(store)
    assert [experiment.state for experiment in release_lost(store)] == ["waiting"]
    assert take(store, "second").owner == "second"
    assert give_sign_of_life(store, "elsewhere:1:1:aa", {1}) == set()


def test_an_experiment_that_is_lost_again_and_again_has_failed(store):
    add_experiments(store, [make_experiment()])
    for _ in range(MAX_LOST_ATTEMPTS):
        take(store, dead_owner())
        (experiment,) = release_lost(store)
    assert (experiment.state, experiment.reason) == ("failed", f"{LOST_RUNNER} {MAX_LOST_ATTEMPTS} times")
    assert take(store) is None
