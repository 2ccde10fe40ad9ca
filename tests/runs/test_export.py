"""Exported runs equal the logged ones."""

from __future__ import annotations

from contextlib import closing

import polars as pl
import pytest

from rosenblatt.errors import StorageError
from rosenblatt.runs.export import export, to_json
from rosenblatt.runs.store.queries import find_runs
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from tests.runs.conftest import add_run_with_curves


@pytest.fixture
def filled_store(own_store):
    for i in range(3):
        with track("out", params={"lr": i / 10}, name=f"n{i}", tags={"who": "ana"}) as run:
            for step in range(4):
                run.log({"loss": step / 3 + i, "nan": float("nan")}, step=step)
    store = Store(run.url)
    yield store, [run.id for run in find_runs(store, sort="started")]
    store.close()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_tables_hold_runs_and_every_point(filled_store, tmp_path, kind):
    store, ids = filled_store
    exported = []
    paths = export(store, ids, kind, str(tmp_path / "tables"), exported.append)
    assert exported == ids
    read_table = pl.read_parquet if kind == "parquet" else pl.read_csv
    runs, curves = (read_table(path) for path in paths)
    assert runs["id"].to_list() == ids
    assert runs["params.lr"].cast(pl.Float64).to_list() == [0.0, 0.1, 0.2]
    loss = curves.filter((pl.col("run") == ids[2]) & (pl.col("metric") == "loss"))
    assert loss["value"].to_list() == [step / 3 + 2 for step in range(4)]
    assert loss["step"].to_list() == [0, 1, 2, 3]


def test_a_table_of_curves_without_points_has_the_same_columns(filled_store, tmp_path):
    store, ids = filled_store
    tables = [pl.read_parquet(export(store, runs, "parquet", str(tmp_path / "tables"))[1]) for runs in (ids, ids[:0])]
    assert tables[0].schema == tables[1].schema


@pytest.mark.frameworks
def test_tensorboard_reads_exported_runs(filled_store, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store, ids = filled_store
    export(store, ids, "tensorboard", str(tmp_path / "logs"))
    folders = sorted((tmp_path / "logs").iterdir())
    assert len(folders) == 3
    events = EventAccumulator(str(next(folder for folder in folders if "n1" in folder.name)))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [0, 1, 2, 3]
    assert events.Scalars("loss")[1].value == pytest.approx(4 / 3)
    assert "hyperparameters/text_summary" in events.Tags()["tensors"]


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_exported_runs(filled_store, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    store, ids = filled_store
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    export(store, ids, "mlflow", address)
    client = mlflow.MlflowClient(address)
    experiment = client.get_experiment_by_name("out")
    runs = client.search_runs([experiment.experiment_id], "params.lr = '0.1'")
    assert len(runs) == 1
    assert runs[0].data.tags["rosenblatt.run"] == ids[1]
    assert runs[0].info.status == "FINISHED"
    history = client.get_metric_history(runs[0].info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(step, step / 3 + 1) for step in range(4)]


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore")
def test_a_run_that_mlflow_refuses_is_ended_and_the_others_are_exported(filled_store, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    store, ids = filled_store
    log_batch = mlflow.MlflowClient.log_batch

    def refuse(client, run_id, metrics=(), **entries):
        if any(metric.value == 1.0 for metric in metrics):
            raise mlflow.exceptions.MlflowException("full\ndetails")
        log_batch(client, run_id, metrics=metrics, **entries)

    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", refuse)
    with pytest.raises(StorageError, match=r"2 runs could not .* \(\w+: full; \w+: full"):
        export(store, ids, "mlflow", address)
    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", log_batch)
    client = mlflow.MlflowClient(address)
    experiment = client.get_experiment_by_name("out").experiment_id
    assert [run.info.status for run in client.search_runs([experiment])] == ["FINISHED"] * 3
    export(store, ids, "mlflow", address)  # completes the two others
    runs = client.search_runs([experiment])
    assert len(runs) == 3
    assert not any("rosenblatt.incomplete" in run.data.tags for run in runs)


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_store_that_cannot_be_used_is_an_error(filled_store, tmp_path):
    pytest.importorskip("mlflow")
    store, ids = filled_store
    with pytest.raises(StorageError, match="cannot be used"):
        export(store, ids, "mlflow", "nosuch://x")


def test_csv_files_hold_no_formulas(own_store, tmp_path):
    texts = {"a": "=1+2", "b": "@x", "c": "+cmd", "d": "-x", "e": "\t=1", "f": "-0.5", "g": "+3e5", "h": "x=1"}
    with track("out", params=texts, name="=n") as run:
        run.log({"=metric": -1.0, "loss": 2.0, "loss.best": 3.0})
    store, messages = Store(run.url), []
    frames = [pl.read_csv(path, infer_schema=False) for path in export(store, [run.id], "csv", str(tmp_path))]
    frames += [pl.read_parquet(path) for path in export(store, [run.id], "parquet", str(tmp_path), notify=print)]
    export(store, [run.id], "csv", str(tmp_path), notify=messages.append)
    store.close()
    row, curves, exact_row, exact_curves = (frame.to_dicts() for frame in frames)
    guarded = {name: f"'{text}" if name in "abcde" else text for name, text in texts.items()}
    assert {name: row[0][f"params.{name}"] for name in texts} == guarded
    assert {name: exact_row[0][f"params.{name}"] for name in texts} == texts
    assert (row[0]["name"], exact_row[0]["name"]) == ("'=n", "=n")
    assert [curve["metric"] for curve in curves if curve["value"] == "-1.0"] == ["'=metric"]
    assert "=metric" in [curve["metric"] for curve in exact_curves]
    assert (row[0]["metrics.loss.best"], row[0]["metrics.loss.best value"]) == ("3.0", "2.0")
    assert len(messages) == 1
    assert messages[0].startswith("7 cells")


def test_json_has_no_nan_and_infinity():
    assert to_json({"a": float("nan"), "b": [float("inf")], 3: (1,)}).split() == [
        "{", '"a":', "null,", '"b":', "[", '"inf"', "],", '"3":', "[", "1", "]", "}"
    ]  # fmt: skip


@pytest.mark.parametrize("run", ["x/../../../out", "/tmp/x", "..", "a\nb"])
def test_event_files_stay_in_their_folder_whatever_the_id_of_a_run(tmp_path, run):
    batch = RecordBatch()
    add_run_with_curves(batch, run, loss=[1.0])
    with closing(Store(f"sqlite:///{tmp_path / 'runs.db'}")) as store:
        store.write(batch)
        export(store, [run], "tensorboard", str(tmp_path / "a" / "b" / "logs"))
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["logs"]
    assert len(list((tmp_path / "a" / "b" / "logs").glob("*/events*"))) == 1
