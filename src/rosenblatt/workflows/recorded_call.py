"""Call of the script that recorded a run, to start it again with the values of its masked arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from rosenblatt.errors import Notify, RunError, format_list
from rosenblatt.runs.capture.environment import user_name
from rosenblatt.runs.capture.program import OTHER_KINDS, REPEATABLE
from rosenblatt.runs.recorded import ScriptCall
from rosenblatt.runs.redaction import MASK
from rosenblatt.runs.store.details import RunDetails, describe_masked
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.verdict import Gap


def find_call(run: RunDetails) -> ScriptCall:
    """Find the call of the script that recorded a run. Raises RunError for a notebook, a prompt and the like."""
    if run.launch:
        return run.launch
    first, *rest = run.arguments or ("",)
    is_script = run.program in REPEATABLE if run.program else first == "-m" or first.endswith(".py")
    if not is_script or "ipykernel_launcher" in (first.rpartition("/")[2].removesuffix(".py"), *rest[:1]):
        program = OTHER_KINDS.get(run.program) or repr(" ".join(run.command))
        raise RunError(
            f"Run {run.id} was not recorded by a script that can be started again, but by {program}. Only that program "
            "can run it again."
        )
    n_before = 2 if first == "-m" else 1
    if len(run.arguments) < n_before:
        raise RunError(f"The record of run {run.id} does not name its script, so it cannot be run again.")
    masked = tuple(i - n_before for i in run.masked_arguments if i >= n_before)
    target, arguments = run.arguments[n_before - 1], run.arguments[n_before:]
    return ScriptCall(target=target, arguments=arguments, masked=masked, is_module=first == "-m")


def check_user(
    store: Store, run: RunDetails, confirm: Callable[[str], bool] | None, action: str = "Run this code"
) -> None:
    """Ask before something is done that another user may have recorded, who can write to the store.

    Raises RunError if nobody can be asked, or does not confirm.
    """
    user, others = user_name(), store.find_other_writers()
    if run.user in ("", user) and not others:
        return
    origin = f"Run {run.id} was recorded by the user {run.user or 'unknown'}, on {run.machine} in {run.folder}"
    if others:
        origin += f", in a store to which others can write ({others})"
    if confirm is None or not confirm(f"{origin}. {action} as {user}?"):
        raise RunError(f"{origin}. {action} as {user} only if you trust it, with --yes.")


def fill_masked(
    run: RunDetails,
    call: ScriptCall,
    secrets: Mapping[str, str],
    ask_secret: Callable[[str], str] | None,
    notify: Notify,
) -> tuple[ScriptCall, list[Gap]]:
    """Put the values of masked arguments into a call.

    Args:
        run: The run.
        call: Its call.
        secrets: Values by option, such as `token` for `--token`, or by the number of the argument, from 1.
        ask_secret: Called with the name of a masked argument that is not among `secrets`; None: nobody can be asked.
        notify: Called with a message on `secrets` that belong to no masked argument.

    Returns:
        The call, and that the values may not be those of the run.

    Raises:
        RunError: If a value is not known.
    """
    arguments, gaps = list(call.arguments), list[Gap]()
    labels = describe_masked(call.arguments, call.masked)
    report_unused_secrets(run, secrets, {_secret_name(label, index) for index, label in labels.items()}, notify)
    for index, label in labels.items():
        name = _secret_name(label, index)
        value = secrets.get(name)
        if value is None and ask_secret:
            value = ask_secret(label)
        if value is None:
            raise RunError(
                f"The value of {label} of run {run.id} was masked, so it is not known. Give it with --secret "
                f"{name}=VALUE."
            )
        arguments[index] = arguments[index].replace(MASK, value)
        gaps.append(Gap("argument", f"{label} was masked, and may have another value"))
    return replace(call, arguments=tuple(arguments), masked=()), gaps


def report_unused_secrets(run: RunDetails, secrets: Mapping[str, str], names: Collection[str], notify: Notify) -> None:
    """Say which values given with --secret belong to none of the masked arguments of a run."""
    unused = [name for name in secrets if name not in names]
    if unused:
        masked = (
            f"its masked arguments are {format_list(sorted(names))}" if names else "none of its arguments is masked"
        )
        notify(f"--secret {format_list(unused)} has no effect: run {run.id} has no such argument; {masked}.")


def _secret_name(label: str, index: int) -> str:
    """The name of a masked argument for `--secret`: its option without dashes, or its number."""
    option = re.fullmatch(r"-*([\w.-]+)=?", label.partition(MASK)[0])
    return option[1] if option else str(index + 1)
