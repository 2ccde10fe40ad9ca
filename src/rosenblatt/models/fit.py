"""In: a spec, rows to learn from, and what is asked of them. Out: a trained model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
import polars as pl
from scipy.sparse import csr_array, issparse, vstack

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.media.columns import Inputs, MediaRows, kinds_of_media, row_hashes
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.splits import Fold, deal, validation_folds
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, SpecError, StoppedEarlyError, TableError, listed
from rosenblatt.models.compatibility import check, check_media
from rosenblatt.models.model import Model, TrainedNetwork, TrainedTrial, csr_parts
from rosenblatt.networks.deep import Deep, Medium, build_deep
from rosenblatt.networks.dense import Architecture, build
from rosenblatt.spec.defaults import DEEP, cores_for, resolve
from rosenblatt.spec.fields import class_name
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import Table
from rosenblatt.training.compiled.mlp import Rows
from rosenblatt.training.member import Member, Record, go_on, new_member, take
from rosenblatt.training.population import Score, cores, train
from rosenblatt.training.rows import SparseRows

Watch = Callable[[Record], None]
ScoreOf = Callable[[Target, np.ndarray], Score]
"""From the target and all y (training, then validation rows) to what scores an epoch."""


@dataclass(frozen=True)
class Data:
    """Rows to learn from, or to validate on: a typed table, what is to be predicted (see `Target`), weights or None.

    Perceptrons also learn from sparse matrices, and from arrays of finite numbers. Rows of one group never stand on
    both sides of a split; rows with an order are validated on by what learnt from earlier ones.
    """

    frame: pl.DataFrame | np.ndarray | csr_array
    y: np.ndarray
    weight: np.ndarray | None = None
    groups: np.ndarray | None = None  # (n,)
    order: np.ndarray | None = None  # (n,)

    @property
    def like(self) -> np.ndarray:
        """(n,) of which every fold should have the same mix: the classes, or the (first) values."""
        return self.y.reshape(len(self.y), -1)[:, 0]

    def fingerprint(self) -> bytes:
        """A hash of all rows with their answers, weights, groups and order."""
        found, frame = hashlib.sha256(), cast("Any", self.frame)
        parts = [frame.data, frame.indices, frame.indptr] if issparse(frame) else [frame]
        for part in [*parts, self.y, *(a for a in (self.weight, self.groups, self.order) if a is not None)]:
            array = row_hashes(part) if isinstance(part, pl.DataFrame) else part
            found.update(f"{array.dtype} {array.shape} ".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.digest()


class Prepared:
    """The rows of a fit in each of the forms that hyperparameters ask for, made once each.

    Args:
        target_of: makes of a spec what is to be predicted, as it is put to the network.
        validation: rows to choose the best epochs on, instead of parts of `data`.
        splits: which rows to learn from and which to validate on, instead of folds of our own.
    """

    def __init__(
        self,
        data: Data,
        target_of: Callable[[Spec], Target],
        validation: Data | None = None,
        splits: list[Fold] | None = None,
    ) -> None:
        self.data, self.validation, self.splits, self._target_of = data, validation, splits, target_of
        self.frame, self.y, self.weight = _together(data, validation)
        self._encoded: dict[str, tuple[Encoder, np.ndarray | csr_array | Inputs]] = {}
        self._rows: dict[tuple[str, str, str], Table] = {}
        self._targets: dict[str, Target] = {}

    def resolved(self, spec: Spec) -> Spec:
        """The spec with all chosen that is "auto". Raises SpecError where it cannot be combined with the task."""
        return _resolved(spec, self.data, self.target(spec))

    def target(self, spec: Spec) -> Target:
        """What is to be predicted, as a network of this spec is taught it. Raises SpecError."""
        training = spec.training
        how = training.loss, training.multiclass, training.class_balance
        key = f"{spec.data.target_transform} {spec.network} {how}"
        if key not in self._targets:
            self._targets[key] = self._target_of(spec)
        return self._targets[key]

    def encoder(self, chosen: Spec) -> Encoder:
        """How a network of this resolved spec is given the rows."""
        return self._form(chosen)[0]

    def rows(self, chosen: Spec) -> Table:
        """All rows, to learn from and to validate on, as the engine takes them; their weights have the mean 1.

        Trials that are given the same rows share them, so that they can be trained as one.
        """
        target = self.target(chosen)
        key = form_of(chosen), target.model_dump_json(exclude={"balance"}), str(chosen.training.class_weight)
        if key not in self._rows:
            self._rows[key] = _rows(chosen, target, self._form(chosen)[1], self.y, self.weight)
        return self._rows[key]

    def _form(self, chosen: Spec) -> tuple[Encoder, np.ndarray | csr_array | Inputs]:
        key = form_of(chosen)
        if key not in self._encoded:
            encoder = Encoder.learn(self.data.frame, chosen.data, whole=self.target(chosen).task == "tagging")
            if not encoder.width and not encoder.perceived:
                raise TableError("No column is left to learn from: no value of any of them comes twice.")
            self._encoded[key] = encoder, _encoded(encoder, self.frame)
        return self._encoded[key]

    @property
    def bytes(self) -> int:
        """The memory of all forms."""
        return sum(x.nbytes for _, x in self._encoded.values() if isinstance(x, np.ndarray | Inputs))

    def keep_only(self, forms: set[str]) -> None:
        """Forget the others; they are made again where they are asked for."""
        self._rows = {key: rows for key, rows in self._rows.items() if key[0] in forms}
        self._encoded = {key: form for key, form in self._encoded.items() if key in forms}

    def folds(self, k: int, repeats: int, seed: int) -> list[Fold]:
        """Which rows to learn from and which to validate on, in turn."""
        n, data = len(self.data.y), self.data
        if self.splits is not None:
            return self.splits
        if self.validation is not None:
            return [Fold(np.arange(n), np.arange(n, n + len(self.validation.y)))]
        return validation_folds(n, k, repeats, seed, data.like, data.groups, data.order)


def form_of(chosen: Spec) -> str:
    """What the encoded rows of this spec depend on."""
    return chosen.data.model_dump_json()


def learn(
    spec: Spec,
    schema: Schema,
    target: Target,
    data: Data,
    *,
    validation: Data | None = None,
    score: ScoreOf | None = None,
    watch: Callable[[Spec, int], Watch] | None = None,
    threads: int | None = None,
) -> Model:
    """Train a population on `data` and keep it as a model.

    Args:
        validation: rows to choose the best epochs on; without them, each member spares a part of `data`.
        score: makes what scores an epoch; else the loss does.
        watch: told the chosen spec and the number of members, gives what is called with each epoch's record.
        threads: cores to use; all by default. The result does not depend on it, but for that of convolutional and
            recurrent networks, where `cores` is left to be chosen: on more cores sums are rounded otherwise.

    Raises:
        SpecError: for hyperparameters that cannot be combined with the task.
        TableError: if no column can be learnt from.
        DivergedError: if no member ended in finite numbers.
        StoppedEarlyError: if interrupted before an epoch was over. Interrupted later, the best epochs so far are kept
            and the model's fact "interrupted" is true.
    """
    prepared = Prepared(data, lambda _: target, validation)
    chosen = prepared.resolved(spec)
    if spec.training.cores == "auto" and spec.network.kind in DEEP:
        chosen = chosen.replace(cores=cores_for(chosen, len(data.y), threads or cores()))
    encoder, rows = prepared.encoder(chosen), prepared.rows(chosen)
    members = list(_members(chosen, encoder, target, data, rows, None if validation is None else len(validation.y)))
    told = watch(chosen, len(members)) if watch else None
    interrupted = False
    with closing(train(members, rows, score(target, prepared.y) if score else None, threads)) as records:
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
    trial = TrainedTrial(chosen, encoder, target, _trained(members, chosen, interrupted))
    return Model(spec, schema, (trial,), facts)


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
        whole = target.task == "tagging"
        self._encoder = model.encoder if model else Encoder.learn(first.frame, self._chosen.data, whole=whole)
        frame, y, weight = _together(first, None)
        rows = _rows(self._chosen, self._target, _encoded(self._encoder, frame), y, weight)
        self._members = list(_members(self._chosen, self._encoder, self._target, first, rows, None))
        self._rows = 0
        if model:
            self._members = [
                self._going_on(network, index, rows) for index, network in enumerate(model.trials[0].networks)
            ]
            self._rows = model.facts["rows"]

    def _going_on(self, network: TrainedNetwork, index: int, rows: Table) -> Member:
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
        rows = _rows(self._chosen, self._target, _encoded(self._encoder, frame), y, weight)
        for member in self._members:
            take(member, np.arange(len(y)), rows)
            member.epochs, member.ended = len(member.history) + 1, False  # a stream may bring what is new
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
        trial = TrainedTrial(self._chosen, self._encoder, self._target, networks)
        return Model(self._spec, self._schema, (trial,), facts)


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
    kind = spec.network.kind
    if (kind in DEEP or spec.training.device != "cpu") and find_spec("torch") is None:
        what = f"kind {kind}" if kind in DEEP else f"device {spec.training.device}"
        raise SpecError(f"{what} needs PyTorch, which is not installed. Install it: pip install 'rosenblatt[torch]'.")
    media = kinds_of_media(data.frame)
    check_media(spec, media, target)
    chosen = resolve(spec, len(data.y), numeric, of_texts="text" in media and target.task != "language")
    halves = kind == "cnn" or (kind == "rnn" and chosen.network.cell == "lstm")
    if halves and spec.training.device == "cpu" and spec.training.precision == "auto":
        from rosenblatt.training.torch.engine import precision_of_cpu

        chosen = chosen.replace(precision=precision_of_cpu())
    if spec.training.label_smoothing == "auto" and "cross_entropy" not in target.loss:
        chosen = chosen.replace(label_smoothing=0.0)
    check(spec, chosen, target)
    return chosen


def architecture_of(spec: Spec, encoder: Encoder, target: Target, member: int) -> Architecture | Deep:
    """The architecture of a member by its number, from a resolved spec."""
    if spec.network.kind not in DEEP:
        return build(spec.network, encoder.width, target.n_outputs, member)
    media = tuple(Medium(*one.medium) for one in encoder.perceived)  # type: ignore[arg-type]
    mirrored = bool(spec["flip"]) and any(medium.kind == "image" for medium in media)
    return build_deep(
        spec.network, media, encoder.width, target.n_outputs, each_step=target.each_step, mirrored=mirrored,
        member=member,
    )  # fmt: skip


def _encoded(encoder: Encoder, frame: pl.DataFrame | np.ndarray | csr_array) -> np.ndarray | csr_array | Inputs:
    """The (n, F) matrix of the rows; sparse ones stay as they are."""
    return frame if issparse(frame) else encoder.encode(frame)


def _rows(spec: Spec, target: Target, x: np.ndarray | csr_array | Inputs, y: np.ndarray, weight: np.ndarray) -> Table:
    """The rows as the engine takes them; weights have the mean 1."""
    weight = weight * _class_weights(spec, target, y)
    t, weight = target.encode(y), (weight / weight.mean()).astype(np.float32)
    if isinstance(x, Inputs):
        return MediaRows(x.x, x.media, t, weight)
    return SparseRows(*csr_parts(x), t, weight) if issparse(x) else Rows(x, t, weight)


def _together(data: Data, validation: Data | None) -> tuple[Any, np.ndarray, np.ndarray]:
    """The rows to learn from, then those to validate on."""
    parts = [data] if validation is None else [data, validation]
    weights = [np.ones(len(part.y)) if part.weight is None else np.asarray(part.weight, float) for part in parts]
    frames: list[Any] = [part.frame for part in parts]
    join = pl.concat if isinstance(data.frame, pl.DataFrame) else np.concatenate
    return (
        vstack(frames, format="csr") if issparse(data.frame) else join(frames) if len(frames) > 1 else frames[0],
        _below([part.y for part in parts]),
        np.concatenate(weights),
    )


def _below(answers: list[np.ndarray]) -> np.ndarray:
    """Answers of rows, one part below the other; those of steps (n, T) filled up with -1 to as many as there are."""
    if answers[0].ndim == 2:
        longest = max(part.shape[1] for part in answers)
        answers = [np.pad(part, ((0, 0), (0, longest - part.shape[1])), constant_values=-1) for part in answers]
    return np.concatenate(answers)


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
    spec: Spec, encoder: Encoder, target: Target, data: Data, table: Table, validation: int | None
) -> Iterator[Member]:
    """New members: each spares another fold of the rows, in a new deal of them when all folds had their turn."""
    n, k = len(data.y), min(spec["folds"], len(data.y))
    everything, dealt = np.arange(n), list[Fold]()
    for index in range(spec["members"]):
        seed = (spec.training.seed, index)
        if validation is not None:
            spared, rows = np.arange(n, n + validation), everything
        elif k == 1:
            spared, rows = everything[:0], everything
        else:
            if index % k == 0:
                dealt = deal(n, k, int(np.random.default_rng(seed).integers(2**63)), data.like, data.groups, data.order)
            rows, spared = dealt[index % k]
        architecture = architecture_of(spec, encoder, target, index)
        yield new_member(spec, architecture, target.loss, rows, spared, seed, table)


def _trained(members: list[Member], spec: Spec, interrupted: bool) -> tuple[TrainedNetwork, ...]:
    """What the members learnt; raises where none of them did."""
    networks = tuple(trained_network(member) for member in members if member.trained)
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


def trained_network(member: Member) -> TrainedNetwork:
    """What a member learnt, in its best epoch."""
    losses = tuple(record.loss for record in member.history)
    scores = tuple(record.score for record in member.history) if member.validation.size else ()
    return TrainedNetwork(*member.kept(), member.best_epoch, losses, scores)
