"""Models with known weights, and results on known rows."""

import numpy as np
import polars as pl

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.spec.spec import Spec


def linear_model(weights, target=None, names=("a", "b")):
    """A model without hidden layers: the sum of its inputs, as they are, times the given weights."""
    weights = np.asarray(weights, np.float32).reshape(len(names), -1)
    frame = pl.DataFrame({name: [0.0, 1.0] for name in names})
    spread = {"log": (False,), "center": (0.0,), "scale": (1.0,), "low": (-1e9,), "high": (1e9,)}
    target = target or Target(names=("y",), task="regression", **spread)
    spec = Spec.from_hyperparameters(numeric_encoding="none", bins=8)
    architecture = DenseArchitecture("mlp", (len(names), weights.shape[1]), "relu")
    theta = np.concatenate([weights.ravel(), np.zeros(weights.shape[1], np.float32)])
    trained = [
        TrainedNetwork(architecture, theta, 2, (3.0, 2.0, 1.0), (0.9, 0.5, 0.7)),
        TrainedNetwork(architecture, theta, 1, (4.0, 2.0), (0.3, 0.6)),
    ]
    trial = TrainedTrial(spec, Encoder.fit(frame, spec.data), target, tuple(trained))
    return Model(spec, schema_from_dtypes(frame), (trial,))
