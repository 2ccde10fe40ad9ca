"""Use fitted models in forked children of this process, whose Polars threads run; print the outcome of each as JSON.

    python fork_scenarios.py

Run by `test_forks.py` as a process of its own, because a fork of the test process would copy its threads, too.
"""

import faulthandler
import json
import multiprocessing
import os
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
from joblib import parallel_backend
from sklearn.model_selection import cross_val_score

from rosenblatt import CNNClassifier, MLPClassifier, Perceptron, RNNClassifier, RNNForecaster

TIME_LIMIT_S = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
NAMES = ["a", "b", "c"]
NUMBERS, POLARS = pd.DataFrame(X, columns=NAMES), pl.DataFrame(X, schema=NAMES)
WORDS = NUMBERS.assign(word=np.where(Y, "yes please", "no thanks"))
SMALL = {"members": 2, "epochs": 2, "hidden_sizes": (4,)}
WITH_MISSING = np.where(RNG.random(X.shape) < 0.1, np.nan, X)

ON_ARRAY, ON_FRAME = MLPClassifier(**SMALL).fit(X, Y), MLPClassifier(**SMALL).fit(NUMBERS, Y)
ON_WORDS = MLPClassifier(**SMALL).fit(WORDS, Y)
EXPECTED = ON_ARRAY.predict_proba(X)


def predict(rows):
    return ON_ARRAY.predict_proba(X[rows])


def in_pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        parts = pool.map(predict, [slice(0, 30), slice(30, 60)])
    assert np.array_equal(np.concatenate(parts), EXPECTED)


def in_joblib():
    with parallel_backend("multiprocessing", n_jobs=2):
        assert len(cross_val_score(MLPClassifier(**SMALL), X, Y, cv=2, error_score="raise")) == 2


SCENARIOS = {
    "predict an array": lambda: ON_ARRAY.predict(X),
    "predict an array of objects": lambda: ON_ARRAY.predict(X.astype(object)),
    "predict an array with missing values": lambda: ON_ARRAY.predict(WITH_MISSING),
    "predict a pandas frame": lambda: ON_FRAME.predict(NUMBERS),
    "predict a Polars frame": lambda: ON_FRAME.predict(POLARS),
    "predict with the model": lambda: (ON_ARRAY.model_.predict(X), ON_FRAME.model_.predict(NUMBERS)),
    "fit an array": lambda: MLPClassifier(**SMALL).fit(X, Y),
    "fit an array with missing values": lambda: MLPClassifier(**SMALL).fit(WITH_MISSING, Y),
    "fit a pandas frame": lambda: MLPClassifier(**SMALL).fit(NUMBERS, Y, validation=(NUMBERS, Y)),
    "fit a Polars frame": lambda: MLPClassifier(**SMALL).fit(POLARS, Y),
    "fit a perceptron": lambda: Perceptron().fit(NUMBERS, Y),
    "partial_fit": lambda: MLPClassifier(**SMALL).partial_fit(X, Y).partial_fit(X, Y),
    "a pool of processes": in_pool,
    "the multiprocessing backend of joblib": in_joblib,
    "refuse to predict words": lambda: ON_WORDS.predict(WORDS),
    "refuse to fit words": lambda: MLPClassifier(**SMALL).fit(WORDS, Y),
    "refuse images": lambda: CNNClassifier().fit(np.zeros((4, 6, 6)), [0, 1, 0, 1]),
    "refuse texts": lambda: RNNClassifier().fit(["a", "b", "a", "b"], [0, 1, 0, 1]),
    "refuse series": lambda: RNNForecaster().fit([1.0, 2.0, 3.0, 4.0]),
}


def run_in_child(scenario):
    """What a scenario raises in a forked child, or "" if it ends; "hangs" after the time limit."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(TIME_LIMIT_S, exit=True, file=sys.stderr)
        try:
            scenario()
            outcome = "ends"
        except Exception as error:  # noqa: BLE001 - any error is an outcome
            outcome = f"{type(error).__name__}: {error}"
        os.write(writer, outcome.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        outcome = pipe.read()
    os.waitpid(child, 0)
    return outcome or "hangs"


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Python warns of forks in processes with threads, which are what is tested
    pl.Series(X[:, 0]).fill_nan(None)  # starts Polars' threads
    print(json.dumps({name: run_in_child(scenario) for name, scenario in SCENARIOS.items()}))
