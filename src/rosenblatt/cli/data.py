"""The commands on volumes of training data: add, list, log, show, diff, query and tag."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.cli.data_maintenance import erase, gc, repair, verify
from rosenblatt.cli.options import make_reporter, shared_options, table_format_options
from rosenblatt.errors import format_count

if TYPE_CHECKING:
    from rosenblatt.data.table import TableFormat

KINDS = ("table", "images", "audio", "texts", "sequences", "files")


@click.group()
def data() -> None:
    """Keep training data in volumes: versioned, queried, and streamed to the machines that train.

    \b
    rosenblatt data add people people.csv               a volume with a first version
    rosenblatt data add photos photos/ --to s3://bucket/volumes
    rosenblatt data log photos                          its versions
    rosenblatt data diff photos@1 photos@2              what changed
    rosenblatt data query photos "label = 'cat' and width > 200 @split=train"
    rosenblatt data pull photos@2 --to folder/          a copy as files
    rosenblatt data verify photos@2                     compare all data with its hashes
    rosenblatt fit photos@2 --kind cnn                  train on a version

    Volumes are in the folder .rosenblatt/volumes, or where ROSENBLATT_VOLUMES says: a folder, s3://, gs:// or az://.
    Needs pip install 'rosenblatt[volumes]'.
    """


@data.command()
@click.argument("name")
@click.argument("source")
@click.option("--to", metavar="ROOT", help="Root of a new volume: a folder, or an address such as s3://bucket/volumes.")
@click.option("--append", is_flag=True, help="Keep the samples that SOURCE does not hold.")
@click.option("--link", is_flag=True, help="Leave files where they are, and store only their hashes and metadata.")
@click.option("--kind", type=click.Choice(KINDS), metavar="KIND", help=f"{', '.join(KINDS)}; detected by default.")
@click.option(
    "--id",
    "id_column",
    metavar="COLUMN",
    help="Column of a table that identifies its rows.  [default: id if its values are unique, else a hash of each row]",
)
@click.option("--sidecar", metavar="TABLE", help="CSV or JSON Lines file with further columns of files, by file name.")
@click.option("--message", "-m", default="", metavar="TEXT", help="What the version is about, for `data log`.")
@table_format_options
@shared_options("json")
def add(name: str, source: str, as_json: bool, table_format: TableFormat, **options: Any) -> None:
    """Add a file, folder, archive or bucket to a volume, as a new version.

    \b
    rosenblatt data add people people.csv
    rosenblatt data add people more.csv --append -m "people of 2026"
    rosenblatt data add photos photos/                  a folder for each class
    rosenblatt data add photos s3://bucket/raw --link   indexed without a copy

    The new version holds what SOURCE holds; earlier versions stay as they are. Only what changed is written: content
    that is stored already is not stored again. If another process adds to the same volume, one of both is refused.
    """
    from rosenblatt.cli.console.data import print_added
    from rosenblatt.data.volumes.add import AddOptions
    from rosenblatt.data.volumes.add import add as add_data

    try:
        with _adding_progress(not as_json) as on_progress:
            settings = AddOptions(format=table_format, **options)
            result = add_data(name, source, settings, make_reporter(as_json), on_progress)
    except KeyboardInterrupt:
        click.echo("What is stored already is not stored again when you repeat the command.", err=True)
        raise
    if as_json:
        record = {"added_version": result.is_new, "bytes_written": result.bytes_written}
        click.echo(json.dumps({"volume": result.address.name} | result.commit.model_dump() | record))
    else:
        print_added(result)


@contextmanager
def _adding_progress(enabled: bool, verb: str = "adding") -> Iterator[Callable[[int, int, int], None] | None]:
    """Show how many samples and bytes were read, on a terminal."""
    if not (enabled and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, note="")

        def update(n_done: int, n_bytes: int, n_samples: int) -> None:
            note = f"{n_bytes / 1e6:,.0f} MB" if n_bytes else ""
            progress.update(task, completed=n_done, total=n_samples, note=note)

        yield update


@data.command("list")
@click.argument("root", required=False)
@shared_options("json")
def list_command(root: str | None, as_json: bool) -> None:
    """List the volumes of a root, by default of the default one and those that were added to other roots.

    \b
    rosenblatt data list
    rosenblatt data list s3://bucket/volumes
    """
    from rosenblatt.cli.console.data import print_volumes
    from rosenblatt.data.volumes.listing import list_known_volumes

    volumes = list_known_volumes(root, make_reporter(as_json))
    if as_json:
        click.echo(json.dumps([{"name": item.name, "root": item.root} | item.commit.model_dump() for item in volumes]))
    else:
        print_volumes(volumes)


@data.command()
@click.argument("volume")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Maximum number of versions.")
@shared_options("json")
def log(volume: str, limit: int, as_json: bool) -> None:
    """List the versions of a volume, newest first.

    \b
    rosenblatt data log photos
    """
    from rosenblatt.cli.console.data import print_log
    from rosenblatt.data.volumes.listing import version_history

    history = version_history(volume, limit)
    if as_json:
        click.echo(json.dumps([item.commit.model_dump() | {"tags": item.tags} for item in history]))
    else:
        print_log(history)


@data.command()
@click.argument("volume")
@shared_options("json")
def show(volume: str, as_json: bool) -> None:
    """Show a version: its size, origin, columns and classes.

    \b
    rosenblatt data show photos
    rosenblatt data show photos@2
    """
    from rosenblatt.cli.console.data import print_version
    from rosenblatt.data.volumes.listing import describe_version

    description = describe_version(volume)
    if as_json:
        click.echo(json.dumps(description.to_json()))
    else:
        print_version(description)


@data.command()
@click.argument("first")
@click.argument("second")
@shared_options("json")
def diff(first: str, second: str, as_json: bool) -> None:
    """Compare two versions: samples that were added, removed or changed, and columns.

    \b
    rosenblatt data diff photos@1 photos@2
    """
    from rosenblatt.cli.console.data import print_diff
    from rosenblatt.data.volumes.columns import ID
    from rosenblatt.data.volumes.diff import diff_volumes
    from rosenblatt.data.volumes.volume import volume

    difference = diff_volumes(volume(first), volume(second))
    if as_json:
        changed = [dict(zip(("id", "columns"), row, strict=True)) for row in difference.changed.rows()]
        record = {
            "added": difference.added[ID].to_list(),
            "removed": difference.removed[ID].to_list(),
            "changed": changed,
            "new_columns": difference.new_columns,
            "dropped_columns": difference.dropped_columns,
            "retyped_columns": difference.retyped_columns,
        }
        click.echo(json.dumps(record, default=str))
    else:
        print_diff(difference)


@data.command()
@click.argument("volume")
@click.argument("query", default="")
@click.option("--rows", type=click.IntRange(0), default=10, show_default=True, help="Number of samples to show.")
@click.option("--out", metavar="FILE", help="Write all selected samples' metadata: .csv, .jsonl, .parquet and others.")
@shared_options("json")
def query(volume: str, query: str, rows: int, out: str | None, as_json: bool) -> None:
    """Select samples by their metadata, and show how many there are and the first ones.

    \b
    rosenblatt data query photos "label in ('cat', 'dog') and width > 200"
    rosenblatt data query photos "taken >= 2024-01-01 @split=train @group=patient"
    rosenblatt data query photos "label = 'cat' @sample=10% @seed=7" --out cats.csv

    The samples are in the order of the volume. Options: @version=2 or a tag; @split=train, validation or test (80/10/10
    by hash unless the volume has a column split; other shares: @split=train:70/15/15); @fold=2/5, and @fold!=2/5 for
    the other folds; @sample=10%; @seed=7; @group=COLUMN keeps groups together; @limit=100. docs/data.md describes them.
    """
    from rosenblatt.cli.console.data import print_selection
    from rosenblatt.cli.outputs import check_output_paths, check_table_format, encode_table
    from rosenblatt.data.volumes.query.result import run_query
    from rosenblatt.models.atomic_write import write_file

    check_output_paths([out], [])
    check_table_format(out)
    result = run_query(volume, query, rows)
    if out:
        write_file(out, encode_table(result.volume.to_polars(), out))
    if as_json:
        click.echo(json.dumps(result.to_json() | ({"out": out} if out else {}), default=str))
    else:
        print_selection(result)
        if out:
            click.echo(f"samples: {out}")


@data.command()
@click.argument("volume")
@click.option("--query", default="", metavar="QUERY", help="Samples to copy, as in `data query`.  [default: all]")
@click.option("--to", "folder", required=True, metavar="FOLDER", help="Where to write; created if missing.")
@click.option("--force", is_flag=True, help="Replace other files of the same name.")
@shared_options("json")
def pull(volume: str, query: str, folder: str, force: bool, as_json: bool) -> None:
    """Copy a version, or a part of it, to a folder as files; each byte is verified.

    \b
    rosenblatt data pull photos@2 --to photos/
    rosenblatt data pull photos@2 --query "label = 'cat'" --to cats/
    rosenblatt data pull people --to people/            people/people.parquet

    Files are named by the identity of their sample; further columns are in metadata.parquet. A pull that was
    interrupted continues where it stopped.
    """
    from rosenblatt.cli.console.data import format_bytes
    from rosenblatt.workflows.volume_inputs import open_version

    opened = open_version(volume)
    from rosenblatt.data.volumes.maintenance.pull import pull as pull_samples

    selected = opened.query(query, make_reporter(as_json)) if query else opened
    try:
        with _pulling_progress(len(selected), not as_json) as on_progress:
            result = pull_samples(selected, Path(folder), force=force, on_progress=on_progress)
    except KeyboardInterrupt:
        click.echo("Files that were written stay; repeat the command for the others.", err=True)
        raise
    if as_json:
        record = {"volume": selected.name, "folder": str(result.folder), "samples": result.n_samples}
        click.echo(json.dumps(record | {"files_written": result.n_written, "bytes_written": result.n_bytes}))
    else:
        click.echo(
            f"{result.folder}: {format_count(result.n_samples, 'sample')} of {selected.name}; "
            f"{format_count(result.n_written, 'file')} written ({format_bytes(result.n_bytes)})"
        )


@contextmanager
def _pulling_progress(n_samples: int, enabled: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show how many samples were copied, on a terminal."""
    with _adding_progress(enabled, "copying") as update:
        n_bytes = 0

        def report(n_done: int, n_new_bytes: int) -> None:
            nonlocal n_bytes
            n_bytes += n_new_bytes
            if update:
                update(n_done, n_bytes, n_samples)

        yield report


@data.command()
@click.argument("version")
@click.argument("tag")
@shared_options("json")
def tag(version: str, tag: str, as_json: bool) -> None:
    """Give a version a name, which can be used in place of its number and can be moved.

    \b
    rosenblatt data tag photos@2 release
    rosenblatt fit photos@release
    """
    from rosenblatt.data.volumes.tags import set_tag
    from rosenblatt.data.volumes.volume import volume

    opened = volume(version)
    before = set_tag(opened.objects, opened.volume_name, tag, opened.commit)
    if as_json:
        record = {"volume": opened.volume_name, "tag": tag, "version": opened.version}
        click.echo(json.dumps(record | {"before": before.version if before else None}))
    else:
        moved = f" (before: {opened.volume_name}@{before.version})" if before else ""
        click.echo(f"{opened.volume_name}@{tag} is {opened.name}{moved}")


for command in (verify, repair, gc, erase):
    data.add_command(command)
