"""The commands on the queue of experiments: `queue add`, `list`, `run`, `cancel` and `logs`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.cli.options import ask_confirmation, make_reporter, shared_options, tracking_options
from rosenblatt.errors import RunError, SpecError, did_you_mean, format_count, format_list

if TYPE_CHECKING:
    from rosenblatt.cluster.queue import Experiment, NewExperiment
    from rosenblatt.runs.store.store import Store

QUEUED_COMMANDS = ("fit", "run")
FAILED_STATUS = 1  # exit status of `queue run` if an experiment has failed


@dataclass(frozen=True)
class _Command:
    """The arguments of an experiment, and the content of its config if that is not what the file holds."""

    arguments: list[str]
    config: str | None = None


def _inherit_store(context: click.Context, _option: click.Parameter, store: str | None) -> str | None:
    return store or context.obj


_store_option = click.option("--store", metavar="PLACE", callback=_inherit_store, help="The store, as for `queue`.")


@click.group()
@tracking_options("store")
@click.pass_context
def queue(context: click.Context, /, store: str | None) -> None:
    """Let experiments wait for their turn: fits, searches and scripts, one after the other or a few at a time.

    \b
    rosenblatt queue add fit people.csv --target income --trials 500
    rosenblatt queue add wide.toml deep.toml people.csv --target income
    rosenblatt queue add --priority 5 run train.py -- --lr 0.1
    rosenblatt queue list
    rosenblatt queue run                 run them here until none waits
    rosenblatt queue logs 3 --follow
    rosenblatt queue cancel 4 5

    The queue is a part of the store of runs. Any number of runners may work on it: each experiment is run by one of
    them. An experiment whose runner is killed waits again, and a search goes on where it was (docs/cluster.md).
    """
    context.obj = store


@queue.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--priority", type=int, default=0, show_default=True, help="Experiments with a higher one run first.")
@click.option("--on", metavar="PLACE", help="Where fits train, as for `fit --on`.")
@_store_option
@shared_options("json")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND|CONFIG.toml... ...")
def add(arguments: tuple[str, ...], priority: int, on: str | None, store: str | None, as_json: bool) -> None:
    """Add experiments: a command `fit` or `run` as you would type it, or several configs of a fit.

    \b
    rosenblatt queue add fit people.csv --target income --minutes 30
    rosenblatt queue add run train.py -- --lr 0.1
    rosenblatt queue add wide.toml deep.toml people.csv --target income
    rosenblatt queue add people.toml --on lab

    With configs, one fit is added for each, as with --config; its model and run have the name of the config. The last
    one has a section [fit] with the options of the command:

    \b
    [fit]
    table = "people.csv"
    target = "income"

    Experiments start in this folder. Options are checked and configs are read now: changes to them later have no
    effect. Tables and scripts are read when the experiment starts. Put --priority before the command.
    """
    import json

    from rosenblatt.cluster.queue import add_experiments, load_experiments

    commands = _make_commands(arguments, on)
    with _open_store(store, create=True) as run_store:
        experiments = [replace(_make_experiment(run_store, command), priority=priority) for command in commands]
        others = [
            experiment for experiment in load_experiments(run_store) if experiment.state in ("waiting", "running")
        ]
        _report_shared_outputs(experiments, others)
        numbers = add_experiments(run_store, experiments)
    if as_json:
        click.echo(json.dumps(numbers))
    else:
        click.echo(f"added: {', '.join(map(str, numbers))}. `rosenblatt queue run` runs what waits.")


@queue.command(name="list")
@click.option("--all", "show_all", is_flag=True, help="List also all experiments that have ended.")
@_store_option
@shared_options("json")
def list_experiments(show_all: bool, store: str | None, as_json: bool) -> None:
    """List experiments that run and wait, in their order, and the last that have ended.

    \b
    rosenblatt queue list
    rosenblatt queue list --all --json

    An experiment is lost if its runner gives no sign of life; the next `rosenblatt queue run` takes it again.
    """
    from rosenblatt.cluster.queue import load_experiments
    from rosenblatt.runs.export import to_json

    with _open_store(store) as run_store:
        experiments = load_experiments(run_store)
    if as_json:
        click.echo(to_json([experiment.to_json() for experiment in experiments]))
        return
    from rosenblatt.cli.console.queue import print_experiments

    print_experiments(experiments, show_all)


@queue.command()
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Experiments at the same time.")
@click.option("--on", metavar="PLACE", help="Where fits train that were added without --on, as for `fit --on`.")
@click.option("--any-machine", is_flag=True, help="Also take experiments that were added on other machines.")
@click.option("--wait", "waits", is_flag=True, help="Wait for new experiments when none is left, until Ctrl-C.")
@click.option("--yes", is_flag=True, help="Do not ask before running what other users may have added.")
@_store_option
@shared_options("json")
def run(yes: bool, store: str | None, as_json: bool, **options: Any) -> None:
    """Run the experiments that wait, the highest priority and the oldest first, until none is left.

    \b
    rosenblatt queue run
    rosenblatt queue run --workers 2          two at a time, which share the cores
    rosenblatt queue run --wait               stays, and takes what is added later

    Each runs as a process of its own; its output is a file that `queue logs` shows. Ctrl-C ends what runs: searches
    save their state, and all of it waits for the next `queue run`. The exit status is 1 if an experiment has failed.
    """
    from rosenblatt.cluster.queue_runner import QueueRunner, RunnerOptions
    from rosenblatt.runs.export import to_json

    notify = make_reporter(as_json)
    with _open_store(store) as run_store:
        _check_trust(run_store, yes)
        ended = QueueRunner(run_store, RunnerOptions(**options), notify).run()
    failed = [experiment.number for experiment in ended if experiment.state == "failed"]
    if as_json:
        click.echo(to_json([experiment.to_json() for experiment in ended]))
    else:
        counts = f"{format_count(len(ended) - len(failed), 'experiment')} finished, {len(failed)} failed"
        notify(f"{counts}. No other waits for this runner.")
    if failed:
        sys.exit(FAILED_STATUS)


@queue.command()
@click.argument("numbers", nargs=-1, type=int, metavar="[NUMBER]...")
@click.option("--all", "cancel_all", is_flag=True, help="Cancel all experiments that wait or run.")
@_store_option
@shared_options("json")
def cancel(numbers: tuple[int, ...], cancel_all: bool, store: str | None, as_json: bool) -> None:
    """Cancel experiments. Processes of running ones are ended by their runner, within about a second if it is alive.

    \b
    rosenblatt queue cancel 3 4
    rosenblatt queue cancel --all
    """
    from rosenblatt.cluster.queue import cancel_experiments, load_experiments
    from rosenblatt.runs.export import to_json

    if bool(numbers) == cancel_all:
        raise SpecError("Give the numbers of the experiments to cancel, or --all.")
    with _open_store(store) as run_store:
        wanted = [experiment.number for experiment in load_experiments(run_store)] if cancel_all else numbers
        cancelled = cancel_experiments(run_store, wanted)
    ended = sorted(set(numbers) - {experiment.number for experiment in cancelled})
    if ended:
        click.echo(f"{format_list(ended)} had ended before", err=True)
    if as_json:
        click.echo(to_json([experiment.number for experiment in cancelled]))
    else:
        parts = [f"{e.number}{' (its process ends)' if e.state == 'running' else ''}" for e in cancelled]
        click.echo(f"cancelled: {', '.join(parts) or 'none'}")


@queue.command()
@click.argument("number", type=int, metavar="NUMBER")
@click.option("--follow", "-f", is_flag=True, help="Go on printing until the experiment has ended.")
@_store_option
def logs(number: int, follow: bool, store: str | None) -> None:
    """Print what an experiment has printed, from its first start on.

    \b
    rosenblatt queue logs 3
    rosenblatt queue logs 3 --follow
    """
    from rosenblatt.cli.console.tables import printable_lines
    from rosenblatt.cluster.queue_logs import read_log

    with _open_store(store) as run_store:
        for text in read_log(run_store, number, follow=follow):
            click.echo(printable_lines(text), nl=False)


_OWN_OPTIONS = {"--config": "", "--out": "-o", "--name": ""}  # of each config, with their short forms


def _make_commands(arguments: Sequence[str], on: str | None) -> list[_Command]:
    """Make the commands of experiments from the arguments of `queue add`. Raises SpecError."""
    from rosenblatt.cluster.queue_runner import has_option

    if arguments[0] in QUEUED_COMMANDS:
        return [_Command([arguments[0], *_on_option(on, arguments), *arguments[1:]])]
    n_configs = next((i for i, word in enumerate(arguments) if not word.endswith(".toml")), len(arguments))
    configs, rest = list(arguments[:n_configs]), list(arguments[n_configs:])
    if not configs:
        hint = did_you_mean(rest[0], QUEUED_COMMANDS)
        raise SpecError(f"Expected the command fit or run, or configs (CONFIG.toml), but got {rest[0]!r}.{hint}")
    rest = rest[1:] if rest[:1] == ["--"] else rest
    given = [option for option, short in _OWN_OPTIONS.items() if has_option(rest, option, short)]
    if "--config" in given or (given and len(configs) > 1):
        raise SpecError(
            f"{given[0]} would be the same for all configs. Leave it out, or add `fit` commands one by one."
        )
    commands = []
    for config in configs:
        options, content = _read_config(config)
        stem, words = Path(config).stem, [*options, *rest]
        if not words:
            raise SpecError(
                f"{config} names no table. Add it: queue add {config} TABLE --target COLUMN, or a section [fit] in "
                f"{config} with table and target."
            )
        words += [] if has_option(words, "--out", "-o") else ["--out", f"{stem}.rosenblatt"]
        words += [] if has_option(words, "--name") else ["--name", stem]
        commands.append(_Command(["fit", "--config", config, *_on_option(on, words), *words], content))
    return commands


def _on_option(on: str | None, arguments: Sequence[str]) -> list[str]:
    from rosenblatt.cluster.queue_runner import has_option

    return ["--on", on] if on and not has_option(arguments, "--on") else []


def _read_config(path: str) -> tuple[list[str], str]:
    """Read a config: the arguments of its section `fit`, and the rest as TOML. Raises SpecError."""
    import tomllib

    import tomli_w

    from rosenblatt.spec.spec import Spec

    try:
        text = Path(path).read_text(encoding="utf-8")
        sections = tomllib.loads(text)
    except (OSError, ValueError):
        Spec.from_toml(path)  # raises
        raise
    options = sections.pop("fit", None)
    if options is None:
        return [], text
    if not isinstance(options, dict):
        raise SpecError(f"In the config {path}: fit must be a section [fit] with options of the command.")
    arguments = [str(options.pop("table"))] if "table" in options else []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            arguments += [f"--{flag}={item}" for item in (value if isinstance(value, list) else [value])]
    return arguments, tomli_w.dumps(sections)


def _make_experiment(store: Store, command: _Command) -> NewExperiment:
    """Check a command and describe it as an experiment. Raises the errors that the command would raise at once."""
    import socket

    from rosenblatt.cluster.queue import NewExperiment
    from rosenblatt.cluster.queue_runner import hash_source
    from rosenblatt.runs.capture.environment import user_name
    from rosenblatt.runs.redaction import find_masked

    arguments = command.arguments
    masked = find_masked(arguments)
    if masked:
        name = (
            arguments[masked[0]].partition("=")[0] if arguments[masked[0]].startswith("-") else arguments[masked[0] - 1]
        )
        raise SpecError(
            f"The argument of {name} looks like a credential, and the queue would store it for all who can read it. "
            "Let the script read it from a file or an environment variable of the runner."
        )
    _check_text([str(Path.cwd()), *arguments])
    experiment = NewExperiment(
        arguments=tuple(arguments), folder=str(Path.cwd()), machine=socket.gethostname(), user=user_name()
    )
    if arguments[0] == "fit":
        return _check_fit(replace(experiment, config=command.config))
    _check_script(arguments[1:])
    return replace(experiment, source=hash_source(store, experiment))


def _check_text(words: Sequence[str]) -> None:
    """Raise SpecError if the working folder or an argument is not text, which the store could not hold."""
    for word in words:
        if not word.isascii() and word.encode(errors="replace").decode() != word:
            raise SpecError(f"Folders and arguments of the queue must be UTF-8, but {word!r} is not. Rename the file.")


def _check_fit(experiment: NewExperiment) -> NewExperiment:
    """Check the arguments of a fit, and add the content of its config and the path of its model."""
    from rosenblatt.cli.fit import FitOutput, fit
    from rosenblatt.cli.outputs import check_output_paths
    from rosenblatt.data.readers.sources import STANDARD_INPUT
    from rosenblatt.data.volumes.locations import is_volume

    options = fit.make_context("rosenblatt fit", list(experiment.arguments[1:])).params
    content = experiment.config
    if content is None and options["config"]:
        content = _read_config(options["config"])[1]
    _check_spec(options, content)
    tables = [options[name] for name in ("table", "test", "validation") if options[name]]
    if STANDARD_INPUT in tables:
        raise SpecError("An experiment of the queue has no standard input. Name a file instead of '-'.")
    missing = [table for table in tables if not is_volume(table) and "://" not in table and not Path(table).exists()]
    if missing:
        raise SpecError(f"There is no table {missing[0]!r} in this folder, in which the experiment would start.")
    output = FitOutput(**{name: options[name] for name in FitOutput.__dataclass_fields__})
    path = output.model_path(options["table"])
    check_output_paths([str(path), output.report], inputs=[*tables, options["config"]])
    return replace(experiment, config=content, output=str(path.absolute()))


def _check_spec(options: Mapping[str, Any], config: str | None) -> None:
    """Check the hyperparameters of a fit and of its config. Raises SpecError."""
    import tomllib

    from rosenblatt.cli.fit import parse_spec
    from rosenblatt.spec.spec import Spec

    try:
        base = Spec.from_dict(tomllib.loads(config or ""))
    except SpecError as error:
        raise SpecError(f"In the config {options['config']}: {error}") from error
    parse_spec(base, dict(options))


def _check_script(arguments: Sequence[str]) -> None:
    from rosenblatt.cli.run import run as run_command

    options = run_command.make_context("rosenblatt run", list(arguments)).params
    if not options["is_module"] and not Path(options["script"]).is_file():
        scripts = [path.name for path in Path.cwd().glob("*.py")]
        raise RunError(f"There is no script {options['script']!r}.{did_you_mean(options['script'], scripts)}")


def _report_shared_outputs(experiments: Sequence[NewExperiment], others: Sequence[Experiment]) -> None:
    """Say which experiments would replace the model of another one."""
    outputs = {experiment.output: f"experiment {experiment.number}" for experiment in reversed(others)}
    for experiment in experiments:
        if experiment.output and experiment.output in outputs:
            name = Path(experiment.output).name
            click.echo(
                f"caution: {outputs[experiment.output]} writes {name} too; the later of them replaces it. Name another "
                "file with --out.",
                err=True,
            )
        outputs[experiment.output] = "another new experiment"


def _check_trust(store: Store, yes: bool) -> None:
    """Ask before running what others may have added to the queue. Raises RunError."""
    others = store.find_other_writers()
    if not others:
        return
    ask = ask_confirmation(yes)
    question = f"Others can add commands to this queue ({others}), which would run as you"
    if ask is None or not ask(f"{question}. Run them?"):
        raise RunError(f"{question}. Run them only if you trust them, with --yes.")


@contextmanager
def _open_store(location: str | None, *, create: bool = False) -> Iterator[Store]:
    from rosenblatt.runs.store.locations import store_url
    from rosenblatt.runs.store.store import Store

    url = store_url(location)
    if url is None:
        raise SpecError("There is no queue without a store, and ROSENBLATT_STORE or --store is 'none'. Name a folder.")
    store = Store(url, create=create)
    try:
        yield store
    finally:
        store.close()
