"""The commands on runs: `run` records a script; `runs` lists, shows, compares, reproduces, exports, deletes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rosenblatt.cli.options import make_reporter, shared_options, tracking_options
from rosenblatt.errors import RunError, SpecError, format_count

if TYPE_CHECKING:
    from rosenblatt.runs.store.curves import CurvePoints
    from rosenblatt.runs.store.store import Store

FORMATS = ("parquet", "csv", "tensorboard", "mlflow")
EXIT_RESULTS_DIFFER = 1  # the exit status of `runs reproduce` where results differ


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-m", "is_module", is_flag=True, help="SCRIPT is a module's name, as with python -m.")
@click.option("--data", multiple=True, metavar="PATH", help="A file or folder it learns from, told for --reuse.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=WORD", help="A word to find the run by.")
@tracking_options("experiment", "name", "reuse", "store")
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(
    script: str,
    arguments: tuple[str, ...],
    is_module: bool,
    data: tuple[str, ...],
    tags: tuple[str, ...],
    experiment: str | None,
    name: str,
    reuse: bool,
    store: str | None,
) -> None:
    """Run any Python script, and record it: source, environment, arguments, data it reads, what it prints.

    \b
    rosenblatt run train.py -- --lr 0.1 --epochs 20
    rosenblatt run --experiment mnist --tag who=ana train.py
    rosenblatt run -m package.train -- --lr 0.1

    The script needs no change. To record metrics too, it logs them:

    \b
    with rosenblatt.track() as run:
        run.log({"loss": loss}, step=epoch)
    """
    from rosenblatt.runs.launch import LaunchRequest, launch

    script_arguments = arguments[1:] if arguments[:1] == ("--",) else arguments
    tags_by_name = dict(_parse_tag(tag) for tag in tags)
    request = LaunchRequest(script, script_arguments, is_module, experiment or "", name, tags_by_name, data)
    status, launched_run = launch(request, store=store, reuse=reuse)
    if launched_run.reused:
        click.echo(f"run: {launched_run.id}, which was finished before; nothing was run", err=True)
    elif launched_run.url:
        click.echo(f"run: {launched_run.id}", err=True)
    sys.exit(status)


@click.group(invoke_without_command=True)
@click.option(
    "--where", default="", metavar="FILTER", help="Such as \"params.activation = 'relu' and metrics.auc > 0.9\"."
)
@click.option("--sort", default="-started", metavar="FIELD", help="Such as metrics.loss.min, or -metrics.auc to fall.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many to list.")
@click.option("--of", "search_name", metavar="RUN", help="The trials of this search.")
@click.option("--trials/--no-trials", default=None, help="List trials of searches too; by default with --where.")
@tracking_options("store")
@shared_options("json")
@click.pass_context
def runs(
    context: click.Context,
    where: str,
    sort: str,
    limit: int,
    search_name: str | None,
    trials: bool | None,
    store: str | None,
    as_json: bool,
) -> None:
    """List runs, the newest first; its commands show, compare, reproduce and keep them.

    \b
    rosenblatt runs
    rosenblatt runs --where "params.activation = 'relu' and metrics.auc > 0.9" --sort -metrics.auc
    rosenblatt runs --of last --sort metrics.validation_loss     the trials of the newest search
    rosenblatt runs show last

    Fields: params.NAME, tags.NAME, metrics.NAME (its last value; .best .min .max .step), experiment, name, kind, state,
    started, ended, duration (seconds), number, parent, reason. Names with blanks stand in `backquotes`. Operators: = !=
    < <= > >=, like '%pattern%', in (a, b), is null, is not null, and, or, not, ( ).
    """
    context.obj = store
    if context.invoked_subcommand:
        return
    from rosenblatt.runs.store import queries

    with _open_store(store) as run_store:
        parent = queries.find_run(run_store, search_name) if search_name else None
        include_trials = bool(where or search_name) if trials is None else trials
        records = queries.find_runs(run_store, where, sort, limit, parent=parent, include_trials=include_trials)
        ids = [record["id"] for record in records]
        if as_json:
            from rosenblatt.runs.export import to_json

            metrics, params = queries.load_summaries(run_store, ids), queries.load_params(run_store, ids)
            for record in records:
                record |= {"params": params[record["id"]], "metrics": metrics[record["id"]]}
            click.echo(to_json(records))
            return
        from rosenblatt.cli.console.runs import print_runs

        print_runs(records, queries.count_trials(run_store, ids), queries.load_summaries(run_store, ids))


@runs.command()
@click.argument("run", metavar="RUN")
@click.option("--output", is_flag=True, help="What it printed.")
@click.option("--source", metavar="FOLDER", help="Restore its source into a new folder.")
@click.option("--artifact", metavar="NAME", help="Write one of its files here.")
@click.option("--plot", metavar="FILE", help="Draw its curves: .png, .svg or .pdf.")
@tracking_options("store")
@shared_options("json")
@click.pass_obj
def show(
    group_store: str | None,
    run: str,
    output: bool,
    source: str | None,
    artifact: str | None,
    plot: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Tell all that is known of a run; RUN is its id or how that begins, its name, or `last`."""
    from pathlib import Path

    from rosenblatt.cli.console.runs import print_run
    from rosenblatt.runs.capture.source import restore
    from rosenblatt.runs.export import to_json
    from rosenblatt.runs.store import queries
    from rosenblatt.runs.store.artifacts import fetch
    from rosenblatt.runs.store.curves import downsample
    from rosenblatt.runs.store.queries import MAX_PLOT_POINTS

    with _open_store(store or group_store) as run_store:
        details = queries.run_details(run_store, queries.find_run(run_store, run))
        if output:
            for stream, text in queries.load_output(run_store, details["id"]):
                click.echo(text, nl=False, err=stream == "stderr")
            return
        if source:
            if Path(source).exists():
                raise RunError(f"{source!r} is there already. Name a folder that is not.")
            restore(details.get("source") or {}, Path(source), fetch)
            click.echo(f"source: {source}")
            return
        if artifact:
            stored_file = details["artifacts"].get(artifact)
            if stored_file is None:
                raise RunError(f"The run has no file {artifact!r}, but {', '.join(details['artifacts']) or 'none'}.")
            fetch(stored_file["hash"], stored_file["root"], Path(Path(artifact).name))
            click.echo(f"{Path(artifact).name}: {stored_file['bytes']:,} bytes")
            return
        curves = {
            name: downsample(points, MAX_PLOT_POINTS)
            for name, points in queries.load_all_curves(run_store, details["id"]).items()
        }
    if plot:
        _save_curve_plot({name: {details["id"]: points} for name, points in curves.items()}, plot)
    elif as_json:
        click.echo(to_json(details))
    else:
        print_run(details, curves)


