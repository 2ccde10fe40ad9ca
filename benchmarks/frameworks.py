"""Train the same network by Rosenblatt, PyTorch, Keras on each backend, and TensorFlow, and compare the results.

    python benchmarks/frameworks.py                     a table
    python benchmarks/frameworks.py --only torch        results of one framework, as JSON

All start from the same weights and take the same batches in the same order. Each framework builds the network by its
own layers, and trains it by its own loop and optimizer, in a process of its own. Compared are the gradient of the first
batch, the loss of each epoch and the probabilities after the last one, all in float32.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SIZES, N, BATCH, EPOCHS = (20, 32, 16, 3), 512, 64, 5  # tanh units; 40 steps
RATES = {"sgd": 0.1, "adam": 0.01}
EPSILON = 1e-8  # of Adam


class Problem(NamedTuple):
    """Rows, and the initial weights of a network."""

    x: np.ndarray  # (N, 20) float32
    t: np.ndarray  # (N,) int64, classes
    layers: list[tuple[np.ndarray, np.ndarray]]  # weights (in, out) and biases (out,), float32


class Result(NamedTuple):
    """What a framework computed."""

    gradient: list[np.ndarray]  # of the mean loss of the first batch: weights and biases of each layer
    losses: list[float]  # mean training loss of each epoch
    probabilities: np.ndarray  # (N, 3), after the last epoch


def make_problem(seed: int = 0) -> Problem:
    """Three classes that a linear function of noise separates."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, SIZES[0])).astype(np.float32)
    t = (x @ rng.normal(size=(SIZES[0], SIZES[-1])) + rng.gumbel(size=(N, SIZES[-1]))).argmax(axis=1)
    shapes = list(itertools.pairwise(SIZES))
    layers = [(rng.normal(0, n_in**-0.5, (n_in, n_out)), rng.normal(0, 0.1, n_out)) for n_in, n_out in shapes]
    return Problem(x, t, [(W.astype(np.float32), b.astype(np.float32)) for W, b in layers])


def run_rosenblatt(problem: Problem, optimizer: str) -> Result:
    """The compiled engine. Its gradient is the step of gradient descent with a learning rate of 1."""
    from rosenblatt.networks.dense import build_dense
    from rosenblatt.spec.defaults import resolve_auto
    from rosenblatt.spec.spec import Spec
    from rosenblatt.training.backend import predict
    from rosenblatt.training.member import new_member
    from rosenblatt.training.population import train
    from rosenblatt.training.rows import DenseRows

    rows = DenseRows(problem.x, problem.t[:, None].astype(np.float32), np.ones(N, np.float32))
    initial = np.concatenate([values.ravel() for layer in problem.layers for values in layer])

    def train_on(index, **options):
        spec = Spec.from_hyperparameters(
            hidden_sizes=SIZES[1:-1], activation="tanh", normalization="none", residual=False, dropout=0.0,
            clip_norm=0.0, weight_decay=0.0, batch_order="in_order", schedule="constant", batch_size=BATCH, **options,
        )  # fmt: skip
        spec = resolve_auto(spec, N, SIZES[0])
        architecture = build_dense(spec.network, SIZES[0], SIZES[-1])
        member = new_member(spec, architecture, "cross_entropy", index, np.arange(0), (0,), rows)
        member.state.theta[:] = initial
        list(train([member], rows))
        return member

    member = train_on(np.arange(N), optimizer=optimizer, learning_rate=RATES[optimizer], epochs=EPOCHS)
    step = train_on(np.arange(BATCH), optimizer="sgd", learning_rate=1.0, epochs=1)
    gradient = step.architecture.layers(initial - step.state.theta)
    probabilities = predict(member.architecture, "cross_entropy", member.state.theta, rows, np.arange(N))
    return Result(
        [values for layer in gradient for values in layer], [record.loss for record in member.history], probabilities
    )


def run_torch(problem: Problem, optimizer: str) -> Result:
    """PyTorch: modules, autograd and torch.optim."""
    import torch
    from torch import nn

    x, t = torch.from_numpy(problem.x), torch.from_numpy(problem.t)
    network = nn.Sequential()
    for W, b in problem.layers:
        layer = nn.Linear(*W.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(W.T.copy()))
            layer.bias.copy_(torch.from_numpy(b))
        network.extend([layer, nn.Tanh()])
    network = network[:-1]
    rate = RATES[optimizer]
    make = {"sgd": lambda p: torch.optim.SGD(p, rate), "adam": lambda p: torch.optim.Adam(p, rate, eps=EPSILON)}
    update, gradient, losses = make[optimizer](network.parameters()), [], []
    for _ in range(EPOCHS):
        total = 0.0
        for start in range(0, N, BATCH):
            update.zero_grad()
            loss = nn.functional.cross_entropy(network(x[start : start + BATCH]), t[start : start + BATCH])
            loss.backward()
            gradient = gradient or [p.grad.numpy().T.copy() for p in network.parameters()]
            update.step()
            total += loss.item()
        losses.append(total * BATCH / N)
    return Result(gradient, losses, network(x).softmax(dim=1).detach().numpy())


