"""Comparisons of two runs name every difference, and say how far their results are apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from rosenblatt.runs.capture.source import capture
from rosenblatt.runs.compare import causes, compare, differing, source_difference, verdict
from rosenblatt.runs.store.artifacts import keep
from rosenblatt.runs.store.queries import details
from rosenblatt.runs.store.records import Batch
from rosenblatt.runs.store.store import Store
from tests.runs.conftest import a_run


@pytest.fixture
def sqlite(tmp_path):
    """A store; which database it is plays no part here."""
    opened = Store(f"sqlite:///{tmp_path / 'runs.db'}")
    yield opened
    opened.close()


@pytest.fixture
def source_of(tmp_path):
    """Captures the source of a folder that holds one script of this content."""

    def captured(name, content):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "train.py").write_text(content)
        root = str(tmp_path / "artifacts")
        return capture(folder / "train.py", lambda path: (keep(path, root, "sqlite:///none").hash, root))

    return captured


def with_environment(batch, run, **environment):
    a_run(batch, run)
    batch.fact(run, "environment", batch.document({"packages": {}, "variables": {}} | environment))


def of_models(batch, tmp_path, run, **tensors):
    """A run whose model has these weights."""
    path = tmp_path / f"{run}.safetensors"
    save_file({name: np.array(values, np.float32) for name, values in tensors.items()}, path)
    kept = keep(path, str(tmp_path / "artifacts"), "sqlite:///none")
    a_run(batch, run)
    batch.artifact(run, "model", "model", kept.hash, kept.bytes, kept.root)
    batch.fact(run, "weights", kept.hash)


def test_only_names_with_different_values_differ_and_a_missing_one_is_none():
    assert differing({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5}) == {
        "b": [2, 4],
        "c": [3, None],
        "d": [None, 5],
    }
    assert differing({"a": 1.0}, {"a": 1.0}) == {}


def test_a_comparison_lists_each_kind_of_difference_and_all_metrics(store):
    batch = Batch()
    with_environment(batch, "a", python="3.12", packages={"numpy": "2.2", "torch": "2.6"}, variables={"SEED": "1"})
    with_environment(batch, "b", python="3.12", packages={"numpy": "2.3", "torch": "2.6"}, variables={"SEED": "2"})
    batch.params("a", {"dropout": 0.1, "epochs": 5})
    batch.params("b", {"dropout": 0.2, "epochs": 5})
    batch.fact("a", "data", [{"name": "train.csv", "path": "/x/train.csv", "hash": "1"}])
    batch.fact("b", "data", [{"name": "train.csv", "path": "/x/train.csv", "hash": "2"}])
    a_run(batch, "a", loss=[2.0, 1.0, 3.0], auc=[0.5, 0.8])
    a_run(batch, "b", loss=[0.5])
    store.write(batch)
    assert compare(store, "a", "b") == {
        "runs": ["a", "b"],
        "params": {"dropout": ["0.1", "0.2"]},
        "metrics": {"auc": [0.8, None], "loss": [1.0, 0.5]},
        "data": {"train.csv": ["1", "2"]},
        "environment": {"numpy": ["2.2", "2.3"], "variable SEED": ["1", "2"]},
        "source": "",
    }


def test_files_of_one_name_in_two_folders_are_compared_separately(sqlite):
    batch = Batch()
    for run, digest in (("a", "2"), ("b", "3")):
        a_run(batch, run)
        batch.fact(
            run,
            "data_read",
            [
                {"name": "part.csv", "path": "/x/train/part.csv", "hash": "1"},
                {"name": "part.csv", "path": "/x/test/part.csv", "hash": digest},
            ],
        )
    sqlite.write(batch)
    assert compare(sqlite, "a", "b")["data"] == {"test/part.csv": ["2", "3"]}


def test_a_seed_is_a_cause_of_its_own_and_explains_another_split(sqlite):
    batch = Batch()
    for run, seed, rows in (("a", 0, "p"), ("b", 1, "q"), ("c", 0, "q")):
        a_run(batch, run)
        batch.params(run, {"seed": seed, "dropout": 0.1})
        batch.fact(run, "split", {"training": rows})
    sqlite.write(batch)
    a, b, c = (details(sqlite, run) for run in "abc")
    assert causes(a, b) == {"seed": {"seed": ["0", "1"]}}
    assert causes(a, c) == {"data": {"training rows": ["p", "q"]}}


def test_hardware_is_distinguished_from_packages(sqlite):
    batch = Batch()
    with_environment(batch, "a", python="3.12", cores=8, processor="EPYC", packages={"numpy": "2.2"})
    with_environment(batch, "b", python="3.13", cores=16, processor="EPYC", packages={"numpy": "2.2"})
    sqlite.write(batch)
    assert causes(details(sqlite, "a"), details(sqlite, "b")) == {
        "package": {"python": ["3.12", "3.13"]},
        "hardware": {"cores": [8, 16]},
    }


def test_the_distance_of_two_runs_is_the_greatest_relative_difference_of_any_point(store):
    batch = a_run(Batch(), "a", loss=[4.0, 2.0, 1.0], auc=[0.5, 0.8])
    a_run(batch, "b", loss=[4.0, 2.5, 1.0], auc=[0.5, 0.88])
    store.write(batch)
    found = verdict(store, "a", "b", 0.3)
    assert (found["verdict"], found["first"], found["compared"]) == ("within tolerance", None, 2)
    assert found["furthest"] == pytest.approx(0.25, rel=1e-12)  # 2.5 for 2.0; of auc it is 0.1
    strict = verdict(store, "a", "b", 0.05)
    assert (strict["verdict"], strict["first"]["step"]) == ("differs", 1)


def test_values_that_are_not_finite_equal_only_themselves(sqlite):
    batch = a_run(Batch(), "a", x=[math.nan, math.inf, -math.inf])
    a_run(batch, "same", x=[math.nan, math.inf, -math.inf])
    a_run(batch, "number", x=[1.0, math.inf, -math.inf])
    a_run(batch, "sign", x=[math.nan, math.inf, math.inf])
    sqlite.write(batch)
    assert verdict(sqlite, "a", "same", 0.0)["verdict"] == "identical"
    for run, step in (("number", 0), ("sign", 2)):
        found = verdict(sqlite, "a", run, 1e9)
        assert (found["verdict"], found["furthest"], found["first"]["step"]) == ("differs", math.inf, step)


def test_measurements_of_the_machine_are_not_compared(sqlite):
    batch = Batch()
    measured = {"system/cpu percent": [1.0], "epoch_time": [1.0], "seconds": [2.0], "samples_per_second": [3.0]}
    a_run(batch, "a", loss=[1.0], timely=[1.0], **measured)
    a_run(batch, "b", loss=[1.0], timely=[1.0], **{name: [9.0] for name in measured})
    sqlite.write(batch)
    found = verdict(sqlite, "a", "b", 0.0)
    assert (found["verdict"], found["compared"]) == ("identical", 2)
    assert found["not_compared"] == sorted(measured)


def test_runs_without_results_have_nothing_to_compare_and_exit_statuses_are_results(sqlite):
    batch = Batch()
    for run, status in (("a", 0), ("b", 0), ("c", 1)):
        a_run(batch, run)
        batch.fact(run, "exit_status", status)
    sqlite.write(batch)
    assert verdict(sqlite, "a", "b", 0.0)["verdict"] == "nothing to compare"
    found = verdict(sqlite, "a", "c", 1.0)
    assert (found["verdict"], found["first"]["step"]) == ("differs", None)
    assert found["first"]["what"].startswith("the exit status was 0")


def test_weights_of_models_are_compared_relative_to_the_largest(sqlite, tmp_path):
    batch = Batch()
    of_models(batch, tmp_path, "a", w=[4.0, -8.0], b=[1.0])
    of_models(batch, tmp_path, "near", w=[4.0, -8.0], b=[1.5])
    of_models(batch, tmp_path, "wider", w=[4.0, -8.0, 1.0], b=[1.0])
    sqlite.write(batch)
    found = verdict(sqlite, "a", "near", 0.1)
    assert (found["verdict"], found["furthest"]) == ("within tolerance", 0.5 / 8)
    assert verdict(sqlite, "a", "near", 0.05)["first"] == {"step": None, "what": "weights"}
    assert verdict(sqlite, "a", "a", 0.0)["verdict"] == "identical"
    assert verdict(sqlite, "a", "wider", 1.0)["furthest"] == math.inf


def test_the_difference_of_two_sources_is_a_diff(source_of):
    a, b = source_of("a", "lr = 0.1\nepochs = 5\n"), source_of("b", "lr = 0.2\nepochs = 5\n")
    lines = source_difference(a, b).splitlines()
    assert [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")] == ["-lr = 0.1", "+lr = 0.2"]
    assert any("train.py" in line for line in lines)
    assert source_difference(a, a) == ""
    assert source_difference(a, {}) == ""


def test_sources_that_cannot_be_restored_are_reported_with_the_reason(source_of, tmp_path):
    a, b = source_of("a", "lr = 0.1\n"), source_of("b", "lr = 0.2\n")
    digest = b["files"]["train.py"]["hash"]
    (tmp_path / "artifacts" / digest[:2] / digest).unlink()
    reason = source_difference(a, b)
    assert reason.startswith("The sources differ, but cannot be shown: ")
    assert digest in reason
