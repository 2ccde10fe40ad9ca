import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from rosenblatt import MLPClassifier

PRELOAD = """
import faulthandler, os, sys
import numpy as np, pandas as pd
from rosenblatt import MLPClassifier

model = MLPClassifier.load(sys.argv[1])
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later(60, exit=True)
    print(model.predict(pd.DataFrame({"word": ["yes", "no", "maybe"]})).tolist(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
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


def test_children_of_a_process_that_has_only_loaded_the_model_predict_words(tmp_path):
    frame, path = pd.DataFrame({"word": ["yes", "no"] * 20}), tmp_path / "model.rosenblatt"
    MLPClassifier(members=1, epochs=2, hidden_sizes=(4,)).fit(frame, [1, 0] * 20).save(path)
    command = [sys.executable, "-c", PRELOAD, path]
    process = subprocess.run(command, capture_output=True, timeout=120, text=True, check=False)
    assert len(json.loads(process.stdout)) == 3, process.stderr
