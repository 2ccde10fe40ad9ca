"""Models that the tests serve, and rows for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import to_bytes
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.spec.spec import Spec
from tests.models.export.fitted_models import make_deep_model

ROW = {"age": 39.5, "city": "Oslo", "member": True, "since": "2024-02-29"}
COLUMNS = (
    Column(name="age", kind="number"),
    Column(name="city", kind="category"),
    Column(name="member", kind="boolean", boolean_pair=("no", "yes")),
    Column(name="since", kind="date", date_parts=("day", "month", "weekday")),
    Column(name="id", kind="identifier"),
)


def people(n: int = 60) -> pl.DataFrame:
    """Rows of numbers, categories, booleans and dates, with missing cells."""
    rng = np.random.default_rng(0)
    days = pl.Series(rng.integers(10_000, 20_000, n)).cast(pl.Date).cast(pl.Datetime("us"))
    return pl.DataFrame(
        {
            "age": [None if k % 7 == 0 else float(age) for k, age in enumerate(rng.normal(40, 10, n))],
            "city": [None if k % 11 == 0 else str(city) for k, city in enumerate(rng.choice(["Oslo", "Rome"], n))],
            "member": rng.random(n) < 0.5,
            "since": days,
        }
    )


def make_model(target: Target | None = None, seed: int = 0) -> Model:
    """A model of two networks with random weights for the rows of `people`."""
    target = target or Target(names=("income",), task="multiclass", labels=("low", "middle", "high"))
    spec, schema = Spec.from_hyperparameters(numeric_encoding="piecewise", bins=8), Schema(columns=COLUMNS)
    encoder = Encoder.fit(schema.read(people()), spec.data)
    networks, rng = [], np.random.default_rng(seed)
    for _ in range(2):
        architecture = DenseArchitecture("mlp", (encoder.width, 8, target.n_outputs), "relu")
        theta = rng.normal(0, 0.5, architecture.n_parameters).astype(np.float32)
        networks.append(TrainedNetwork(architecture, theta, 1, (1.0,), ()))
    return Model(spec, schema, (TrainedTrial(spec, encoder, target, tuple(networks)),))


def make_media_model(name: str) -> Model:
    """A model of images, texts or sequences, whose token unit is resolved as after a fit."""
    model = make_deep_model(name)
    (trial,) = model.trials
    resolved = replace(trial, resolved_spec=trial.resolved_spec.replace(tokens="words"))
    return replace(model, trials=(resolved,))


def save(model: Model, folder: Path, name: str = "people") -> Path:
    """Write a model file, without the check in a new process."""
    path = folder / f"{name}.rosenblatt"
    path.write_bytes(to_bytes(model))
    return path
