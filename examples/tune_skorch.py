"""Tune a net of skorch: python examples/tune_skorch.py."""

import torch
from sklearn.datasets import make_moons
from skorch import NeuralNetClassifier

import rosenblatt

X, y = make_moons(400, noise=0.2, random_state=0)
X = X.astype("float32")


def train(params, run):
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        torch.nn.Sequential(torch.nn.Linear(2, params["units"]), torch.nn.ReLU(), torch.nn.Linear(params["units"], 2)),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=params["lr"],
        max_epochs=10,
        verbose=0,
        callbacks=[run.skorch_callback()],
    )
    net.fit(X, y)


space = {"lr": rosenblatt.log_uniform(1e-3, 1e-1), "units": rosenblatt.integer(4, 32)}
result = rosenblatt.tune(train, space, trials=5, metric="valid_loss")
print(result.best.params, result.best.score)