def run_keras(problem: Problem, optimizer: str) -> Result:
    """Keras: layers, `fit` and its optimizers. Its gradient is that of a step with a learning rate of 1."""
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def make(update):
        inputs = keras.Input((SIZES[0],))
        a = inputs
        for units in SIZES[1:-1]:
            a = keras.layers.Dense(units, "tanh")(a)
        network = keras.Model(inputs, keras.layers.Dense(SIZES[-1])(a))
        network.set_weights([values for layer in problem.layers for values in layer])
        network.compile(update, loss)
        return network

    rate = RATES[optimizer]
    adam = keras.optimizers.Adam(rate, epsilon=EPSILON)
    network = make(keras.optimizers.SGD(rate) if optimizer == "sgd" else adam)
    history = network.fit(problem.x, problem.t, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
    step = make(keras.optimizers.SGD(1.0))
    before = step.get_weights()
    step.train_on_batch(problem.x[:BATCH], problem.t[:BATCH])
    gradient = [old - new for old, new in zip(before, step.get_weights(), strict=True)]
    logits = network.predict(problem.x, verbose=0)
    return Result(gradient, history.history["loss"], keras.ops.convert_to_numpy(keras.ops.softmax(logits)))


def run_tensorflow(problem: Problem, optimizer: str) -> Result:
    """TensorFlow: variables, gradient tapes and its own updates."""
    import tensorflow as tf

    variables = [tf.Variable(values) for layer in problem.layers for values in layer]
    moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in variables]
    rate, gradient, losses = RATES[optimizer], [], []

    def logits(x):
        a = x
        for W, b in zip(variables[:-2:2], variables[1:-2:2], strict=True):
            a = tf.tanh(a @ W + b)
        return a @ variables[-2] + variables[-1]

    @tf.function
    def loss_and_gradient(x, t):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(t, logits(x)))
        return loss, tape.gradient(loss, variables)

    def update(gradients, step):
        for v, g, (m, s) in zip(variables, gradients, moments, strict=True):
            if optimizer == "sgd":
                v.assign_sub(rate * g)
            else:
                powers = np.float32(0.9**step), np.float32(0.999**step)
                tf.raw_ops.ResourceApplyAdam(
                    var=v.handle, m=m.handle, v=s.handle, beta1_power=powers[0], beta2_power=powers[1], lr=rate,
                    beta1=0.9, beta2=0.999, epsilon=EPSILON, grad=g,
                )  # fmt: skip

    step = 0
    for _ in range(EPOCHS):
        total = 0.0
        for start in range(0, N, BATCH):
            step += 1
            batch = slice(start, start + BATCH)
            loss, gradients = loss_and_gradient(tf.constant(problem.x[batch]), tf.constant(problem.t[batch]))
            gradient = gradient or [g.numpy() for g in gradients]
            update(gradients, step)
            total += float(loss)
        losses.append(total * BATCH / N)
    return Result(gradient, losses, tf.nn.softmax(logits(tf.constant(problem.x))).numpy())


RUNNERS: dict[str, Callable[[Problem, str], Result]] = {
    "rosenblatt": run_rosenblatt,
    "torch": run_torch,
    "tensorflow": run_tensorflow,
    "keras tensorflow": run_keras,
    "keras jax": run_keras,
    "keras torch": run_keras,
}


class Differences(NamedTuple):
    """Largest differences between two results."""

    gradient: float  # relative to the largest component
    loss: float  # relative
    probabilities: float


def compare(result: Result, other: Result) -> Differences:
    """The largest differences of a result from another."""
    largest = max(float(np.abs(values).max()) for values in other.gradient)
    gradient = max(float(np.abs(a - b).max()) for a, b in zip(result.gradient, other.gradient, strict=True))
    losses = np.array(result.losses), np.array(other.losses)
    probabilities = float(np.abs(result.probabilities - other.probabilities).max())
    return Differences(gradient / largest, float(np.abs(losses[0] / losses[1] - 1).max()), probabilities)


def run_alone(name: str) -> dict[str, Result]:
    """Results of a framework by optimizer, computed in a process of its own."""
    backend = name.rsplit(maxsplit=1)[-1] if name.startswith("keras") else ""
    variables = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | ({"KERAS_BACKEND": backend} if backend else {})
    command = [sys.executable, __file__, "--only", name]
    process = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return {
        optimizer: Result([np.array(g) for g in gradient], losses, np.array(probabilities))
        for optimizer, (gradient, losses, probabilities) in json.loads(process.stdout).items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=RUNNERS, help="print the results of one framework as JSON")
    name = parser.parse_args().only
    if name:
        problem, results = make_problem(), {}
        for optimizer in RATES:
            gradient, losses, probabilities = RUNNERS[name](problem, optimizer)
            results[optimizer] = [g.tolist() for g in gradient], list(map(float, losses)), probabilities.tolist()
        print(json.dumps(results))
        return
    all_results = {name: run_alone(name) for name in RUNNERS}
    for optimizer, rate in RATES.items():
        print(
            f"\n{optimizer}, learning rate {rate}: loss of epochs 1 and {EPOCHS}, largest differences from Rosenblatt"
        )
        print(f"{'':18}{'epoch 1':>12}{'epoch ' + str(EPOCHS):>12}{'gradient':>12}{'losses':>12}{'probabilities':>15}")
        reference = all_results["rosenblatt"][optimizer]
        for name, results in all_results.items():
            result, (gradient, loss, p) = results[optimizer], compare(results[optimizer], reference)
            first, last = result.losses[0], result.losses[-1]
            print(f"{name:18}{first:12.7f}{last:12.7f}{gradient:12.1e}{loss:12.1e}{p:15.1e}")


if __name__ == "__main__":
    main()
