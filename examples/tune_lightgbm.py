"""Tune LightGBM: python examples/tune_lightgbm.py."""

import lightgbm
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import rosenblatt

X, y = load_breast_cancer(return_X_y=True)
X_train, X_valid, y_train, y_valid = train_test_split(X, y, random_state=0)


def train(params, run):
    training = lightgbm.Dataset(X_train, y_train)
    lightgbm.train(
        {"objective": "binary", "verbosity": -1, "num_threads": 1, **params},
        training,
        num_boost_round=30,
        valid_sets=[training.create_valid(X_valid, y_valid)],
        valid_names=["valid"],
        callbacks=[run.lightgbm_callback()],
    )


space = {"learning_rate": rosenblatt.log_uniform(0.01, 1.0), "num_leaves": rosenblatt.integer(4, 64)}
result = rosenblatt.tune(train, space, trials=5, metric="valid_binary_logloss")
print(result.best.params, result.best.score)
