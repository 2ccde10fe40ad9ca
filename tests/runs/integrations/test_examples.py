"""The examples, which tune training loops of the real libraries; each runs where its library is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from rosenblatt.runs.store.queries import find_runs, load_all_curves, run_details
from rosenblatt.runs.store.store import Store

EXAMPLES = Path(__file__).parents[3] / "examples"
EXPECTED = {  # the libraries of each script, a metric of each trial, and a hyperparameter that the callback records
    "tune_keras": (("keras", "jax"), "val_loss", "optimizer"),
    "tune_lightning": (("lightning", "torch"), "val_loss", "units"),
    "tune_transformers": (("transformers", "accelerate", "torch"), "eval_loss", "learning_rate"),
    "tune_skorch": (("skorch", "torch"), "valid_loss", "max_epochs"),
    "tune_xgboost": (("xgboost",), "valid_logloss", "objective"),
    "tune_lightgbm": (("lightgbm",), "valid_binary_logloss", "objective"),
}


def test_all_examples_are_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == EXPECTED.keys()


@pytest.mark.slow
@pytest.mark.frameworks
@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_tunes_its_library_and_records_each_step(name, own_store):
    packages, metric, param = EXPECTED[name]
    absent = [package for package in packages if not find_spec(package)]
    if absent:
        pytest.skip(f"{absent[0]} is not installed")
    variables = {**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")], env=variables, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    with_store = Store(f"sqlite:///{own_store}/runs.db")
    try:
        trials = [run for run in find_runs(with_store) if run.parent]
        curve = load_all_curves(with_store, trials[0].id)[metric]
        assert len(curve.steps) >= 2
        assert param in run_details(with_store, trials[0].id).params
    finally:
        with_store.close()
