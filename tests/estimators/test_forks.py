import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fork_scenarios.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(scope="module")
def outcomes():
    process = subprocess.run([sys.executable, SCRIPT], capture_output=True, timeout=300, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_forked_children_predict_and_train_on_numbers(outcomes):
    failed = {name: outcome for name, outcome in outcomes.items() if outcome != "ends" and "refuse" not in name}
    assert not failed


def test_forked_children_refuse_tables_that_need_polars_in_one_sentence(outcomes):
    refusals = {name: outcome for name, outcome in outcomes.items() if "refuse" in name}
    assert len(refusals) == 5
    for name, outcome in refusals.items():
        assert outcome.startswith("TableError: This process was forked from one that had used Polars"), name
        assert outcome.endswith("or start processes with multiprocessing's method spawn or forkserver."), name
