"""The command `fit`."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from rosenblatt.cli.exit_status import ExitStatus
from rosenblatt.cli.machines import Machines, machine_options
from rosenblatt.cli.options import (
    GroupedCommand,
    hyperparameter_options,
    make_reporter,
    shared_options,
    table_format_arguments,
    table_format_options,
    tracking_options,
)
from rosenblatt.cli.outputs import check_output_paths, check_report_options, save_report, scores_to_json
from rosenblatt.data.readers.sources import STANDARD_INPUT
from rosenblatt.data.volumes.locations import is_volume
from rosenblatt.errors import Notify, SpecError
from rosenblatt.spec.fields import Task
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec

if TYPE_CHECKING:
    from rosenblatt.models.evaluation import Evaluation
    from rosenblatt.models.metadata import TrialRecord
    from rosenblatt.workflows.recorder import Recorder
    from rosenblatt.workflows.request import FitRequest

TABLE_SUFFIXES = r"(\.(csv|tsv|tab|txt|data|dat|jsonl|ndjson|json|parquet|pq|arrow|feather|ipc|gz|bz2|xz|zip))+$"


@dataclass(frozen=True)
class FitOutput:
    """Options of `fit` on the files that it writes and on the run that it records."""

    out: str | None
    report: str | None
    by: tuple[str, ...]
    checkpoint: str | None
    as_json: bool
    experiment: str | None
    name: str
    reuse: bool
    store: str | None

    def model_path(self, table: str) -> Path:
        """Return the path of the model file; by default the name of the table, in the working directory."""
        name = "" if table == STANDARD_INPUT else re.sub(TABLE_SUFFIXES, "", Path(table).name)
        name = name.split("@")[0] if is_volume(table) else name
        return Path(self.out or f"{name or 'model'}.rosenblatt")


@click.command(cls=GroupedCommand, short_help="Train, test and save a model.")
@click.argument("table")
@click.option(
    "--target", "-t", "targets", multiple=True, metavar="COLUMN",
    help="Column to predict: its name, or its number counted from 1 (-1 is the last). Repeat it for several targets. "
    "Folders of images or texts need none: the names of their subfolders or files are the classes.",
)  # fmt: skip
@click.option(
    "--task",
    type=click.Choice(get_args(Task)),
    metavar="NAME",
    help=f"Task: {', '.join(get_args(Task))}; detected from the target by default.",
)
@click.option("--query", default="", metavar="QUERY", help="Samples of a volume to train on, as in `data query`.")
@click.option("--ignore", multiple=True, metavar="COLUMN", help="Column that is not used as an input.")
@click.option(
    "--keep", multiple=True, metavar="COLUMN", help="Column to use as an input although it looks like an identifier."
)
@click.option("--text", "texts", multiple=True, metavar="COLUMN", help="Column to read as texts.")
@click.option("--test", metavar="TABLE", help="Table of test rows, in place of held-out rows.")
@click.option("--validation", metavar="TABLE", help="Table of validation rows, in place of folds of the training rows.")
@click.option(
    "--start", metavar="MODEL",
    help="Fine-tune the networks of a model, with its columns, encoder and classes, instead of training new ones.",
)  # fmt: skip
@click.option(
    "--config", metavar="FILE.toml", help="Hyperparameters and search space from a file; options override it."
)
@click.option(
    "--checkpoint",
    metavar="FOLDER",
    help="Folder for the state of a search, from which the same command resumes.  [default: in the store of runs]",
)
@click.option("--out", "-o", metavar="MODEL", help="Model file to write.  [default: name of the table + .rosenblatt]")
@tracking_options("experiment", "name", "reuse", "store")
@shared_options("report", "by", "threads", "json")
@machine_options
@table_format_options
@hyperparameter_options
@click.pass_obj
def fit(exit_status: ExitStatus, /, config: str | None, **options: Any) -> None:
    """Train networks on a table, test them on held-out rows, and save the model.

    \b
    rosenblatt fit people.csv --target income
    rosenblatt fit people.csv --target income --report report.html
    rosenblatt fit people.csv --target income --test people-2025.csv --seed 7
    rosenblatt fit iris.csv --target -1 --no-header --hidden-sizes 64,64

    Search for better hyperparameters, within a time limit, a number of trials, or a search space of your own
    (docs/search.md):

    \b
    rosenblatt fit people.csv --target income --minutes 5
    rosenblatt fit people.csv --target income --trials 256 --activation gelu
    rosenblatt fit people.csv --target income --config search.toml

    Train on images, texts or sequences, forecast a time series, or model a language (docs/media.md):

    \b
    rosenblatt fit photos/ --kind cnn                    a folder for each class
    rosenblatt fit names/ --kind rnn                     a text file for each class
    rosenblatt fit reviews.csv --text review -t stars    texts and other columns
    rosenblatt fit sensors.zip --kind rnn -t moves       a file for each sequence
    rosenblatt fit sales.csv --time month -t sales --horizon 12
    rosenblatt fit book.txt --kind rnn --task language

    Train on a version of a volume (docs/data.md):

    \b
    rosenblatt fit photos@2 --kind cnn --query "width > 200"

    Fine-tune the networks of a model, also of an imported one (docs/import.md):

    \b
    rosenblatt fit people-2026.csv --target income --start people.rosenblatt --learning-rate 0.0003

    Train on many machines (docs/cluster.md):

    \b
    rosenblatt fit people.csv --target income --trials 5000 --on hosts.txt
    """
    started = time.monotonic()
    machines = Machines(options.pop("on"), options.pop("nodes_per_network"))
    request, output = _parse_options(config, options)
    machines.check(request.spec)
    if request.start and machines.on:
        raise SpecError("--start fine-tunes on this machine. Remove --on.")
    path = output.model_path(request.table)
    trials_path = f"{str(path).removesuffix('.rosenblatt')}.trials.jsonl" if request.spec.has_search else None
    check_output_paths(
        [str(path), output.report, trials_path],
        inputs=[request.table, request.test, request.validation, request.start, config],
    )
    from rosenblatt.models.atomic_write import write_file
    from rosenblatt.workflows.fit_request import default_experiment, fit_and_save
    from rosenblatt.workflows.recorder import Recorder
    from rosenblatt.workflows.search import SearchOptions
    from rosenblatt.workflows.volume_inputs import pin_versions

    def write_records(records: list[TrialRecord]) -> None:
        write_file(str(trials_path), "".join(f"{json.dumps(record.to_json())}\n" for record in records).encode())

    notify = make_reporter(output.as_json)
    experiment = output.experiment or default_experiment(request.table)
    pinned = pin_versions(request)
    recorder = Recorder.for_request(pinned, experiment, name=output.name, reuse=output.reuse, store=output.store)
    is_replaced, checkpoint = path.exists(), Path(output.checkpoint) if output.checkpoint else None
    with machines.open(request.spec, notify, recorder.log_trial) as make_workers:
        search = SearchOptions(started, None, write_records, checkpoint, make_workers=make_workers)
        result = fit_and_save(recorder, path, notify, search, output.by)
    _print_scores(result, output, recorder, path, trials_path)
    notify(f"model: {path}{' (replaced)' if is_replaced else ''}; checked: a new process predicts the same")
    save_report(result, output.report, output.by, notify)
    _print_run(recorder, notify)
    if not output.as_json:
        notify("\n" + "\n".join(next_steps(result.model.task, str(path), request)))
    if result.model.metadata.interrupted:
        sys.exit(exit_status.code)


def _parse_options(config: str | None, options: dict[str, Any]) -> tuple[FitRequest, FitOutput]:
    """Validate the options of the command line. Raises SpecError."""
    from rosenblatt.workflows.request import FitRequest

    spec = parse_spec(Spec.from_toml(config) if config else Spec(), options)
    output = FitOutput(**{field.name: options.pop(field.name) for field in fields(FitOutput)})
    check_report_options(output.by, output.report)
    if output.checkpoint and Path(output.checkpoint).is_file():
        raise SpecError(f"--checkpoint must name a folder, but {output.checkpoint!r} is a file. Choose another name.")
    if output.checkpoint and not spec.has_search:
        raise SpecError("--checkpoint saves the state of a search, but this is none. Add --trials or --minutes.")
    return FitRequest(spec=spec, format=options.pop("table_format"), **options), output


def parse_spec(config: Spec, options: dict[str, Any]) -> Spec:
    """Remove the hyperparameters from options, and put those that are given into a spec. Raises SpecError."""
    hyperparameters = {name: options.pop(name) for name in HYPERPARAMETERS}
    explicit = {name: value for name, value in hyperparameters.items() if value is not None}
    return config.replace(**explicit)


def _print_scores(
    result: Evaluation, output: FitOutput, recorder: Recorder, path: Path, trials_path: str | None
) -> None:
    """Print the search and the scores, or everything as JSON."""
    from rosenblatt.cli.console import models as console
    from rosenblatt.models.evaluation import evaluation_to_dict, scores_to_dict

    model, notify = result.model, make_reporter(output.as_json)
    metadata = model.metadata
    if metadata.interrupted:
        unit = "trials" if metadata.search else "epochs"
        networks = "" if metadata.search else f", of {len(model.networks)} of {metadata.members} networks"
        notify(f"stopped early: the best {unit} so far are kept{networks}")
    if output.as_json:
        fields = {name: getattr(metadata, name) for name in ("rows", "test_rows", "seconds", "interrupted")}
        run_id = recorder.reused or (recorder.run.id if recorder.run else None)
        fields |= evaluation_to_dict(result)
        fields |= {"model": str(path), "report": output.report, "run": run_id, "reused": bool(recorder.reused)}
        if metadata.search:
            fields |= {
                "search": metadata.search.to_json(),
                "trials": str(trials_path),
                "best_trial": scores_to_dict(result.best_trial_scores),
            }
        click.echo(scores_to_json(model, result.scores, fields))
        return
    if metadata.search:
        console.print_search(metadata.search)
        notify(f"trials: {trials_path}")
    notify("")
    console.print_scores(result.scores, model, result.best_trial_scores, is_held_out=result.is_held_out)
    notify("")


def _print_run(recorder: Recorder, notify: Notify) -> None:
    if recorder.reused:
        notify(f"run: {recorder.reused} finished before on the same rows and is reused; nothing was trained")
    elif recorder.run:
        notify(f"run: {recorder.run.id}")


def next_steps(task: str, model: str, request: FitRequest) -> list[str]:
    """Return commands to try with the saved model, one per line, after a title."""
    table = "new.csv" if request.table == STANDARD_INPUT else request.table
    reading = table_format_arguments(request.format)
    commands = [
        ["predict", model, table, "--out", "predictions.csv", *reading],
        ["evaluate", model, request.test or "new.csv", "--report", "report.html", *reading],
        ["explain", model, table, "--row", "1", *reading],
    ]
    if task == "language":
        return ["next:", f"  rosenblatt {shlex.join(['generate', model, '--length', '400'])}"]
    lines = [f"  rosenblatt {shlex.join(arguments)}" for arguments in commands]
    if not request.test:
        lines[1] += "    # new.csv: other rows with known targets"
    return ["next:", *lines]
