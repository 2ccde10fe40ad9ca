"""Reproduce a recorded run from its own source in a new folder, and compare the results."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rosenblatt.data.volumes.locations import is_volume
from rosenblatt.errors import Notify, RosenblattError, RunError, format_list
from rosenblatt.runs.capture.environment import Environment, capture_environment
from rosenblatt.runs.capture.inputs import describe_variable, hash_variable
from rosenblatt.runs.capture.snapshot import fingerprint_path
from rosenblatt.runs.capture.source import Source
from rosenblatt.runs.compare import diff_dicts
from rosenblatt.runs.launch import LaunchRequest, launch
from rosenblatt.runs.recorded import InputFile, ScriptCall
from rosenblatt.runs.store.artifacts import Artifacts, has_changed
from rosenblatt.runs.store.details import RunDetails
from rosenblatt.runs.store.locations import store_name
from rosenblatt.runs.store.queries import find_run, find_runs, load_output, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.verdict import Gap, ResultComparison, Verdict, compare_results, could_not_run, find_gaps
from rosenblatt.spec.defaults import MACHINE_DEPENDENT
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.workflows.fit_request import run_fit_request
from rosenblatt.workflows.recorded_call import check_user, fill_masked, find_call, report_unused_secrets
from rosenblatt.workflows.recorder import Recorder
from rosenblatt.workflows.request import FitRequest
from rosenblatt.workflows.restored_run import RestoredRun
from rosenblatt.workflows.volume_inputs import has_version_changed

TOLERANCE = 1e-3  # the relative difference up to which results count as equal
MAX_LISTED_PACKAGES = 8  # in a message
_ERROR_LINE = re.compile(r"^[\w.]*(Error|Exception|Interrupt|Exit|Warning)\b")


@dataclass(frozen=True)
class ReproduceOptions:
    """How to reproduce a run."""

    tolerance: float = TOLERANCE  # the relative difference up to which results count as equal
    secrets: Mapping[str, str] = field(default_factory=dict)  # values of masked arguments, by option
    ask_secret: Callable[[str], str] | None = None  # called with the masked argument if `secrets` lacks it
    confirm: Callable[[str], bool] | None = None  # asked whether to run code that another user recorded
    keep: Path | None = None  # new folder for the restored source, which is kept; by default a temporary one


@dataclass(frozen=True)
class Reproduction:
    """A run that repeats another one, and how close its results are."""

    run: str | None  # None if it could not even begin
    result: ResultComparison


@dataclass(frozen=True)
class _Rerun:
    """A repetition: its run, that whose results are compared, why it failed, and what was not the same."""

    run: str | None
    compared: str | None = None
    failure: str = ""
    gaps: tuple[Gap, ...] = ()
    changed_variables: tuple[str, ...] = ()  # environment variables that the script read


def reproduce(
    store: Store, run_name: str, notify: Notify = print, options: ReproduceOptions | None = None
) -> Reproduction:
    """Run a run again and compare the results.

    Args:
        store: The store.
        run_name: The run; for a trial its whole search is run, and for a reproduction the run that it reproduces.
        notify: Called with messages.
        options: How to reproduce it.

    Raises:
        RunError: If the run was recorded by a program that cannot be started again from here, such as a notebook, or
            the value of a masked argument is not known.
    """
    options = options or ReproduceOptions()
    run = run_details(store, find_run(store, run_name))
    if run.reproduces:
        notify(f"{run.id} reproduces {run.reproduces}: that run is run again")
        run = run_details(store, find_run(store, run.reproduces))
    search = run_details(store, run.parent) if run.kind == "trial" and run.parent else None
    if search:
        notify(f"{run.id} is a trial: its whole search is run again")
    rerun = _rerun(store, search or run, notify, options)
    if rerun.failure or rerun.compared is None:
        return Reproduction(rerun.run, could_not_run(rerun.failure, [*rerun.gaps, *find_gaps(search or run)]))
    compared = f"{rerun.compared}-{run.number}" if search else rerun.compared
    result = compare_results(store, run.id, compared, options.tolerance)
    variables = {name: ["one value", "another"] for name in rerun.changed_variables}
    variables |= result.causes.get("variable", {})
    causes = result.causes | ({"variable": variables} if variables else {})
    result = replace(result, causes=causes, gaps=[*rerun.gaps, *result.gaps])
    if result.verdict == Verdict.DIFFERS and any(gap.kind == "source" for gap in rerun.gaps):
        reason = "its source could not be restored as it was, so other code ran, with other results"
        result = could_not_run(reason, result.gaps)
    return Reproduction(rerun.run, result)


def _rerun(store: Store, run: RunDetails, notify: Notify, options: ReproduceOptions) -> _Rerun:
    """Run a run again in the present environment."""
    request, call, gaps = None, None, list[Gap]()
    if run.request is not None:
        request = _fit_request(run)
        report_unused_secrets(run, options.secrets, (), notify)
        check_user(store, run, options.confirm, f"Fit {request.table!r}, and record its model,")
    else:
        call = find_call(run)
        check_user(store, run, options.confirm)
        call, gaps = fill_masked(run, call, options.secrets, options.ask_secret, notify)
    changed_data = [f"{file.path} {_problem(file)}" for file in _changed_data(run)]
    for message in _environment_changes(run.environment) if run.environment else []:
        notify(message)
    for message in changed_data:
        notify(f"data differs: {message}")
    changed_variables = tuple(
        name for name, digest in run.variables_read.items() if hash_variable(name, run.id) != digest
    )
    if request:
        rerun = _rerun_fit(store, run, request, notify)
    elif call and run.source:
        rerun = _rerun_script(store, run, run.source, call, notify, options.keep)
    else:
        raise RunError(f"The source of run {run.id} was not recorded, so it cannot be run again.")
    if rerun.failure:
        gaps += [Gap("data", message) for message in changed_data]
        gaps += [Gap("environment", f"{describe_variable(name)} has changed") for name in changed_variables]
    return replace(rerun, gaps=(*rerun.gaps, *gaps), changed_variables=changed_variables)


def _problem(file: InputFile) -> str:
    if is_volume(file.path):
        return "is lost, or its log was rewritten"
    return "has changed" if Path(file.path).exists() else "is gone"


def _environment_changes(recorded: Environment) -> list[str]:
    current = capture_environment()
    packages = [
        f"{name} {version} -> {current.packages.get(name, 'missing')}"
        for name, version in recorded.packages.items()
        if version != current.packages.get(name)
    ]
    more = " ..." if len(packages) > MAX_LISTED_PACKAGES else ""
    messages = [f"packages differ: {', '.join(packages[:MAX_LISTED_PACKAGES])}{more}"] if packages else []
    return messages + [
        f"the environment variable {name} was {before!r}, and is {now!r}"
        for name, (before, now) in diff_dicts(recorded.variables, current.variables).items()
    ]


def _changed_data(run: RunDetails) -> list[InputFile]:
    changed = [file for file in run.data if _has_changed(file)]
    return changed + [file for file in run.data_read if has_changed(Path(file.path), file.hash)]


def _has_changed(file: InputFile) -> bool:
    if is_volume(file.path):
        return has_version_changed(file)
    try:
        return fingerprint_path(Path(file.path)).hash != file.hash
    except OSError:
        return True


def _fit_request(run: RunDetails) -> FitRequest:
    """The request of a fit, with the values that depend on the machine as they were. Raises RunError."""
    request = FitRequest.from_json(run.request or {})
    if request.reads_standard_input:
        raise RunError(
            f"Run {run.id} read its table from standard input, which is not stored. Fit the table again from a file."
        )
    params = {name: param.value for name, param in run.params.items()}
    if params.get("kind") in DEEP_KINDS:
        machine_values = {
            name: params[name] for name in MACHINE_DEPENDENT if request.spec[name] == "auto" and name in params
        }
        request = request.model_copy(update={"spec": request.spec.replace(**machine_values)})
    return request


def _rerun_fit(store: Store, run: RunDetails, request: FitRequest, notify: Notify) -> _Rerun:
    recorder = Recorder.for_request(request, run.experiment, name=f"{run.id} again", store=store_name(store.url))
    recorder.reproduces = run.id
    gaps = tuple[Gap, ...]()
    if request.spec.has_search and not request.spec.search.deterministic:
        gaps = (Gap("input", "the order in which trials ended, which only --deterministic makes the same"),)
    failure = ""
    try:
        run_fit_request(recorder, notify)
    except RosenblattError as error:
        failure = "" if run.state == "failed" and str(error) == run.reason else str(error)
    new_id = recorder.run.id if recorder.run and recorder.has_begun else None
    return _Rerun(new_id, new_id, failure, gaps)


def _rerun_script(
    store: Store, run: RunDetails, source: Source, call: ScriptCall, notify: Notify, keep: Path | None
) -> _Rerun:
    """Restore the source in a new folder with copies of the data that was beside it, and run the script there."""
    with _new_folder(keep) as base:
        restored = RestoredRun(run, source, base)
        gaps, started = tuple[Gap, ...](), time.time()
        try:
            restored.restore(Artifacts(store.url, store))
            gaps = tuple(restored.gaps())
            _report_restored(restored, keep, notify)
            request = _launch_request(run, call, restored)
            status, launched = launch(request, store=store_name(store.url), metadata={"reproduces": run.id})
        except RosenblattError as error:
            return _Rerun(None, failure=str(error), gaps=gaps)
        for path in restored.changed_in_place():
            notify(f"caution: the script has changed {path}, which it used in place")
        failure = _describe_failure(store, run, launched.id, status)
        compared = launched.id if failure else _find_counterpart(store, run, launched.id, started, base)
    if compared is None:
        failure = f"the script ran, but recorded no run that corresponds to {run.id}"
    return _Rerun(launched.id, compared, failure, gaps)


@contextmanager
def _new_folder(keep: Path | None) -> Iterator[Path]:
    """A new folder, removed at the end unless the user named it."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="rosenblatt-", ignore_cleanup_errors=True) as folder:
            yield Path(folder).resolve()
        return
    try:
        keep.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"The folder {str(keep)!r} cannot be created: {error.strerror}. Name a new folder.") from error
    yield keep.resolve()


