"""Entry point of the command `rosenblatt`: its group of commands, and the exit status of each error.

Each command parses, calls, prints. Errors are one sentence and exit status 2; 130 after Ctrl-C, 143 after a kill.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

import click

from rosenblatt.cli.exit_status import ExitStatus
from rosenblatt.errors import DivergedError, RosenblattError, TrainingInterruptedError

COMMANDS = {  # the module of each command
    "describe": "models",
    "evaluate": "models",
    "explain": "explain",
    "fit": "fit",
    "generate": "generate",
    "learn-step": "learn_step",
    "predict": "models",
    "run": "runs",
    "runs": "runs",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is used, so that `rosenblatt runs` loads nothing that only `fit` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            import_module(f"rosenblatt.cli.{COMMANDS[cmd_name]}"), cmd_name.replace("-", "_")
        )
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="rosenblatt")
def cli() -> None:
    """Train perceptron networks on your tables, and use them.

    \b
    rosenblatt describe people.csv                     what the table holds
    rosenblatt fit people.csv --target income          train, test, save people.rosenblatt
    rosenblatt fit people.csv --target income --minutes 5     search for the best hyperparameters first
    rosenblatt predict people.rosenblatt new.csv       predictions for new rows
    rosenblatt evaluate people.rosenblatt more.csv     scores on rows with answers
    rosenblatt describe people.rosenblatt              the network, its hyperparameters, its scores
    rosenblatt fit photos/ --kind cnn                  images; also texts, sequences, forecasts
    rosenblatt generate book.rosenblatt                write on, with a model that learnt a text
    rosenblatt explain people.rosenblatt people.csv    one row's way through the network, layer by layer
    rosenblatt learn-step                              watch a perceptron learn, mistake by mistake
    rosenblatt run train.py -- --lr 0.1                run any script, and record it
    rosenblatt runs                                    what was run, its results; compare and reproduce it
    """


def main() -> None:
    """Run the command; turn what a user can meet into one sentence and an exit status."""
    exit_status = ExitStatus()
    signal.signal(signal.SIGTERM, exit_status.on_sigterm)
    try:
        cli(obj=exit_status, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("Stopped.", err=True)
        sys.exit(exit_status.code)
    except RosenblattError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(
            exit_status.code
            if isinstance(error, TrainingInterruptedError)
            else 1
            if isinstance(error, DivergedError)
            else 2
        )
    except MemoryError as error:
        detail = f": {error}" if str(error) else ""
        hint = "Give fewer rows, or smaller --bins, --batch-size or --image-size."
        click.echo(f"Error: The memory of this machine is not enough{detail}. {hint}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"Error: The output could not be written: {error.strerror}.", err=True)
        sys.exit(2)
