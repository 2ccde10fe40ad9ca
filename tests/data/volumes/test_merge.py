from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from rosenblatt.data.volumes import merge
from rosenblatt.data.volumes.listing import describe_version
from rosenblatt.data.volumes.merge import Merge, merge_schemas
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.objects import open_objects
from rosenblatt.errors import VolumeError
from tests.data.volumes.helpers import add_frame, add_path, open_version, write_files

INT, FLOAT, TEXT = pl.Int64(), pl.Float64(), pl.String()


@pytest.mark.parametrize(
    ("base", "source", "append", "merged"),
    [
        (None, {"id": TEXT, "x": INT}, False, {"id": TEXT, "x": INT}),
        ({"id": TEXT, "x": INT}, {"id": TEXT, "y": INT}, False, {"id": TEXT, "y": INT}),
        ({"id": TEXT, "x": INT}, {"id": TEXT, "y": INT}, True, {"id": TEXT, "x": INT, "y": INT}),
        ({"id": TEXT, "x": INT}, {"id": TEXT, "x": FLOAT}, True, {"id": TEXT, "x": FLOAT}),
        ({"id": TEXT, "x": FLOAT}, {"id": TEXT, "x": INT}, True, {"id": TEXT, "x": FLOAT}),
        ({"id": TEXT, "x": pl.Int16()}, {"id": TEXT, "x": pl.Int32()}, True, {"id": TEXT, "x": pl.Int32()}),
    ],
)
def test_the_next_version_has_the_columns_of_the_source_or_of_both(base, source, append, merged):
    schema = merge_schemas(base and pl.Schema(base), pl.Schema(source), append=append)
    assert schema == pl.Schema(merged)


def test_values_that_cannot_be_in_one_column_are_refused():
    with pytest.raises(VolumeError, match="Column 'x' holds Int64 in the volume, but String in the source"):
        merge_schemas(pl.Schema({"x": INT}), pl.Schema({"x": TEXT}), append=True)


@pytest.fixture
def small_files(monkeypatch):
    monkeypatch.setattr(merge, "MAX_FILE_ROWS", 10)
    monkeypatch.setattr(merge, "SMALL_FILE_ROWS", 3)


def numbers(n: int, first: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"id": [f"{k:03}" for k in range(first, first + n)], "x": range(first, first + n)})


def paths(root: str, version: int) -> list[str]:
    return [file.path for file in open_version(root, f"v@{version}").data_files]


def test_only_files_with_changed_rows_are_written_and_keep_their_number(tmp_path, small_files):
    root = str(tmp_path / "volumes")
    add_frame(root, "v", numbers(45), tmp_path)
    add_frame(root, "v", numbers(45).with_columns(x=pl.when(pl.col("x") == 15).then(-1).otherwise("x")), tmp_path)
    before, after = paths(root, 1), paths(root, 2)
    assert [k for k in range(5) if before[k] != after[k]] == [1]
    assert [path.split("-")[0] for path in after] == [path.split("-")[0] for path in before]
    assert open_version(root, "v").to_polars()["x"].to_list() == [*range(15), -1, *range(16, 45)]


def test_new_rows_fill_up_a_small_last_file(tmp_path, small_files):
    root = str(tmp_path / "volumes")
    add_frame(root, "v", numbers(12), tmp_path)
    add_frame(root, "v", numbers(11, 12), tmp_path, append=True)
    assert [file.rows for file in open_version(root, "v").data_files] == [10, 10, 3]
    assert open_version(root, "v").to_polars().equals(numbers(23))


def test_a_file_without_rows_is_left_out(tmp_path, small_files):
    root = str(tmp_path / "volumes")
    add_frame(root, "v", numbers(30), tmp_path)
    add_frame(root, "v", numbers(30).filter(~pl.col("x").is_between(10, 19)), tmp_path)
    assert paths(root, 2) == [paths(root, 1)[0], paths(root, 1)[2]]


