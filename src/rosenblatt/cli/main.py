"""In: the words of a command line. Out: what `experiment.py` does with them, told on the terminal or as JSON.

Each command parses, calls, prints. Errors are one sentence and exit status 2; 130 after Ctrl-C, 143 after a kill.
"""

from __future__ import annotations

import os
import signal
import sys

import click

from rosenblatt.cli.exit_status import _Stop
from rosenblatt.cli.explain import explain
from rosenblatt.cli.generate import generate
from rosenblatt.cli.learn_step import learn_step
from rosenblatt.cli.models import describe, evaluate, fit, predict
from rosenblatt.cli.runs import run, runs
from rosenblatt.errors import DivergedError, RosenblattError, StoppedEarlyError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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


for command in (fit, predict, evaluate, describe, explain, generate, learn_step, run, runs):
    cli.add_command(command)


def main() -> None:
    """Run the command; turn what a user can meet into one sentence and an exit status."""
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop.kill)
    try:
        cli(obj=stop, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("Stopped.", err=True)
        sys.exit(stop.status)
    except RosenblattError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(stop.status if isinstance(error, StoppedEarlyError) else 1 if isinstance(error, DivergedError) else 2)
    except MemoryError as error:
        what = f": {error}" if str(error) else ""
        cure = "Give fewer rows, or smaller --bins, --batch-size or --image-size."
        click.echo(f"Error: The memory of this machine is not enough{what}. {cure}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"Error: The output could not be written: {error.strerror}.", err=True)
        sys.exit(2)
