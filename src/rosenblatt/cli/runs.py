"""The command `runs`: lists, shows, compares, reproduces, stops, exports and deletes runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.cli.machines import take_down_abandoned
from rosenblatt.cli.options import (
    ask_confirmation,
    ask_secret,
    confirm,
    make_reporter,
    parse_pairs,
    shared_options,
    tracking_options,
)
from rosenblatt.errors import RunError, SpecError, StoreError, format_count, format_list

if TYPE_CHECKING:
    from rosenblatt.runs.store.curves import CurvePoints
    from rosenblatt.runs.store.details import RunDetails
    from rosenblatt.runs.store.store import Store

MIN_DELETED_PREFIX = 4  # characters of an id that name a run to delete
MAX_LISTED_RUNS = 5  # in a question
FORMATS = ("parquet", "csv", "tensorboard", "mlflow")
EXIT_RESULTS_DIFFER, EXIT_NOT_RUN = 1, 3  # exit statuses of `runs reproduce` unless the results are the same


def _inherit_store(context: click.Context, _option: click.Parameter, store: str | None) -> str | None:
    return store or context.obj


_store_option = click.option("--store", metavar="PLACE", callback=_inherit_store, help="The store, as for `runs`.")
_secret_option = click.option(
    "--secret", "secrets", multiple=True, metavar="NAME=VALUE", callback=parse_pairs,
    help="Value of the argument --NAME, which was masked when it was recorded; asked for on a terminal.",
)  # fmt: skip
_yes_option = click.option("--yes", is_flag=True, help="Do not ask before running code that another user recorded.")
_all_option = click.option("--all", "show_all", is_flag=True, help="Print long tables in full.")


@click.group(invoke_without_command=True)
@click.option("--where", default="", metavar="FILTER", help='List only runs that match, such as "metrics.auc > 0.9".')
@click.option(
    "--sort",
    default="-started",
    metavar="FIELD",
    help="Field to sort by, such as metrics.loss.min; a minus sign sorts in descending order, as in -metrics.auc.",
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Maximum number of runs.")
@click.option(
    "--of", "search_name", metavar="RUN", help="List only the trials of a search, or the child runs of a run."
)
@click.option("--trials/--no-trials", default=None, help="Whether to list trials; by default only with --where.")
@click.option("--all", "show_all", is_flag=True, help="Show all metrics and columns.")
@tracking_options("store")
@shared_options("json")
@click.pass_context
def runs(
    context: click.Context,
    /,
    search_name: str | None,
    trials: bool | None,
    show_all: bool,
    store: str | None,
    as_json: bool,
    **query: Any,
) -> None:
    """List runs, newest first. Subcommands show, compare, reproduce and manage them.

    \b
    rosenblatt runs
    rosenblatt runs --where "params.lr < 0.1 and metrics.auc > 0.9"
    rosenblatt runs --of last --sort metrics.validation_loss    trials of a search
    rosenblatt runs show last

    Fields: params.NAME, tags.NAME, metrics.NAME (the last value; .best .min .max .step), id, experiment, name, kind,
    state, started, ended, duration (seconds), number, parent, reason. Write names with spaces in `backquotes`.
    Operators: = != < <= > >=, like '%pattern%', in (a, b), is null, is not null, and, or, not, ( ).
    """
    context.obj = store
    if context.invoked_subcommand:
        return
    from rosenblatt.runs.store import queries

    with open_store(store) as run_store:
        parent = queries.find_run(run_store, search_name) if search_name else None
        include_trials = bool(query["where"] or search_name) if trials is None else trials
        reused_trials = queries.find_reused_trials(run_store, parent) if parent else ()
        query |= {"parent": parent, "reused_trials": reused_trials, "include_trials": include_trials}
        records = queries.find_runs(run_store, **query)
        ids = [record.id for record in records]
        metrics = queries.load_summaries(run_store, ids)
        if as_json:
            from rosenblatt.runs.export import to_json

            params = queries.load_params(run_store, ids)
            click.echo(
                to_json([run.to_json() | {"params": params[run.id], "metrics": metrics[run.id]} for run in records])
            )
            return
        from rosenblatt.cli.console.runs import print_runs

        child_runs = queries.count_child_runs(run_store, ids)
        print_runs(records, queries.count_trials(run_store, ids), metrics, show_all, child_runs)


@runs.command()
@click.argument("run", metavar="RUN")
@click.option("--output", is_flag=True, help="Print the output of the run.")
@click.option("--source", metavar="FOLDER", help="Restore the source of the run in a new folder.")
@click.option("--artifact", metavar="NAME", help="Write a file of the run to the working folder.")
@click.option("--force", is_flag=True, help="With --artifact, replace a file of the same name.")
@click.option("--plot", metavar="FILE", help="Plot the curves of the run: .png, .svg or .pdf.")
@_all_option
@_store_option
@shared_options("json")
def show(
    run: str, plot: str | None, show_all: bool, store: str | None, as_json: bool, force: bool, **parts: Any
) -> None:
    """Show a run. RUN is its id, its name, a prefix of its id, or `last`."""
    from rosenblatt.cli.console.runs import print_run
    from rosenblatt.runs.export import to_json
    from rosenblatt.runs.store import queries
    from rosenblatt.runs.store.curves import downsample

    with open_store(store) as run_store:
        details = queries.run_details(run_store, queries.find_run(run_store, run))
        if parts["output"]:
            from rosenblatt.cli.console.tables import printable_lines

            for stream, text in queries.load_output(run_store, details.id):
                click.echo(printable_lines(text), nl=False, err=stream == "stderr")
        elif parts["source"]:
            _restore_source(run_store, details, parts["source"])
        elif parts["artifact"]:
            _write_artifact(run_store, details, parts["artifact"], force)
        elif as_json and not plot:
            click.echo(to_json(details))
        else:
            all_points = queries.load_all_curves(run_store, details.id)
            curves = {name: downsample(points, queries.MAX_PLOT_POINTS) for name, points in all_points.items()}
            if plot:
                _save_curve_plot({name: {details.id: points} for name, points in curves.items()}, plot)
            else:
                print_run(details, curves, show_all)


@runs.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN...")
@click.option(
    "--plot", metavar="FILE", help="Plot the curves of the runs, one plot for each metric: .png, .svg or .pdf."
)
@_all_option
@_store_option
@shared_options("json")
def compare(names: tuple[str, ...], plot: str | None, show_all: bool, store: str | None, as_json: bool) -> None:
    """Compare two runs.

    Prints the best value of each metric, and what differs in hyperparameters, data, environment and source; or plots
    the curves of any number of runs.

    \b
    rosenblatt runs compare 4kd9 m3xp
    rosenblatt runs compare 4kd9 m3xp 8rty --plot curves.png
    """
    from rosenblatt.cli.console.runs import print_comparison
    from rosenblatt.runs.compare import compare as compare_runs
    from rosenblatt.runs.export import to_json
    from rosenblatt.runs.store import queries

    if len(names) < 2 or (len(names) > 2 and not plot):
        raise SpecError(
            f"Expected two runs to compare, but got {len(names)}. To plot the curves of more than two, add --plot FILE."
        )
    with open_store(store) as run_store:
        ids = [queries.find_run(run_store, name) for name in names]
        comparison = compare_runs(run_store, *ids[:2])
        metrics = sorted({name for summary in queries.load_summaries(run_store, ids).values() for name in summary})
        curves = {name: queries.load_curves(run_store, ids, name) for name in metrics}
    if plot:
        _save_curve_plot(curves, plot)
    elif as_json:
        click.echo(to_json(comparison))
    else:
        print_comparison(comparison, curves, show_all)


@runs.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--tolerance",
    type=float,
    default=1e-3,
    show_default=True,
    help="Largest relative difference of results that count as equal.",
)
@click.option("--keep", metavar="FOLDER", help="New folder for the restored source, which is kept.")
@_secret_option
@_yes_option
@_store_option
@shared_options("json")
def reproduce(
    run: str, tolerance: float, keep: str | None, secrets: dict[str, str], yes: bool, store: str | None, as_json: bool
) -> None:
    """Rerun a recorded run and compare the results.

    The source is restored in a new folder, with copies of the data beside it. The verdict is identical, within
    tolerance, differs, nothing to compare, or could not be run again. The exit status is 0 if the results are the same,
    1 if they differ or there is nothing to compare, and 3 if the run could not be run again.
    """
    from pathlib import Path

    from rosenblatt.cli.console.runs import print_verdict
    from rosenblatt.runs.export import to_json
    from rosenblatt.workflows.reproduce import ReproduceOptions
    from rosenblatt.workflows.reproduce import reproduce as reproduce_run

    options = ReproduceOptions(tolerance, secrets, ask_secret(), ask_confirmation(yes), Path(keep) if keep else None)
    with open_store(store) as run_store:
        reproduction = reproduce_run(run_store, run, make_reporter(as_json), options)
    if as_json:
        click.echo(to_json({"run": reproduction.run, **asdict(reproduction.result)}))
    else:
        print_verdict(reproduction.run, reproduction.result)
    statuses = {"identical": 0, "within tolerance": 0, "could not be run again": EXIT_NOT_RUN}
    sys.exit(statuses.get(reproduction.result.verdict, EXIT_RESULTS_DIFFER))


@runs.command()
@click.argument("experiment", metavar="EXPERIMENT|RUN")
@click.option("--on", metavar="PLACE", help="Where to train, as for `fit --on`.  [default: where it was]")
@_secret_option
@_yes_option
@_store_option
def resume(experiment: str, on: str | None, secrets: dict[str, str], yes: bool, store: str | None) -> None:
    """Resume an interrupted search, on the same machines or, with --on, on others; `--on local` is this machine.

    For an experiment, its newest search that was interrupted, was killed or failed. If a search had finished but its
    model file is missing, the file is written from the store.
    """
    from rosenblatt.workflows.resume import resume as resume_search

    notify, confirmation = make_reporter(True), ask_confirmation(yes)
    take_down_abandoned(notify)
    with open_store(store) as run_store:
        status = resume_search(run_store, experiment, notify, secrets, ask_secret(), confirmation, on)
    sys.exit(status)


@runs.command()
@click.argument("run", metavar="RUN")
@_store_option
def stop(run: str, store: str | None) -> None:
    """Stop a running run, as Ctrl-C does: a search ends with its best trials so far.

    The process must run on this machine; all of its runs stop. RUN is as for `runs show`.
    """
    from rosenblatt.runs.stop import stop_run
    from rosenblatt.runs.store.queries import find_run

    with open_store(store) as run_store:
        process = stop_run(run_store, find_run(run_store, run))
    click.echo(f"process {process} was asked to stop")


@runs.command()
@click.option("--to", "format_", type=click.Choice(FORMATS), required=True, help="Format of the export.")
@click.option(
    "--out",
    "-o",
    metavar="PLACE",
    help="Folder to write, or tracking address of MLflow.  [default: runs-FORMAT; for mlflow, sqlite:///mlflow.db]",
)
@click.option("--where", default="", metavar="FILTER", help="Export only runs that match; all by default.")
@_store_option
@shared_options("json")
def export(format_: str, out: str | None, where: str, store: str | None, as_json: bool) -> None:
    """Export runs to tables, TensorBoard or MLflow.

    The export contains all points of all curves.

    \b
    rosenblatt runs export --to parquet --out tables
    rosenblatt runs export --to tensorboard --out logs        tensorboard --logdir logs
    rosenblatt runs export --to mlflow --out sqlite:///mlflow.db
    """
    from rosenblatt.runs.export import export as export_runs
    from rosenblatt.runs.export import to_json
    from rosenblatt.runs.store import queries

    destination = out or ("sqlite:///mlflow.db" if format_ == "mlflow" else f"runs-{format_}")
    with open_store(store) as run_store:
        ids = [record.id for record in queries.find_runs(run_store, where, sort="started")]
        with _progress_bar(len(ids)) as advance:
            outputs = export_runs(run_store, ids, format_, destination, advance, make_reporter(as_json))
    if as_json:
        click.echo(to_json({"runs": len(ids), "outputs": outputs}))
    else:
        click.echo(f"{format_count(len(ids), 'run')}: {', '.join(outputs)}")


@runs.command()
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option("--where", default="", metavar="FILTER", help="Delete all runs that match.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@_store_option
def delete(names: tuple[str, ...], where: str, yes: bool, store: str | None) -> None:
    """Delete runs, including the trials of a search and the child runs of a script.

    RUN is an id, a name, `last`, or at least 4 characters of an id.

    Run `rosenblatt runs tidy` afterwards to remove their files.
    """
    from rosenblatt.runs.store import queries

    if bool(names) == bool(where):
        raise SpecError("Name the runs to delete, or give a filter with --where.")
    with open_store(store) as run_store:
        if where:
            records = queries.find_runs(run_store, where)
        else:
            named = {queries.find_run(run_store, name, MIN_DELETED_PREFIX): None for name in names}
            records = queries.load_records(run_store, list(named))
        ids = [record.id for record in records]
        kinds = [kind for child, kind in run_store.descendants(ids).items() if child not in ids]
        n_trials = kinds.count("trial")
        counts = {"run": len(ids), "trial": n_trials, "child run": len(kinds) - n_trials}
        counted = " and ".join(format_count(n, noun) for noun, n in counts.items() if n or noun == "run")
        for record in records:
            if record.state == "running":
                click.echo(f"run {record.id} is still running; what it records from now on is ignored", err=True)
        listed = ", ".join(f"{record.id} {record.name}".strip() for record in records[:MAX_LISTED_RUNS])
        listed += ", ..." if len(records) > MAX_LISTED_RUNS else ""
        if not yes and not confirm(f"Delete {counted} ({listed})?"):
            return
        click.echo(f"deleted: {run_store.delete(ids):,}")


@runs.command()
@click.option("--rescue", is_flag=True, help="Copy all readable rows of a damaged SQLite file to a new one.")
@click.option(
    "--shared",
    is_flag=True,
    help="Also remove unused files in ROSENBLATT_ARTIFACTS; no copy of the store may need them.",
)
@_store_option
@shared_options("json")
def tidy(rescue: bool, shared: bool, store: str | None, as_json: bool) -> None:
    """Clean up, or rescue a damaged store.

    Delivers waiting records, ends runs whose process was killed, and removes files that no run refers to.
    """
    from rosenblatt.cli.console.runs import print_cleanup
    from rosenblatt.runs import maintenance
    from rosenblatt.runs.export import to_json

    if rescue:
        tables = maintenance.recover(_resolve_url(store), make_reporter(as_json))
        summary = ", ".join(f"{n:,} of {n + lost:,} {table}" for table, (n, lost) in tables.items() if n or lost)
        click.echo(to_json(tables) if as_json else f"rescued: {summary or 'nothing could be read'}")
        return
    with open_store(store) as run_store:
        counts = asdict(maintenance.cleanup(run_store, make_reporter(True), shared=shared))
    if as_json:
        click.echo(to_json(counts))
    else:
        print_cleanup(counts)


def _restore_source(store: Store, details: RunDetails, name: str) -> None:
    import shutil
    from pathlib import Path

    from rosenblatt.runs.capture.restore import restore
    from rosenblatt.runs.store.artifacts import Artifacts

    folder = Path(name)
    if folder.exists() or folder.is_symlink():
        raise RunError(f"{name!r} exists already. Name a new folder.")
    if details.source is None:
        raise RunError(f"Run {details.id} has no source of its own. Trials have that of their search.")
    try:
        restored = restore(details.source, folder, Artifacts(store.url, store).fetch)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if restored.left_out:
        left_out = format_list(restored.left_out)
        make_reporter(True)(f"left out: {left_out}, which would lead out of the folder or belong to git")
    click.echo(f"source: {name}" if restored.root == restored.folder else f"source: {restored.root}")


def _write_artifact(store: Store, details: RunDetails, name: str, force: bool) -> None:
    import stat
    from pathlib import Path

    from rosenblatt.runs.store.artifacts import Artifacts

    artifact = details.artifacts.get(name)
    if artifact is None:
        raise RunError(f"The run has no file {name!r}. Its files: {', '.join(details.artifacts) or 'none'}.")
    path = Path(name.replace("\\", "/").rpartition("/")[2])
    if path.name in ("", ".."):
        raise RunError(f"The file {name!r} of the run has no name under which it could be written here.")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise RunError(f"{path.name!r} cannot be written: {error.strerror}.") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise RunError(f"There is a folder {path.name!r} here. Change to another folder, where the file is written.")
    if mode is not None and not force:
        raise RunError(f"{path.name!r} exists already. Add --force to replace it, or change to another folder.")
    Artifacts(store.url, store).fetch(artifact.hash, artifact.root, path)
    make_reporter(False)(f"{path.name}: {artifact.bytes:,} bytes")


def _save_curve_plot(curves: Mapping[str, Mapping[str, CurvePoints]], path: str) -> None:
    from rosenblatt.inspection.plots.runs import save_curves

    save_curves(curves, path)
    click.echo(f"curves: {path}")


@contextmanager
def open_store(location: str | None, *, create: bool = False) -> Iterator[Store]:
    """Open a store for reading; deliver records that wait for it, and end the runs of processes that were killed.

    With `create`, a store that does not exist is created.
    """
    from rosenblatt.runs.store.owners import end_dead_runs
    from rosenblatt.runs.store.store import Store
    from rosenblatt.runs.tracking.spool import deliver_all

    store = Store(_resolve_url(location), create=create)
    try:
        deliver_all(store, make_reporter(True))
        with suppress(StoreError):  # a store that can only be read
            end_dead_runs(store)
        yield store
    finally:
        store.close()


def _resolve_url(location: str | None) -> str:
    from rosenblatt.runs.store.locations import store_url

    url = store_url(location)
    if url is None:
        raise SpecError("There is no store, because ROSENBLATT_STORE or --store is 'none'. Name a folder.")
    return url


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[str], None]]:
    """Show a progress bar if standard error is a terminal; call the result for each completed item."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("runs", total=total)
        yield lambda _: progress.advance(task)
