"""Identity of a fit: a hash of everything that its trained model depends on."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rosenblatt.data.cores import cores
from rosenblatt.data.dataset import Dataset
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedTrial
from rosenblatt.runs.capture.environment import Environment
from rosenblatt.runs.capture.snapshot import run_identity
from rosenblatt.workflows.problems.problem import LearningProblem
from rosenblatt.workflows.request import FitRequest

LOCATION_FIELDS = frozenset({"table", "test", "validation", "start"})
"""Fields of `FitRequest` that say where tables and a model are; their content counts instead."""

EVALUATION_FIELDS = frozenset({"frame", "test", "test_typed", "y_test", "test_row_numbers", "test_weight"})
"""Fields of `LearningProblem` on which only the evaluation depends, which is repeated when a model is reused."""

DERIVED_FIELDS = frozenset({"supervised_task"})
"""Fields of `LearningProblem` that training uses only through its target."""

_EXACT_KINDS = ("mlp", "perceptron")  # kinds of networks whose results do not depend on the number of threads


def fit_identity(request: FitRequest, problem: LearningProblem, environment: Environment) -> str:
    """Hash the request, the learning problem, this library and the environment; equal hashes give equal models.

    The rows count with names, types and order of their columns, the schema by which they are read, targets and classes,
    weights, groups and order. Test rows do not count: a reused model is scored on them again.
    """
    options = {name: value for name, value in request.to_json().items() if name not in LOCATION_FIELDS | {"threads"}}
    if problem.spec.network.kind not in _EXACT_KINDS and problem.spec.training.cores == "auto":
        options["threads"] = request.threads or cores()
    parts = {
        field.name: _fingerprint(getattr(problem, field.name))
        for field in fields(problem)
        if field.name not in EVALUATION_FIELDS | DERIVED_FIELDS
    }
    return run_identity("fit", engine_hash(), {"request": options, "problem": parts}, [], environment)


def fits_problem(model: Model, problem: LearningProblem) -> bool:
    """Whether a stored model reads rows as a learning problem does, and predicts the same target."""
    same_target = model.target.names == problem.target.names and model.target.labels == problem.target.labels
    return same_target and model.schema == problem.schema and model.metadata.windows == problem.windows


@cache
def engine_hash() -> str:
    """Hash the source of this library."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _fingerprint(part: Dataset | TrainedTrial | BaseModel | None) -> Any:
    if isinstance(part, TrainedTrial):
        thetas = [hashlib.sha256(network.theta.tobytes()).hexdigest() for network in part.networks]
        return [part.encoder.model_dump(mode="json"), part.resolved_spec.model_dump(mode="json"), thetas]
    if isinstance(part, Dataset):
        return part.fingerprint().hex()
    return None if part is None else part.model_dump(mode="json")
