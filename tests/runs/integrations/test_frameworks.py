"""Integrations with the real frameworks: Keras on each backend, Lightning, PyTorch, TensorFlow, scikit-learn."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from rosenblatt.errors import RunError
from rosenblatt.runs.store.queries import find_runs, load_all_curves, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track

KERAS = """
import keras, numpy as np, rosenblatt
keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32"); y = (x.sum(axis=1) > 0).astype("float32")
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1, "sigmoid")])
model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
with rosenblatt.track("keras", params={"backend": keras.backend.backend()}) as run:
    model.fit(x, y, epochs=3, validation_split=0.25, verbose=0, callbacks=[run.keras_callback()])
"""
WITHOUT_TENSORFLOW = 'import sys; sys.modules["tensorflow"] = None'  # Keras imports it for any backend, in seconds
CUSTOM = """
import tensorflow as tf, rosenblatt
tf.random.set_seed(0)
w = tf.Variable(0.0); optimizer = tf.keras.optimizers.SGD(0.1)
with rosenblatt.track("custom") as run:
    for step in range(5):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        optimizer.apply_gradients([(tape.gradient(loss, w), w)])
        run.log({"loss": loss, "w": w}, step=tf.constant(step))
"""


@pytest.fixture
def store(own_store):
    opened = Store(f"sqlite:///{own_store}/runs.db")
    yield opened
    opened.close()


def skip_without(*packages):
    """Skip a test of packages that are not installed, without importing them into the process of the tests."""
    for package in packages:
        if not find_spec(package):
            pytest.skip(f"{package} is not installed")


def run_script(code, **environment):
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", **environment}
    process = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]


def check_keras_run(store, run_id, backend):
    """Check that the optimizer, the architecture and each epoch of Keras were recorded."""
    details = run_details(store, run_id)
    assert details.params["backend"].value == backend
    assert details.params["optimizer"].value == "Adam"
    assert float(details.params["learning_rate"].value) == pytest.approx(0.01)
    assert details.params["parameters"].value == "49"
    assert "Dense" in details.model
    curves = load_all_curves(store, details.id)
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} <= curves.keys()
    assert curves["val_loss"].steps.tolist() == [0, 1, 2]


@pytest.mark.frameworks
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.torch)])
def test_keras_reports_each_epoch_its_optimizer_and_its_architecture(store, backend):
    skip_without("keras", backend)
    run_script(WITHOUT_TENSORFLOW + KERAS, KERAS_BACKEND=backend)
    check_keras_run(store, find_runs(store)[0].id, backend)


@pytest.mark.frameworks
@pytest.mark.slow
def test_tensorflow_reports_runs_of_keras_and_tensors_of_a_custom_loop(store):
    """Both scripts run in one process, because importing TensorFlow takes several seconds."""
    skip_without("keras", "tensorflow")
    run_script(KERAS + CUSTOM, KERAS_BACKEND="tensorflow")
    run_ids = {run.experiment: run.id for run in find_runs(store)}
    check_keras_run(store, run_ids["keras"], "tensorflow")
    curves = load_all_curves(store, run_ids["custom"])
    assert curves["loss"].values[0] == 9.0
    assert curves["w"].values[0] == pytest.approx(0.6)


@pytest.mark.torch
@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore")
def test_lightning_reports_through_its_logger(store, tmp_path):
    lightning = pytest.importorskip("lightning")
    import torch

    class Module(lightning.LightningModule):
        def __init__(self, width=3):
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(2, width)

        def training_step(self, batch, _):
            loss = self.layer(batch).square().mean()
            self.log("train_loss", loss, on_step=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=0.02)

    with track("lightning") as run:
        trainer = lightning.Trainer(
            max_epochs=2, logger=run.lightning_logger(), default_root_dir=tmp_path, log_every_n_steps=1,
            enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        )  # fmt: skip
        module = Module()
        trainer.fit(module, torch.utils.data.DataLoader(torch.ones(8, 2), batch_size=4))
        run.describe(module, trainer.optimizers[0])
    details = run_details(store, run.id)
    assert details.params["width"].value == "3"
    assert details.params["optimizer"].value == "AdamW"
    assert load_all_curves(store, run.id)["train_loss"].steps.tolist() == [0, 1, 2, 3]
    assert any(artifact.kind == "model" for artifact in details.artifacts.values())


@pytest.mark.torch
def test_a_loop_of_pytorch_logs_its_tensors_and_settings(store):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.5}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    with track("torch", params={"momentum": 0.9}) as run:
        run.describe(model, optimizer)
        run.log({"loss": model(torch.ones(1, 3)).square().mean()}, step=torch.tensor(4))
    details = run_details(store, run.id)
    assert details.params["parameters"].value == "21"
    assert details.params["lr"].value == "0.1"
    assert details.params["lr of group 1"].value == "0.5"
    assert "ReLU" in details.model
    assert details.metrics["loss"].step == 4
    assert details.seeds["torch"] == torch.initial_seed()


def test_parameters_of_scikit_learn_estimators_are_recorded(store):
    from sklearn.linear_model import LogisticRegression

    with track("sklearn") as run:
        run.describe(LogisticRegression(C=0.3))
    details = run_details(store, run.id)
    assert details.params["model"].value == "LogisticRegression"
    assert details.params["C"].value == "0.3"


def test_describing_anything_but_a_model_is_an_error(store):
    with track("none") as run, pytest.raises(RunError, match="Expected a model of PyTorch, Keras or scikit-learn"):
        run.describe("a string")
