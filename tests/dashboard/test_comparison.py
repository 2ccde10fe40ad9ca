"""Tests of the comparison of several runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rosenblatt.dashboard.comparison import (
    DifferencesRequest,
    ImportanceRequest,
    SourceQuery,
    load_differences,
    load_importance,
    load_source_difference,
)
from rosenblatt.errors import RunError
from rosenblatt.runs.capture.source import capture_source
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from tests.runs.conftest import add_run_with_curves


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Iterator[Store]:
    """Runs 0 to 29, whose loss is their learning rate, and whose `other` says nothing; two of them have a source."""
    folder: Path = tmp_path_factory.mktemp("comparison")
    with closing(Store(f"sqlite:///{folder / 'runs.db'}")) as store:
        batch, rng = RecordBatch(), random.Random(0)
        artifacts = Artifacts(store.url, store)
        for number in range(30):
            lr = rng.random()
            add_run_with_curves(batch, str(number), loss=[lr])
            batch.add_params(str(number), {"lr": lr, "other": rng.choice("ab"), "same": 1})
        for number in (0, 1):
            (folder / "train.py").write_text(f"print({number})\n")
            source = capture_source(folder / "train.py", lambda path: (artifacts.store_file(path).hash, ""))
            batch.add_metadata(str(number), "source", batch.add_document(source.to_json()))
        store.write(batch)
        yield store


def test_only_what_differs_is_listed_in_the_order_of_the_runs(compared: Store):
    differences = load_differences(compared, DifferencesRequest(runs=["3", "0", "5"]))
    assert differences.runs == ["3", "0", "5"]
    parameters = differences.sections["hyperparameters"]
    assert "same" not in parameters
    rng = random.Random(0)
    values = [(repr(rng.random()), rng.choice("ab")) for _ in range(6)]
    assert parameters["lr"] == [values[3][0], values[0][0], values[5][0]]


def test_sources_are_compared_and_missing_ones_named(compared: Store):
    difference = load_source_difference(compared, SourceQuery(first="0", second="1"))
    assert "-print(0)\n+print(1)" in difference.text
    assert load_source_difference(compared, SourceQuery(first="0", second="0")).text == ""
    with pytest.raises(RunError, match="no source of its own"):
        load_source_difference(compared, SourceQuery(first="0", second="2"))


def test_the_hyperparameter_that_decides_is_the_most_important(compared: Store):
    runs = [str(number) for number in range(30)]
    importance = load_importance(compared, ImportanceRequest(runs=runs, metric="loss"))
    assert (importance.runs, importance.direction) == (30, "min")
    assert list(importance.fractions) == ["lr", "other"]
    assert importance.fractions["lr"] > 0.9
    assert sum(importance.fractions.values()) == pytest.approx(1)
    few = load_importance(compared, ImportanceRequest(runs=runs[:3], metric="loss"))
    assert (few.runs, few.fractions) == (3, {})
    assert few.needed > 3


def test_runs_that_do_not_exist_are_refused(compared: Store):
    with pytest.raises(RunError, match="There is no run"):
        load_differences(compared, DifferencesRequest(runs=["0", "nobody"]))
