"""In: a table, what is to be predicted, and a spec. Out: a model: all that is needed to predict, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_array, issparse, vstack

from rosenblatt.data.columns import Schema
from rosenblatt.data.frames import as_frame
from rosenblatt.data.splits import folds
from rosenblatt.data.targets import ALONE, Target
from rosenblatt.data.transforms import CHUNK, Encoder
from rosenblatt.defaults import resolve
from rosenblatt.errors import DivergedError, SpecError, StoppedEarlyError, TableError, listed
from rosenblatt.networks.architectures import Architecture, build
from rosenblatt.sections import class_name
from rosenblatt.spec import Spec, idle
from rosenblatt.training.dense import Rows
from rosenblatt.training.engine import outputs
from rosenblatt.training.member import Member, Record, go_on, new_member, take
from rosenblatt.training.population import Score, cores, train
from rosenblatt.training.rows import SparseRows

Watch = Callable[[Record], None]


@dataclass(frozen=True)
class TrainedNetwork:
    """One trained member: what it is, what it learnt, and how that went."""

    architecture: Architecture
    theta: np.ndarray  # (n_parameters,) float32
    best_epoch: int  # whose parameters these are, counted from 1
    losses: tuple[float, ...]  # of each epoch, on the training rows as they were met
    scores: tuple[float, ...]  # of each epoch, on the validation rows; empty where there are none


@dataclass(frozen=True)
class Data:
    """Rows to learn from, or to validate on: a typed table, what is to be predicted (see `Target`), weights or None.

    Perceptrons also learn from sparse matrices, and from arrays of finite numbers.
    """

    frame: pl.DataFrame | np.ndarray | csr_array
    y: np.ndarray
    weight: np.ndarray | None = None


@dataclass(frozen=True)
class Model:
    """A trained model: its parts are plain data, and it is not changed any more."""

    spec: Spec  # as asked
    chosen: Spec  # with all that was "auto" chosen
    schema: Schema
    encoder: Encoder
    target: Target
    networks: tuple[TrainedNetwork, ...]
    facts: dict[str, Any] = field(default_factory=dict)  # where it comes from and how good it is, as JSON

    def predict(self, table: Any) -> np.ndarray:
        """What the model says of each row of a table: Polars, pandas or an array, with the columns it learnt from.

        The class (n,), labels that hold as zeros and ones (n, labels), or values (n,) or (n, targets). Raises
        TableError where the table does not fit.
        """
        return self.label(self.decoded(rows_of(table)))

    def predict_proba(self, table: Any) -> np.ndarray:
        """The probability of each class or label, (n, classes or labels). Raises TableError as `predict` does."""
        self.check_probabilities()
        return self.decoded(rows_of(table))

    def check_probabilities(self) -> None:
        """Raise TableError where the networks give no probabilities."""
        if self.target.task == "regression" or self.target.answers == "sums":
            what = "predicts values" if self.target.task == "regression" else "gives weighted sums"
            raise TableError(f"This model {what}, so it has no probabilities. Use predict.")

    def label(self, decoded: np.ndarray) -> np.ndarray:
        """What is predicted, from the mean of what the networks say."""
        decided = self.target.decide(decoded)
        if self.target.labels:
            return np.asarray(self.target.labels)[decided]
        return decided[:, 0] if self.target.task == "regression" and decided.shape[1] == 1 else decided

    def decoded(self, frame: pl.DataFrame | np.ndarray | csr_array, threads: int | None = None) -> np.ndarray:
        """The mean of what the networks say of the rows of a table, (n, classes, labels or values) float64.

        Probabilities for classes and labels (weighted sums of a perceptron's units), else values. What is said of a row
        is the same to the last bit, whatever rows stand beside it. Raises TableError where they do not fit.
        """
        if self.encoder.sparse and isinstance(frame, np.ndarray):
            frame = csr_array(frame)
        elif not self.encoder.sparse and isinstance(frame, csr_array):
            frame = frame.toarray()
        if isinstance(frame, np.ndarray):
            return self.decoded_typed(frame if self.encoder.is_plain else self.schema.read(as_frame(frame)), threads)
        if isinstance(frame, pl.DataFrame) and not self.encoder.sparse:
            return self.decoded_typed(self.schema.read(frame), threads)
        if isinstance(frame, pl.DataFrame) or frame.shape[1] != self.encoder.sparse:
            learnt = f"a sparse matrix of {self.encoder.sparse} columns" if self.encoder.sparse else "a table"
            came = f"{'a table' if isinstance(frame, pl.DataFrame) else 'a sparse matrix'} of {frame.shape[1]}"
            raise TableError(f"The model learnt from {learnt}, but this is {came}. Give it rows of that kind.")
        nothing = np.empty((0, 1), np.float32)
        return self._decoded(SparseRows(*_csr(frame), nothing, nothing[:, 0]), frame.shape[0])

    def decoded_typed(self, typed: pl.DataFrame | np.ndarray, threads: int | None = None) -> np.ndarray:
        """`decoded` for a table that the schema has read."""

        def chunk(start: int) -> np.ndarray:
            return self.decoded_rows(self.encoder.encode(typed[start : start + CHUNK]))

        with ThreadPoolExecutor(threads or cores()) as pool:
            return np.concatenate(list(pool.map(chunk, range(0, max(len(typed), 1), CHUNK))))

    def decoded_rows(self, x: np.ndarray) -> np.ndarray:
        """`decoded` for rows x (n, F) float32 as the encoder makes them."""
        nothing = np.empty((0, 1), np.float32)
        return self._decoded(Rows(x, nothing, nothing[:, 0]), len(x))

    def _decoded(self, table: Rows | SparseRows, n: int) -> np.ndarray:
        said = [
            self.target.decode(outputs(network.architecture, self.target.loss, network.theta, table, np.arange(n)))
            for network in self.networks
        ]
        return np.mean(said, axis=0)

    def with_facts(self, **facts: Any) -> Model:
        """This model, with more known of it."""
        return replace(self, facts={**self.facts, **facts})


def learn(
    spec: Spec,
    schema: Schema,
    target: Target,
    data: Data,
    *,
    validation: Data | None = None,
    score: Callable[[Target, np.ndarray], Score] | None = None,
    watch: Callable[[Spec, int], Watch] | None = None,
    threads: int | None = None,
) -> Model:
    """Train a population on `data` and keep it as a model.

    Args:
        validation: rows to choose the best epochs on; without them, each member spares a part of `data`.
        score: makes of the target and all y (training, then validation rows) what scores an epoch; else the loss does.
        watch: told the chosen spec and the number of members, gives what is called with each epoch's record.
        threads: cores to use; all by default. The result does not depend on it.

    Raises:
        SpecError: for hyperparameters that cannot be combined with the task.
        TableError: if no column can be learnt from.
        DivergedError: if no member ended in finite numbers.
        StoppedEarlyError: if interrupted before an epoch was over. Interrupted later, the best epochs so far are kept
            and the model's fact "interrupted" is true.
    """
    chosen = _resolved(spec, data, target)
    encoder = Encoder.learn(data.frame, chosen.data)
    if not encoder.width:
        raise TableError("No column is left to learn from: no value of any of them comes twice.")
    frame, y, weight = _together(data, validation)
    rows = _rows(chosen, encoder, target, frame, y, weight)
    members = list(_members(chosen, encoder, target, data, rows, None if validation is None else len(validation.y)))
    told = watch(chosen, len(members)) if watch else None
    interrupted = False
    with closing(train(members, rows, score(target, y) if score else None, threads)) as records:
        try:
            for record in records:
                if told:
                    told(record)
        except KeyboardInterrupt:
            interrupted = True
    facts: dict[str, Any] = {
        "rows": len(data.y),
        "interrupted": interrupted,
        "members": len(members),
        "failures": [member.failure for member in members if member.failure],
    }
    return Model(spec, chosen, schema, encoder, target, _trained(members, chosen, interrupted), facts)


class Stream:
    """A model that learns from one batch of rows after another, an epoch each; none is spared for validation.

    How numbers are scaled, which categories there are, and how targets are spread is that of `model`, whose networks
    learn on, or else learnt from the first batch. The learning rate is constant.
    """

    def __init__(self, spec: Spec, schema: Schema, target: Target, first: Data, model: Model | None = None) -> None:
        self._spec, self._schema = spec, schema
        self._target = model.target if model else target
        chosen = model.chosen if model else _resolved(spec, first, target)
        constant = dict.fromkeys(("schedule", "dropout_schedule", "weight_decay_schedule"), "constant")
        self._chosen = chosen.replace(folds=1, **constant)
        self._encoder = model.encoder if model else Encoder.learn(first.frame, self._chosen.data)
        rows = _rows(self._chosen, self._encoder, self._target, *_together(first, None))
        self._members = list(_members(self._chosen, self._encoder, self._target, first, rows, None))
        self._rows = 0
        if model:
            self._members = [self._going_on(network, index, rows) for index, network in enumerate(model.networks)]
            self._rows = model.facts["rows"]

    def _going_on(self, network: TrainedNetwork, index: int, rows: Rows | SparseRows) -> Member:
        """A member that starts from what a network learnt; its rows come with each batch."""
        none, seed, architecture = np.arange(0), (self._chosen.training.seed, index), network.architecture
        if architecture.kind == "perceptron":  # with room for more hidden units
            architecture = build(self._chosen.network, self._encoder.width, self._target.n_outputs)
        member = new_member(self._chosen, architecture, self._target.loss, none, none, seed, rows)
        go_on(member, network.architecture, network.theta)
        return member

    def learn(self, data: Data, threads: int | None = None) -> Model:
        """One epoch over these rows; the model so far. Raises DivergedError."""
        frame, y, weight = _together(data, None)
        rows = _rows(self._chosen, self._encoder, self._target, frame, y, weight)
        for member in self._members:
            take(member, np.arange(len(y)), rows)
            member.epochs = len(member.history) + 1
        before = [member.copy() for member in self._members]
        for _ in train(self._members, rows, threads=threads):
            pass
        failures = [member.failure for member in self._members if member.failure]
        if failures:
            self._members = before
            raise _diverged(self._chosen, failures)
        self._rows += len(y)
        networks = _trained(self._members, self._chosen, interrupted=False)
        facts = {"rows": self._rows, "interrupted": False, "members": len(self._members), "failures": []}
        return Model(self._spec, self._chosen, self._schema, self._encoder, self._target, networks, facts)


def _resolved(spec: Spec, data: Data, target: Target) -> Spec:
    """The spec with all chosen that is "auto", where it can be combined with the task."""
    if data.frame.shape[1] == 0:
        raise TableError("No column is left to learn from: all are constant, identifiers, free text, or left out.")
    sparse, numeric = issparse(data.frame), data.frame.shape[1]
    if isinstance(data.frame, pl.DataFrame):
        numeric = sum(dtype == pl.Float64 for dtype in data.frame.dtypes)
    if sparse and (spec.network.kind != "perceptron" or spec.network.rule == "kernel"):
        what = "kernel perceptrons" if spec.network.kind == "perceptron" else "multilayer perceptrons"
        raise SpecError(f"Perceptrons learn from sparse matrices, {what} do not. Make it dense, or choose another.")
    chosen = resolve(spec, len(data.y), numeric)
    check(spec, chosen, target)
    return chosen


def check(spec: Spec, chosen: Spec, target: Target) -> None:
    """Raise SpecError where hyperparameters, or hyperparameters and task, cannot be combined."""
    nonsense = idle(spec)
    if nonsense:
        raise SpecError(nonsense)
    rule = chosen.network.rule
    if rule.startswith("passive") and spec.training.learning_rate != "auto":
        raise SpecError(f"The rule {rule} finds the length of its steps itself. Leave learning_rate out.")
    if spec.training.multiclass == "crammer_singer" and (rule in ALONE or rule.startswith("passive")):
        raise SpecError(f"The rule {rule} cannot be combined with multiclass crammer_singer. Leave that out.")
    training, kind = chosen.training, chosen.network.kind
    if training.batches == "stratified" and (target.task not in ("binary", "multiclass") or kind == "perceptron"):
        what = "a perceptron learns row by row" if kind == "perceptron" else f"the task is {target.task}"
        raise SpecError(f"batches stratified shares out classes, but {what}. Use shuffled or in_order.")
    if chosen.network.normalization == "batch" and chosen["batch_size"] == 1:
        raise SpecError("normalization batch needs more rows than one in a batch, but batch_size is 1. Use layer.")
    if training.label_smoothing > 0 and "cross_entropy" not in target.loss:
        raise SpecError(f"label_smoothing is for the loss cross_entropy, but the loss is {target.loss}. Leave it out.")


def _rows(
    spec: Spec,
    encoder: Encoder,
    target: Target,
    frame: pl.DataFrame | np.ndarray | csr_array,
    y: np.ndarray,
    weight: np.ndarray,
) -> Rows | SparseRows:
    """The rows as the engine takes them; weights have the mean 1."""
    weight = weight * _class_weights(spec, target, y)
    t, weight = target.encode(y), (weight / weight.mean()).astype(np.float32)
    if isinstance(frame, pl.DataFrame | np.ndarray):
        return Rows(encoder.encode(frame), t, weight)
    return SparseRows(*_csr(frame), t, weight)


def _csr(matrix: csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, columns and starts of the rows."""
    return matrix.data.astype(np.float32), matrix.indices.astype(np.uint32), matrix.indptr.astype(np.int64)


def rows_of(table: Any) -> pl.DataFrame | csr_array:
    """A frame of a table or an array; a sparse matrix by rows. Raises TableError, TypeError as `as_frame` does."""
    return csr_array(table) if issparse(table) else as_frame(table)


def _together(data: Data, validation: Data | None) -> tuple[Any, np.ndarray, np.ndarray]:
    """The rows to learn from, then those to validate on."""
    parts = [data] if validation is None else [data, validation]
    weights = [np.ones(len(part.y)) if part.weight is None else np.asarray(part.weight, float) for part in parts]
    frames: list[Any] = [part.frame for part in parts]
    join = pl.concat if isinstance(data.frame, pl.DataFrame) else np.concatenate
    return (
        vstack(frames, format="csr") if issparse(data.frame) else join(frames) if len(frames) > 1 else frames[0],
        np.concatenate([part.y for part in parts]),
        np.concatenate(weights),
    )


def _class_weights(spec: Spec, target: Target, y: np.ndarray) -> np.ndarray | float:
    """Each row's weight by its class."""
    weights = spec.training.class_weight
    if weights is None:
        return 1.0
    if target.task not in ("binary", "multiclass"):
        raise SpecError(f"class_weight weighs classes, but the task is {target.task}. Use sample weights instead.")
    if weights == "balanced":
        counts = np.bincount(y.astype(int), minlength=len(target.labels))
        return (len(y) / (len(target.labels) * np.maximum(counts, 1)))[y.astype(int)]
    labels = [class_name(label) for label in target.labels]
    unknown = [label for label in weights if label not in labels]
    if unknown:
        raise SpecError(f"class_weight names {listed(unknown)}, but the classes are {listed(labels)}.")
    return np.array([weights.get(label, 1.0) for label in labels])[y.astype(int)]


def _members(
    spec: Spec, encoder: Encoder, target: Target, data: Data, table: Rows | SparseRows, validation: int | None
) -> Iterator[Member]:
    """New members: each spares another fold of the rows, in a new deal of them when all folds had their turn."""
    n = len(data.y)
    like = data.y.reshape(n, -1)[:, 0]
    k = min(spec["folds"], n)
    everything, parts = np.arange(n), list[np.ndarray]()
    for index in range(spec["members"]):
        seed = (spec.training.seed, index)
        if validation is not None:
            spared, rows = np.arange(n, n + validation), everything
        elif k == 1:
            spared, rows = everything[:0], everything
        else:
            if index % k == 0:
                parts = folds(n, k, int(np.random.default_rng(seed).integers(2**63)), like)
            spared = parts[index % k]
            rows = np.setdiff1d(everything, spared, assume_unique=True)
        architecture = build(spec.network, encoder.width, target.n_outputs, index)
        yield new_member(spec, architecture, target.loss, rows, spared, seed, table)


def _trained(members: list[Member], spec: Spec, interrupted: bool) -> tuple[TrainedNetwork, ...]:
    """What the members learnt; raises where none of them did."""
    networks = tuple(_network(member) for member in members if member.trained)
    if not networks and interrupted:
        raise StoppedEarlyError("Training was stopped before the first epoch was over: there is nothing to keep yet.")
    if not networks:
        raise _diverged(spec, [member.failure for member in members])
    return networks


def _diverged(spec: Spec, failures: list[str]) -> DivergedError:
    return DivergedError(
        f"Training ended in numbers that are not finite: {failures[0]}. Choose a smaller learning_rate than "
        f"{spec.training.learning_rate:g}, or a clip_norm such as 1."
    )


def _network(member: Member) -> TrainedNetwork:
    losses = tuple(record.loss for record in member.history)
    scores = tuple(record.score for record in member.history) if member.validation.size else ()
    return TrainedNetwork(*member.kept(), member.best_epoch, losses, scores)
