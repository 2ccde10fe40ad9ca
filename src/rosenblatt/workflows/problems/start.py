"""Fine-tuning: a learning problem that continues the networks of a model, with its columns, encoder and target."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.target import RANGE_MARGIN, Target
from rosenblatt.data.tasks.task import SupervisedTask, adapt_to_table, has_targets, read_targets
from rosenblatt.errors import SpecError, TableError, format_count, format_list
from rosenblatt.models.model import Model
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec

FREE_DATA = (  # hyperparameters of data that say which rows are for what, and not how they are encoded
    "groups", "order", "weight", "test_fraction", "on_damaged_images", "shuffle_window_gb",
)  # fmt: skip
FIXED = (
    *(
        name
        for name, hyperparameter in HYPERPARAMETERS.items()
        if hyperparameter.section == "network" or (hyperparameter.section == "data" and name not in FREE_DATA)
    ),
    "loss",
    "multiclass",
)  # hyperparameters of the networks, encoder and target of a model


def start_spec(spec: Spec, model: Model) -> Spec:
    """The hyperparameters of a fit that continues the networks of a model.

    Raises SpecError if the model cannot be continued, or hyperparameters of its networks or encoder are set otherwise.
    """
    if model.metadata.windows or model.target.task == "language":
        raise SpecError("--start continues models of tables, but this one is for forecasts or texts. Remove --start.")
    if len(model.trials) > 1 or model.encoder.n_sparse_columns:
        raise SpecError(
            "--start continues networks with one encoder, but the model is an ensemble of trials, or was trained on a "
            "sparse matrix. Choose another model."
        )
    if spec.has_search:
        raise SpecError("--start trains with one set of hyperparameters. Remove --trials, --minutes and ranges.")
    for name in FIXED:
        own_values = model.spec[name], model.resolved_spec[name]
        if spec[name] != HYPERPARAMETERS[name].default and spec[name] not in own_values:
            raise SpecError(
                f"--start continues networks with {name} {own_values[1]}, but {name} is set to {spec[name]}. Remove it."
            )
    return spec.replace(**{name: model.spec[name] for name in FIXED})


def check_start_options(model: Model, task: str | None, options: Mapping[str, object]) -> None:
    """Raise SpecError for another task than that of the model, and for options on columns, which the model decides."""
    if task is not None and task != model.target.task:
        raise SpecError(f"The model of --start is for {model.target.task}, but --task is {task}. Remove --task.")
    for name, value in options.items():
        if value:
            raise SpecError(f"{name} has no effect with --start, whose model decides on the columns. Remove it.")


def start_task(model: Model, table: Table, names: list[str], messages: list[str]) -> SupervisedTask:
    """The task of a model, with the targets of a table. Raises TableError if they do not fit the model."""
    _, target = adapt_to_table(model.schema, _with_names(model.target, names), table.frame, table.format, messages)
    y = read_targets(table.frame, target, messages, table.format)
    if not has_targets(y).any():
        raise TableError(f"{table.source!r} has no values in {format_list(target.names)}. Fill them in.")
    return SupervisedTask(
        target.task, target.names, target.labels, y, "as in the model that is continued",
        label_pairs=target.label_pairs, list_column=target.list_column, columns=target.columns,
    )  # fmt: skip


def _with_names(target: Target, names: list[str]) -> Target:
    """The target with the names of columns of a table, in its order. Raises TableError for another number of them."""
    if target.list_column or names == [*target.names]:
        return target
    if len(names) != len(target.names):
        raise TableError(
            f"The model of --start predicts {format_count(len(target.names), 'column')} ({format_list(target.names)}), "
            f"but {format_count(len(names), 'target')} {'is' if len(names) == 1 else 'are'} given. Name one for each."
        )
    columns = [column.model_copy(update={"name": name}) for column, name in zip(target.columns, names, strict=False)]
    return target.model_copy(update={"names": tuple(names), "columns": tuple(columns)})


def start_schema(model: Model, table: Table, names: list[str], messages: list[str]) -> Schema:
    """The schema of a model, with numbers as a table writes them; `messages` receives the columns that are left out."""
    schema, _ = adapt_to_table(model.schema, _with_names(model.target, names), table.frame, table.format, [])
    inputs = [column.name for column in schema.input_columns]
    unused = [name for name in table.frame.columns if name not in {*inputs, *names}]
    summary = model.networks[0].architecture.summary
    messages.append(f"start: {format_count(len(model.networks), 'network')}, {summary}; their columns and encoder stay")
    if unused:
        messages.append(f"columns left out, which the model does not have: {format_list(unused)}")
    return schema


def start_target(model: Model, task: SupervisedTask, y: np.ndarray, spec: Spec) -> Target:
    """The target of a model for the training targets y; limits of values are widened to them."""
    target = _with_names(model.target, [*task.names]).with_loss(spec, y)
    if target.task != "regression":
        return target
    margin = RANGE_MARGIN * np.ptp(y, axis=0)
    low, high = np.minimum(target.low, y.min(axis=0) - margin), np.maximum(target.high, y.max(axis=0) + margin)
    if target.loss == "poisson":
        low = np.maximum(low, 0)
    return target.model_copy(update={"low": tuple(low.tolist()), "high": tuple(high.tolist())})
