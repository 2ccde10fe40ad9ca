"""The option --on of `rosenblatt run` is never given to the script, nor silently ignored."""

import pytest

from rosenblatt.cli.script_machine import check_script_arguments, run_on_machine
from rosenblatt.errors import SpecError
from rosenblatt.runs.launch import LaunchRequest


def test_on_after_a_script_is_refused_instead_of_given_to_the_script():
    with pytest.raises(SpecError, match="come before the script: rosenblatt run --on PLACE train"):
        check_script_arguments("train.py", ("--on", "hosts.txt", "--", "--lr", "0.1"))
    check_script_arguments("train.py", ("--", "--on", "hosts.txt"))
    check_script_arguments("train.py", ("--lr", "0.1"))


def test_reuse_on_another_machine_is_refused():
    with pytest.raises(SpecError, match="--reuse looks for a run with the inputs of this machine"):
        run_on_machine(LaunchRequest("train.py", ()), "hosts.txt", None, reuse=True)
