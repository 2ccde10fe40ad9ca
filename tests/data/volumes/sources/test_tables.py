import polars as pl
import pytest

from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import VolumeError
from tests.data.volumes.sources.files import read


def write(folder, text, name="t.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_row_keeps_its_id_when_others_are_added_before_it_and_when_types_change(tmp_path):
    first = read(open_samples(write(tmp_path, "a,b\n1,x\n1,x\n2,y\n")))
    second = read(open_samples(write(tmp_path, "a,b\n0.5,z\n2,y\n1,x\n1,x\n1,x\n")))
    assert first["id"].n_unique() == 3
    assert first["id"][1] == f"{first['id'][0]}-2"
    assert second["id"].to_list()[1:] == [
        first["id"][2], first["id"][0], first["id"][1], f"{first['id'][0]}-3",
    ]  # fmt: skip


@pytest.mark.parametrize(("header", "origin", "columns"), [
    ("id,x", "column", ["id", "x"]),
    ("ID,x", "column", ["id", "x"]),
    ("key,x", "generated", ["id", "key", "x"]),
])  # fmt: skip
def test_an_own_column_id_identifies_rows(tmp_path, header, origin, columns):
    source = open_samples(write(tmp_path, f"{header}\n7,a\n8,b\n"))
    assert (source.id_origin, list(source.columns)) == (origin, columns)
    if origin == "column":
        assert read(source)["id"].to_list() == [7, 8]


@pytest.mark.parametrize("cells", ["7,7", "7,", "0.5,1.5"])
def test_a_column_id_that_repeats_or_has_gaps_is_renamed_and_noted(tmp_path, cells):
    first, second = cells.split(",")
    source = open_samples(write(tmp_path, f"id,x\n{first},a\n{second},b\n"))
    assert source.id_origin == "generated"
    assert list(source.columns) == ["id", "id_source", "x"]
    assert any("'id'" in note and "--id COLUMN" in note for note in source.notes)
    assert any("'id' to 'id_source'" in note for note in source.notes)


def test_a_given_id_column_identifies_rows_or_is_refused(tmp_path):
    path = write(tmp_path, "name,x\nann,1\nbob,1\n")
    source = open_samples(path, id_column="name")
    assert read(source).rows() == [("ann", "ann", 1), ("bob", "bob", 1)]
    with pytest.raises(VolumeError, match=r"Column 'x' cannot identify samples: it holds 1 in more than one row\."):
        open_samples(path, id_column="x")
    with pytest.raises(VolumeError, match=r"There is no column 'nam' for --id.*Did you mean 'name'\?"):
        open_samples(path, id_column="nam")


def test_a_table_without_rows_is_refused(tmp_path):
    with pytest.raises(VolumeError, match="has no rows"):
        open_samples(write(tmp_path, "a,b\n"))


def test_typed_tables_keep_their_types_and_their_words(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"x": pl.Series("x", [1, 2], pl.UInt8), "w": ["NA", "?"], "l": [[1.0], []]}).write_parquet(path)
    source = open_samples(path)
    frame = read(source)
    assert frame["w"].to_list() == ["NA", "?"]
    assert source.columns["l"] == pl.List(pl.Float64)
    assert any("UInt8 to Int16" in note for note in source.notes)
