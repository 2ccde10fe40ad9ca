"""In: the words of a command line. Out: a row's way through a network, and a perceptron's learning, on the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rosenblatt.cli.options import columns, read, shared_options, teller
from rosenblatt.cli.outputs import check_places
from rosenblatt.errors import TableError
from rosenblatt.spec.spec import HYPERPARAMETERS, Spec

if TYPE_CHECKING:
    from rosenblatt.models.model import Model
    from rosenblatt.training.compiled.mlp import Rows

FORMATS = (".svg", ".png", ".pdf")
FULL = 12  # inputs or units of a layer that are all shown; of larger ones the largest
LONGEST = 10_000  # steps of a lesson


@click.command()
@click.argument("model")
@click.argument("table")
@click.option("--row", "-r", type=click.IntRange(1), default=1, show_default=True, help="The row, counted from 1.")
@click.option(
    "--network", type=click.IntRange(1), default=1, show_default=True, help="The network of the population, from 1."
)
@click.option("--backward", is_flag=True, help="Also the loss and its gradients; the table must hold the answer.")
@click.option(
    "--most", type=click.IntRange(1), help=f"Units and contributions shown.  [default: all of {FULL}, else 8]"
)
@click.option("--plot", metavar="FILE.svg", help="Draw the network; of two numbers also the decision boundary; of an "
              "image, sequence or text what mattered in it.")  # fmt: skip
@click.option("--method", type=click.Choice(["gradients", "grad_cam", "occlusion"]),
              help="How to find out what mattered in an image, sequence or text.  [default: gradients]")  # fmt: skip
@click.option("--answer", metavar="NAME", help="The class, label, target or step ahead whose answer is explained, for "
              "images, sequences and texts.  [default: the likeliest, or the first]")  # fmt: skip
@shared_options("header", "encoding", "json")
def explain(
    model: str,
    table: str,
    row: int,
    network: int,
    backward: bool,
    most: int | None,
    plot: str | None,
    method: Any,
    answer: str | None,
    header: bool | None,
    encoding: str | None,
    as_json: bool,
) -> None:
    """Walk one row through a network, as a textbook does: inputs, weights, bias, weighted sum, activation, output.

    \b
    rosenblatt explain people.rosenblatt people.csv --row 3
    rosenblatt explain people.rosenblatt people.csv --row 3 --backward
    rosenblatt explain people.rosenblatt people.csv --row 3 --plot network.svg

    Of networks for images, sequences and texts it tells which pixels, steps or tokens spoke for the answer.

    \b
    rosenblatt explain photos.rosenblatt photos/test --row 3 --plot heed.png
    rosenblatt explain photos.rosenblatt photos/test --row 3 --method grad_cam --plot heed.png
    rosenblatt explain sales.rosenblatt sales.csv --answer "sales +3"    of a forecast, three steps on
    """
    boundary = None if plot is None else str(Path(plot).with_stem(Path(plot).stem + "-boundary"))
    check_places([plot, boundary], inputs=[model, table])
    if plot and Path(plot).suffix.lower() not in FORMATS:
        raise TableError(f"{plot!r} asks for a picture of another format than {', '.join(FORMATS)}. Choose one.")
    from rosenblatt.cli.console import explanations
    from rosenblatt.data.tasks.task import has_answers, read_answers
    from rosenblatt.inspection import walkthrough
    from rosenblatt.models.model_file import load_model

    loaded, say = load_model(model), teller(as_json)
    rows = read(table, header, encoding, lambda _: None)
    if loaded.encoder.perceived:
        _explain_media(loaded, rows.whole, row, method or "gradients", answer, plot, as_json, say)
        return
    if method or answer:
        option = "--method" if method else "--answer"
        raise TableError(f"{option} is for images, sequences and texts, but this model learns from a table.")
    walked = walkthrough.walk(loaded, rows.frame, row, network)
    if backward:
        truth = read_answers(rows.frame[row - 1 : row], loaded.target)[0]
        if truth.size == 0 or not has_answers(truth).all():
            raise TableError(f"Row {row} has no {loaded.target.names[0]!r}, so nothing is known of its loss.")
        walkthrough.go_back(walked, truth)
    sizes = walked.network.architecture.sizes
    told = walkthrough.described(walked, rows.frame, row, most or (FULL if max(sizes) <= FULL else 8))
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        explanations.tell_walk(told, backward)
    if plot and boundary:
        _draw(loaded, rows.frame, row, network, plot, boundary, say)


def _explain_media(
    model: Model,
    frame: Any,
    row: int,
    method: Any,
    answer: str | None,
    plot: str | None,
    as_json: bool,
    say: Callable[[str], None],
) -> None:
    """What mattered in an image, sequence or text, in words; and as a picture, where that is asked for."""
    from rosenblatt.cli.console import explanations
    from rosenblatt.data.tasks.forecasting import Windows
    from rosenblatt.inspection.torch_attribution import explain_row

    windows = Windows.model_validate(model.facts["windows"]) if "windows" in model.facts else None
    frame = windows.last(frame, say) if windows else frame
    explained = explain_row(model, frame, row, method, answer)
    if windows:
        values = windows.in_units(frame[row - 1 : row], np.array([list(explained.said.values())]))[0]
        explained = replace(explained, said=dict(zip(explained.said, values.tolist(), strict=True)))
    if as_json:
        heeds = [
            {"column": one.column, "kind": one.kind, "tokens": list(one.tokens), "values": one.values.tolist()}
            for one in explained.heeds
        ]
        told = {
            "row": row,
            "answer": explained.answer,
            "said": explained.said,
            "method": explained.method,
            "heeds": heeds,
        }
        click.echo(json.dumps(told, indent=2))
    else:
        explanations.tell_heed(explained, row)
    if plot:
        from rosenblatt.inspection.plots.attribution import heed  # loads Matplotlib
        from rosenblatt.models.model_file import write_file

        write_file(plot, heed(explained).as_file(plot))
        say(f"what mattered: {plot}")


def _draw(
    model: Model, frame: Any, row: int, network: int, plot: str, boundary: str, say: Callable[[str], None]
) -> None:
    from rosenblatt.inspection.plots import figure  # loads Matplotlib
    from rosenblatt.models.model_file import write_file

    write_file(plot, figure.network(model, network).as_file(plot))
    say(f"the network: {plot}")
    if figure.has_plane(model):
        write_file(boundary, figure.decision_boundary(model, frame, row).as_file(boundary))
        say(f"the decision boundary: {boundary}")


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
    from rosenblatt.training.compiled.mlp import Rows

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