def test_columns_of_another_type_or_left_out_rewrite_all_files(tmp_path, small_files):
    root = str(tmp_path / "volumes")
    add_frame(root, "v", numbers(20).with_columns(y=1), tmp_path)
    add_frame(root, "v", numbers(20).cast({"x": pl.Float64}), tmp_path)
    assert not set(paths(root, 1)) & set(paths(root, 2))
    assert open_version(root, "v").to_polars().equals(numbers(20).cast({"x": pl.Float64}))
    assert open_version(root, "v@1").to_polars()["y"].to_list() == [1] * 20


def test_a_file_names_at_most_so_many_bytes_and_at_least_one_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "MAX_FILE_BYTES", 100)
    files = MetadataFiles(open_objects(str(tmp_path)), "v")
    rows = numbers(6).with_columns(pack=pl.lit("a" * 64), offset=0, length=pl.Series([60, 60, 500, 10, 20, 30]))
    merged = Merge(files, None, rows.schema, has_bytes=True, append=False)
    merged.add(rows, merged.base_rows(rows["id"]))
    changes = merged.finish()
    assert changes.files["rows"].to_list() == [1, 1, 1, 3]
    assert changes.n_bytes == 680


def test_null_and_nan_are_values_that_can_change_and_can_stay(tmp_path):
    root, frame = str(tmp_path / "volumes"), pl.DataFrame({"id": ["a", "b", "c"], "x": [1.0, None, float("nan")]})
    add_frame(root, "v", frame, tmp_path)
    assert not add_frame(root, "v", frame, tmp_path).is_new
    changed = frame.with_columns(x=pl.Series([None, 2.0, float("nan")]))
    assert add_frame(root, "v", changed, tmp_path).commit.changed == 2
    assert open_version(root, "v").to_polars().equals(changed)


@pytest.mark.parametrize(
    ("base", "added", "kept"),
    [
        ([2**53 + 1], [0.5], None),
        ([0.5], [2**53 + 1], None),
        ([2**53], [0.5], [2.0**53, 0.5]),
        (pl.Series(["1e25"]).cast(pl.Decimal(38, 10)), pl.Series(["1e-15"]).cast(pl.Decimal(38, 15)), None),
    ],
)
def test_appended_numbers_keep_their_values_or_are_refused(tmp_path, base, added, kept):
    root = str(tmp_path / "volumes")
    add_frame(root, "v", pl.DataFrame({"id": ["a"], "x": base}), tmp_path)
    more = pl.DataFrame({"id": ["b"], "x": added})
    if kept is None:
        with pytest.raises(VolumeError, match=r"Column 'x' holds values of type .* cannot hold exactly"):
            add_frame(root, "v", more, tmp_path, append=True)
    else:
        add_frame(root, "v", more, tmp_path, append=True)
        assert open_version(root, "v").to_polars()["x"].to_list() == kept


def test_identities_of_another_type_name_the_samples_that_are_written_the_same(tmp_path):
    root = str(tmp_path / "volumes")
    add_frame(root, "v", pl.DataFrame({"id": ["1", "01", "2", "x"], "x": [1, 2, 3, 4]}), tmp_path)
    numbers = pl.DataFrame({"id": [1, 2, 5], "x": [1, 7, 5]})
    commit = add_frame(root, "v", numbers, tmp_path).commit
    assert (commit.added, commit.changed, commit.removed) == (1, 1, 2)
    assert open_version(root, "v").to_polars().equals(numbers)
    texts = pl.DataFrame({"id": ["01", "5"], "x": [1, 5]})
    commit = add_frame(root, "v", texts, tmp_path).commit
    assert (commit.added, commit.changed, commit.removed) == (1, 0, 2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1], "A": [2]}, "Columns 'a' and 'A' differ in upper and lower case only"),
        ({"s": [{"a": 1, "A": 2}]}, "'a' and 'A' differ in upper and lower case only"),
        ({"a\0b": [1]}, "null character"),
    ],
)
def test_columns_that_could_not_be_read_again_are_refused(tmp_path, columns, message):
    root = str(tmp_path / "volumes")
    with pytest.raises(VolumeError, match=message):
        add_frame(root, "v", pl.DataFrame({"id": ["a"], **columns}), tmp_path)


