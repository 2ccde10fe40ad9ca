"""Print what was verified, repaired, collected and erased of volumes on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rosenblatt.cli.console.data import MAX_SHOWN_IDS, format_bytes
from rosenblatt.cli.console.tables import make_console
from rosenblatt.errors import format_count, format_list

if TYPE_CHECKING:
    from rosenblatt.data.volumes.maintenance.erase import EraseReport
    from rosenblatt.data.volumes.maintenance.garbage import GarbageReport
    from rosenblatt.data.volumes.maintenance.repair import RepairReport
    from rosenblatt.data.volumes.maintenance.verify import Damage, VerifyReport

MAX_SHOWN_PATHS = 20


def print_verified(report: VerifyReport) -> None:
    """Print what was verified, and what is damaged."""
    console = make_console()
    packs = f", {format_count(report.n_packs, 'pack')}" if report.n_packs else ""
    console.print(
        f"{report.volume}: {format_count(report.n_samples, 'sample')} in "
        f"{format_count(report.n_files, 'metadata file')}{packs}; {format_bytes(report.n_bytes)} compared with "
        f"their hashes in {report.seconds:.1f} s"
    )
    _print_damages(report.damages)
    if report.is_intact:
        console.print(f"  all is intact; root {report.root[:12]}")


def _print_damages(damages: Sequence[Damage]) -> None:
    console = make_console()
    for damage in damages[:MAX_SHOWN_PATHS]:
        samples = f": {format_list(damage.samples, MAX_SHOWN_IDS)}" if damage.samples else ""
        console.print(f"  {damage.kind} {damage.name} {damage.reason}{samples}")
    if len(damages) > MAX_SHOWN_PATHS:
        console.print(f"  and {len(damages) - MAX_SHOWN_PATHS:,} more; --json lists all")


def print_repaired(report: RepairReport) -> None:
    """Print what was repaired, and what was not."""
    console = make_console()
    if not report.repaired and not report.damages:
        console.print(f"{report.volume} is intact; nothing to repair")
    for name in report.repaired:
        console.print(f"  {name} was written again from a copy")
    _print_damages(report.damages)
    if report.new_version:
        console.print(f"{report.new_version} is without {format_count(len(report.dropped), 'damaged sample')}")


def print_garbage(report: GarbageReport) -> None:
    """Print what no version refers to."""
    console = make_console()
    for path in report.paths[:MAX_SHOWN_PATHS]:
        console.print(f"  {path}")
    if len(report.paths) > MAX_SHOWN_PATHS:
        console.print(f"  and {len(report.paths) - MAX_SHOWN_PATHS:,} more; --json lists all")
    verb = "deleted" if report.is_deleted else "can be deleted with --delete"
    console.print(
        f"{format_count(len(report.paths), 'object')} ({format_bytes(report.n_bytes)}) {verb}; "
        f"{report.n_referenced:,} are in use, {report.n_recent:,} are younger than a week"
    )


def print_erased(report: EraseReport) -> None:
    """Print what was erased, and which versions cannot be read any more."""
    console = make_console()
    console.print(
        f"{format_count(len(report.ids), 'sample')} erased from {report.volume}: "
        f"{format_count(report.n_files, 'metadata file')} and {format_count(report.n_packs, 'pack')} written anew"
    )
    if report.new_versions:
        console.print(f"  new: {', '.join(report.new_versions)}")
    if report.unreadable_versions:
        console.print(f"  cannot be read any more: {', '.join(report.unreadable_versions)}")
    if report.shared_with:
        console.print(f"  the same bytes stay as {format_list(report.shared_with, MAX_SHOWN_IDS)}; erase these as well")
