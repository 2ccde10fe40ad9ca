"""Options that commands share, and the options of `fit` generated from the descriptions of hyperparameters."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.errors import Notify, SpecError

if TYPE_CHECKING:
    from rosenblatt.data.table import TableFormat
    from rosenblatt.spec.hyperparameters import Hyperparameter

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

COMMON_OPTIONS = {  # options that `fit --help` shows, by group, most used first
    "Input": ("targets", "query", "task", "ignore", "texts", "test", "time", "horizon"),
    "Network": ("kind", "hidden_sizes", "activation", "start"),
    "Training": ("epochs", "learning_rate", "batch_size", "dropout", "class_weight", "scoring", "seed", "on"),
    "Search": ("minutes", "trials", "config"),
    "Output": ("out", "report", "by", "as_json"),
}
OTHER_OPTIONS = {  # groups of the others in `fit --help-all`, unless they are hyperparameters
    "Input": (
        "keep",
        "validation",
        "header",
        "encoding",
        "separator",
        "decimal",
        "thousands",
        "day_first",
        "missing",
        "no_missing",
    ),
    "Training": ("threads", "nodes_per_network"),
    "Search": ("checkpoint",),
    "Recording": ("experiment", "name", "reuse", "store"),
}
SECTION_GROUPS = {"data": "Input", "network": "Network", "training": "Training", "search": "Search"}
MAX_CHOICES_LENGTH = 30  # characters of the choices of an option that stand next to its name
OPTION_WIDTH = 24  # characters of the column of option names


class GroupedCommand(click.Command):
    """A command with options for all hyperparameters: `--help` lists the common ones by group, `--help-all` all."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters of the command, `--help-all` among them."""
        help_all = click.Option(
            ["--help-all"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_all,
            help="Show all options.",
        )
        return [*super().get_params(ctx), help_all]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by group."""
        show_all = bool(ctx.meta.get("show_all"))
        parameters = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in (*COMMON_OPTIONS, "Recording", "Help")}
        order = {name: k for k, name in enumerate(name for names in COMMON_OPTIONS.values() for name in names)}
        for parameter in sorted(parameters, key=lambda parameter: order.get(parameter.name or "", len(order))):
            record = parameter.get_help_record(ctx)
            title = _group(parameter.name or "")
            if record and (show_all or parameter.name in order or title == "Help"):
                groups[title].append(record if show_all else _shorten(record))
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl([(names.ljust(OPTION_WIDTH), text) for names, text in records])
        if not show_all:
            formatter.write(f"\nAll {len(parameters)} options: {ctx.command_path} --help-all\n")
            formatter.write("All hyperparameters and their sources: docs/hyperparameters.md\n")


def _show_all(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["show_all"] = True
        click.echo(ctx.get_help())
        ctx.exit()


def _group(name: str) -> str:
    """Return the title of the group of an option."""
    from rosenblatt.spec.hyperparameters import HYPERPARAMETERS

    for groups in (COMMON_OPTIONS, OTHER_OPTIONS):
        for title, names in groups.items():
            if name in names:
                return title
    return SECTION_GROUPS[HYPERPARAMETERS[name].section] if name in HYPERPARAMETERS else "Help"


def _shorten(record: tuple[str, str]) -> tuple[str, str]:
    """Cut the help of an option to its first sentence and the default, unless that is auto."""
    text, _, default = record[1].partition("  [default: ")
    sentence = f"{text.split('. ')[0].rstrip('.')}."
    return record[0], f"{sentence}  [default: {default}" if default not in ("", "auto]") else sentence


def hyperparameter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each hyperparameter, generated from its description in the spec."""
    from rosenblatt.spec.hyperparameters import HYPERPARAMETERS

    for hyperparameter in reversed(HYPERPARAMETERS.values()):
        flag = f"--{hyperparameter.name.replace('_', '-')}"
        if hyperparameter.is_flag:
            flag, metavar = f"{flag}/--no-{flag[2:]}", None
        else:
            metavar = _metavar(hyperparameter)
        command = click.option(flag, hyperparameter.name, default=None, metavar=metavar, help=_help(hyperparameter))(
            command
        )
    return command


def _metavar(hyperparameter: Hyperparameter) -> str:
    choices = "|".join(hyperparameter.choices)
    if 0 < len(choices) < MAX_CHOICES_LENGTH:
        return choices
    if choices:
        return "NAMES" if "one or more" in hyperparameter.expected else "NAME"
    if hyperparameter.help.startswith("Column "):
        return "COLUMN"
    if "list" in hyperparameter.expected:
        return "LIST"
    return "NUMBER" if "number" in hyperparameter.expected and "class" not in hyperparameter.expected else "TEXT"


def _help(hyperparameter: Hyperparameter) -> str:
    from rosenblatt.spec.hyperparameters import format_value

    is_explained = all(choice in hyperparameter.help for choice in hyperparameter.choices)
    choices = ""
    if not is_explained and _metavar(hyperparameter) in ("NAME", "NAMES"):
        choices = f" One of {', '.join(hyperparameter.choices)}."
    default = "" if hyperparameter.default in (None, "", ()) else f"  [default: {format_value(hyperparameter.default)}]"
    return f"{hyperparameter.help}{choices}{default}"


def shared_options(*names: str) -> Decorator:
    """Add options that several commands share: threads, json, on_damaged_images, query, report, by."""
    options = {
        "threads": click.option(
            "--threads", type=click.IntRange(1), help="Number of CPU cores; by default all, at most OMP_NUM_THREADS."
        ),
        "json": click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        "on_damaged_images": click.option(
            "--on-damaged-images",
            type=click.Choice(["raise", "skip"]),
            help="What to do with images that cannot be read: stop with an error, or skip them and list their names.  "
            "[default: as in training]",
        ),
        "query": click.option(
            "--query", default="", metavar="QUERY", help="Samples of a volume to use, as in `data query`."
        ),
        "report": click.option("--report", metavar="FILE.html", help="Write a report with plots, readable offline."),
        "by": click.option(
            "--by",
            multiple=True,
            metavar="COLUMN",
            help="Column whose groups the report scores separately; it need not be an input. Repeat it for several.",
        ),
    }
    return _add_options(options, names)


def table_format_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add options on how a table is written, which the command receives as `table_format`, a `TableFormat`."""
    options = {
        "header": click.option(
            "--header/--no-header", default=None, help="Whether the first line of a file holds the column names."
        ),
        "encoding": click.option("--encoding", metavar="NAME", help="Encoding of text files, such as cp1252."),
        "separator": click.option(
            "--separator",
            metavar="CHARACTER",
            help="What separates the cells of a line: a character, tab, or blanks for any run of spaces and tabs.",
        ),
        "decimal": click.option("--decimal", type=click.Choice([".", ","]), help="Decimal mark of numbers."),
        "thousands": click.option("--thousands", metavar="CHARACTER", help="Thousands separator of numbers."),
        "day_first": click.option(
            "--day-first/--month-first",
            default=None,
            help="Whether dates such as 03/04/2021 start with the day, where a column allows both.",
        ),
        "missing": click.option(
            "--missing",
            multiple=True,
            metavar="CELL",
            help="Cell that stands for a missing value, such as -999 or unknown, in addition to the usual ones such as "
            "NA. Repeat it for several.",
        ),
        "no_missing": click.option("--no-missing", is_flag=True, help="Treat only empty cells as missing values."),
    }

    @functools.wraps(command)
    def wrapper(*args: Any, missing: tuple[str, ...], no_missing: bool, **kwargs: Any) -> Any:
        from rosenblatt.data.table import TableFormat

        if missing and no_missing:
            raise click.UsageError("--missing and --no-missing contradict each other. Remove one of them.")
        given = {name: kwargs.pop(name) for name in options if "missing" not in name}
        table_format = TableFormat(**given, missing=missing if missing or no_missing else None)
        return command(*args, table_format=table_format, **kwargs)

    return _add_options(options, tuple(options))(wrapper)


def table_format_arguments(table_format: TableFormat) -> list[str]:
    """Return the arguments of a command line that give this format."""
    arguments: list[str] = []
    if table_format.header is not None:
        arguments.append("--header" if table_format.header else "--no-header")
    for name in ("encoding", "separator", "decimal", "thousands"):
        value = getattr(table_format, name)
        if value is not None:
            arguments += [f"--{name}", value]
    if table_format.day_first is not None:
        arguments.append("--day-first" if table_format.day_first else "--month-first")
    if table_format.missing is not None:
        arguments += [f"--missing={cell}" for cell in table_format.missing] or ["--no-missing"]
    return arguments


def tracking_options(*names: str) -> Decorator:
    """Add options of commands that record or find runs: experiment, name, reuse, store."""
    options = {
        "experiment": click.option("--experiment", metavar="NAME", help="Experiment that the run belongs to."),
        "name": click.option("--name", default="", help="Name of the run."),
        "reuse": click.option(
            "--reuse",
            is_flag=True,
            help="Return a finished run with equal source, hyperparameters, data and environment, if there is one; "
            "otherwise print why not.",
        ),
        "store": click.option(
            "--store",
            metavar="PLACE",
            help="Store of runs: a folder, postgresql://USER@HOST/DATABASE, or none to record nothing.  "
            "[default: ROSENBLATT_STORE, else the nearest .rosenblatt/ folder upwards]",
        ),
    }
    return _add_options(options, names)


def _add_options(options: Mapping[str, Decorator], names: tuple[str, ...]) -> Decorator:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            command = options[name](command)
        return command

    return decorate


def parse_pairs(_context: click.Context, option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """Parse values of the form NAME=VALUE; the message does not repeat a value, which may be a secret."""
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise SpecError(f"Expected NAME=VALUE after {option.opts[0]}, but got {name!r} without '='.")
        values[name] = value
    return values


def make_reporter(as_json: bool) -> Notify:
    """Return a function that prints messages: to standard output, or to standard error if the result goes there."""
    from rosenblatt.cli.console.tables import printable_lines

    return lambda message: click.echo(printable_lines(message), err=as_json)


def ask_secret() -> Callable[[str], str] | None:
    """How to ask for the value of a masked argument: on a terminal, without showing it."""
    if not sys.stdin.isatty():
        return None
    return lambda name: str(click.prompt(f"value of {name}, which was masked", hide_input=True, err=True))


def ask_confirmation(yes: bool) -> Callable[[str], bool] | None:
    """How to ask for a confirmation: on a terminal, unless it was given already."""
    if yes:
        return lambda _: True
    return confirm if sys.stdin.isatty() else None


def confirm(question: str) -> bool:
    """Ask a question on the terminal; control characters of recorded names are shown as text."""
    from rosenblatt.cli.console.tables import printable_lines

    return click.confirm(printable_lines(question), err=True)
