"""The commands `fit`, `predict`, `evaluate` and `describe`."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from rosenblatt.cli.options import (
    GroupedCommand,
    hyperparameter_options,
    make_reporter,
    shared_options,
    tracking_options,
)
from rosenblatt.cli.outputs import check_output_paths, check_table_format, encode_table
from rosenblatt.errors import Notify, SpecError
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.tables import read_and_report

if TYPE_CHECKING:
    from rosenblatt.models.evaluation import FitResult
    from rosenblatt.models.metadata import TestScore
    from rosenblatt.models.model import Model
from rosenblatt.cli.exit_status import ExitStatus


@click.command(cls=GroupedCommand)
@click.argument("table")
@click.option(
    "--target",
    "-t",
    multiple=True,
    metavar="COLUMN",
    help="What to predict: a column's name, or its number from 1 (-1 is the last); several for several at once. "
    "Folders of images and of texts name their classes themselves.",
)
@click.option(
    "--task", type=click.Choice(get_args(Task)), help="The kind of task; found out from the target by default."
)
@click.option("--ignore", multiple=True, metavar="COLUMN", help="Columns to leave out.")
@click.option(
    "--keep", multiple=True, metavar="COLUMN", help="Columns to learn from though they look like identifiers."
)
@click.option("--text", "texts", multiple=True, metavar="COLUMN", help="Columns of texts, to learn from as such.")
@click.option("--test", metavar="TABLE", help="A table to test on, instead of rows set aside.")
@click.option(
    "--validation", metavar="TABLE", help="A table to choose the best epochs on, instead of parts of the training rows."
)
@click.option("--config", metavar="FILE.toml", help="Hyperparameters from a file; options given here come first.")
@click.option(
    "--checkpoint",
    metavar="FOLDER",
    help="Keep the state of a search in this folder, and go on from it if it is there.  [default: in the store]",
)
@click.option("--out", "-o", metavar="MODEL", help="The model's file.  [default: the table's name, with .rosenblatt]")
@tracking_options("experiment", "name", "reuse", "store")
@shared_options("report", "header", "encoding", "threads", "json")
@hyperparameter_options
@click.pass_obj
def fit(
    exit_status: ExitStatus,
    /,
    table: str,
    target: tuple[str, ...],
    task: Task | None,
    ignore: tuple[str, ...],
    keep: tuple[str, ...],
    texts: tuple[str, ...],
    test: str | None,
    validation: str | None,
    config: str | None,
    checkpoint: str | None,
    out: str | None,
    report: str | None,
    header: bool | None,
    encoding: str | None,
    threads: int | None,
    as_json: bool,
    experiment: str | None,
    name: str,
    reuse: bool,
    store: str | None,
    **hyperparameters: str | None,
) -> None:
    """Train a network on a table, test it on rows it never saw, and save it.

    \b
    rosenblatt fit people.csv --target income
    rosenblatt fit people.csv --target income --test people-test.csv --report report.html
    rosenblatt fit iris.csv --target -1 --no-header --hidden-sizes 64,64 --activation gelu
    rosenblatt fit people.csv --target income --config people.toml --seed 7

    \b
    rosenblatt fit photos/ --kind cnn                        images, in a folder for each class
    rosenblatt fit names/ --kind rnn                         text files, one a class, a sample a line
    rosenblatt fit reviews.csv --text review --target stars  a column of texts, beside others
    rosenblatt fit sensors.zip --kind rnn --target moves     a sequence a file
    rosenblatt fit sales.csv --time month --target sales --horizon 12
    rosenblatt fit book.txt --kind rnn --task language       then rosenblatt generate book.rosenblatt

    With --trials or --minutes (or both: whichever ends first), or a [space] in the config, hyperparameters are
    searched: many networks are trained at a time, the worse ones stopped early, the best joined into one model. What
    became of each trial is written beside the model, to a file that ends in .trials.jsonl.

    \b
    rosenblatt fit people.csv --target income --trials 256 --minutes 5
    rosenblatt fit people.csv --target income --minutes 5 --activation gelu     search all but the activation
    rosenblatt fit people.csv --target income --config search.toml             a space of your own

    \b
    [space]                                               # search.toml
    hidden_sizes = { choice = [[64], [128, 128]] }
    learning_rate = { log_uniform = [1e-4, 1e-1] }
    dropout = { uniform = [0.0, 0.5] }
    optimizer = { choice = ["adam", "momentum"] }
    beta1 = { uniform = [0.8, 0.99], when = { optimizer = ["momentum"] } }
    """
    started = time.monotonic()
    overrides = {name: value for name, value in hyperparameters.items() if value is not None}
    spec = (Spec.from_toml(config) if config else Spec()).replace(**overrides)
    path = Path(out or f"{_stem(table)}.rosenblatt")
    trials_path = f"{str(path).removesuffix('.rosenblatt')}.trials.jsonl" if spec.has_search else None
    check_output_paths([str(path), report, trials_path], inputs=[table, test, validation, config])
    if checkpoint and Path(checkpoint).is_file():
        raise SpecError(f"--checkpoint names a folder, but {checkpoint!r} is a file. Choose another name.")
    if checkpoint and not spec.has_search:
        raise SpecError("There is no search whose state --checkpoint could keep. Add --trials or --minutes.")
    from rosenblatt.models.atomic_write import write_file
    from rosenblatt.workflows.fit_request import default_experiment, fit_and_save
    from rosenblatt.workflows.recorder import Recorder
    from rosenblatt.workflows.request import FitRequest
    from rosenblatt.workflows.search import SearchOptions

    notify = make_reporter(as_json)

    def write_records(records: list[dict[str, Any]]) -> None:
        write_file(str(trials_path), "".join(f"{json.dumps(record)}\n" for record in records).encode())

    request = FitRequest(table, target, spec, task, ignore, keep, texts, test, validation, header, encoding, threads)
    recorder = Recorder.for_request(
        request, experiment or default_experiment(table), name=name, reuse=reuse, store=store
    )
    checkpoint_folder = Path(checkpoint) if checkpoint else None
    replaced = path.exists()
    result = fit_and_save(recorder, path, notify, SearchOptions(started, None, write_records, checkpoint_folder))
    from rosenblatt.cli.console.models import print_search
    from rosenblatt.models.metrics import scores_to_dict

    interrupted = result.model.metadata.interrupted
    if interrupted:
        n_networks, n_members = len(result.model.networks), result.model.metadata.members
        summary = (
            "the best trials"
            if spec.has_search
            else f"the best epochs so far are kept, of {n_networks} of {n_members} networks"
        )
        notify(f"stopped early: {summary}{' so far are kept' if spec.has_search else ''}")
    metadata = {key: getattr(result.model.metadata, key) for key in ("rows", "test_rows", "seconds", "interrupted")}
    run_id = recorder.reused or (recorder.run.id if recorder.run else None)
    fields = {**metadata, "model": str(path), "report": report, "run": run_id, "reused": bool(recorder.reused)}
    search = result.model.metadata.search
    if search:
        fields |= {
            "search": search.to_json(),
            "trials": str(trials_path),
            "best_trial": scores_to_dict(result.best_trial_scores),
        }
        if not as_json:
            print_search(search.to_json())
            notify(f"trials: {trials_path}")
    _show_scores(result.scores, notify, as_json, result.model, fields, result.best_trial_scores)
    notify(f"model: {path}{' (replaced)' if replaced else ''}, read back in a new process with equal predictions")
    _save_report(result, report, notify)
    if recorder.reused:
        notify(f"run: {recorder.reused}, which was finished before, on the same rows; nothing was trained")
    elif recorder.run:
        notify(f"run: {recorder.run.id}")
    if interrupted:
        sys.exit(exit_status.code)


@click.command()
@click.argument("model")
@click.argument("table")
@click.option(
    "--out",
    "-o",
    metavar="FILE",
    help="Where to: .csv, .tsv, .jsonl, .parquet or .arrow.  [default: CSV on the terminal]",
)
@click.option("--with-inputs", is_flag=True, help="Write the table's own columns too.")
@shared_options("header", "encoding", "on_damaged_images", "threads")
def predict(
    model: str,
    table: str,
    out: str | None,
    with_inputs: bool,
    header: bool | None,
    encoding: str | None,
    on_damaged_images: Any,
    threads: int | None,
) -> None:
    """Predict the rows of a table with a saved model; for classes also the probability of each.

    \b
    rosenblatt predict people.rosenblatt new-people.csv --out predictions.csv
    """
    check_output_paths([out], inputs=[model, table])
    check_table_format(out)
    from rosenblatt.models.atomic_write import write_file
    from rosenblatt.models.model_file import load_model
    from rosenblatt.workflows.predict import check_can_predict, drop_damaged_images
    from rosenblatt.workflows.predict import predict as predict_table

    loaded_model, notify = load_model(model), make_reporter(True)
    check_can_predict(loaded_model)
    rows = drop_damaged_images(
        loaded_model, read_and_report(table, header, encoding, notify), on_damaged_images, notify
    )
    unused_columns = [
        name for name in rows.frame.columns if name not in {*_known_columns(loaded_model), rows.id_column}
    ]
    if unused_columns and loaded_model.task != "forecasting":
        notify(f"columns the model did not learn from are not used: {', '.join(unused_columns)}")
    predictions = predict_table(loaded_model, rows, with_inputs=with_inputs, notify=notify, threads=threads)
    if out:
        write_file(out, encode_table(predictions, out))
        click.echo(f"{predictions.height:,} predictions: {out}")
    else:
        click.echo(predictions.write_csv(), nl=False)


@click.command()
@click.argument("model")
@click.argument("table")
@shared_options("report", "header", "encoding", "on_damaged_images", "threads", "json")
def evaluate(
    model: str,
    table: str,
    report: str | None,
    header: bool | None,
    encoding: str | None,
    on_damaged_images: Any,
    threads: int | None,
    as_json: bool,
) -> None:
    """Score a saved model on a table that holds the answers, beside a trivial baseline.

    Forecasts are scored on all windows of the series in a table, languages on a text.

    \b
    rosenblatt evaluate people.rosenblatt people-with-answers.csv
    rosenblatt evaluate book.rosenblatt another-book.txt
    """
    check_output_paths([report], inputs=[model, table])
    from rosenblatt.data.readers.files import read_text
    from rosenblatt.models.model_file import load_model
    from rosenblatt.workflows.predict import drop_damaged_images
    from rosenblatt.workflows.predict import evaluate as evaluate_table

    notify = make_reporter(as_json)
    loaded_model = load_model(model)
    rows = (
        read_text(table) if loaded_model.target.task == "language" else read_and_report(table, header, encoding, notify)
    )
    rows = drop_damaged_images(loaded_model, rows, on_damaged_images, notify)
    scores, result = evaluate_table(loaded_model, rows, notify, threads)
    _show_scores(scores, notify, as_json, loaded_model, {"model": model, "rows": len(result.y_test), "report": report})
    _save_report(result, report, notify)


@click.command()
@click.argument("path", metavar="MODEL|TABLE")
@shared_options("header", "encoding", "json")
def describe(path: str, header: bool | None, encoding: str | None, as_json: bool) -> None:
    """Tell what a model or a table holds.

    \b
    rosenblatt describe people.csv           columns, kinds, missing values, the likely task
    rosenblatt describe people.rosenblatt    the network, its hyperparameters, its data, its scores
    """
    from rosenblatt.cli.console.models import print_model, print_table
    from rosenblatt.inspection.description import describe_model, describe_table
    from rosenblatt.models.model_file import is_model_file, load_model

    if is_model_file(path):
        description, print_description = describe_model(load_model(path), path), print_model
    else:
        table = read_and_report(path, header, encoding, lambda _: None)
        description, print_description = describe_table(table), print_table
    if as_json:
        click.echo(json.dumps(description, indent=2))
    else:
        print_description(description)


def _save_report(result: FitResult, report: str | None, notify: Notify) -> None:
    if report:
        from rosenblatt.inspection.report import Report  # loads Matplotlib

        Report.from_fit(result).save(report)
        notify(f"report: {report}")


def _stem(table: str) -> str:
    name = re.sub(
        r"(\.(csv|tsv|txt|data|jsonl|ndjson|json|parquet|pq|arrow|feather|ipc|gz|zip))+$", "", Path(table).name
    )
    return name or "model"


def _known_columns(model: Model) -> set[str]:
    return {column.name for column in model.schema.columns} | set(model.target.names)


def _show_scores(
    scores: list[TestScore],
    notify: Notify,
    as_json: bool,
    model: Model,
    extra: dict[str, Any],
    best_trial_scores: Sequence[TestScore] = (),
) -> None:
    """The scores as a table beside the baseline, or all as JSON."""
    from rosenblatt.models.metrics import scores_to_dict

    if as_json:
        result: dict[str, Any] = {
            "task": model.target.task,
            "target": model.target.names,
            "scores": scores_to_dict(scores),
            "networks": len(model.networks),
        }
        result |= {
            key: getattr(model.metadata, key)
            for key in ("rows", "test_rows", "seconds", "interrupted")
            if key in model.metadata.model_fields_set
        }
        result |= extra
        click.echo(json.dumps(result, indent=2))
        return
    if not scores:
        notify("no rows were set aside for the test: nothing is known of new rows")
        return
    from rosenblatt.cli.console.models import print_scores

    print_scores(scores, model, best_trial_scores)
