"""The option --on of `rosenblatt run`: a script on another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rosenblatt.cli.options import make_reporter
from rosenblatt.errors import SpecError

if TYPE_CHECKING:
    from rosenblatt.runs.launch import LaunchRequest


def run_on_machine(request: LaunchRequest, on: str, store: str | None, *, reuse: bool) -> int:
    """Run a script on a machine; returns its exit status. Raises SpecError with `reuse`."""
    from rosenblatt.cluster.script import run_script

    if reuse:
        raise SpecError("--reuse looks for a run with the inputs of this machine. Remove it, or --on.")
    return run_script(request, on, store, make_reporter(True))


def check_script_arguments(script: str, arguments: tuple[str, ...]) -> None:
    """Raise SpecError if --on is between a script and `--`, where it would be an argument of the script."""
    own = arguments[: arguments.index("--")] if "--" in arguments else ()
    if any(word == "--on" or word.startswith("--on=") for word in own):
        raise SpecError(
            f"Options of `rosenblatt run` come before the script: rosenblatt run --on PLACE {script} -- ARGUMENTS. For "
            f"a script with an option --on of its own: rosenblatt run {script} -- --on VALUE."
        )
