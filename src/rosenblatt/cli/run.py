"""The command `run`, which records a script."""

from __future__ import annotations

import sys
from typing import Any

import click

from rosenblatt.cli.options import parse_pairs, tracking_options


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-m", "is_module", is_flag=True, help="SCRIPT is the name of a module, as with python -m.")
@click.option("--data", multiple=True, metavar="PATH", help="Data read by Polars and similar; --reuse checks them.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=WORD", callback=parse_pairs, help="Tag of the run.")
@click.option("--on", metavar="PLACE", help="Run on another machine: HOSTS, a file or cluster, or HOSTS:MACHINE.")
@tracking_options("experiment", "name", "reuse", "store")
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(
    script: str, arguments: tuple[str, ...], on: str | None, reuse: bool, store: str | None, **options: Any
) -> None:
    """Run a Python script and record it: source, environment, arguments, input files, output.

    \b
    rosenblatt run train.py -- --lr 0.1 --epochs 20
    rosenblatt run --experiment mnist --tag who=ana train.py
    rosenblatt run -m package.train -- --lr 0.1
    rosenblatt run --reuse --data rows.parquet train.py
    rosenblatt run --on hosts.txt:lab2 train.py -- --lr 0.1

    The script needs no changes. To record metrics as well, add:

    \b
    with rosenblatt.track() as run:
        run.log({"loss": loss}, step=epoch)
    """
    from rosenblatt.cli.script_machine import check_script_arguments, run_on_machine
    from rosenblatt.runs.launch import LaunchRequest, launch

    check_script_arguments(script, arguments)
    script_arguments = arguments[1:] if arguments[:1] == ("--",) else arguments
    request = LaunchRequest(script, script_arguments, **options)
    if on:
        sys.exit(run_on_machine(request, on, store, reuse=reuse))
    status, launched_run = launch(request, store=store, reuse=reuse)
    if launched_run.reused:
        click.echo(f"run: {launched_run.id}, finished earlier with the same inputs; nothing was run", err=True)
    elif launched_run.url:
        click.echo(f"run: {launched_run.id}", err=True)
    sys.exit(status)
