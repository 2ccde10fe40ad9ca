"""The commands of `rosenblatt data`, as typed."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("deltalake", reason="deltalake is not installed: pip install 'rosenblatt[volumes]'")
PEOPLE = "id,age,income\na,31,low\nb,40,high\nc,7,low\n"


@pytest.fixture
def folder(work_folder, monkeypatch):
    """A working folder with a table and no volumes yet."""
    monkeypatch.setenv("ROSENBLATT_VOLUMES", str(work_folder / "volumes"))
    (work_folder / "people.csv").write_text(PEOPLE)
    return work_folder


def test_a_table_is_added_listed_shown_and_compared(folder, run):
    output = run("data", "add", "people", "people.csv", "-m", "first")[1]
    assert "people@1: 3 samples (table)" in output
    assert "3 added, 0 changed, 0 removed" in output
    assert "people@1 holds the same already; no version was added" in run("data", "add", "people", "people.csv")[1]
    (folder / "people.csv").write_text(PEOPLE.replace("31", "32").replace("c,7,low\n", ""))
    assert (
        "removed samples stay in earlier versions; --append keeps them" in run("data", "add", "people", "people.csv")[1]
    )
    log = run("data", "log", "people")[1]
    assert log.index("     2 ") < log.index("     1 ")
    assert "first" in log
    assert "people@2: 2 samples (table)" in run("data", "show", "people")[1]
    difference = run("data", "diff", "people@1", "people@2")[1]
    assert "removed  1: c" in difference
    assert "changed  1: a" in difference
    assert "age: 1 sample" in difference
    assert "people@release is people@1" in run("data", "tag", "people@1", "release")[1]
    assert "people@release is people@2 (before: people@1)" in run("data", "tag", "people@2", "release")[1]
    assert "people" in run("data", "list")[1]


def test_reports_are_json_on_request(folder, run):
    record = json.loads(run("data", "add", "people", "people.csv", "--json")[1])
    assert (record["volume"], record["version"], record["n_samples"], record["added_version"]) == ("people", 1, 3, True)
    assert json.loads(run("data", "list", "--json")[1])[0]["name"] == "people"
    assert json.loads(run("data", "log", "people", "--json")[1])[0]["root"] == record["root"]
    shown = json.loads(run("data", "show", "people", "--json")[1])
    assert [column["name"] for column in shown["columns"]] == ["id", "age", "income"]
    assert json.loads(run("data", "diff", "people@1", "people@1", "--json")[1])["added"] == []
    assert json.loads(run("data", "tag", "people", "x", "--json")[1]) == {
        "volume": "people", "tag": "x", "version": 1, "before": None,
    }  # fmt: skip


def test_an_empty_root_says_how_to_begin(folder, run):
    assert "`rosenblatt data add NAME SOURCE` makes one" in run("data", "list")[1]
    status, _, messages = run("data", "show", "people")
    assert status == 2
    assert "There is no volume 'people'" in messages


def test_a_fit_of_a_version_records_it_and_is_reproduced(folder, run, own_store):
    rows = "".join(f"{k},{k % 7},{'low' if k % 2 else 'high'}\n" for k in range(60))
    (folder / "people.csv").write_text("id,age,income\n" + rows)
    run("data", "add", "people", "people.csv")
    status, output, messages = run("fit", "people", "--target", "income", "--epochs", "2", "--query", "age > 0")
    assert status == 0
    assert "people@1: " in output + messages
    assert (folder / "people.rosenblatt").exists()
    (folder / "people.csv").write_text("id,age,income\n1,2,low\n")
    run("data", "add", "people", "people.csv")
    details = json.loads(run("runs", "show", "last", "--json")[1])
    assert details["request"]["table"] == f"{folder}/volumes/people@1"
    assert details["request"]["query"] == "age > 0"
    assert f"people@1 {details['data'][0]['hash'][:12]}" in run("runs", "show", "last")[1]
    root = json.loads(run("data", "show", "people@1", "--json")[1])["root"]
    assert [(file["path"], file["hash"]) for file in details["data"]] == [(f"{folder}/volumes/people@1", root)]
    assert "identical" in run("runs", "reproduce", "last")[1]


def test_a_lost_version_is_named_when_a_run_is_reproduced(folder, run, own_store):
    rows = "".join(f"{k},{k % 7},{'low' if k % 2 else 'high'}\n" for k in range(60))
    (folder / "people.csv").write_text("id,age,income\n" + rows)
    run("data", "add", "people", "people.csv")
    run("fit", "people", "--target", "income", "--epochs", "1")
    (folder / "volumes" / "people" / "_delta_log" / f"{1:020}.json").unlink()
    status, output, messages = run("runs", "reproduce", "last")
    assert status == 3
    assert "is lost, or its log was rewritten" in output + messages


def test_a_query_needs_a_volume(folder, run):
    status, _, messages = run("fit", "people.csv", "--target", "income", "--query", "age > 3")
    assert status == 2
    assert "--query selects samples of a volume, but 'people.csv' is none" in messages
