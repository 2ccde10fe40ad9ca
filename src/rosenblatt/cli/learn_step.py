"""In: the words of a command line. Out: a row's way through a network, and a perceptron's learning, on the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rosenblatt.cli.options import shared_options, teller
from rosenblatt.errors import TableError
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.tables import columns, read

if TYPE_CHECKING:
    from rosenblatt.training.rows import Rows

LONGEST = 10_000  # steps of a lesson


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
@click.option("--all", "everything", is_flag=True, help="Also rows from which nothing is learnt.")
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
    everything: bool,
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
    if rule not in HYPERPARAMETERS["rule"].choices or rule in ("voted", "kernel", "averaged", "pocket"):
        raise TableError(
            f"learn-step shows rules of one state: not {rule}, but rosenblatt, margin, adaline and others."
        )
    rate = {} if learning_rate is None else {"learning_rate": learning_rate}
    spec = Spec.of(kind="perceptron", rule=rule, seed=seed, **rate)
    from rosenblatt.inspection import perceptron_steps
    from rosenblatt.spec.defaults import resolve

    if table is None:
        rows, inputs, classes = perceptron_steps.gate(gate), ["a", "b"], ["0", "1"]
    else:
        rows, inputs, classes = _lesson(table, target, header, encoding, spec, teller(as_json))
    found: Any = perceptron_steps.steps(resolve(spec, len(rows.x), rows.x.shape[1]), rows, len(classes), epochs)
    if as_json:
        found = islice(found, LONGEST)
        fields = ("epoch", "row", "x", "truth", "sums", "answer", "before", "after")
        told = [{name: _plain(getattr(step, name)) for name in fields} for step in found if everything or step.moved]
        click.echo(json.dumps({"inputs": inputs, "classes": classes, "steps": told}, indent=2))
        return
    _show(found, rows, inputs, classes, everything, pause)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _show(found: Any, rows: Rows, inputs: list[str], classes: list[str], everything: bool, pause: float) -> None:
    """Each step, after each epoch how many mistakes there were, and in the plane where the perceptron divides it."""
    from rich.console import Console

    from rosenblatt.cli.console.explanations import plane, tell_step

    console, epoch, mistakes, last = Console(highlight=False, soft_wrap=True), 0, 0, None
    for number, step in enumerate(found):
        if number == LONGEST:
            console.print(f"... and so on: the first {LONGEST:,} rows are shown")
            return
        if step.epoch != epoch:
            if last is not None:
                _epoch(console, epoch, mistakes)
            console.print(f"[bold]epoch {step.epoch}[/]")
            epoch, mistakes = step.epoch, 0
        mistakes += step.mistaken
        if everything or step.moved:
            tell_step(console, step, inputs, classes)
            time.sleep(pause)
        last = step
    if last is None:
        return
    _epoch(console, epoch, mistakes)
    if mistakes:
        console.print(f"after {epoch} epochs there still are mistakes: more --epochs may help, or no perceptron can")
    if len(inputs) == 2 and len(classes) == 2:
        console.print(f"{plane(rows.x, rows.t[:, 0], last.after[:, 0])}", markup=False)
        console.print(
            f"  X is {classes[1]}, O is {classes[0]}; where there are + it answers {classes[1]}", markup=False
        )


def _epoch(console: Any, epoch: int, mistakes: int) -> None:
    if mistakes:
        console.print(f"epoch {epoch}: {mistakes} mistake{'s' * (mistakes > 1)}")
    else:
        console.print(f"epoch {epoch} was free of mistakes")


def _lesson(
    path: str, target: str | None, header: bool | None, encoding: str | None, spec: Spec, say: Callable[[str], None]
) -> tuple[Rows, list[str], list[str]]:
    """The rows of a table, encoded as for a perceptron, the names of the inputs, and the classes."""
    from rosenblatt.data.encoding.encoder import Encoder
    from rosenblatt.data.schema.inference import infer
    from rosenblatt.data.tasks.task import ask, column_name, has_answers
    from rosenblatt.spec.defaults import resolve
    from rosenblatt.training.rows import Rows

    if target is None:
        raise TableError("A table's classes are needed: name their column with --target.")
    table = read(path, header, encoding, say)
    name = column_name(table.frame, columns([target], table)[0])
    question = ask(table.frame, [name])
    if not question.labels:
        raise TableError(f"learn-step is about classes, but {name!r} is for {question.task}. Name a column of classes.")
    known = has_answers(question.y)
    frame, y = table.frame.filter(known), question.y[known]
    schema = infer(frame.drop(name), spec.data.max_categories)
    typed = schema.read(frame)
    encoder = Encoder.learn(typed, resolve(spec, len(y), typed.width).data)
    if not encoder.width:
        raise TableError("No column is left to learn from: the table has only the target, or nothing that differs.")
    rows = Rows(encoder.matrix(typed), y.reshape(-1, 1).astype(np.float32), np.ones(len(y), np.float32))
    return rows, encoder.names, [str(label) for label in question.labels]