def test_columns_of_any_other_name_and_any_date_come_back(tmp_path):
    names = [
        "a b",
        "s.b",
        "min.s",
        "x`y",
        "new\nline",
        "{}",
        "(",
        "=",
        ",",
        ";",
        "",
        "path",
        "size",
        "rows",
        "é",
        "a/b",
    ]
    dates = pl.Series([-(2**31), 2**31 - 1], dtype=pl.Int32).cast(pl.Date)
    frame = pl.DataFrame({"id": ["a", "b"], "s": [{"b": 1}, {"b": 2}], "day": dates} | {name: [1, 2] for name in names})
    root = str(tmp_path / "volumes")
    add_frame(root, "v", frame, tmp_path)
    assert open_version(root, "v").to_polars().equals(frame)
    assert len(open_version(root, "v").query("day > 2026-01-31 and s.b = 2")) == 1
    assert [column.name for column in describe_version(f"{root}/v").columns] == frame.columns


def actions(root: str, version: int, kind: str) -> set[str]:
    """Paths of the files that an entry of the log adds or removes."""
    lines = Path(f"{root}/v/_delta_log/{version:020}.json").read_text().splitlines()
    return {line[kind]["path"] for line in map(json.loads, lines) if kind in line}


def test_many_new_rows_leave_a_small_last_file_as_it_is(tmp_path, small_files):
    root = str(tmp_path / "volumes")
    add_frame(root, "v", numbers(2), tmp_path)
    add_frame(root, "v", numbers(60, 2), tmp_path, append=True)
    assert paths(root, 2)[0] == paths(root, 1)[0]
    assert not actions(root, 2, "remove")
    assert open_version(root, "v").to_polars().equals(numbers(62))


def test_a_changed_file_and_a_small_last_one_are_both_in_the_next_version(tmp_path, small_files):
    root = str(tmp_path / "volumes")
    add_frame(root, "v", numbers(12), tmp_path)
    changed = numbers(15).with_columns(x=pl.when(pl.col("x") == 3).then(-1).otherwise("x"))
    add_frame(root, "v", changed, tmp_path)
    assert open_version(root, "v").to_polars().equals(changed)
    assert [file.rows for file in open_version(root, "v").data_files] == [10, 5]
    assert not actions(root, 2, "add") & actions(root, 2, "remove")


def test_a_file_that_is_written_as_it_was_is_neither_added_nor_removed(tmp_path, small_files):
    root = str(tmp_path / "volumes")
    add_frame(root, "v", numbers(10), tmp_path)
    add_frame(root, "v", numbers(10, 10).with_columns(y=1), tmp_path, append=True)
    add_frame(root, "v", numbers(20), tmp_path)
    assert paths(root, 3)[0] == paths(root, 1)[0]
    assert not actions(root, 3, "add") & actions(root, 3, "remove")
    assert open_version(root, "v").to_polars().equals(numbers(20))


def test_new_samples_follow_a_last_file_that_names_as_many_bytes_as_it_may(tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "MAX_FILE_BYTES", 100)
    root, folder = str(tmp_path / "volumes"), write_files(tmp_path / "files", {"a": bytes(90)})
    add_path(root, "v", folder, kind="files")
    add_path(root, "v", write_files(folder, {"b": bytes(80)}), kind="files")
    assert paths(root, 2)[0] == paths(root, 1)[0]
    assert not actions(root, 2, "remove")
    assert open_version(root, "v").to_polars()["id"].to_list() == ["a", "b"]
