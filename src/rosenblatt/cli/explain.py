"""The command `explain`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rosenblatt.cli.options import make_reporter, shared_options
from rosenblatt.cli.outputs import check_output_paths
from rosenblatt.errors import Notify, TableError, collect_messages
from rosenblatt.workflows.tables import read_and_report

if TYPE_CHECKING:
    from rosenblatt.models.model import Model


FORMATS = (".svg", ".png", ".pdf")
SHOW_ALL_UP_TO = 12  # inputs or units of a layer that are all shown; of larger ones the largest


@click.command()
@click.argument("model")
@click.argument("table")
@click.option("--row", "-r", type=click.IntRange(1), default=1, show_default=True, help="The row, counted from 1.")
@click.option(
    "--network", type=click.IntRange(1), default=1, show_default=True, help="The network of the population, from 1."
)
@click.option("--backward", is_flag=True, help="Also the loss and its gradients; the table must hold the answer.")
@click.option(
    "--top-k",
    type=click.IntRange(1),
    help=f"Units and contributions shown.  [default: all of {SHOW_ALL_UP_TO}, else 8]",
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
    top_k: int | None,
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
    rosenblatt explain photos.rosenblatt photos/test --row 3 --plot attribution.png
    rosenblatt explain photos.rosenblatt photos/test --row 3 --method grad_cam --plot attribution.png
    rosenblatt explain sales.rosenblatt sales.csv --answer "sales +3"    of a forecast, three steps on
    """
    boundary = None if plot is None else str(Path(plot).with_stem(Path(plot).stem + "-boundary"))
    check_output_paths([plot, boundary], inputs=[model, table])
    if plot and Path(plot).suffix.lower() not in FORMATS:
        raise TableError(f"{plot!r} asks for a picture of another format than {', '.join(FORMATS)}. Choose one.")
    from rosenblatt.cli.console import explanations
    from rosenblatt.data.tasks.task import has_targets, read_targets
    from rosenblatt.inspection import walkthrough
    from rosenblatt.models.model_file import load_model

    loaded_model, notify = load_model(model), make_reporter(as_json)
    rows = read_and_report(table, header, encoding, lambda _: None)
    if loaded_model.encoder.media_encodings:
        _explain_media(loaded_model, rows.all_rows, row, method or "gradients", answer, plot, as_json, notify)
        return
    if method or answer:
        option = "--method" if method else "--answer"
        raise TableError(f"{option} is for images, sequences and texts, but this model learns from a table.")
    trace = walkthrough.trace_forward(loaded_model, rows.frame, row, network)
    if backward:
        y_true = read_targets(rows.frame[row - 1 : row], loaded_model.target)
        if y_true.size == 0 or not has_targets(y_true).all():
            raise TableError(f"Row {row} has no {loaded_model.target.names[0]!r}, so nothing is known of its loss.")
        walkthrough.trace_backward(trace, y_true)
    sizes = trace.network.architecture.sizes
    trace_json = walkthrough.trace_to_dict(
        trace, rows.frame, row, top_k or (SHOW_ALL_UP_TO if max(sizes) <= SHOW_ALL_UP_TO else 8)
    )
    if as_json:
        click.echo(json.dumps(trace_json, indent=2))
    else:
        explanations.print_trace(trace_json, backward)
    if plot and boundary:
        _save_plots(loaded_model, rows.frame, row, network, plot, boundary, notify)


def _explain_media(
    model: Model,
    frame: Any,
    row: int,
    method: Any,
    answer: str | None,
    plot: str | None,
    as_json: bool,
    notify: Notify,
) -> None:
    """What mattered in an image, sequence or text, in words; and as a picture, where that is asked for."""
    from rosenblatt.cli.console import explanations
    from rosenblatt.inspection.torch_attribution import explain_row

    windows = model.metadata.windows
    if windows:
        with collect_messages(notify) as messages:
            frame = windows.forecast_rows(frame, messages)
    explanation = explain_row(model, frame, row, method, answer)
    if windows:
        values = windows.inverse_transform(frame[row - 1 : row], np.array([list(explanation.predictions.values())]))[0]
        explanation = replace(explanation, predictions=dict(zip(explanation.predictions, values.tolist(), strict=True)))
    if as_json:
        attributions = [
            {
                "column": attribution.column,
                "kind": attribution.kind,
                "tokens": list(attribution.tokens),
                "values": attribution.values.tolist(),
            }
            for attribution in explanation.attributions
        ]
        result = {
            "row": row,
            "answer": explanation.answer,
            "predictions": explanation.predictions,
            "method": explanation.method,
            "attributions": attributions,
        }
        click.echo(json.dumps(result, indent=2))
    else:
        explanations.print_attribution(explanation, row)
    if plot:
        from rosenblatt.inspection.plots.attribution import attribution_plot  # loads Matplotlib
        from rosenblatt.models.atomic_write import write_file

        write_file(plot, attribution_plot(explanation).to_bytes(plot))
        notify(f"what mattered: {plot}")


def _save_plots(model: Model, frame: Any, row: int, network: int, plot: str, boundary: str, notify: Notify) -> None:
    from rosenblatt.inspection.plots.network import (  # loads Matplotlib
        decision_boundary,
        has_two_numeric_inputs,
        plot_network,
    )
    from rosenblatt.models.atomic_write import write_file

    write_file(plot, plot_network(model, network).to_bytes(plot))
    notify(f"the network: {plot}")
    if has_two_numeric_inputs(model):
        write_file(boundary, decision_boundary(model, frame, row).to_bytes(boundary))
        notify(f"the decision boundary: {boundary}")
