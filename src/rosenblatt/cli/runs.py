"""The commands on runs: `run` records a script; `runs` lists, shows, compares, reproduces, exports, deletes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.cli.options import shared_options, teller, tracking_options
from rosenblatt.errors import RunError, SpecError

if TYPE_CHECKING:
    from rosenblatt.runs.store.curves import Points
    from rosenblatt.runs.store.store import Store

FORMATS = ("parquet", "csv", "tensorboard", "mlflow")
DIFFERENT = 1  # the exit status of `runs reproduce` where results differ


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
    name_of_experiment: str | None,
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
    from rosenblatt.runs.launch import Launch, launch

    words = arguments[1:] if arguments[:1] == ("--",) else arguments
    pairs = dict(_pair(tag) for tag in tags)
    asked = Launch(script, words, is_module, name_of_experiment or "", name, pairs, data)
    status, recorded = launch(asked, store=store, reuse=reuse)
    if recorded.reused:
        click.echo(f"run: {recorded.id}, which was finished before; nothing was run", err=True)
    elif recorded.url:
        click.echo(f"run: {recorded.id}", err=True)
    sys.exit(status)


@click.group(invoke_without_command=True)
@click.option(
    "--where", default="", metavar="FILTER", help="Such as \"params.activation = 'relu' and metrics.auc > 0.9\"."
)
@click.option("--sort", default="-started", metavar="FIELD", help="Such as metrics.loss.min, or -metrics.auc to fall.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many to list.")
@click.option("--of", metavar="RUN", help="The trials of this search.")
@click.option("--trials/--no-trials", default=None, help="List trials of searches too; by default with --where.")
@tracking_options("store")
@shared_options("json")
@click.pass_context
def runs(
    context: click.Context,
    where: str,
    sort: str,
    limit: int,
    of: str | None,
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

    with _opened(store) as opened:
        parent = queries.run_named(opened, of) if of else None
        shown = bool(where or of) if trials is None else trials
        found = queries.find_runs(opened, where, sort, limit, of=parent, trials=shown)
        ids = [one["id"] for one in found]
        if as_json:
            from rosenblatt.runs.export import to_json

            metrics, params = queries.summaries(opened, ids), queries.params_of(opened, ids)
            for one in found:
                one |= {"params": params[one["id"]], "metrics": metrics[one["id"]]}
            click.echo(to_json(found))
            return
        from rosenblatt.cli.console.runs import show_runs

        show_runs(found, queries.trials_of(opened, ids), queries.summaries(opened, ids))


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
    outer: str | None,
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

    from rosenblatt.cli.console.runs import show_run
    from rosenblatt.runs.capture.source import restore
    from rosenblatt.runs.export import to_json
    from rosenblatt.runs.store import queries
    from rosenblatt.runs.store.artifacts import fetch
    from rosenblatt.runs.store.curves import thinned
    from rosenblatt.runs.store.queries import DRAWN

    with _opened(store or outer) as opened:
        known = queries.details(opened, queries.run_named(opened, run))
        if output:
            for stream, words in queries.output_of(opened, known["id"]):
                click.echo(words, nl=False, err=stream == "stderr")
            return
        if source:
            if Path(source).exists():
                raise RunError(f"{source!r} is there already. Name a folder that is not.")
            restore(known.get("source") or {}, Path(source), fetch)
            click.echo(f"source: {source}")
            return
        if artifact:
            kept = known["artifacts"].get(artifact)
            if kept is None:
                raise RunError(f"The run has no file {artifact!r}, but {', '.join(known['artifacts']) or 'none'}.")
            fetch(kept["hash"], kept["root"], Path(Path(artifact).name))
            click.echo(f"{Path(artifact).name}: {kept['bytes']:,} bytes")
            return
        curves = {name: thinned(points, DRAWN) for name, points in queries.all_curves(opened, known["id"]).items()}
    if plot:
        _draw({name: {known["id"]: points} for name, points in curves.items()}, plot)
    elif as_json:
        click.echo(to_json(known))
    else:
        show_run(known, curves)


@runs.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--plot", metavar="FILE", help="Draw their curves, one picture a metric: .png, .svg or .pdf.")
@tracking_options("store")
@shared_options("json")
@click.pass_obj
def compare(outer: str | None, names: tuple[str, ...], plot: str | None, store: str | None, as_json: bool) -> None:
    """Compare two runs: hyperparameters, source, environment, data, results; with --plot the curves of any number.

    \b
    rosenblatt runs compare 4kd9 m3xp
    rosenblatt runs compare 4kd9 m3xp 8rty --plot curves.png
    """
    from rosenblatt.cli.console.runs import show_comparison
    from rosenblatt.runs.compare import compare as compared
    from rosenblatt.runs.export import to_json
    from rosenblatt.runs.store import queries

    if len(names) < 2 or (len(names) > 2 and not plot):
        raise SpecError(f"Two runs are compared, but {len(names)} came. The curves of more are drawn with --plot FILE.")
    with _opened(store or outer) as opened:
        ids = [queries.run_named(opened, name) for name in names]
        found = compared(opened, *ids[:2])
        metrics = sorted({name for known in queries.summaries(opened, ids).values() for name in known})
        curves = {name: queries.curves(opened, ids, name) for name in metrics}
    if plot:
        _draw(curves, plot)
    elif as_json:
        click.echo(to_json(found))
    else:
        show_comparison(found, curves)


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
def reproduce(outer: str | None, run: str, tolerance: float, store: str | None, as_json: bool) -> None:
    """Make a run again, from its own source in a fresh folder, and say: identical, within tolerance, or differs.

    The exit status is 0 where the results are the same, and 1 where they differ or there is nothing to compare.
    """
    from rosenblatt.cli.console.runs import show_verdict
    from rosenblatt.runs.export import to_json
    from rosenblatt.workflows.reproduce import reproduce as again

    with _opened(store or outer) as opened:
        found = again(opened, run, teller(as_json), tolerance=tolerance)
    if as_json:
        click.echo(to_json(found))
    else:
        show_verdict(found)
    sys.exit(0 if found["verdict"] in ("identical", "within tolerance") else DIFFERENT)


@runs.command()
@click.argument("experiment", metavar="EXPERIMENT|RUN")
@tracking_options("store")
@click.pass_obj
def resume(outer: str | None, experiment: str, store: str | None) -> None:
    """Go on with the newest search of an experiment that was interrupted, killed or failed."""
    from rosenblatt.workflows.reproduce import resume as again

    with _opened(store or outer) as opened:
        status = again(opened, experiment, teller(True))
    sys.exit(status)


@runs.command()
@click.option("--to", "format_", type=click.Choice(FORMATS), required=True, help="What to write.")
@click.option("--out", "-o", metavar="PLACE", help="A folder; for mlflow its tracking address.  [default: runs-FORMAT]")
@click.option("--where", default="", metavar="FILTER", help="Which runs; all by default.")
@tracking_options("store")
@shared_options("json")
@click.pass_obj
def export(outer: str | None, format_: str, out: str | None, where: str, store: str | None, as_json: bool) -> None:
    """Write runs with all their points: as tables, for TensorBoard, or into MLflow.

    \b
    rosenblatt runs export --to parquet --out tables
    rosenblatt runs export --to tensorboard --out logs        tensorboard --logdir logs
    rosenblatt runs export --to mlflow --out sqlite:///mlflow.db
    """
    from rosenblatt.cli.console.runs import counted
    from rosenblatt.runs.export import export as write
    from rosenblatt.runs.export import to_json
    from rosenblatt.runs.store import queries

    place = out or ("sqlite:///mlflow.db" if format_ == "mlflow" else f"runs-{format_}")
    with _opened(store or outer) as opened:
        ids = [one["id"] for one in queries.find_runs(opened, where, sort="started")]
        with _bar(len(ids), "runs") as done:
            written = write(opened, ids, format_, place, done)
    click.echo(
        to_json({"runs": len(ids), "written": written})
        if as_json
        else f"{counted(len(ids), 'run')}: {', '.join(written)}"
    )


@runs.command()
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option("--where", default="", metavar="FILTER", help="Delete all runs that it holds for.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@tracking_options("store")
@click.pass_obj
def delete(outer: str | None, names: tuple[str, ...], where: str, yes: bool, store: str | None) -> None:
    """Delete runs, those of a search with its trials. Their files go with `runs tidy`."""
    from rosenblatt.cli.console.runs import counted
    from rosenblatt.runs.store import queries

    if bool(names) == bool(where):
        raise SpecError("Name the runs to delete, or give --where with a filter.")
    with _opened(store or outer) as opened:
        ids = [queries.run_named(opened, name) for name in names]
        ids += [one["id"] for one in queries.find_runs(opened, where)] if where else []
        trials = sum(queries.trials_of(opened, ids).values())
        more = f" and {counted(trials, 'trial')}" if trials else ""
        if not yes and not click.confirm(f"Delete {counted(len(ids), 'run')}{more}?", err=True):
            return
        click.echo(f"deleted: {opened.delete(ids):,}")


@runs.command()
@click.option("--rescue", is_flag=True, help="Save what can be read of a damaged file.")
@tracking_options("store")
@shared_options("json")
@click.pass_obj
def tidy(outer: str | None, rescue: bool, store: str | None, as_json: bool) -> None:
    """Deliver records that wait, end runs that were killed, remove files that no run refers to."""
    from rosenblatt.runs import maintenance
    from rosenblatt.runs.export import to_json

    found: dict[str, Any]
    if rescue:
        found = maintenance.rescue(_url(store or outer), teller(as_json))
        words = ", ".join(f"{n:,} of {n + lost:,} {table}" for table, (n, lost) in found.items() if n or lost)
        click.echo(to_json(found) if as_json else f"rescued: {words or 'nothing could be read'}")
        return
    with _opened(store or outer) as opened:
        found = maintenance.tidy(opened)
    click.echo(
        to_json(found) if as_json else ", ".join(f"{what.replace('_', ' ')}: {n:,}" for what, n in found.items())
    )


@contextmanager
def _opened(place: str | None) -> Iterator[Store]:
    """The store to read, with what waited for it delivered."""
    from rosenblatt.runs.store.store import Store
    from rosenblatt.runs.tracking.spool import deliver_all

    store = Store(_url(place), create=False)
    try:
        deliver_all(store)
        yield store
    finally:
        store.close()


def _draw(curves: Mapping[str, Mapping[str, Points]], path: str) -> None:
    from rosenblatt.inspection.plots.runs import save_curves

    save_curves(curves, path)
    click.echo(f"curves: {path}")


def _url(place: str | None) -> str:
    from rosenblatt.runs.store.locations import url_of

    url = url_of(place)
    if url is None:
        raise SpecError("There is no store: ROSENBLATT_STORE or --store is 'none'. Name a folder.")
    return url


def _pair(tag: str) -> tuple[str, str]:
    name, equals, word = tag.partition("=")
    if not equals or not name:
        raise SpecError(f"A tag such as who=ana was expected, but {tag!r} came.")
    return name, word


@contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[str], None]]:
    """A progress bar on the terminal, where there is one."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda _: progress.advance(task)
