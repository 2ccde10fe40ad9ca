"""The commands `predict`, `evaluate` and `describe`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.cli.options import make_reporter, shared_options, table_format_options
from rosenblatt.cli.outputs import (
    check_output_paths,
    check_report_options,
    check_table_format,
    encode_table,
    is_typed_format,
    save_report,
    scores_to_json,
)
from rosenblatt.cli.prediction_parts import predict_in_parts
from rosenblatt.errors import SpecError, format_count
from rosenblatt.workflows.tables import check_can_group, check_group_columns, read_and_report

if TYPE_CHECKING:
    from rosenblatt.data.table import TableFormat


@click.command()
@click.argument("model")
@click.argument("table")
@click.option(
    "--out",
    "-o",
    metavar="FILE",
    help="File to write: .csv, .tsv, .jsonl, .parquet or .arrow.  [default: CSV on standard output]",
)
@click.option(
    "--with-inputs",
    is_flag=True,
    help="Also write the columns of the table: as written in .csv and .tsv, by type in other formats.",
)
@click.option(
    "--stream/--no-stream",
    default=None,
    help="Read, predict and write the rows in parts, so that memory does not grow with the table.  "
    "[default: for files of 256 MB or more, with --out]",
)
@shared_options("query", "on_damaged_images", "threads")
@table_format_options
def predict(
    model: str,
    table: str,
    out: str | None,
    with_inputs: bool,
    stream: bool | None,
    query: str,
    on_damaged_images: Any,
    threads: int | None,
    table_format: TableFormat,
) -> None:
    """Predict the target for the rows of a table.

    The result has a column with the prediction and, for classes, a column with the probability of each. Forecasting
    models predict the steps that follow each series of the table.

    \b
    rosenblatt predict people.rosenblatt new.csv
    rosenblatt predict people.rosenblatt new.csv --out predictions.csv
    rosenblatt predict people.rosenblatt new.csv --out all.parquet --with-inputs
    rosenblatt predict people.rosenblatt people@2 --query "age > 60"
    rosenblatt predict people.rosenblatt huge.parquet --out predictions.parquet    # larger than memory

    Tables in Parquet, Arrow and delimited text are read in parts if they are large. What is decided over a whole
    column, such as its decimal mark, is decided by the first rows that show it; rows that contradict it are an error.
    """
    check_output_paths([out], inputs=[model, table])
    check_table_format(out)
    from rosenblatt.data.schema.notes import Note, summarize_notes
    from rosenblatt.models.atomic_write import write_file
    from rosenblatt.models.model_file import load_model
    from rosenblatt.workflows.predict import check_can_predict, drop_damaged_images
    from rosenblatt.workflows.predict import predict as predict_table

    loaded_model, notify = load_model(model), make_reporter(True)
    check_can_predict(loaded_model)
    if stream and query:
        raise SpecError("--stream reads files, but --query selects samples of a volume. Remove one of them.")
    if stream is not False and not query:
        is_done = predict_in_parts(
            loaded_model, table, out, table_format, with_inputs=with_inputs, threads=threads, is_required=bool(stream)
        )
        if is_done:
            return
    rows = read_and_report(table, table_format, notify, allow_empty=True, query=query)
    rows = drop_damaged_images(loaded_model, rows, on_damaged_images, notify)
    data = loaded_model.spec.data
    used_columns = {rows.id_column, data.groups, data.order, data.weight, *loaded_model.target.names}
    used_columns.update(column.name for column in loaded_model.schema.columns)
    unused_columns = [name for name in rows.frame.columns if name not in used_columns]
    if unused_columns and loaded_model.task != "forecasting":
        note = Note(text="columns that the model does not use")
        notify(summarize_notes((name, note) for name in unused_columns)[0])
    predictions = predict_table(
        loaded_model, rows, with_inputs=with_inputs, typed=is_typed_format(out), notify=notify, threads=threads
    )
    if out:
        write_file(out, encode_table(predictions, out))
        click.echo(f"predictions: {out} ({format_count(predictions.height, 'row')})")
    else:
        click.echo(predictions.write_csv(), nl=False)


@click.command()
@click.argument("model")
@click.argument("table")
@shared_options("query", "report", "by", "on_damaged_images", "threads", "json")
@table_format_options
def evaluate(
    model: str,
    table: str,
    query: str,
    report: str | None,
    by: tuple[str, ...],
    on_damaged_images: Any,
    threads: int | None,
    as_json: bool,
    table_format: TableFormat,
) -> None:
    """Score a model on rows with known targets.

    Scores are printed next to those of a trivial baseline. Forecasting models are scored on all windows of the series
    in the table, language models on a text.

    \b
    rosenblatt evaluate people.rosenblatt people-2025.csv
    rosenblatt evaluate people.rosenblatt people-2025.csv --report report.html
    rosenblatt evaluate book.rosenblatt another-book.txt
    rosenblatt evaluate people.rosenblatt people@2 --query "@split=test"
    """
    check_output_paths([report], inputs=[model, table])
    check_report_options(by, report)
    from rosenblatt.cli.console.models import print_scores
    from rosenblatt.data.readers.files import read_text
    from rosenblatt.models.evaluation import evaluation_to_dict
    from rosenblatt.models.model_file import load_model
    from rosenblatt.workflows.predict import drop_damaged_images
    from rosenblatt.workflows.predict import evaluate as evaluate_table

    notify = make_reporter(as_json)
    loaded_model = load_model(model)
    is_text = loaded_model.task == "language" and not query
    rows = read_text(table) if is_text else read_and_report(table, table_format, notify, query=query)
    rows = drop_damaged_images(loaded_model, rows, on_damaged_images, notify)
    windows = loaded_model.metadata.windows
    check_can_group(by, is_per_step=loaded_model.target.is_per_step)
    check_group_columns(by, [rows], windows.series if windows else None)
    scores, result = evaluate_table(loaded_model, rows, notify, threads)
    if as_json:
        fields = {"model": model, "rows": len(result.y_test), "report": report} | evaluation_to_dict(result)
        click.echo(scores_to_json(loaded_model, scores, fields))
    else:
        print_scores(scores, loaded_model, is_held_out=result.is_held_out)
    save_report(result, report, by, notify)


@click.command()
@click.argument("path", metavar="MODEL|TABLE")
@click.option("--all", "show_all", is_flag=True, help="Show every column, and every hyperparameter of a model.")
@shared_options("json")
@table_format_options
def describe(path: str, show_all: bool, table_format: TableFormat, as_json: bool) -> None:
    """Describe a table or a model.

    \b
    rosenblatt describe people.csv              columns, missing values, task
    rosenblatt describe people.rosenblatt       scores, network, data
    rosenblatt describe people.rosenblatt --all
    """
    from rosenblatt.cli.console.models import print_model, print_table_description
    from rosenblatt.inspection.description import describe_model, describe_table
    from rosenblatt.models.model_file import is_model_file, load_model

    if is_model_file(path):
        model = load_model(path)
        if not as_json:
            print_model(model, path, show_all=show_all)
            return
        description = describe_model(model, path)
    else:
        description = describe_table(read_and_report(path, table_format, lambda _: None, allow_empty=True))
        if not as_json:
            print_table_description(description, show_all=show_all)
            return
    click.echo(json.dumps(description, indent=2))
