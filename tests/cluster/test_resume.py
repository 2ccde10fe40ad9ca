"""A search on machines whose command was killed is resumed: nothing is trained twice, and the result is the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from rosenblatt.cluster.record import list_records
from tests.cluster.machines import REPOSITORY, assert_idle, machines, write_hosts
from tests.waiting import wait_until

pytestmark = pytest.mark.slow_cluster

SEARCH = ["people.csv", "-t", "rich", "--trials", "16", "--deterministic", "--folds", "2"]


def start(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}/src", "ROSENBLATT_STORE": str(folder / ".rosenblatt")}
    program = [sys.executable, "-m", "rosenblatt", *arguments]
    return subprocess.Popen(
        program, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(folder, *arguments):
    process = start(folder, *arguments)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def trials(folder):
    """Trials as they were recorded, but for their times."""
    lines = (folder / "people.trials.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def trained_rungs(content):
    """The rungs that trials have reached, by trial and rung, in the journal of a search: one list for each line."""
    lines = content[: content.rfind("\n") + 1].splitlines()[1:]
    return [[(trial["number"], trial["rung"]) for trial in json.loads(line)["trials"]] for line in lines]


@pytest.mark.parametrize("place", ["as before", "local"])
def test_a_search_whose_controller_was_killed_is_resumed(tmp_path, people, place):
    for name in ("killed", "undisturbed"):
        (tmp_path / name / ".rosenblatt").mkdir(parents=True)
        people.write_csv(tmp_path / name / "people.csv")
    folder = tmp_path / "killed"
    run(tmp_path / "undisturbed", "fit", *SEARCH)
    with machines(2) as rig:
        hosts = write_hosts(tmp_path, rig)
        controller = start(folder, "fit", *SEARCH, "--on", str(hosts))

        def journal():
            paths = list(folder.glob(".rosenblatt/state/*/search.jsonl"))
            return paths[0].read_text() if paths else ""

        try:
            wait_until(lambda: len(trained_rungs(journal())) >= 3, timeout=300, description="some trials to end")
        finally:
            controller.kill()
            controller.communicate()
        before = trained_rungs(journal())
        copy = folder / "search.jsonl"  # the journal is removed at the end, but this link is not
        copy.hardlink_to(next(folder.glob(".rosenblatt/state/*/search.jsonl")))
        (record,) = list_records()
        options = () if place == "as before" else ("--on", "local")
        output = run(folder, "runs", "resume", "people", "--yes", *options)
        assert f"Taking down {record.name!r}, whose command was killed." in output
        n_trials = len({number for line in before for number, _ in line})
        assert f"(trials so far: {n_trials})" in output
        assert bool(re.search(r"training on 2 machines of cluster hosts-\w+", output)) == (place == "as before")
        rungs = [rung for line in trained_rungs(copy.read_text()) for rung in line]
        assert len(rungs) > sum(map(len, before)), "nothing was left to train"
        assert len(rungs) == len(set(rungs)), "a rung was trained twice"
        assert list_records() == []
        assert_idle(*rig)
    assert trials(folder) == trials(tmp_path / "undisturbed")
    assert "run:" in output
