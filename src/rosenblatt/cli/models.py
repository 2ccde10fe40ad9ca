"""The commands `fit`, `predict`, `evaluate` and `describe`."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from rosenblatt.cli.options import Grouped, hyperparameter_options, shared_options, teller, tracking_options
from rosenblatt.cli.outputs import as_bytes, check_format, check_places
from rosenblatt.errors import SpecError
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.tables import read

if TYPE_CHECKING:
    from rosenblatt.models.evaluation import Fitted
    from rosenblatt.models.metrics import Score
    from rosenblatt.models.model import Model
from rosenblatt.cli.exit_status import _Stop


@click.command(cls=Grouped)
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
    stop: _Stop,
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
    name_of_experiment: str | None,
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
    given = {name: value for name, value in hyperparameters.items() if value is not None}
    spec = (Spec.from_toml(config) if config else Spec()).replace(**given)
    path = Path(out or f"{_stem(table)}.rosenblatt")
    trials = f"{str(path).removesuffix('.rosenblatt')}.trials.jsonl" if spec.searches else None
    check_places([str(path), report, trials], inputs=[table, test, validation, config])
    if checkpoint and Path(checkpoint).is_file():
        raise SpecError(f"--checkpoint names a folder, but {checkpoint!r} is a file. Choose another name.")
    if checkpoint and not spec.searches:
        raise SpecError("There is no search whose state --checkpoint could keep. Add --trials or --minutes.")
    from rosenblatt.models.atomic_write import write_file
    from rosenblatt.workflows import fit as experiment
    from rosenblatt.workflows import search
    from rosenblatt.workflows.fit_request import default_experiment, fit_asked
    from rosenblatt.workflows.recorder import Recorder
    from rosenblatt.workflows.request import Asked

    say = teller(as_json)

    def keep_records(records: list[dict[str, Any]]) -> None:
        write_file(str(trials), "".join(f"{json.dumps(record)}\n" for record in records).encode())

    asked = Asked(table, target, spec, task, ignore, keep, texts, test, validation, header, encoding, threads)
    recorder = Recorder.of(asked, name_of_experiment or default_experiment(table), name=name, reuse=reuse, store=store)
    state = Path(checkpoint) if checkpoint else None
    fitted = fit_asked(recorder, say, search.Searching(started, None, keep_records, state))
    from rosenblatt.cli.console.models import show_search
    from rosenblatt.models.metrics import to_json

    interrupted = fitted.model.facts["interrupted"]
    if interrupted:
        begun, asked = len(fitted.model.networks), fitted.model.facts["members"]
        kept = (
            "the best trials" if spec.searches else f"the best epochs so far are kept, of {begun} of {asked} networks"
        )
        say(f"stopped early: {kept}{' so far are kept' if spec.searches else ''}")
    replaced = path.exists()
    experiment.save(fitted, path)
    known = {key: fitted.model.facts[key] for key in ("rows", "test_rows", "seconds", "interrupted")}
    recorded = recorder.reused or (recorder.run.id if recorder.run else None)
    more = {**known, "model": str(path), "report": report, "run": recorded, "reused": bool(recorder.reused)}
    if spec.searches:
        more |= {"search": fitted.model.facts["search"], "trials": str(trials), "best_trial": to_json(fitted.alone)}
        if not as_json:
            show_search(fitted.model.facts["search"])
            say(f"trials: {trials}")
    _show_scores(fitted.scores, say, as_json, fitted.model, more, fitted.alone)
    say(f"model: {path}{' (replaced)' if replaced else ''}, read back in a new process with equal predictions")
    _save_report(fitted, report, say)
    if recorder.reused:
        say(f"run: {recorder.reused}, which was finished before, on the same rows; nothing was trained")
    elif recorder.run:
        say(f"run: {recorder.run.id}")
    if interrupted:
        sys.exit(stop.status)


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
@shared_options("header", "encoding", "damaged", "threads")
def predict(
    model: str,
    table: str,
    out: str | None,
    with_inputs: bool,
    header: bool | None,
    encoding: str | None,
    damaged: Any,
    threads: int | None,
) -> None:
    """Predict the rows of a table with a saved model; for classes also the probability of each.

    \b
    rosenblatt predict people.rosenblatt new-people.csv --out predictions.csv
    """
    check_places([out], inputs=[model, table])
    check_format(out)
    from rosenblatt.models.atomic_write import write_file
    from rosenblatt.models.model_file import load_model
    from rosenblatt.workflows import predict as predict_module

    loaded, say = load_model(model), teller(True)
    predict_module.check_predicts(loaded)
    rows = predict_module.without_damaged(loaded, read(table, header, encoding, say), damaged, say)
    extra = [name for name in rows.frame.columns if name not in {*_known_columns(loaded), rows.name}]
    if extra and "windows" not in loaded.facts:
        say(f"columns the model did not learn from are not used: {', '.join(extra)}")
    predicted = predict_module.predict(loaded, rows, with_inputs=with_inputs, say=say, threads=threads)
    if out:
        write_file(out, as_bytes(predicted, out))
        click.echo(f"{predicted.height:,} predictions: {out}")
    else:
        click.echo(predicted.write_csv(), nl=False)


@click.command()
@click.argument("model")
@click.argument("table")
@shared_options("report", "header", "encoding", "damaged", "threads", "json")
def evaluate(
    model: str,
    table: str,
    report: str | None,
    header: bool | None,
    encoding: str | None,
    damaged: Any,
    threads: int | None,
    as_json: bool,
) -> None:
    """Score a saved model on a table that holds the answers, beside a trivial baseline.

    Forecasts are scored on all windows of the series in a table, languages on a text.

    \b
    rosenblatt evaluate people.rosenblatt people-with-answers.csv
    rosenblatt evaluate book.rosenblatt another-book.txt
    """
    check_places([report], inputs=[model, table])
    from rosenblatt.data.readers.files import read_text
    from rosenblatt.models.model_file import load_model
    from rosenblatt.workflows import predict as predict_module

    say = teller(as_json)
    loaded = load_model(model)
    rows = read_text(table) if loaded.target.task == "language" else read(table, header, encoding, say)
    rows = predict_module.without_damaged(loaded, rows, damaged, say)
    found, fitted = predict_module.evaluate(loaded, rows, say, threads)
    _show_scores(found, say, as_json, loaded, {"model": model, "rows": len(fitted.truth), "report": report})
    _save_report(fitted, report, say)


@click.command()
@click.argument("what", metavar="MODEL|TABLE")
@shared_options("header", "encoding", "json")
def describe(what: str, header: bool | None, encoding: str | None, as_json: bool) -> None:
    """Tell what a model or a table holds.

    \b
    rosenblatt describe people.csv           columns, kinds, missing values, the likely task
    rosenblatt describe people.rosenblatt    the network, its hyperparameters, its data, its scores
    """
    from rosenblatt.cli.console import models
    from rosenblatt.inspection import description as describing
    from rosenblatt.models.model_file import is_model_file, load_model

    if is_model_file(what):
        description, show = describing.of_model(load_model(what), what), models.show_model
    else:
        table = read(what, header, encoding, lambda _: None)
        description, show = describing.of_table(table), models.show_table
    if as_json:
        click.echo(json.dumps(description, indent=2))
    else:
        show(description)


def _save_report(fitted: Fitted, report: str | None, say: Callable[[str], None]) -> None:
    if report:
        from rosenblatt.inspection.report import Report  # loads Matplotlib

        Report.of(fitted).save(report)
        say(f"report: {report}")


def _stem(table: str) -> str:
    name = re.sub(
        r"(\.(csv|tsv|txt|data|jsonl|ndjson|json|parquet|pq|arrow|feather|ipc|gz|zip))+$", "", Path(table).name
    )
    return name or "model"


def _known_columns(model: Model) -> set[str]:
    return {column.name for column in model.schema.columns} | set(model.target.names)


def _show_scores(
    found: list[Score],
    say: Callable[[str], None],
    as_json: bool,
    model: Model,
    more: dict[str, Any],
    alone: Sequence[Score] = (),
) -> None:
    """The scores as a table beside the baseline, or all as JSON."""
    from rosenblatt.models.metrics import to_json

    if as_json:
        result: dict[str, Any] = {
            "task": model.target.task,
            "target": model.target.names,
            "scores": to_json(found),
            "networks": len(model.networks),
        }
        result |= {
            key: model.facts[key] for key in ("rows", "test_rows", "seconds", "interrupted") if key in model.facts
        }
        result |= more
        click.echo(json.dumps(result, indent=2))
        return
    if not found:
        say("no rows were set aside for the test: nothing is known of new rows")
        return
    from rosenblatt.cli.console.models import show_scores

    show_scores(found, model, alone)
