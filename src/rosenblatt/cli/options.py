"""In: descriptions of hyperparameters, words of a command line. Out: what commands share: options, tables, columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from rosenblatt.spec.hyperparameters import HYPERPARAMETERS, Hyperparameter, in_words

SECTIONS = {"network": "The network", "training": "Training", "data": "Data", "search": "The search"}


class Grouped(click.Command):
    """A command whose help lists the hyperparameters by section, after its other options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all options, grouped."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record:
                hyperparameter = HYPERPARAMETERS.get(parameter.name or "")
                title = f"{SECTIONS[hyperparameter.section]} (hyperparameters)" if hyperparameter else "Options"
                groups.setdefault(title, []).append(record)
        for title in sorted(groups, key=lambda title: title != "Options"):
            with formatter.section(title):
                formatter.write_dl(groups[title])


def hyperparameter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each hyperparameter, made from its description in the spec."""
    for known in reversed(HYPERPARAMETERS.values()):
        choices = "|".join(known.choices)
        flag = f"--{known.name.replace('_', '-')}"
        if known.is_flag:
            flag = f"{flag}/--no-{flag[2:]}"
            command = click.option(flag, known.name, default=None, help=_help(known))(command)
            continue
        metavar = choices if 0 < len(choices) < 40 else _metavar(known)
        command = click.option(flag, known.name, metavar=metavar, help=_help(known))(command)
    return command


def _metavar(known: Hyperparameter) -> str:
    if known.choices:
        return "NAMES" if "one or more" in known.expected else "NAME"
    return "LIST" if "list" in known.expected else "NUMBER" if "number" in known.expected else "TEXT"


def _help(known: Hyperparameter) -> str:
    words = f" One of {', '.join(known.choices)}." if len("|".join(known.choices)) >= 40 else ""
    default = "" if known.default is None else f"  [default: {in_words(known.default)}]"
    return f"{known.help}{words}{default}"


def shared_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options that several commands share."""
    shared = {
        "header": click.option(
            "--header/--no-header", default=None, help="Whether the first line names the columns; found out by default."
        ),
        "encoding": click.option("--encoding", help="Encoding of text files, such as cp1252; found out by default."),
        "threads": click.option("--threads", type=click.IntRange(1), help="Cores to use; all by default."),
        "json": click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        "damaged": click.option(
            "--damaged",
            type=click.Choice(["raise", "skip"]),
            help="What is done about images that cannot be read: refuse, or leave them out by name.  [default: as in "
            "training]",
        ),
        "report": click.option("--report", metavar="FILE.html", help="Write a page of pictures that opens offline."),
    }

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            command = shared[name](command)
        return command

    return decorate


def tracking_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options of commands that record runs, or look for them."""
    known = {
        "experiment": click.option(
            "--experiment", "name_of_experiment", metavar="NAME", help="The set of runs it belongs to."
        ),
        "name": click.option("--name", default="", help="A name for the run."),
        "reuse": click.option(
            "--reuse",
            is_flag=True,
            help="Where a finished run has the same source, hyperparameters, data and environment, take that one.",
        ),
        "store": click.option(
            "--store",
            metavar="PLACE",
            help="Where runs are kept: a folder, postgresql://USER@HOST/DATABASE, or none to record nothing.  "
            "[default: ROSENBLATT_STORE, or the next .rosenblatt/ upwards]",
        ),
    }

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            command = known[name](command)
        return command

    return decorate


def teller(as_json: bool) -> Callable[[str], None]:
    """Messages go beside the result: to standard error where the result is to be read by a program."""
    return lambda message: click.echo(message, err=as_json)
