"""The command `learn-step`: train a perceptron row by row, and print each update."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rosenblatt.cli.options import make_reporter, shared_options, table_format_options
from rosenblatt.errors import TableError, format_count
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec, to_builtin
from rosenblatt.workflows.tables import read_and_report, split_column_names

if TYPE_CHECKING:
    from rosenblatt.data.table import TableFormat
    from rosenblatt.inspection.perceptron_steps import Step
    from rosenblatt.training.rows import DenseRows

MAX_STEPS = 10_000  # steps that are shown
UNSUPPORTED_RULES = ("voted", "kernel", "averaged", "pocket")  # they keep more than one vector of weights


@dataclass(frozen=True)
class StepOptions:
    """What to train on, how, and what to show."""

    table: str | None
    target: str | None
    gate: str
    rule: str
    learning_rate: str | None
    epochs: int
    seed: str
    show_all: bool
    pause: float  # seconds
    table_format: TableFormat
    as_json: bool


@click.command()
@click.argument("table", required=False)
@click.option("--target", "-t", metavar="COLUMN", help="Column of classes: its name, or its number counted from 1.")
@click.option(
    "--gate",
    type=click.Choice(["and", "or", "nand", "xor"]),
    default="and",
    show_default=True,
    help="Logic gate to train on if no table is given.",
)
@click.option(
    "--rule",
    default="rosenblatt",
    show_default=True,
    metavar="NAME",
    help="Learning rule: rosenblatt, margin, passive_aggressive, adaline, ...",
)
@click.option("--learning-rate", help="Factor of each update of the weights; by default 1 for most rules.")
@click.option(
    "--epochs", type=click.IntRange(1), default=20, show_default=True, help="Maximum number of passes over the rows."
)
@click.option("--seed", default="0", show_default=True, help="Seed of the order of the rows.")
@click.option("--all", "show_all", is_flag=True, help="Also show rows that do not change the weights.")
@click.option("--pause", type=click.FloatRange(0), default=0.0, help="Pause after each step, in seconds.")
@shared_options("json")
@table_format_options
def learn_step(**options: Any) -> None:
    """Show the training of a perceptron step by step: each sum, each prediction, each update of the weights.

    \b
    rosenblatt learn-step                           the logic gate AND
    rosenblatt learn-step --gate xor                a gate that no single perceptron learns
    rosenblatt learn-step iris.csv --target -1      a table
    """
    request = StepOptions(**options)
    rule = request.rule
    if rule not in HYPERPARAMETERS["perceptron_rule"].choices or rule in UNSUPPORTED_RULES:
        raise TableError(f"learn-step supports rules with one vector of weights, such as rosenblatt, margin and "
                         f"adaline, but --rule is {rule}.")  # fmt: skip
    overrides = {} if request.learning_rate is None else {"learning_rate": request.learning_rate}
    spec = Spec.from_hyperparameters(kind="perceptron", perceptron_rule=rule, seed=request.seed, **overrides)
    from rosenblatt.inspection import perceptron_steps
    from rosenblatt.spec.defaults import resolve_auto

    if request.table is None:
        rows, inputs, classes = perceptron_steps.logic_gate_rows(request.gate), ["a", "b"], ["0", "1"]
    else:
        rows, inputs, classes = _load_training_rows(request.table, request, spec)
    resolved_spec = resolve_auto(spec, len(rows.x), rows.x.shape[1])
    steps = perceptron_steps.iter_steps(resolved_spec, rows, len(classes), request.epochs)
    if request.as_json:
        fields = ("epoch", "row", "x", "target", "sums", "predicted", "weights_before", "weights_after")
        records = [
            to_builtin({name: getattr(step, name) for name in fields})
            for step in islice(steps, MAX_STEPS)
            if request.show_all or step.updated
        ]
        click.echo(json.dumps({"inputs": inputs, "classes": classes, "steps": records}, indent=2))
    else:
        _print_steps(steps, rows, inputs, classes, request)


def _print_steps(
    steps: Iterator[Step], rows: DenseRows, inputs: list[str], classes: list[str], request: StepOptions
) -> None:
    """Print the steps, the number of mistakes of each epoch, and the decision boundary of two inputs."""
    from rosenblatt.cli.console.explanations import ascii_decision_boundary, print_perceptron_step
    from rosenblatt.cli.console.tables import SafeConsole

    console, epoch, mistakes, last_step = SafeConsole(highlight=False, soft_wrap=True), 0, 0, None
    for i, step in enumerate(steps):
        if i == MAX_STEPS:
            console.print(f"... only the first {MAX_STEPS:,} rows are shown")
            return
        if step.epoch != epoch:
            if last_step is not None:
                _print_epoch_summary(console, epoch, mistakes)
            console.print(f"[bold]epoch {step.epoch}[/]")
            epoch, mistakes = step.epoch, 0
        mistakes += step.is_mistake
        if request.show_all or step.updated:
            print_perceptron_step(console, step, inputs, classes)
            time.sleep(request.pause)
        last_step = step
    if last_step is None:
        return
    _print_epoch_summary(console, epoch, mistakes)
    if mistakes:
        console.print(
            f"Mistakes remain after {format_count(epoch, 'epoch')}. Train longer with --epochs; if the classes are "
            "not linearly separable, no perceptron avoids all mistakes."
        )
    if len(inputs) == 2 and len(classes) == 2:
        console.print(f"{ascii_decision_boundary(rows.x, rows.t[:, 0], last_step.weights_after[:, 0])}", markup=False)
        console.print(f"  X: {classes[1]}, O: {classes[0]}; +: predicted as {classes[1]}", markup=False)


def _print_epoch_summary(console: Any, epoch: int, mistakes: int) -> None:
    console.print(f"epoch {epoch}: {format_count(mistakes, 'mistake') if mistakes else 'no mistakes'}")


def _load_training_rows(path: str, request: StepOptions, spec: Spec) -> tuple[DenseRows, list[str], list[str]]:
    """The rows of a table, encoded for a perceptron, with the names of the inputs and the classes."""
    from rosenblatt.data.encoding.encoder import Encoder
    from rosenblatt.data.schema.inference import infer_schema
    from rosenblatt.data.tasks.task import detect_task, has_targets, resolve_column_name
    from rosenblatt.spec.defaults import resolve_auto
    from rosenblatt.training.rows import DenseRows

    if request.target is None:
        raise TableError("A table needs a column of classes. Name it with --target.")
    table = read_and_report(path, request.table_format, make_reporter(request.as_json))
    name = resolve_column_name(table.frame, split_column_names([request.target], table)[0])
    supervised_task = detect_task(table.frame, [name], format=table.format)
    if not supervised_task.labels:
        raise TableError(f"learn-step needs a column of classes, but the task of {name!r} is {supervised_task.task}. "
                         "Name another column.")  # fmt: skip
    is_labelled = has_targets(supervised_task.y)
    frame, y = table.frame.filter(is_labelled), supervised_task.y[is_labelled]
    schema = infer_schema(frame, spec.data.max_categories, table.format, [name])
    typed = schema.read(frame)
    encoder = Encoder.fit(typed, resolve_auto(spec, len(y), typed.width).data)
    if not encoder.width:
        raise TableError("No usable input column: the table has only the target, or all other columns are constant.")
    rows = DenseRows(encoder.matrix(typed), y.reshape(-1, 1).astype(np.float32), np.ones(len(y), np.float32))
    return rows, encoder.feature_names, [str(label) for label in supervised_task.labels]
