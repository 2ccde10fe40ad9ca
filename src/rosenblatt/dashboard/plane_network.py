"""A network that is trained on points of a plane in small steps, by the calls of the engine for one member.

The points are two columns of numbers, encoded as `rosenblatt fit` encodes them. A perceptron is trained row by row in
the order that the engine would use, so that its steps are those of the estimator `Perceptron`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rosenblatt.dashboard.separability import Separation, find_separation
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError
from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec, unused_hyperparameter_error
from rosenblatt.training.backend import logits, make_trainer, predict
from rosenblatt.training.compiled.encoding import MatrixEncoder
from rosenblatt.training.compiled.perceptron import CONVERGED, N_USED, PerceptronConfig
from rosenblatt.training.compiled.random import shuffle
from rosenblatt.training.member import Member, new_member
from rosenblatt.training.rows import DenseRows

Unit = Literal["row", "update", "epoch"]
MAX_STEP_S = 0.012  # seconds of training in one request
MAX_LAYERS, MAX_UNITS, MAX_BUDGET = 6, 64, 500  # limits that keep a frame short
TARGET = Target(names=("class",), task="binary", labels=(0, 1))
ONE_WEIGHT_VECTOR = ("rosenblatt", "averaged", "pocket", "voted")  # rules whose mistakes Novikoff's theorem bounds
STOP = np.zeros(1, np.uint8)  # never set: steps are short


@dataclass(frozen=True)
class RowStep:
    """The last row that a perceptron was trained on."""

    row: int  # from 0
    sum: float  # weighted sum of the inputs before the update
    is_mistake: bool
    is_update: bool


def make_spec(hyperparameters: dict[str, Any]) -> Spec:
    """The spec of one network that is trained on all points. Raises SpecError."""
    spec = Spec.from_hyperparameters(**hyperparameters).replace(numeric_encoding="standard", members=1, folds=1)
    if error := unused_hyperparameter_error(spec):
        raise SpecError(error)
    sizes, budget = spec.network.hidden_sizes, spec.network.budget
    if sizes != "auto" and (len(sizes) > MAX_LAYERS or max(sizes, default=1) > MAX_UNITS):
        raise SpecError(
            f"The playground trains at most {MAX_LAYERS} hidden layers of {MAX_UNITS} units, but hidden_sizes is "
            f"{','.join(map(str, sizes))}. Choose fewer."
        )
    if spec.network.perceptron_rule in ("voted", "kernel") and budget > MAX_BUDGET:
        raise SpecError(f"The playground takes a budget of at most {MAX_BUDGET}, but it is {budget}. Choose less.")
    return spec


class PlaneNetwork:
    """A network in training, its counts and its points.

    Args:
        points: (n, 2) coordinates.
        classes: (n,) 0 or 1, both present.
        spec: as `make_spec` returns it.
        previous: a network whose weights are taken over where the shapes are equal.
    """

    def __init__(
        self, points: np.ndarray, classes: np.ndarray, spec: Spec, previous: PlaneNetwork | None = None
    ) -> None:
        self.spec, self.points, self.classes = spec, points, classes
        resolved = resolve_auto(spec, len(points), 2)
        encoder = Encoder.fit(points, resolved.data, columns=["x", "y"])
        self._encoder = MatrixEncoder(encoder.encodings)
        x = self._encoder.encode(points)
        self._rows = DenseRows(x, classes.astype(np.float32)[:, None], np.ones(len(x), np.float32))
        self._index = np.arange(len(x))
        loss = TARGET.with_loss(resolved, classes).loss
        self.architecture = build_dense(resolved.network, 2, 1)
        no_rows = np.arange(0)
        self.member = new_member(
            resolved, self.architecture, loss, self._index, no_rows, (resolved.training.seed,), self._rows
        )
        self.epochs = self.rows_seen = self.mistakes = self.updates = self._epoch_updates = 0
        self.loss, self.failure, self.is_finished = np.nan, "", False
        self.last_row: RowStep | None = None
        self._position = 0  # in the order of the epoch
        self.n_reused = self._take_over(previous) if previous else 0
        self._is_shuffled = False
        if isinstance(self.member.config, PerceptronConfig):
            self._is_shuffled = bool(self.member.config.shuffled)
            self.member.config = self.member.config._replace(shuffled=0)  # epochs are shuffled in `_start_epoch`
        self._trainer = make_trainer(self.member, self._rows)
        self.separation: Separation | None = None
        self.bound_note = self._set_bound()

    @property
    def is_perceptron(self) -> bool:
        """Whether it is trained row by row."""
        return self.architecture.kind == "perceptron"

    @property
    def advances_by_epochs(self) -> bool:
        """Whether a step is an epoch at least: the pocket algorithm counts the correct rows of the whole order."""
        return not self.is_perceptron or self.spec.network.perceptron_rule == "pocket"

    @property
    def position(self) -> int:
        """Number of rows that were trained on in the current epoch."""
        return self._position

    def train(self, unit: Unit, count: int) -> None:
        """Train for a number of rows, updates or epochs, but for at most `MAX_STEP_S`, and one step at least."""
        end = time.perf_counter() + MAX_STEP_S
        for _ in range(count):
            if self.is_finished:
                return
            if not self.is_perceptron:
                self._train_epoch_of_mlp()
            elif self.advances_by_epochs:
                self._train_epoch_of_pocket()
            else:
                n_epochs, n_updates = self.epochs, self.updates
                self._train_row()
                while not self.is_finished and (
                    (unit == "epoch" and self.epochs == n_epochs and time.perf_counter() < end)
                    or (unit == "update" and self.updates == n_updates)
                ):
                    self._train_row()
            if time.perf_counter() > end:
                return

    def predict(self, points: np.ndarray) -> np.ndarray:
        """The output of the network for points (n, 2): the probability of class 1, or the weighted sum (n,)."""
        rows = self._rows._replace(x=self._encoder.encode(points))
        theta = self.member.inference_parameters
        return predict(self.architecture, self.member.loss, theta, rows, np.arange(len(points)))[:, 0]

    def current_sums(self, points: np.ndarray) -> np.ndarray:
        """The weighted sums (n,) of the current weights, of a perceptron with one vector of weights."""
        rows = self._rows._replace(x=self._encoder.encode(points))
        return logits(self.architecture, self.member.state.theta, rows, np.arange(len(points)))[:, 0]

    @property
    def accuracy(self) -> float:
        """Fraction of the points that the network classifies correctly."""
        threshold = 0.0 if self.is_perceptron else 0.5
        return float(np.mean((self.predict(self.points) > threshold) == (self.classes > 0)))

    def saved_spec(self) -> Spec:
        """The spec with which `rosenblatt fit` trains for as many epochs."""
        return self.spec.replace(epochs=max(self.epochs, 1))

    def _set_bound(self) -> str:
        """Set the separation if Novikoff's bound holds; return a sentence if it does not."""
        rule = self.spec.network.perceptron_rule
        if not self.is_perceptron:
            return ""
        if rule not in ONE_WEIGHT_VECTOR:
            return f"The rule {rule} is not bounded by Novikoff's theorem, which is about updates at mistakes only."
        if self.n_reused:
            return "The bound holds from weights of 0. Restart to count against it."
        self.separation = find_separation(self._rows.x, self.classes)
        if self.separation is None:
            return "No line separates the classes, so that mistakes never end and there is no bound."
        return ""

    def _train_epoch_of_mlp(self) -> None:
        losses = np.full(1, np.nan)
        self._trainer.train_epochs(losses, STOP)
        self.loss = float(losses[0])
        if not np.isfinite(self.loss) or not np.isfinite(self.member.state.theta).all():
            self.failure = f"The training diverged in epoch {self.epochs + 1}. Lower the learning rate and start again."
            self.is_finished = True
            return
        self.epochs += 1
        self.rows_seen += len(self.points)

    def _train_epoch_of_pocket(self) -> None:
        self._start_epoch()
        n_mistakes = self._call_engine()
        self.mistakes += n_mistakes
        self.updates += n_mistakes
        self._epoch_updates = n_mistakes
        self.rows_seen += len(self.points)
        self._end_epoch()

    def _train_row(self) -> None:
        if self._position == 0:
            self._start_epoch()
        state = self.member.state
        row = int(state.order[self._position])
        one_row = state.order[self._position : self._position + 1]
        row_sum = self._current_sum(row)
        self.member.state = state._replace(order=one_row)
        is_mistake = self._call_engine() > 0
        self.member.state = state
        is_update = not state.step[CONVERGED]
        self.last_row = RowStep(row, row_sum, is_mistake, is_update)
        self.mistakes += is_mistake
        self.updates += is_update
        self._epoch_updates += is_update
        self.rows_seen += 1
        self._position += 1
        if self._position == len(self.points):
            self._end_epoch()

    def _call_engine(self) -> int:
        """Train on the rows of the state's order; return the number of mistakes."""
        losses = np.zeros(1)
        self._trainer.train_epochs(losses, STOP)
        return round(float(losses[0]) * self.member.state.order.size)

    def _current_sum(self, row: int) -> float:
        """The weighted sum of a row, by which the next update is decided."""
        theta, x = self.member.state.theta, self._rows.x[row]
        if self.spec.network.perceptron_rule == "kernel":
            return float(logits(self.architecture, theta, self._rows, np.array([row]))[0, 0])
        weights, biases = self.architecture.layers(theta)[0]
        vector = int(self.member.state.step[N_USED + 1]) if self.spec.network.perceptron_rule == "voted" else 0
        return float(x @ weights[:, vector] + biases[vector])

    def _start_epoch(self) -> None:
        self._epoch_updates = 0
        if self._is_shuffled:
            shuffle(self.member.state.order, self.member.state.counter)  # type: ignore[no-untyped-call]

    def _end_epoch(self) -> None:
        self._position = 0
        self.epochs += 1
        if not np.isfinite(self.member.state.theta).all():
            self.failure = f"The weights diverged in epoch {self.epochs}. Lower the learning rate and start again."
        self.is_finished = self._epoch_updates == 0 or bool(self.failure)

    def _take_over(self, previous: PlaneNetwork) -> int:
        """Copy parameters of equal layer, name and shape, and the optimizer's state if all are; return their number."""
        old, new = previous.architecture, self.architecture
        has_one_layer = len(old.sizes) == len(new.sizes) == 2
        if old.kind != new.kind or (new.kind == "perceptron" and not has_one_layer):
            return 0
        source = old.parameters_by_name(previous.member.state.theta)
        parameters = new.parameters_by_name(self.member.state.theta)
        equal = [key for key, part in parameters.items() if key in source and source[key].shape == part.shape]
        for key in equal:
            parameters[key][:] = source[key]
        self._take_over_state(previous.member, is_same=old.sizes == new.sizes)
        if new.kind == "mlp":
            self.epochs, self.rows_seen, self.loss = previous.epochs, previous.rows_seen, previous.loss
        return len(equal)

    def _take_over_state(self, previous: Member, *, is_same: bool) -> None:
        """Copy the counter of random numbers, and the moments of the same optimizer for the same parameters."""
        state, optimizer = self.member.state, self.member.spec.training.optimizer
        state.counter[:] = previous.state.counter
        if is_same and self.architecture.kind == "mlp" and previous.spec.training.optimizer == optimizer:
            state.m[:], state.v[:], state.step[:] = previous.state.m, previous.state.v, previous.state.step


def layer_arrays(network: PlaneNetwork) -> dict[str, np.ndarray]:
    """Weights (in, out) and biases (out,) of the layers that predict, by name, for networks small enough to draw."""
    architecture = network.architecture
    if architecture.kind == "perceptron" and len(architecture.sizes) == 3:
        return {}
    arrays = {}
    for layer, (weights, biases) in enumerate(architecture.layers(network.member.inference_parameters), 1):
        arrays[f"weight{layer}"], arrays[f"bias{layer}"] = weights, biases
    return arrays
