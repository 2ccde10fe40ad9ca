"""Tune XGBoost: python examples/tune_xgboost.py."""

import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import rosenblatt

X, y = load_breast_cancer(return_X_y=True)
X_train, X_valid, y_train, y_valid = train_test_split(X, y, random_state=0)
training, validation = xgboost.DMatrix(X_train, y_train), xgboost.DMatrix(X_valid, y_valid)


def train(params, run):
    settings = {"objective": "binary:logistic", "eval_metric": "logloss", "nthread": 1, **params}
    xgboost.train(
        settings,
        training,
        num_boost_round=30,
        evals=[(validation, "valid")],
        verbose_eval=False,
        callbacks=[run.xgboost_callback()],
    )


space = {"eta": rosenblatt.log_uniform(0.01, 1.0), "max_depth": rosenblatt.integer(2, 8)}
result = rosenblatt.tune(train, space, trials=5, metric="valid_logloss")
print(result.best.params, result.best.score)
