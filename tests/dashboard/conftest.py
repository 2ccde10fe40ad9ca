"""A store of runs, and the dashboard of it; its tests need the packages of `make test`, `make check` does without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import insert

from rosenblatt.runs.store.schema import metrics, params, runs, tags
from rosenblatt.runs.store.store import Store
from tests.serving.browser import Page, open_page

collect_ignore_glob = [] if all(map(find_spec, ("starlette", "uvicorn", "httpx2"))) else ["test_*.py"]
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """300 runs with numbers 0 to 299, the even ones with relu, and a trial."""
    path: Path = tmp_path_factory.mktemp("dashboard") / "runs.db"
    with closing(Store(f"sqlite:///{path}")) as store:
        ids = [f"{number:032x}" for number in range(300)]
        base = {"kind": "fit", "state": "finished", "ended": 2000.0, "heartbeat": 2000.0, "experiment": "people"}
        rows = [
            base | {"id": run, "name": f"run-{number}", "started": 1000.0 + number} for number, run in enumerate(ids)
        ]
        rows[7]["name"] = MARKUP
        trial = base | {"id": "f" * 32, "name": "trial", "started": 1.0, "kind": "trial", "parent": ids[0]}
        direction = {"step": 1, "min_step": 0, "max_step": 1, "direction": "max"}
        with store.writing() as connection:
            connection.execute(insert(runs), rows)
            connection.execute(insert(runs), [trial])
            connection.execute(insert(params), [
                {"run": run, "name": name, "value": value, "numeric_value": None, "explicit": True}
                for number, run in enumerate(ids)
                for name, value in (("activation", "tanh" if number % 2 else "relu"), ("optimizer", "adam"))
            ])  # fmt: skip
            connection.execute(insert(metrics), [
                {"run": run, "name": "auc", "last": number / 300, "min": 0.0, "max": number / 300 + 1, **direction}
                for number, run in enumerate(ids[:299])
            ])  # fmt: skip
            diverged = {"run": ids[299], "name": "auc", "last": None, "min": None, "max": float("inf"), **direction}
            connection.execute(insert(metrics), [diverged])
            connection.execute(insert(tags), [{"run": ids[3], "name": "team", "value": "blue"}])
        yield store


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    """The address of a dashboard of the store."""
    from tests.dashboard.servers import serve  # needs uvicorn

    with serve(store) as address:
        yield address


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of Chromium."""
    with open_page(tmp_path_factory.mktemp("browser")) as page:
        yield page
