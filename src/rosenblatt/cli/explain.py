"""The command `explain`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rosenblatt.cli.options import shared_options, teller
from rosenblatt.cli.outputs import check_places
from rosenblatt.errors import TableError
from rosenblatt.workflows.tables import read

if TYPE_CHECKING:
    from rosenblatt.models.model import Model


FORMATS = (".svg", ".png", ".pdf")
FULL = 12  # inputs or units of a layer that are all shown; of larger ones the largest


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
        from rosenblatt.models.atomic_write import write_file

        write_file(plot, heed(explained).as_file(plot))
        say(f"what mattered: {plot}")


def _draw(
    model: Model, frame: Any, row: int, network: int, plot: str, boundary: str, say: Callable[[str], None]
) -> None:
    from rosenblatt.inspection.plots import network as figure  # loads Matplotlib
    from rosenblatt.models.atomic_write import write_file

    write_file(plot, figure.network(model, network).as_file(plot))
    say(f"the network: {plot}")
    if figure.has_plane(model):
        write_file(boundary, figure.decision_boundary(model, frame, row).as_file(boundary))
        say(f"the decision boundary: {boundary}")
