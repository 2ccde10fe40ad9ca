"""The command `export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rosenblatt.cli.options import make_reporter, shared_options, table_format_options
from rosenblatt.cli.outputs import check_distinct_paths
from rosenblatt.models.export.formats import FORMATS, find_format

if TYPE_CHECKING:
    from rosenblatt.data.table import TableFormat


@click.command()
@click.argument("model")
@click.option("--to", "format_name", required=True, metavar="FORMAT", help=f"Format: {', '.join(FORMATS)}.")
@click.option("--out", "-o", metavar="PATH", help="File or folder to write.  [default: named after the model]")
@click.option(
    "--rows", "table", metavar="TABLE",
    help="Rows on which the exported model is compared with the original.  [default: generated rows]",
)  # fmt: skip
@shared_options("json")
@table_format_options
def export(
    model: str, format_name: str, out: str | None, table: str | None, as_json: bool, table_format: TableFormat
) -> None:
    """Export a model to a framework, which then needs no Rosenblatt to use it.

    The preprocessing is part of what is exported: numbers and categories in, probabilities or values out. What stays
    outside, such as decoding an image, is printed. The result is loaded in a new process, and its predictions are
    compared with those of the model before the file gets its name.

    \b
    rosenblatt export people.rosenblatt --to torch
    rosenblatt export people.rosenblatt --to torch --out people.pt2 --rows people.csv
    """
    from rosenblatt.cli.console.data import format_bytes
    from rosenblatt.models.model_file import load_model
    from rosenblatt.workflows.export import export as export_to
    from rosenblatt.workflows.tables import read_and_report

    format_, notify = find_format(format_name), make_reporter(as_json)
    path = Path(out) if out else Path(model).with_suffix(format_.suffix)
    check_distinct_paths([str(path)], inputs=[model, table])
    rows = read_and_report(table, table_format, notify) if table else None
    result = export_to(load_model(model), format_, path, rows, notify)
    if as_json:
        comparison = result.comparison
        fields = {"path": str(path), "format": format_.name, "bytes": result.bytes, "rows": comparison.rows}
        fields |= {"largest_difference": comparison.largest_difference, "signature": result.signature.to_json()}
        click.echo(json.dumps(fields, indent=2))
    else:
        click.echo(f"exported: {path} ({format_bytes(result.bytes)}), {format_.summary}")
