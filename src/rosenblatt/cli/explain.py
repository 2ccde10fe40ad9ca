"""The command `explain`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rosenblatt.cli.options import make_reporter, shared_options, table_format_options
from rosenblatt.cli.outputs import check_output_paths
from rosenblatt.errors import Notify, TableError, collect_messages
from rosenblatt.workflows.tables import read_and_report

if TYPE_CHECKING:
    import polars as pl

    from rosenblatt.data.table import Table, TableFormat
    from rosenblatt.inspection.torch_attribution import Explanation
    from rosenblatt.models.model import Model

PLOT_FORMATS = (".svg", ".png", ".pdf")
SHOW_ALL_UP_TO = 12  # layers with at most this number of inputs and units are printed completely
DEFAULT_TOP_K = 8  # units and contributions that are printed of larger layers


@dataclass(frozen=True)
class ExplainOptions:
    """What to explain, and how to show it."""

    row: int  # from 1
    network: int  # from 1
    backward: bool
    top_k: int | None
    plot: str | None
    method: Any
    answer: str | None
    query: str
    as_json: bool

    @property
    def boundary_plot(self) -> str | None:
        """The file for the decision boundary, named after that of the plot."""
        return self.plot and str(Path(self.plot).with_stem(f"{Path(self.plot).stem}-boundary"))


@click.command()
@click.argument("model")
@click.argument("table")
@click.option(
    "--row", "-r", type=click.IntRange(1), default=1, show_default=True, help="Row of the table, counted from 1."
)
@click.option(
    "--network", type=click.IntRange(1), default=1, show_default=True, help="Network of the model, counted from 1."
)
@click.option("--backward", is_flag=True, help="Also show the loss and its gradients; the row needs its target.")
@click.option(
    "--top-k",
    type=click.IntRange(1),
    help=f"Units and contributions to show of each layer.  [default: all up to {SHOW_ALL_UP_TO}, else {DEFAULT_TOP_K}]",
)
@click.option(
    "--plot",
    metavar="FILE.svg",
    help="Plot the network, and the decision boundary of two numeric inputs; or the attribution of an image, sequence "
    "or text.",
)
@click.option(
    "--method",
    type=click.Choice(["gradients", "grad_cam", "occlusion"]),
    help="Attribution method for images, sequences and texts.  [default: gradients]",
)
@click.option(
    "--answer",
    metavar="NAME",
    help="Class, label, target or forecast step to explain, for images, sequences and texts.  [default: the most "
    "probable class or label, else the first target]",
)
@shared_options("query", "json")
@table_format_options
def explain(model: str, table: str, table_format: TableFormat, **options: Any) -> None:
    """Show how a network computes its prediction for one row: inputs, weights, biases, sums, activations.

    \b
    rosenblatt explain people.rosenblatt people.csv --row 3
    rosenblatt explain people.rosenblatt people.csv --row 3 --backward
    rosenblatt explain people.rosenblatt people.csv --row 3 --plot network.svg

    For images, sequences and texts, show which pixels, steps or tokens support the prediction.

    \b
    rosenblatt explain photos.rosenblatt photos/test --row 3 --plot attribution.png
    rosenblatt explain photos.rosenblatt photos/test --row 3 --method grad_cam --plot attribution.png
    rosenblatt explain sales.rosenblatt sales.csv --answer "sales +3"    the third step of a forecast
    """
    request = ExplainOptions(**options)
    check_output_paths([request.plot, request.boundary_plot], inputs=[model, table])
    if request.plot and Path(request.plot).suffix.lower() not in PLOT_FORMATS:
        raise TableError(f"--plot must name a file that ends in {', '.join(PLOT_FORMATS)}, but it is {request.plot!r}.")
    from rosenblatt.models.model_file import load_model

    loaded_model, notify = load_model(model), make_reporter(request.as_json)
    rows = read_and_report(table, table_format, lambda _: None, query=request.query)
    if loaded_model.encoder.media_encodings:
        _explain_media(loaded_model, rows, request, notify)
    else:
        _explain_table_row(loaded_model, rows, request, notify)


def _explain_table_row(model: Model, table: Table, request: ExplainOptions, notify: Notify) -> None:
    """Trace a row of numbers and categories through a network."""
    from rosenblatt.cli.console.explanations import print_trace
    from rosenblatt.data.tasks.task import adapt_to_table, has_targets, read_targets
    from rosenblatt.inspection import walkthrough

    if request.method or request.answer:
        option = "--method" if request.method else "--answer"
        raise TableError(f"{option} is for images, sequences and texts, but the inputs of this model are a table.")
    frame = table.frame
    with collect_messages(notify) as messages:
        schema, target = adapt_to_table(model.schema, model.target, frame, table.format, messages)
        model = replace(model, schema=schema)
        trace = walkthrough.trace_forward(model, frame, request.row, request.network, table.format, messages)
    if request.backward:
        y_true = read_targets(frame[request.row - 1 : request.row], target, format=table.format)
        if y_true.size == 0 or not has_targets(y_true).all():
            raise TableError(
                f"Row {request.row} has no {model.target.names[0]!r}, which --backward needs for the loss."
            )
        walkthrough.trace_backward(trace, y_true)
    default_top_k = SHOW_ALL_UP_TO if max(trace.network.dense.sizes) <= SHOW_ALL_UP_TO else DEFAULT_TOP_K
    trace_json = walkthrough.trace_to_dict(trace, frame, request.row, request.top_k or default_top_k)
    if request.as_json:
        click.echo(json.dumps(trace_json, indent=2))
    else:
        print_trace(trace_json, request.backward)
    if request.plot:
        _save_plots(model, frame, request, notify)


def _explain_media(model: Model, table: Table, request: ExplainOptions, notify: Notify) -> None:
    """Attribute the prediction for a row to parts of its images, sequences and texts."""
    from rosenblatt.cli.console.explanations import print_attribution
    from rosenblatt.data.tasks.task import adapt_to_table
    from rosenblatt.inspection.torch_attribution import explain_row

    windows, frame = model.metadata.windows, table.all_rows
    with collect_messages(notify) as messages:
        if windows:
            frame = windows.forecast_rows(frame, messages, table.format)
        else:
            schema, _ = adapt_to_table(model.schema, model.target, frame, table.format, messages)
            model = replace(model, schema=schema)
        explanation = explain_row(
            model, frame, request.row, request.method or "gradients", request.answer, table.format, messages
        )
    if windows:
        scaled = np.array([list(explanation.predictions.values())])
        values = windows.inverse_transform(frame[request.row - 1 : request.row], scaled)[0]
        explanation = replace(explanation, predictions=dict(zip(explanation.predictions, values.tolist(), strict=True)))
    if request.as_json:
        click.echo(json.dumps({"row": request.row, **_explanation_to_json(explanation)}, indent=2))
    else:
        print_attribution(explanation, request.row)
    if request.plot:
        from rosenblatt.inspection.plots.attribution import attribution_plot  # loads Matplotlib
        from rosenblatt.models.atomic_write import write_file

        write_file(request.plot, attribution_plot(explanation).to_bytes(request.plot))
        notify(f"attribution: {request.plot}")


def _explanation_to_json(explanation: Explanation) -> dict[str, Any]:
    fields = asdict(explanation)
    for attribution in fields["attributions"]:
        del attribution["inputs"]
        attribution["values"] = attribution["values"].tolist()
    return fields


def _save_plots(model: Model, frame: pl.DataFrame, request: ExplainOptions, notify: Notify) -> None:
    """Plot the network and, for two numeric inputs, the decision boundary."""
    from rosenblatt.inspection.plots.network import (  # loads Matplotlib
        decision_boundary,
        has_two_numeric_inputs,
        plot_network,
    )
    from rosenblatt.models.atomic_write import write_file

    plots = {request.plot: ("network", plot_network(model, request.network))}
    if has_two_numeric_inputs(model):
        plots[request.boundary_plot] = ("decision boundary", decision_boundary(model, frame, request.row))
    for path, (title, plot) in plots.items():
        write_file(str(path), plot.to_bytes(str(path)))
        notify(f"{title}: {path}")
