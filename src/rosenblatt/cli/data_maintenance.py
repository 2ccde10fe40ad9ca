"""The commands that verify, repair, tidy and erase data of volumes."""

from __future__ import annotations

import json
import sys

import click

from rosenblatt.cli.options import ask_confirmation, make_reporter, shared_options


@click.command()
@click.argument("version")
@shared_options("json")
def verify(version: str, as_json: bool) -> None:
    """Compare all data of a version with its hashes, and name what is damaged. The exit status is then 2.

    \b
    rosenblatt data verify photos
    rosenblatt data verify photos@2 --json
    """
    from rosenblatt.cli.console.data_maintenance import print_verified
    from rosenblatt.data.volumes.maintenance.verify import damage_error
    from rosenblatt.data.volumes.maintenance.verify import verify as verify_data

    report = verify_data(version)
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        print_verified(report)
    if report.damages:
        raise damage_error(report.volume, report.damages)


@click.command()
@click.argument("version")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="PLACE",
    help="Another root with the same volume, or a folder or bucket with the original files. Repeat it for several.",
)
@click.option("--drop", is_flag=True, help="Commit a version without the samples that are damaged still.")
@shared_options("json")
def repair(version: str, sources: tuple[str, ...], drop: bool, as_json: bool) -> None:
    """Write what is damaged of a version again from a copy: of another root, of the cache, or of the original files.

    \b
    rosenblatt data repair photos
    rosenblatt data repair photos --from s3://backup/volumes --from photos/
    rosenblatt data repair photos --drop        a version without what has no copy
    """
    from rosenblatt.cli.console.data_maintenance import print_repaired
    from rosenblatt.data.volumes.maintenance.repair import repair as repair_data
    from rosenblatt.data.volumes.maintenance.verify import damage_error

    report = repair_data(version, sources, make_reporter(as_json), drop=drop)
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        print_repaired(report)
    if report.damages and not report.new_version:
        raise damage_error(report.volume, report.damages)


@click.command()
@click.argument("root", required=False)
@click.option("--delete", is_flag=True, help="Delete what was found; by default it is only listed.")
@shared_options("json")
def gc(root: str | None, delete: bool, as_json: bool) -> None:
    """Find packs and metadata files of a root that no version refers to and that are older than a week.

    \b
    rosenblatt data gc                          shows what would be deleted
    rosenblatt data gc s3://bucket/volumes --delete

    Interrupted additions leave such packs. It is safe while others add data.
    """
    from rosenblatt.cli.console.data_maintenance import print_garbage
    from rosenblatt.data.volumes.locations import default_root
    from rosenblatt.data.volumes.maintenance.garbage import collect_garbage

    report = collect_garbage(root or default_root(), make_reporter(as_json), delete=delete)
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        print_garbage(report)


@click.command()
@click.argument("volume")
@click.argument("ids", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask for a confirmation.")
@shared_options("json")
def erase(volume: str, ids: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Erase samples from all versions of a volume, such as personal data: their rows and their bytes.

    \b
    rosenblatt data erase photos cats/7.jpg cats/8.jpg

    The volume gets a new version without them. Earlier versions that had them cannot be read any more.
    """
    from rosenblatt.cli.console.data_maintenance import print_erased
    from rosenblatt.data.volumes.maintenance.erase import erase as erase_samples
    from rosenblatt.errors import VolumeError, format_count

    ask = ask_confirmation(yes)
    if ask is None:
        raise VolumeError("Erasing cannot be undone. Confirm it with --yes.")
    if not ask(f"Erase {format_count(len(ids), 'sample')} from all versions of {volume}? This cannot be undone."):
        sys.exit(1)
    report = erase_samples(volume, ids, make_reporter(as_json))
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        print_erased(report)
