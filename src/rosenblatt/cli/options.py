"""Options that commands share, and those made from the descriptions of hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.errors import Notify

if TYPE_CHECKING:
    from rosenblatt.spec.hyperparameters import Hyperparameter

SECTIONS = {"network": "The network", "training": "Training", "data": "Data", "search": "The search"}


class GroupedCommand(click.Command):
    """A command whose help lists the hyperparameters by section, after its other options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all options, grouped."""
        from rosenblatt.spec.hyperparameters import HYPERPARAMETERS

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
    from rosenblatt.spec.hyperparameters import HYPERPARAMETERS

    for hyperparameter in reversed(HYPERPARAMETERS.values()):
        choices = "|".join(hyperparameter.choices)
        flag = f"--{hyperparameter.name.replace('_', '-')}"
        if hyperparameter.is_flag:
            flag = f"{flag}/--no-{flag[2:]}"
            command = click.option(flag, hyperparameter.name, default=None, help=_help(hyperparameter))(command)
            continue
        metavar = choices if 0 < len(choices) < 40 else _metavar(hyperparameter)
        command = click.option(flag, hyperparameter.name, metavar=metavar, help=_help(hyperparameter))(command)
    return command


def _metavar(hyperparameter: Hyperparameter) -> str:
    if hyperparameter.choices:
        return "NAMES" if "one or more" in hyperparameter.expected else "NAME"
    return "LIST" if "list" in hyperparameter.expected else "NUMBER" if "number" in hyperparameter.expected else "TEXT"


def _help(hyperparameter: Hyperparameter) -> str:
    from rosenblatt.spec.hyperparameters import format_value

    choices = f" One of {', '.join(hyperparameter.choices)}." if len("|".join(hyperparameter.choices)) >= 40 else ""
    default = "" if hyperparameter.default is None else f"  [default: {format_value(hyperparameter.default)}]"
    return f"{hyperparameter.help}{choices}{default}"


def shared_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options that several commands share."""
    options = {
        "header": click.option(
            "--header/--no-header", default=None, help="Whether the first line names the columns; found out by default."
        ),
        "encoding": click.option("--encoding", help="Encoding of text files, such as cp1252; found out by default."),
        "threads": click.option("--threads", type=click.IntRange(1), help="Cores to use; all by default."),
        "json": click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        "on_damaged_images": click.option(
            "--on-damaged-images",
            type=click.Choice(["raise", "skip"]),
            help="What is done about images that cannot be read: refuse, or leave them out by name.  [default: as in "
            "training]",
        ),
        "report": click.option("--report", metavar="FILE.html", help="Write a page of pictures that opens offline."),
    }

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            command = options[name](command)
        return command

    return decorate


def tracking_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options of commands that record runs, or look for them."""
    options = {
        "experiment": click.option("--experiment", metavar="NAME", help="The set of runs it belongs to."),
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
            command = options[name](command)
        return command

    return decorate


def make_reporter(as_json: bool) -> Notify:
    """Messages go beside the result: to standard error where the result is to be read by a program."""
    return lambda message: click.echo(message, err=as_json)
