"""One run: everything recorded of it but curves, as the page shows it, its output, and the commands that repeat it."""

from __future__ import annotations

import json
import shlex
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import func, select

from rosenblatt.dashboard.endpoints import ApiRequest
from rosenblatt.errors import RunError
from rosenblatt.runs.capture.source import Source
from rosenblatt.runs.export import to_json
from rosenblatt.runs.redaction import redact
from rosenblatt.runs.store.details import Artifact, ClassScores, MetricSummary, Param, RunDetails
from rosenblatt.runs.store.locations import store_name
from rosenblatt.runs.store.queries import run_details
from rosenblatt.runs.store.schema import output, runs
from rosenblatt.runs.store.store import Store
from rosenblatt.workflows.recorded_call import find_call

MAX_OUTPUT_CHARACTERS = 200_000  # of an answer
MAX_SOURCE_FILES = 500  # of an answer
REPRODUCE_KINDS = ("fit", "search", "script", "track")


class RunQuery(ApiRequest):
    """Which run is meant."""

    run: str = Field(description="The id of the run.")


class SourceSummary(BaseModel):
    """Which source a run had."""

    root: str
    commit: str | None = Field(description="null: no repository of git.")
    branch: str
    files: list[str] = Field(
        description="Files that were recorded: those that differ from the commit, if there is one."
    )
    n_files: int
    skipped: dict[str, str] = Field(description="Files that were not recorded, and why.")


class RunAnswer(BaseModel):
    """A run. Numbers that JSON lacks are null (NaN), "inf" and "-inf"."""

    id: str
    name: str
    experiment: str
    kind: str
    state: str
    reason: str | None
    started: float
    duration: float
    parent: str | None
    trials: int
    child_runs: int
    params: dict[str, Param]
    tags: dict[str, str]
    notes: dict[str, Any]
    metrics: dict[str, MetricSummary]
    baseline: dict[str, float]
    classes: dict[str, ClassScores]
    confusion: dict[str, Any] | None = Field(description='{"classes": [...], "counts": [[...]]}; rows: true classes.')
    model: str | None = Field(description="A summary of the model, as text.")
    data: list[str]
    facts: dict[str, str]
    source: SourceSummary | None
    packages: dict[str, str]
    variables: dict[str, str]
    artifacts: dict[str, Artifact]
    reproduce: str = Field(description="The command that repeats the run; empty if it cannot be repeated.")
    obstacle: str = Field(description="Why it cannot be repeated.")
    resume: str = Field(description="The command that resumes an interrupted search; else empty.")
    unreadable: list[str]


class OutputAnswer(BaseModel):
    """What a run printed, the last part."""

    total: int = Field(description="Number of characters, of which the last ones are in `parts`.")
    parts: list[tuple[str, str]] = Field(description="Streams (stdout or stderr) and text, in order.")


def load_run(store: Store, query: RunQuery) -> RunAnswer:
    """Load a run. Raises RunError if there is none of this id."""
    check_run(store, query.run)
    details = run_details(store, query.run)
    plain = json.loads(to_json(details))
    environment = plain.get("environment", {})
    reproduce, obstacle = _find_command(store, details)
    is_resumable = details.kind == "search" and details.state in ("failed", "stopped", "lost")
    return RunAnswer.model_validate({
        **{name: getattr(details, name) for name in RunAnswer.model_fields if name in RunDetails.model_fields},
        "duration": details.duration,
        "metrics": {name: plain["metrics"][name] for name in details.metrics},
        "baseline": plain.get("baseline", {}),
        "confusion": (details.model_extra or {}).get("confusion"),
        "data": [f"{file.name} {file.hash[:12]}" for file in (*details.data, *details.data_read)],
        "facts": _list_facts(details),
        "source": details.source and _summarize_source(details.source),
        "packages": environment.get("packages", {}),
        "variables": environment.get("variables", {}),
        "reproduce": reproduce,
        "obstacle": obstacle,
        "resume": _command(store, "resume", details.id) if is_resumable else "",
    })  # fmt: skip


def load_output_end(store: Store, query: RunQuery) -> OutputAnswer:
    """Load the end of the output of a run. Raises RunError if there is no run of this id."""
    check_run(store, query.run)
    is_own = output.c.run == query.run
    chunks = select(output.c.stream, output.c.text).where(is_own)
    chunks = chunks.order_by(output.c.time.desc(), output.c.writer.desc(), output.c.chunk_index.desc())
    parts, n_characters = list[tuple[str, str]](), 0
    with store.reading() as connection:
        total = connection.execute(
            select(func.coalesce(func.sum(func.length(output.c.text)), 0)).where(is_own)
        ).scalar()
        for stream, text in connection.execute(chunks):
            parts.append((stream, text[-(MAX_OUTPUT_CHARACTERS - n_characters) :]))
            n_characters += len(parts[-1][1])
            if n_characters >= MAX_OUTPUT_CHARACTERS:
                break
    return OutputAnswer(total=int(total or 0), parts=parts[::-1])


def check_run(store: Store, run: str) -> None:
    """Raise RunError if the store has no run of this id."""
    with store.reading() as connection:
        if connection.execute(select(runs.c.id).where(runs.c.id == run)).scalar() is None:
            raise RunError(f"There is no run {run[:80]!r}. It may have been deleted.")


def _find_command(store: Store, run: RunDetails) -> tuple[str, str]:
    """The command that repeats a run, or why there is none."""
    if run.kind not in REPRODUCE_KINDS:
        return "", f"A {run.kind} cannot be repeated alone; repeat the run {run.parent}."
    if run.request is None:
        try:
            find_call(run)
        except RunError as error:
            return "", str(error)
    return _command(store, "reproduce", run.id), ""


def _command(store: Store, name: str, run: str) -> str:
    return f"rosenblatt runs {name} {run} --store {shlex.quote(redact(store_name(store.url)))}"


def _list_facts(run: RunDetails) -> dict[str, str]:
    environment = run.environment
    facts = {
        "command": shlex.join(run.command),
        "folder": run.folder,
        "machine": f"{run.machine} ({run.host})" if run.host else run.machine,
        "user": run.user,
        "seeds": ", ".join(f"{name} {seed}" for name, seed in run.seeds.items()),
        "split": ", ".join(f"{name} {value}" for name, value in run.split.items() if isinstance(value, int)),
        "peak memory": f"{run.peak_memory / 2**20:,.0f} MiB" if run.peak_memory else "",
        "exit status": "" if run.exit_status is None else str(run.exit_status),
        "unseen inputs": "; ".join(run.unseen) if run.kind == "script" else "",
    }
    if environment:
        gpus = ", ".join(gpu.name for gpu in environment.gpus)
        facts |= {
            "Python": f"{environment.implementation} {environment.python}".strip(),
            "system": environment.system,
            "processor": f"{environment.processor}, {environment.cores} cores",
            "memory": f"{environment.memory / 2**30:,.1f} GiB" if environment.memory else "",
            "GPUs": gpus,
        }
    return {name: text for name, text in facts.items() if text}


def _summarize_source(source: Source) -> SourceSummary:
    files = [*source.files, *source.outside, *(f"{name}/" for name in source.nested)]
    return SourceSummary(
        root=source.root, commit=source.commit, branch=source.branch, files=files[:MAX_SOURCE_FILES],
        n_files=len(files), skipped=dict(list(source.skipped.items())[:MAX_SOURCE_FILES]),
    )  # fmt: skip
