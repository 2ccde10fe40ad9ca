"""Exported runs equal the logged ones."""

from __future__ import annotations

import polars as pl
import pytest

from rosenblatt.runs.export import export, to_json
from rosenblatt.runs.store.queries import find_runs
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track


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


def test_json_has_no_nan_and_infinity():
    assert to_json({"a": float("nan"), "b": [float("inf")], 3: (1,)}).split() == [
        "{", '"a":', "null,", '"b":', "[", '"inf"', "],", '"3":', "[", "1", "]", "}"
    ]  # fmt: skip
