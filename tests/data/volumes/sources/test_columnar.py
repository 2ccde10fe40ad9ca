import datetime as dt

import polars as pl
import pytest

from rosenblatt.data.volumes.sources import columnar
from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import TableError, VolumeError
from tests.data.volumes.sources.files import png, read, read_bytes, wav

WRITERS = {
    "t.parquet": pl.DataFrame.write_parquet,
    "t.arrow": pl.DataFrame.write_ipc,
    "stream.arrow": pl.DataFrame.write_ipc_stream,
}


@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_read_part_by_part_and_ids_do_not_depend_on_the_parts(tmp_path, monkeypatch, name):
    frame = pl.DataFrame({"a": [i % 7 for i in range(50)], "w": [f"w{i % 5}" for i in range(50)]})
    WRITERS[name](frame, tmp_path / name)
    whole = read(open_samples(tmp_path / name))
    monkeypatch.setattr(columnar, "CHUNK_ROWS", 8)
    source = open_samples(tmp_path / name)
    assert [chunk.frame.height for chunk in source.chunks()] == [8, 8, 8, 8, 8, 8, 2]
    assert read(source).equals(whole)
    assert whole.drop("id").equals(frame)


def test_a_row_has_the_same_id_in_csv_and_parquet(tmp_path):
    frame = pl.DataFrame({"a": [1, 2], "x": [0.5, None], "w": ["b", "c"], "d": [dt.date(2021, 3, 4)] * 2})
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    ids = [read(open_samples(tmp_path / name))["id"].to_list() for name in ("t.csv", "t.parquet")]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(("ids", "origin"), [([3, 1], "column"), ([3, 3], "generated"), ([None, 1], "generated")])
def test_an_own_id_identifies_rows_if_it_is_unique_over_all_files(tmp_path, ids, origin):
    for i, id_ in enumerate(ids):
        pl.DataFrame({"id": [id_], "x": [i]}, schema={"id": pl.Int64, "x": pl.Int64}).write_parquet(
            tmp_path / f"{i}.parquet"
        )
    source = open_samples(tmp_path)
    assert source.id_origin == origin
    frame = read(source)
    assert frame["id"].to_list() == ids if origin == "column" else frame["id_source"].to_list() == ids


@pytest.mark.parametrize(("dtype", "expected"), [
    (pl.Int32, pl.Int32), (pl.UInt16, pl.Int32), (pl.UInt64, pl.String), (pl.Categorical, pl.String),
    (pl.String, pl.String),
])  # fmt: skip
def test_ids_have_a_type_that_a_volume_keeps(tmp_path, dtype, expected):
    pl.DataFrame({"id": pl.Series(["7", "8"]).cast(dtype), "x": [1, 2]}).write_parquet(tmp_path / "t.parquet")
    source = open_samples(tmp_path / "t.parquet")
    assert (source.id_origin, source.columns["id"]) == ("column", expected)
    assert read(source)["id"].cast(pl.String).to_list() == ["7", "8"]


def test_contents_of_images_become_the_bytes_of_samples(tmp_path):
    images = [png(color=i) for i in range(3)]
    cells = pl.DataFrame({"bytes": images, "path": ["a.png", None, "c.png"]}).to_struct("image")
    pl.DataFrame([cells, pl.Series("width", [7, 8, 9])]).write_parquet(tmp_path / "t.parquet")
    source = open_samples(tmp_path / "t.parquet")
    assert (source.kind, source.id_origin) == ("images", "generated")
    assert read(source).drop("id").rows() == [(7, "a.png"), (8, None), (9, "c.png")]
    assert list(source.columns)[1:3] == ["width_source", "path"]
    assert read_bytes(source) == images
    [chunk] = source.chunks()
    assert (chunk.contents.extension(0), chunk.contents.locations) == ("png", None)


def test_ids_of_images_do_not_change_with_their_metadata_and_equal_ones_are_numbered(tmp_path):
    for name, labels in (("a.parquet", [1, 2, 3]), ("b.parquet", [4, 5, 6])):
        pl.DataFrame({"image": [png(), png(), wav()], "label": labels}).write_parquet(tmp_path / name)
    ids = [read(open_samples(tmp_path / name))["id"].to_list() for name in ("a.parquet", "b.parquet")]
    assert ids[0] == ids[1]
    assert ids[0][1] == f"{ids[0][0]}-2"


def test_rows_without_bytes_are_refused(tmp_path):
    cells = pl.DataFrame({"bytes": [png(), None], "path": ["a.png", "b.png"]}).to_struct("image")
    cells.to_frame().write_parquet(tmp_path / "t.parquet")
    with pytest.raises(VolumeError, match="Column 'image' holds no bytes in some rows"):
        read(open_samples(tmp_path / "t.parquet"))


def test_files_with_other_columns_or_types_are_refused_by_name(tmp_path):
    pl.DataFrame({"a": [1], "b": [2]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(VolumeError, match=r"1.parquet' and .*2.parquet' do not have the same columns: .* lacks 'b'"):
        open_samples(tmp_path)
    pl.DataFrame({"b": ["x"], "a": [1]}).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(VolumeError, match="columns of one name and different types: 'b'"):
        open_samples(tmp_path)


def test_narrower_types_of_some_files_are_widened(tmp_path):
    pl.DataFrame({"a": [1], "b": [None]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"b": ["x"], "a": [0.5]}).write_parquet(tmp_path / "2.parquet")
    assert read(open_samples(tmp_path)).drop("id").rows() == [(1.0, None), (0.5, "x")]


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": list(range(1000))}).write_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(TableError, match=r"t.parquet' cannot be read: .*The file may be damaged\."):
        open_samples(path)


def test_a_file_without_rows_is_refused(tmp_path):
    pl.DataFrame({"a": []}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(VolumeError, match="has no rows"):
        open_samples(tmp_path / "t.parquet")