@runs.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--plot", metavar="FILE", help="Draw their curves, one picture a metric: .png, .svg or .pdf.")
@tracking_options("store")
@shared_options("json")
@click.pass_obj
def compare(
    group_store: str | None, names: tuple[str, ...], plot: str | None, store: str | None, as_json: bool
) -> None:
    """Compare two runs: hyperparameters, source, environment, data, results; with --plot the curves of any number.

    \b
    rosenblatt runs compare 4kd9 m3xp
    rosenblatt runs compare 4kd9 m3xp 8rty --plot curves.png
    """
    from rosenblatt.cli.console.runs import print_comparison
    from rosenblatt.runs.compare import compare as compare_runs
    from rosenblatt.runs.export import to_json
    from rosenblatt.runs.store import queries

    if len(names) < 2 or (len(names) > 2 and not plot):
        raise SpecError(f"Two runs are compared, but {len(names)} came. The curves of more are drawn with --plot FILE.")
    with _open_store(store or group_store) as run_store:
        ids = [queries.find_run(run_store, name) for name in names]
        comparison = compare_runs(run_store, *ids[:2])
        metrics = sorted({name for summary in queries.load_summaries(run_store, ids).values() for name in summary})
        curves = {name: queries.load_curves(run_store, ids, name) for name in metrics}
    if plot:
        _save_curve_plot(curves, plot)
    elif as_json:
        click.echo(to_json(comparison))
    else:
        print_comparison(comparison, curves)


@runs.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--tolerance",
    type=float,
    default=1e-3,
    show_default=True,
    help="Relative difference that is still the same result.",
)
@tracking_options("store")
@shared_options("json")
@click.pass_obj
def reproduce(group_store: str | None, run: str, tolerance: float, store: str | None, as_json: bool) -> None:
    """Make a run again, from its own source in a fresh folder, and say: identical, within tolerance, or differs.

    The exit status is 0 where the results are the same, and 1 where they differ or there is nothing to compare.
    """
    from rosenblatt.cli.console.runs import print_verdict
    from rosenblatt.runs.export import to_json
    from rosenblatt.workflows.reproduce import reproduce as reproduce_run

    with _open_store(store or group_store) as run_store:
        result = reproduce_run(run_store, run, make_reporter(as_json), tolerance=tolerance)
    if as_json:
        click.echo(to_json(result))
    else:
        print_verdict(result)
    sys.exit(0 if result["verdict"] in ("identical", "within tolerance") else EXIT_RESULTS_DIFFER)


@runs.command()
@click.argument("experiment", metavar="EXPERIMENT|RUN")
@tracking_options("store")
@click.pass_obj
def resume(group_store: str | None, experiment: str, store: str | None) -> None:
    """Go on with the newest search of an experiment that was interrupted, killed or failed."""
    from rosenblatt.workflows.reproduce import resume as resume_search

    with _open_store(store or group_store) as run_store:
        status = resume_search(run_store, experiment, make_reporter(True))
    sys.exit(status)


