from __future__ import annotations

import json

import polars as pl
import pytest
from click.testing import CliRunner

from rosenblatt.cli.data import data
from rosenblatt.errors import QueryError, TableError
from tests.data.volumes.helpers import add_frame

pytest.importorskip("deltalake", reason="deltalake is not installed: pip install 'rosenblatt[volumes]'")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """The address of a volume of 40 samples."""
    folder = tmp_path_factory.mktemp("volumes")
    rows = {
        "id": range(40),
        "age": range(20, 60),
        "tags": [["a", "b"], []] * 20,
        "x": [1.5, float("nan")] * 20,
        "split": ["train", "test"] * 20,
    }
    add_frame(str(folder), "people", pl.DataFrame(rows), folder)
    return f"{folder}/people"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(data, ["query", *arguments])
    if result.exception:
        raise result.exception
    return result.stdout


def test_a_query_shows_the_number_of_samples_and_the_first_ones(people):
    lines = run(people, "age >= 30 @split=train", "--rows", "2").splitlines()
    assert lines[:2] == [
        "people@1: 15 of 40 samples (37.5 %)",
        "  @split uses the column 'split': 20 train and 20 test.",
    ]
    assert lines[3].split() == ["id", "age", "tags", "x", "split"]
    assert [line.split() for line in lines[5:7]] == [
        ["10", "30", "a,", "b", "1.500", "train"],
        ["12", "32", "a,", "b", "1.500", "train"],
    ]
    assert lines[7] == "and 13 more samples; --rows shows more of them, --out writes all"


def test_a_query_without_samples_says_so(people):
    assert run(people, "age > 100") == "people@1: 0 of 40 samples (0 %)\n"


def test_a_query_as_json(people):
    record = json.loads(run(people, "age < 22 @seed=3", "--json"))
    assert record["n_samples"] == 2
    assert record["samples"][0] == {"id": 0, "age": 20, "tags": ["a", "b"], "x": 1.5, "split": "train"}
    assert record["samples"][1]["x"] is None
    assert record["notes"] == ["@seed has no effect: nothing is drawn at random."]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_all_selected_samples_are_written(people, tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    assert run(people, "age < 35", "--out", str(out)).splitlines()[-1] == f"samples: {out}"
    frame = pl.read_parquet(out) if suffix == "parquet" else pl.read_ndjson(out)
    assert frame["age"].to_list() == list(range(20, 35))


def test_lists_cannot_be_written_as_csv(people, tmp_path):
    with pytest.raises(TableError, match=r"Write \.jsonl or \.parquet"):
        run(people, "", "--out", str(tmp_path / "out.csv"))


def test_an_invalid_query_writes_nothing(people, tmp_path):
    with pytest.raises(QueryError, match=r"Did you mean 'age'\?"):
        run(people, "aeg > 3", "--out", str(tmp_path / "out.parquet"))
    assert not list(tmp_path.iterdir())


def test_identities_are_shown_whole_and_small_shares_as_such(tmp_path):
    ids = [f"a/long/path/of/a/file/{i:05}.jpg" for i in range(20_000)]
    add_frame(str(tmp_path), "files", pl.DataFrame({"id": ids, "text": ids}), tmp_path)
    lines = run(f"{tmp_path}/files", f"id = '{ids[7]}'").splitlines()
    assert lines[0] == "files@1: 1 of 20,000 samples (under 0.01 %)"
    assert lines[-1].split() == [ids[7], f"{ids[7][:23]}…"]
