"""Entry point of the command `rosenblatt`: its commands, and the exit status of each error.

The exit status is 0 on success, 1 if training diverged, 130 after Ctrl-C, 143 after SIGTERM, and 2 for other errors.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from importlib import import_module
from keyword import iskeyword

import click

from rosenblatt.cli.exit_status import DIVERGED_STATUS, ERROR_STATUS, ExitStatus
from rosenblatt.errors import DivergedError, RosenblattError, TrainingInterruptedError, did_you_mean

COMMANDS = {  # the module of each command
    "cluster": "cluster",
    "data": "data",
    "describe": "models",
    "evaluate": "models",
    "explain": "explain",
    "export": "export",
    "fit": "fit",
    "generate": "generate",
    "import": "import_",
    "learn-step": "learn_step",
    "predict": "models",
    "queue": "queue",
    "run": "run",
    "runs": "runs",
    "serve": "serve",
    "ui": "ui",
}


class LazyGroup(click.Group):
    """A group that imports a command only when it is used, so that every command starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return a command, or None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"rosenblatt.cli.{COMMANDS[cmd_name]}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called. Raises UsageError, with the most similar name, if there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message}{did_you_mean(args[0], COMMANDS)}", ctx) from None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="rosenblatt")
def cli() -> None:
    """Train perceptrons and neural networks on your tables, images, texts and time series.

    \b
    rosenblatt describe people.csv                   columns and the likely task
    rosenblatt fit people.csv --target income        train, test, save the model
    rosenblatt fit people.csv -t income --minutes 5  search hyperparameters first
    rosenblatt fit photos/ --kind cnn                images; also texts, forecasts
    rosenblatt describe people.rosenblatt            scores, network, data
    rosenblatt evaluate people.rosenblatt more.csv   scores on other rows
    rosenblatt predict people.rosenblatt new.csv     predictions for new rows
    rosenblatt explain people.rosenblatt people.csv  a row, layer by layer
    rosenblatt generate book.rosenblatt              text from a language model
    rosenblatt export people.rosenblatt --to torch   the model for another framework
    rosenblatt import network.onnx                   a dense network of another framework
    rosenblatt serve people.rosenblatt               predictions over HTTP
    rosenblatt learn-step                            a perceptron, step by step
    rosenblatt run train.py -- --lr 0.1              run and record any script
    rosenblatt runs                                  list, compare, reproduce runs
    rosenblatt ui                                    runs in the browser, live
    rosenblatt queue add fit people.csv -t income    experiments that wait their turn
    rosenblatt data                                  volumes: versions of training data
    rosenblatt cluster                               several machines as one

    `rosenblatt COMMAND --help` shows the options of a command, with examples.
    """


def main() -> None:
    """Run the command line; print an error as one sentence and exit with its status."""
    gc.set_threshold(20_000)  # by default, 15 % of the time to import modules is garbage collection
    atexit.register(gc.freeze)  # called last; Python would otherwise look for garbage in all modules when it ends
    exit_status = ExitStatus()
    signal.signal(signal.SIGTERM, exit_status.on_sigterm)
    try:
        cli(obj=exit_status, standalone_mode=False)
    except click.ClickException as error:
        from rosenblatt.cli.console.tables import printable_lines

        error.message = printable_lines(error.message)  # type: ignore[misc] # shown below
        error.show()
        sys.exit(ERROR_STATUS)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("Stopped.", err=True)
        sys.exit(exit_status.code)
    except RosenblattError as error:
        from rosenblatt.cli.console.tables import printable_lines

        click.echo(printable_lines(f"Error: {error}"), err=True)
        if isinstance(error, TrainingInterruptedError):
            sys.exit(exit_status.code)
        sys.exit(DIVERGED_STATUS if isinstance(error, DivergedError) else ERROR_STATUS)
    except MemoryError as error:
        detail = f": {error}" if str(error) else ""
        hint = "Use fewer rows, or smaller --bins, --batch-size or --image-size."
        click.echo(f"Error: The machine has not enough memory{detail}. {hint}", err=True)
        sys.exit(ERROR_STATUS)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"Error: The output could not be written: {error.strerror}.", err=True)
        sys.exit(ERROR_STATUS)
