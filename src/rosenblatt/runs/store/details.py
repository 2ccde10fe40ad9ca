"""Models of a recorded run: its record in a list, and its details with everything but curves and output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from rosenblatt.runs.capture.environment import Environment
from rosenblatt.runs.capture.source import Source
from rosenblatt.runs.recorded import InputFile, ScriptCall, find_masks
from rosenblatt.runs.redaction import MASK
from rosenblatt.runs.stored_model import StoredModel


class MetricSummary(StoredModel):
    """A curve in a few numbers; None stands for NaN."""

    step: int  # the highest
    last: float | None  # the value at that step
    min: float | None = None
    min_step: int | None = None
    max: float | None = None
    max_step: int | None = None
    best: float | None = None  # the minimum or maximum, whichever is better for a metric of this name
    best_step: int | None = None


class Param(StoredModel):
    """A hyperparameter as text, and whether the user or a search chose it; otherwise it has its default."""

    value: str
    explicit: bool


class Artifact(StoredModel):
    """A file of a run, stored under the SHA-256 of its content in `root`, a folder or an object store."""

    kind: str
    hash: str
    bytes: int
    root: str


class ClassScores(StoredModel):
    """Scores of one class on the test rows."""

    precision: float
    recall: float
    f1: float
    rows: int


class RunRecord(StoredModel):
    """A run in a list; `extra_fields` holds the columns that a filter or a sort asked for, such as `params.dropout`."""

    id: str
    experiment: str
    name: str
    kind: str  # fit, search, trial, script or track
    state: str  # running, finished, stopped, failed or lost
    reason: str | None = None
    started: float  # seconds since 1970
    ended: float | None = None
    heartbeat: float
    parent: str | None = None
    number: int | None = None
    identity: str | None = None
    owner: str | None = None

    @property
    def duration(self) -> float:
        """Seconds from the start to the end, or to the last sign of life."""
        return (self.ended or self.heartbeat) - self.started

    @property
    def extra_fields(self) -> dict[str, Any]:
        """Values by their names in filters."""
        return self.model_extra or {}


class RunDetails(RunRecord):
    """Everything recorded of a run but curves and output. What does not apply to its kind is empty."""

    params: dict[str, Param] = {}
    tags: dict[str, str] = {}
    notes: dict[str, Any] = {}
    metrics: dict[str, MetricSummary] = {}
    artifacts: dict[str, Artifact] = {}
    trials: int = 0
    child_runs: int = 0  # that its script started
    # how it was started
    command: tuple[str, ...] = ()  # as typed
    arguments: tuple[str, ...] = ()  # of Python, to start it again
    masked_arguments: tuple[int, ...] = Field(
        default_factory=lambda values: find_masks(values.get("arguments", ()))
    )  # positions; see `ScriptCall.masked`
    launch: ScriptCall | None = None
    program: str = ""  # kind of the program, see `program_kind`; empty if an earlier version recorded the run
    sequence: int = 0  # number of runs that its process began before
    folder: str = ""
    machine: str = ""
    host: str = ""  # the same, as a file of hosts names it
    user: str = ""
    user_id: int | None = None
    process: int = -1
    # what it consists of
    source: Source | None = None
    source_hash: str | None = None
    environment: Environment | None = None
    engine: dict[str, str] = {}
    data: tuple[InputFile, ...] = ()
    data_read: tuple[InputFile, ...] = ()  # files that a script opened; without a hash: there was no such file
    modules: tuple[InputFile, ...] = ()
    listings: tuple[InputFile, ...] = ()  # folders whose names a script listed; `name` is the pattern, if it has one
    variables_read: dict[str, str] = {}  # environment variables that a script read: hashes by name; "": not set
    outputs: tuple[InputFile, ...] = ()  # files that a script wrote, below the root of the source
    unreadable: tuple[str, ...] = ()  # names of records in a form that this version does not know
    unseen: tuple[str, ...] = ()  # inputs that could not be captured, such as "standard input": the run is not reusable
    seeds: dict[str, int] = {}
    split: dict[str, int | str] = {}  # numbers of rows, and hashes of the training, validation and test rows
    request: dict[str, Any] | None = None  # see `FitRequest.to_json`
    space: dict[str, str] = {}  # the dimensions that `tune` searches
    metric: str = ""  # the metric that `tune` optimizes
    direction: str = ""  # "minimize" or "maximize"
    reused_trials: tuple[str, ...] = ()  # ids of trials that `tune` took over from earlier searches
    reproduces: str | None = None
    # its results
    baseline: dict[str, float] = {}
    classes: dict[str, ClassScores] = {}
    weights: tuple[str, ...] | str = ()  # hashes of the networks' weights
    exit_status: int | None = None
    peak_memory: int | None = None  # bytes
    model: str | None = None  # a summary in text
    output: str = ""  # the path of the model file that `fit` writes


def describe_masked(arguments: Sequence[str], masked: Sequence[int]) -> dict[int, str]:
    """Name each masked argument by its position: by its option (`--password`), its own text, or its number.

    >>> describe_masked(["--lr", "0.1", "--password", "******", "--token=******", "******"], [3, 4, 5])
    {3: '--password', 4: '--token=******', 5: 'argument 6'}
    """
    names = {}
    for i in masked:
        previous = arguments[i - 1] if i else ""
        is_option = previous.startswith("-") and "=" not in previous
        names[i] = arguments[i] if arguments[i] != MASK else previous if is_option else f"argument {i + 1}"
    return names
