"""What a model file records about a model: its data, its test scores, and the search it comes from."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from rosenblatt.data.schema.columns import Column
from rosenblatt.data.schema.types import CellType
from rosenblatt.data.tasks.forecasting import WindowTransform


class _Metadata(BaseModel):
    """Frozen record with JSON both ways; fields that were never set are left out of the JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON-serializable data."""
        return self.model_dump(mode="json", exclude_unset=True)

    def with_fields(self, **fields: Any) -> Self:
        """Return a validated copy with these fields replaced."""
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | fields)


class TestScore(_Metadata):
    """One score of a model on the test rows, next to that of a trivial baseline on the same rows."""

    __test__: ClassVar[bool] = False  # not a test class, although pytest would collect it by its name

    name: str
    model: float
    baseline: float
    higher_is_better: bool
    interval: tuple[float, float] | None = None  # 95% confidence interval of `model`

    @property
    def beats_baseline(self) -> bool:
        """Whether the model scores better than the baseline."""
        return self.model > self.baseline if self.higher_is_better else self.model < self.baseline


class TrialCounts(_Metadata):
    """Number of trials of a search by the state they ended in."""

    proposed: int
    finished: int
    stopped: int
    failed: int


class SearchRung(_Metadata):
    """A stage of a search after which the worse trials are stopped."""

    fraction: float  # of the epochs of a full training
    folds: int  # that a trial is trained on


class TrialRecord(_Metadata):
    """One trial of a search: its hyperparameters, scores and cost."""

    number: int
    state: str
    reason: str
    score: float | None
    scores: tuple[float | None, ...]  # after each rung
    params: dict[str, Any]
    parameters: int  # of one network
    epochs: int
    folds: int
    steps: int
    seconds: float
    inherited_from: tuple[tuple[int, int], ...]  # population-based training: (epoch, trial) whose networks it copied


class EnsembleMember(_Metadata):
    """A trial in an ensemble, and its weight; the weights add up to 1."""

    trial: int
    weight: float


class RefitSummary(_Metadata):
    """Networks that were refitted on all rows after a search."""

    networks: int
    rows: int
    seconds: float


class SearchMetadata(_Metadata):
    """Outcome of a search: its best trials, the ensemble, and what it cost. Scores are those of the validation rows."""

    trials: TrialCounts
    refused: int  # proposals whose hyperparameters cannot be combined
    refusal: str  # error message of the first of them
    folds: int
    rungs: tuple[SearchRung, ...]
    scoring: str
    best: TrialRecord
    optimism: float | None  # estimated selection bias of the best score; None unless the scoring is the loss
    ensemble: tuple[EnsembleMember, ...]
    top: tuple[TrialRecord, ...]
    front: tuple[TrialRecord, ...]  # Pareto front of score and size; empty unless both are searched for
    importance: dict[str, float]  # of each hyperparameter
    seconds: float
    network_steps: int  # weight updates of all networks
    steps_per_second: int
    cores_busy: float  # mean fraction of the worker threads that were training
    history: tuple[tuple[int, float], ...]  # (trial, score), in the order of the trials
    refit: RefitSummary | None = None


class ModelMetadata(_Metadata):
    """Origin and quality of a model; an estimator's model has only the first four fields and `windows`."""

    rows: int = 0  # training rows
    interrupted: bool = False
    members: int = 0  # networks that were started; those that diverged are not part of the model
    failures: tuple[str, ...] = ()  # why the others diverged
    source: str = ""  # name of the table
    reason: str = ""  # why the task was detected as it was
    baseline: tuple[float, ...] = ()  # what the baseline predicts for every row: class frequencies or means
    test_rows: int = 0
    test_source: str = ""  # name of the test table, if it was separate
    scores: tuple[TestScore, ...] = ()
    test_rows_in_training: int = 0  # test rows of a table of their own that are also training or validation rows
    cautions: tuple[str, ...] = ()  # what the scores do not show, or why they may be too optimistic
    seconds: float | None = None  # duration of the fit
    created: str = ""  # local time
    version: str = ""  # of Rosenblatt
    windows: WindowTransform | None = None  # of a forecasting model
    target_types: dict[str, CellType] = {}  # of the target columns, if the table had types
    weight_column: Column | None = None  # how sample weights are read, if the rows had some
    search: SearchMetadata | None = None
