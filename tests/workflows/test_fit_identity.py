"""The identity of a fit changes with everything that its model depends on, and with nothing else."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import BaseModel

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.readers.read import read_table
from rosenblatt.data.schema.columns import Column
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.forecasting import WindowTransform
from rosenblatt.runs.capture.environment import Environment
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.fit_identity import (
    DERIVED_FIELDS,
    EVALUATION_FIELDS,
    LOCATION_FIELDS,
    fit_identity,
    fits_problem,
)
from rosenblatt.workflows.problems.build import build_problem
from rosenblatt.workflows.problems.problem import LearningProblem, ProblemRequest
from rosenblatt.workflows.request import FitRequest
from tests.models.export.fitted_models import make_dense_model

# changed values need not be valid
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
ENVIRONMENT = Environment(python="3.11.7", packages={"numpy": "2.0"}, processor="x")


def changed(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, BaseModel):
        name = next(iter(type(value).model_fields))
        return value.model_copy(update={name: changed(getattr(value, name))})
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, tuple):
        return (*value, *(value[-1:] or ("more",)))
    if isinstance(value, dict):
        return {**value, "more": "1"}
    return f"{value}x" if isinstance(value, str) else "x"


def field_names(model: type[BaseModel]) -> list[str]:
    return list(model.model_fields)


@dataclass
class Case:
    request: FitRequest
    problem: LearningProblem

    def identity(self, environment: Environment = ENVIRONMENT) -> str:
        return fit_identity(self.request, self.problem, environment)

    def with_request(self, **update: Any) -> str:
        return fit_identity(self.request.model_copy(update=update), self.problem, ENVIRONMENT)

    def with_problem(self, **update: Any) -> str:
        return fit_identity(self.request, replace(self.problem, **update), ENVIRONMENT)


def make_case(frame: pl.DataFrame, path: str = "table.csv", spec: Spec | None = None, **request: Any) -> Case:
    frame.write_csv(path)
    fit_request = FitRequest(table=path, targets=("y",), spec=spec or Spec(), **request)
    problem = build_problem(ProblemRequest(read_table(path), fit_request.spec, ("y",)), [])
    return Case(fit_request, problem)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    n = 60
    return pl.DataFrame(
        {
            "a": rng.normal(size=n).round(3),
            "b": rng.normal(size=n).round(3),
            "c": [("red", "blue")[k % 2] for k in range(n)],
            "y": [("yes", "no")[k % 3 > 0] for k in range(n)],
        }
    )


@pytest.fixture(scope="module")
def case(rows, tmp_path_factory) -> Case:
    """A fit of the rows, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("case"))
        return make_case(rows)


@pytest.mark.parametrize("name", sorted(set(field_names(FitRequest)) - LOCATION_FIELDS - {"threads"}))
def test_each_option_of_a_request_is_part_of_the_identity(case, name):
    assert case.with_request(**{name: changed(getattr(case.request, name))}) != case.identity()


@pytest.mark.parametrize("name", sorted(LOCATION_FIELDS | {"threads"}))
def test_names_of_files_and_threads_are_no_part_of_the_identity(case, name):
    assert case.with_request(**{name: 7 if name == "threads" else "other.csv"}) == case.identity()


@pytest.mark.parametrize("name", sorted(HYPERPARAMETERS))
def test_each_hyperparameter_is_part_of_the_identity(case, name):
    section = HYPERPARAMETERS[name].section
    values = getattr(case.request.spec, section)
    spec = case.request.spec.model_copy(
        update={section: values.model_copy(update={name: f"other than {getattr(values, name)}"})}
    )
    assert case.with_request(spec=spec) != case.identity()


@pytest.mark.parametrize(
    "name",
    sorted({field.name for field in fields(Environment)} & {"python", "packages", "processor", "gpus", "variables"}),
)
def test_packages_and_processor_are_part_of_the_identity(case, name):
    environment = replace(ENVIRONMENT, **{name: changed(getattr(ENVIRONMENT, name))})
    assert case.identity(environment) != case.identity()


@pytest.mark.parametrize("name", field_names(Column))
def test_each_field_of_the_schema_is_part_of_the_identity(case, name):
    first, *others = case.problem.schema.columns
    first = first.model_copy(update={name: changed(getattr(first, name))})
    schema = case.problem.schema.model_copy(update={"columns": (first, *others)})
    assert case.with_problem(schema=schema) != case.identity()


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (field, name)
        for field in ("number_format", "date_format", "missing_rule")
        for name in field_names(Column.model_fields[field].annotation)
    ],
)
def test_each_detail_of_a_format_is_part_of_the_identity(case, field, name):
    first, *others = case.problem.schema.columns
    part = getattr(first, field)
    first = first.model_copy(update={field: part.model_copy(update={name: changed(getattr(part, name))})})
    schema = case.problem.schema.model_copy(update={"columns": (first, *others)})
    assert case.with_problem(schema=schema) != case.identity()


def test_each_field_of_the_target_is_part_of_the_identity(case):
    target = case.problem.target
    for name in field_names(type(target)):
        assert case.with_problem(target=target.model_copy(update={name: changed(getattr(target, name))})) != (
            case.identity()
        ), name


