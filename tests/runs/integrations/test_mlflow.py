"""Names that MLflow does not accept are replaced by similar ones that differ from one another."""

from __future__ import annotations

import pytest

from rosenblatt.runs.export import export
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track

ODD_NAMES = (
    "F1 [cat]",
    "F1 (cat)",
    "\N{FIRE}",
    "\N{ROCKET}",
    "a//b",
    "../x",
    "/x",
    ".",
    "a/",
    " ",
    "..x",
    "n" * 400,
    "a\n",
)


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore")
def test_names_that_mlflow_refuses_are_told_apart_and_kept_in_tags(own_store, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    with track("odd", params=dict.fromkeys(ODD_NAMES, "x" * 7000), tags=dict.fromkeys(ODD_NAMES, "t")) as run:
        run.log({name: k for k, name in enumerate(ODD_NAMES)})
        run.log({"infinite": float("inf")})
    address, messages = f"sqlite:///{tmp_path / 'mlflow.db'}", []
    store = Store(run.url)
    for _ in range(2):  # the second export skips the run
        export(store, [run.id], "mlflow", address, notify=messages.append)
    store.close()
    client = mlflow.MlflowClient(address)
    (exported,) = client.search_runs([client.get_experiment_by_name("odd").experiment_id])
    assert exported.info.status == "FINISHED"
    assert sorted(exported.data.metrics.values())[: len(ODD_NAMES)] == list(range(len(ODD_NAMES)))
    assert len(exported.data.params) == len(ODD_NAMES)
    originals = {value for name, value in exported.data.tags.items() if name.startswith("rosenblatt.name.")}
    assert originals == set(ODD_NAMES)
    assert [message.split(maxsplit=2)[1] for message in messages] == ["names", "long", "infinite", "run"]


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore")
def test_mlflow_accepts_every_name():
    validation = pytest.importorskip("mlflow.utils.validation")
    from rosenblatt.runs.integrations.mlflow import mlflow_name

    names = [
        *ODD_NAMES,
        "",
        "..",
        "../..",
        "a/../b",
        "a/b/",
        "//",
        "\0",
        "a\tb",
        "\ud7ff",
        "x" * 251,
        ".x",
        "a/.",
        "...",
        "l:s",
    ]
    for name in names:
        validation._validate_metric_name(mlflow_name(name))
        assert 0 < len(mlflow_name(name)) <= validation.MAX_ENTITY_KEY_LENGTH
    assert len({mlflow_name(name) for name in names}) == len(names)
    assert [mlflow_name(name) for name in ("loss", "val/loss", "F1 score", "lr-0.1", "größe")] == [
        "loss", "val/loss", "F1 score", "lr-0.1", "größe"
    ]  # fmt: skip