def _report_restored(restored: RestoredRun, keep: Path | None, notify: Notify) -> None:
    notify(f"source: restored in {restored.working_folder}{'' if keep else ', and removed at the end (--keep FOLDER)'}")
    if restored.left_out:
        notify(f"left out: {format_list(restored.left_out)}, which would lead out of the folder or belong to git")
    for path in restored.used_in_place:
        notify(f"data: {path} is used in place, not copied; the script may change it")


def _launch_request(run: RunDetails, call: ScriptCall, restored: RestoredRun) -> LaunchRequest:
    """The call of a script in the restored folders. Raises RunError if the script is not there."""
    target = call.target if call.is_module else str(restored.locate(Path(run.folder, call.target)))
    if not call.is_module and not Path(target).is_file():
        raise RunError(f"the script {call.target} is not part of the recorded source")
    data = tuple(str(restored.locate(Path(run.folder, path))) for path in call.data)
    return LaunchRequest(
        target, call.arguments, call.is_module, run.experiment, f"{run.id} again", data=data,
        folder=str(restored.working_folder), import_folders=restored.import_folders, may_reuse=False,
    )  # fmt: skip


def _describe_failure(store: Store, run: RunDetails, new_id: str, status: int) -> str:
    """Why a script failed, with the last line of its error; empty if it ended as it did the first time."""
    if status == 0:
        return ""
    error = _last_error(store, new_id)
    is_same_status = run.exit_status == status if run.exit_status is not None else run.state == "failed"
    first_error = _last_error(store, run.id) or run.reason or ""
    if is_same_status and error.partition(":")[0] == first_error.partition(":")[0]:
        return ""
    return f"{error or 'it printed no error'}, exit status {status}"


def _last_error(store: Store, run: str) -> str:
    """The last line that a run printed as an error: that of an exception, if there is one."""
    text = "".join(part for stream, part in load_output(store, run) if stream == "stderr")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    exceptions = [line for line in lines if _ERROR_LINE.match(line)]
    return (exceptions or lines or [""])[-1][:500]


def _find_counterpart(store: Store, run: RunDetails, launched: str, started: float, base: Path) -> str | None:
    """The run of a repeated script whose results correspond to those of the first run."""
    if run.kind == "script":
        return launched
    candidates = find_runs(store, f"kind = {run.kind} and started >= {started - 1!r}", "started")
    for candidate in (run_details(store, record.id) for record in candidates):
        is_repetition = Path(candidate.folder).is_relative_to(base) or candidate.parent == launched
        if is_repetition and candidate.sequence == run.sequence and _script_name(candidate) == _script_name(run):
            return candidate.id
    return launched if run.kind == "track" and run.sequence == 0 else None


def _script_name(run: RunDetails) -> str:
    first, *rest = run.arguments or ("",)
    return rest[0] if first == "-m" and rest else Path(first).name