@pytest.mark.parametrize("field", [field.name for field in fields(Dataset)])
def test_each_array_of_the_rows_is_part_of_the_identity_in_its_role(case, field):
    data, identities = case.problem.data, {case.identity()}
    array = np.arange(len(data.y), dtype=float)
    other = data.frame.reverse() if field == "frame" else array
    identities.add(case.with_problem(data=replace(data, **{field: other})))
    identities.add(case.with_problem(validation=data))
    assert len(identities) == 3


def test_weights_groups_and_orders_of_equal_values_differ(case):
    array = np.arange(len(case.problem.data.y), dtype=float)
    data = [replace(case.problem.data, **{name: array}) for name in ("weight", "groups", "order")]
    assert len({case.with_problem(data=part) for part in data}) == 3


def test_training_and_validation_rows_are_not_exchangeable(case):
    data, half = case.problem.data, replace(case.problem.data, y=1 - case.problem.data.y)
    assert case.with_problem(data=half, validation=data) != case.with_problem(data=data, validation=half)


def test_each_field_of_a_learning_problem_counts_or_is_only_for_evaluation(case):
    known = {"spec", "schema", "target", "data", "validation", "windows", "weight_column", "start"}
    assert {field.name for field in fields(LearningProblem)} == known | EVALUATION_FIELDS | DERIVED_FIELDS
    for name in EVALUATION_FIELDS | DERIVED_FIELDS:
        assert case.with_problem(**{name: None}) == case.identity()


def test_columns_of_windows_are_part_of_the_identity(case):
    column = case.problem.schema.columns[0]
    windows = WindowTransform(
        target="y", time=column, series="", known_covariates=(), past_covariates=(), value=column, horizon=2, window=4
    )
    identities = {case.identity(), case.with_problem(windows=windows), case.with_problem(weight_column=column)}
    for name in field_names(WindowTransform):
        identities.add(case.with_problem(windows=windows.model_copy(update={name: changed(getattr(windows, name))})))
    assert len(identities) == 3 + len(field_names(WindowTransform))


def test_the_networks_that_are_continued_are_part_of_the_identity(case):
    trial = make_dense_model("relu").trials[0]
    network = trial.networks[0]
    other = replace(trial, networks=(replace(network, theta=network.theta + 1), *trial.networks[1:]))
    encoder = replace(trial, encoder=make_dense_model("relu", "standard").encoder)
    identities = {case.with_problem(start=start) for start in (None, trial, other, encoder)}
    assert len(identities) == 4
    assert case.with_problem(start=make_dense_model("relu").trials[0]) in identities


TABLE_CHANGES = {
    "names exchanged": lambda rows: rows.rename({"a": "b", "b": "a"}),
    "column renamed": lambda rows: rows.rename({"a": "first"}),
    "order of columns": lambda rows: rows.select("b", "a", "c", "y"),
    "column added": lambda rows: rows.with_columns(d=pl.col("a") * 2),
    "column removed": lambda rows: rows.drop("b"),
    "type": lambda rows: rows.with_columns(a=pl.Series(["low", "high"] * 30)),
    "one value": lambda rows: rows.with_columns(a=pl.when(pl.col("a") == pl.col("a").max()).then(9).otherwise("a")),
    "missing value": lambda rows: rows.with_columns(a=pl.when(pl.int_range(60) == 5).then(None).otherwise("a")),
    "order of rows": lambda rows: rows.reverse(),
    "category renamed": lambda rows: rows.with_columns(c=pl.col("c").replace({"red": "green"})),
    "class renamed": lambda rows: rows.with_columns(y=pl.col("y").replace({"yes": "ja"})),
    "classes exchanged": lambda rows: rows.with_columns(y=pl.col("y").replace({"yes": "no", "no": "yes"})),
    "decimal comma": lambda rows: rows.with_columns(a=pl.col("a").cast(pl.String).str.replace(".", ",", literal=True)),
    "unit": lambda rows: rows.with_columns(a=pl.col("a").cast(pl.String) + " kg"),
}


@pytest.mark.parametrize("change", TABLE_CHANGES)
def test_each_change_of_a_table_changes_the_identity(case, rows, change):
    assert make_case(TABLE_CHANGES[change](rows), "changed.csv").identity() != case.identity()


def test_the_name_of_a_table_does_not_change_the_identity(case, rows):
    assert make_case(rows, "renamed.csv").identity() == case.identity()


def test_threads_count_for_networks_whose_sums_depend_on_them(rows):
    cnn = Spec.from_hyperparameters(kind="cnn")
    case = make_case(rows)
    problem = replace(case.problem, spec=cnn)
    requests = [case.request.model_copy(update={"threads": threads}) for threads in (1, 2)]
    assert len({fit_identity(request, problem, ENVIRONMENT) for request in requests}) == 2


def test_a_model_of_another_schema_or_target_is_not_the_one_of_a_problem(rows, case):
    spec = Spec.from_hyperparameters(epochs=2, members=1, folds=2)
    model = fit(Table(rows, "rows"), ["y"], spec, notify=lambda _: None).model
    assert fits_problem(model, build_problem(ProblemRequest(Table(rows, "rows"), spec, ("y",)), []))
    for change in ("names exchanged", "missing value", "class renamed"):
        other = Table(TABLE_CHANGES[change](rows), "rows")
        assert not fits_problem(model, build_problem(ProblemRequest(other, spec, ("y",)), [])), change