@runs.command()
@click.option("--to", "format_", type=click.Choice(FORMATS), required=True, help="What to write.")
@click.option("--out", "-o", metavar="PLACE", help="A folder; for mlflow its tracking address.  [default: runs-FORMAT]")
@click.option("--where", default="", metavar="FILTER", help="Which runs; all by default.")
@tracking_options("store")
@shared_options("json")
@click.pass_obj
def export(
    group_store: str | None, format_: str, out: str | None, where: str, store: str | None, as_json: bool
) -> None:
    """Write runs with all their points: as tables, for TensorBoard, or into MLflow.

    \b
    rosenblatt runs export --to parquet --out tables
    rosenblatt runs export --to tensorboard --out logs        tensorboard --logdir logs
    rosenblatt runs export --to mlflow --out sqlite:///mlflow.db
    """
    from rosenblatt.runs.export import export as export_runs
    from rosenblatt.runs.export import to_json
    from rosenblatt.runs.store import queries

    destination = out or ("sqlite:///mlflow.db" if format_ == "mlflow" else f"runs-{format_}")
    with _open_store(store or group_store) as run_store:
        ids = [record["id"] for record in queries.find_runs(run_store, where, sort="started")]
        with _progress_bar(len(ids), "runs") as advance:
            outputs = export_runs(run_store, ids, format_, destination, advance)
    click.echo(
        to_json({"runs": len(ids), "outputs": outputs})
        if as_json
        else f"{format_count(len(ids), 'run')}: {', '.join(outputs)}"
    )


@runs.command()
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option("--where", default="", metavar="FILTER", help="Delete all runs that it holds for.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@tracking_options("store")
@click.pass_obj
def delete(group_store: str | None, names: tuple[str, ...], where: str, yes: bool, store: str | None) -> None:
    """Delete runs, those of a search with its trials. Their files go with `runs tidy`."""
    from rosenblatt.runs.store import queries

    if bool(names) == bool(where):
        raise SpecError("Name the runs to delete, or give --where with a filter.")
    with _open_store(store or group_store) as run_store:
        ids = [queries.find_run(run_store, name) for name in names]
        ids += [record["id"] for record in queries.find_runs(run_store, where)] if where else []
        trials = sum(queries.count_trials(run_store, ids).values())
        more = f" and {format_count(trials, 'trial')}" if trials else ""
        if not yes and not click.confirm(f"Delete {format_count(len(ids), 'run')}{more}?", err=True):
            return
        click.echo(f"deleted: {run_store.delete(ids):,}")


@runs.command()
@click.option("--rescue", is_flag=True, help="Save what can be read of a damaged file.")
@tracking_options("store")
@shared_options("json")
@click.pass_obj
def tidy(group_store: str | None, rescue: bool, store: str | None, as_json: bool) -> None:
    """Deliver records that wait, end runs that were killed, remove files that no run refers to."""
    from rosenblatt.runs import maintenance
    from rosenblatt.runs.export import to_json

    if rescue:
        tables = maintenance.recover(_resolve_url(store or group_store), make_reporter(as_json))
        summary = ", ".join(f"{n:,} of {n + lost:,} {table}" for table, (n, lost) in tables.items() if n or lost)
        click.echo(to_json(tables) if as_json else f"rescued: {summary or 'nothing could be read'}")
        return
    with _open_store(store or group_store) as run_store:
        counts = asdict(maintenance.cleanup(run_store))
    click.echo(
        to_json(counts) if as_json else ", ".join(f"{name.replace('_', ' ')}: {n:,}" for name, n in counts.items())
    )


@contextmanager
def _open_store(location: str | None) -> Iterator[Store]:
    """The store to read, with what waited for it delivered."""
    from rosenblatt.runs.store.store import Store
    from rosenblatt.runs.tracking.spool import deliver_all

    store = Store(_resolve_url(location), create=False)
    try:
        deliver_all(store)
        yield store
    finally:
        store.close()


def _save_curve_plot(curves: Mapping[str, Mapping[str, CurvePoints]], path: str) -> None:
    from rosenblatt.inspection.plots.runs import save_curves

    save_curves(curves, path)
    click.echo(f"curves: {path}")


def _resolve_url(location: str | None) -> str:
    from rosenblatt.runs.store.locations import store_url

    url = store_url(location)
    if url is None:
        raise SpecError("There is no store: ROSENBLATT_STORE or --store is 'none'. Name a folder.")
    return url


def _parse_tag(tag: str) -> tuple[str, str]:
    name, equals, value = tag.partition("=")
    if not equals or not name:
        raise SpecError(f"A tag such as who=ana was expected, but {tag!r} came.")
    return name, value


@contextmanager
def _progress_bar(total: int, label: str) -> Iterator[Callable[[str], None]]:
    """A progress bar on the terminal, where there is one."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda _: progress.advance(task)
