"""The command `learn-step`: train a perceptron row by row, and print each update."""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rosenblatt.cli.options import make_reporter, shared_options
from rosenblatt.errors import Notify, TableError
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.tables import read_and_report, split_column_names

if TYPE_CHECKING:
    from rosenblatt.training.rows import DenseRows

MAX_STEPS = 10_000  # that are shown


@click.command()
@click.argument("table", required=False)
@click.option("--target", "-t", metavar="COLUMN", help="The classes: a column's name, or its number from 1.")
@click.option("--gate", type=click.Choice(["and", "or", "nand", "xor"]), default="and", show_default=True,
              help="The logical gate to learn, where no table is given.")  # fmt: skip
@click.option("--rule", default="rosenblatt", show_default=True, metavar="NAME",
              help="The learning rule: rosenblatt, margin, passive_aggressive, adaline, ...")  # fmt: skip
@click.option("--learning-rate", help="Length of the steps.")
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True, help="Most passes over the rows.")
@click.option("--seed", default="0", show_default=True, help="Seed of the order of the rows.")
@click.option("--all", "show_all", is_flag=True, help="Also rows from which nothing is learnt.")
@click.option("--pause", type=click.FloatRange(0), default=0.0, help="Seconds to wait after each step.")
@shared_options("header", "encoding", "json")
def learn_step(
    table: str | None,
    target: str | None,
    gate: str,
    rule: str,
    learning_rate: str | None,
    epochs: int,
    seed: str,
    show_all: bool,
    pause: float,
    header: bool | None,
    encoding: str | None,
    as_json: bool,
) -> None:
    """Watch a perceptron learn, mistake by mistake: the sum, the answer, and how the weights move.

    \b
    rosenblatt learn-step                           the logical and
    rosenblatt learn-step --gate xor                what one perceptron cannot learn
    rosenblatt learn-step iris.csv --target -1      your own table
    """
    if rule not in HYPERPARAMETERS["perceptron_rule"].choices or rule in ("voted", "kernel", "averaged", "pocket"):
        raise TableError(
            f"learn-step shows rules of one state: not {rule}, but rosenblatt, margin, adaline and others."
        )
    overrides = {} if learning_rate is None else {"learning_rate": learning_rate}
    spec = Spec.from_hyperparameters(kind="perceptron", perceptron_rule=rule, seed=seed, **overrides)
    from rosenblatt.inspection import perceptron_steps
    from rosenblatt.spec.defaults import resolve_auto

    if table is None:
        rows, inputs, classes = perceptron_steps.logic_gate_rows(gate), ["a", "b"], ["0", "1"]
    else:
        rows, inputs, classes = _load_training_rows(table, target, header, encoding, spec, make_reporter(as_json))
    steps: Any = perceptron_steps.iter_steps(
        resolve_auto(spec, len(rows.x), rows.x.shape[1]), rows, len(classes), epochs
    )
    if as_json:
        steps = islice(steps, MAX_STEPS)
        fields = ("epoch", "row", "x", "target", "sums", "predicted", "weights_before", "weights_after")
        records = [
            {name: _to_builtin(getattr(step, name)) for name in fields} for step in steps if show_all or step.updated
        ]
        click.echo(json.dumps({"inputs": inputs, "classes": classes, "steps": records}, indent=2))
        return
    _print_steps(steps, rows, inputs, classes, show_all, pause)


def _to_builtin(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _print_steps(
    steps: Any, rows: DenseRows, inputs: list[str], classes: list[str], show_all: bool, pause: float
) -> None:
    """Each step, after each epoch how many mistakes there were, and in the plane where the perceptron divides it."""
    from rich.console import Console

    from rosenblatt.cli.console.explanations import ascii_decision_boundary, print_perceptron_step

    console, epoch, mistakes, last_step = Console(highlight=False, soft_wrap=True), 0, 0, None
    for i, step in enumerate(steps):
        if i == MAX_STEPS:
            console.print(f"... and so on: the first {MAX_STEPS:,} rows are shown")
            return
        if step.epoch != epoch:
            if last_step is not None:
                _print_epoch_summary(console, epoch, mistakes)
            console.print(f"[bold]epoch {step.epoch}[/]")
            epoch, mistakes = step.epoch, 0
        mistakes += step.is_mistake
        if show_all or step.updated:
            print_perceptron_step(console, step, inputs, classes)
            time.sleep(pause)
        last_step = step
    if last_step is None:
        return
    _print_epoch_summary(console, epoch, mistakes)
    if mistakes:
        console.print(f"after {epoch} epochs there still are mistakes: more --epochs may help, or no perceptron can")
    if len(inputs) == 2 and len(classes) == 2:
        console.print(f"{ascii_decision_boundary(rows.x, rows.t[:, 0], last_step.weights_after[:, 0])}", markup=False)
        console.print(
            f"  X is {classes[1]}, O is {classes[0]}; where there are + it answers {classes[1]}", markup=False
        )


def _print_epoch_summary(console: Any, epoch: int, mistakes: int) -> None:
    if mistakes:
        console.print(f"epoch {epoch}: {mistakes} mistake{'s' * (mistakes > 1)}")
    else:
        console.print(f"epoch {epoch} was free of mistakes")


def _load_training_rows(
    path: str, target: str | None, header: bool | None, encoding: str | None, spec: Spec, notify: Notify
) -> tuple[DenseRows, list[str], list[str]]:
    """The rows of a table, encoded as for a perceptron, the names of the inputs, and the classes."""
    from rosenblatt.data.encoding.encoder import Encoder
    from rosenblatt.data.schema.inference import infer_schema
    from rosenblatt.data.tasks.task import detect_task, has_targets, resolve_column_name
    from rosenblatt.spec.defaults import resolve_auto
    from rosenblatt.training.rows import DenseRows

    if target is None:
        raise TableError("A table's classes are needed: name their column with --target.")
    table = read_and_report(path, header, encoding, notify)
    name = resolve_column_name(table.frame, split_column_names([target], table)[0])
    supervised_task = detect_task(table.frame, [name])
    if not supervised_task.labels:
        raise TableError(
            f"learn-step is about classes, but {name!r} is for {supervised_task.task}. Name a column of classes."
        )
    is_labelled = has_targets(supervised_task.y)
    frame, y = table.frame.filter(is_labelled), supervised_task.y[is_labelled]
    schema = infer_schema(frame.drop(name), spec.data.max_categories)
    typed = schema.read(frame)
    encoder = Encoder.fit(typed, resolve_auto(spec, len(y), typed.width).data)
    if not encoder.width:
        raise TableError("No column is left to learn from: the table has only the target, or nothing that differs.")
    rows = DenseRows(encoder.matrix(typed), y.reshape(-1, 1).astype(np.float32), np.ones(len(y), np.float32))
    return rows, encoder.feature_names, [str(label) for label in supervised_task.labels]
