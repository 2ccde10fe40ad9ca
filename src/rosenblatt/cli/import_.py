"""The command `import`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.cli.options import make_reporter, shared_options, table_format_options
from rosenblatt.cli.outputs import check_output_paths

if TYPE_CHECKING:
    from rosenblatt.data.table import TableFormat


@click.command("import")
@click.argument("file")
@click.option("--out", "-o", metavar="MODEL", help="Model file to write.  [default: name of the file + .rosenblatt]")
@click.option(
    "--rows", "table", metavar="TABLE",
    help="Rows on which the model is compared with the file; their columns name the inputs.  [default: generated rows]",
)  # fmt: skip
@click.option("--columns", metavar="NAMES", help="Names of the inputs, in order, separated by commas.")
@click.option("--classes", metavar="NAMES", help="Classes or labels of the outputs, in order, separated by commas.")
@click.option("--target", "-t", default="target", metavar="NAME", show_default=True, help="Name of what is predicted.")
@click.option("--activation", metavar="NAME", help="Activation of the hidden layers, for files of weights only.")
@shared_options("json")
@table_format_options
def import_(
    file: str, out: str | None, table: str | None, table_format: TableFormat, as_json: bool, **names: str | None
) -> None:
    """Import a dense network of another framework as a model: to predict, explain, report, fine-tune and export it.

    Files of ONNX (.onnx), torch.export (.pt2), Keras 3 (.keras), scikit-learn (.skops), and weights named layer by
    layer (.safetensors). No code of a file is run. The predictions are compared with those of the framework, in a new
    process, before the model is written.

    \b
    rosenblatt import network.onnx --columns age,hours --classes no,yes
    rosenblatt import network.keras --rows people.csv --target income --out people.rosenblatt
    rosenblatt import weights.safetensors --activation relu
    rosenblatt fit people.csv --target income --start network.rosenblatt     fine-tunes the model
    """
    from rosenblatt.models.imports.assembly import Names
    from rosenblatt.models.imports.formats import find_format
    from rosenblatt.workflows.import_model import import_model
    from rosenblatt.workflows.tables import read_and_report

    notify, path = make_reporter(as_json), Path(out) if out else Path(file).with_suffix(".rosenblatt")
    find_format(Path(file))
    check_output_paths([str(path)], inputs=[file, table])
    rows = read_and_report(table, table_format, notify) if table else None
    named = Names(_split(names["columns"]), tuple(_split(names["classes"])), names["target"] or "target")
    model, comparison = import_model(file, path, named, rows, activation=names["activation"], notify=notify)
    summary = model.networks[0].architecture.summary
    if as_json:
        fields: dict[str, Any] = {
            "path": str(path),
            "outline": summary,
            "columns": [column.name for column in model.schema.columns],
        }
        fields |= {"classes": list(model.target.labels), "task": model.task, "rows": comparison.rows}
        click.echo(json.dumps(fields | {"largest_difference": comparison.largest_difference}, indent=2))
    else:
        click.echo(f"imported: {path}, {summary}")


def _split(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",")) if names else ()
