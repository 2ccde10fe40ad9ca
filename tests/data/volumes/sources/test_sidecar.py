"""Tables beside files, which give further columns of each file."""

import pytest

from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import TableError, VolumeError
from tests.data.volumes.sources.files import png, read, write_files

SPLITS = ("test", "train")


@pytest.mark.parametrize(("name", "text"), [
    ("metadata.csv", "file_name,age,label\na.png,007,x\nsub/b.png,08,y\n"),
    ("metadata.jsonl", """{"file_name": "a.png", "age": "007", "label": "x"}
{"file_name": "sub/b.png", "age": "08", "label": "y"}"""),
    ("other.csv", "age,label,image\n007,x,a\n08,y,b\n"),
])  # fmt: skip
def test_a_table_beside_images_gives_columns(tmp_path, name, text):
    source = open_samples(write_files(tmp_path, {"a.png": png(), "sub/b.png": png(), name: text}))
    assert read(source).sort("id").rows() == [("a.png", "007", "x"), ("sub/b.png", "08", "y")]
    assert source.target == "label"


@pytest.mark.parametrize("cell", ["{}.png", "photos/{}.png", "..\\\\photos\\\\{}.png", "/data/x/{}.png", "{}"])
def test_a_sidecar_may_name_files_in_several_ways(tmp_path, cell):
    folder = write_files(tmp_path / "photos", {"a/0.png": png(), "a/1.png": png()})
    rows = "".join(f"{cell.format(i)},{i + 5}\n" for i in range(2))
    write_files(tmp_path, {"side.csv": f"image,x\n{rows}"})
    assert read(open_samples(folder, sidecar=tmp_path / "side.csv"))["x"].to_list() == [5, 6]


def test_tables_that_cannot_be_read_or_are_many_do_not_hinder_an_add(tmp_path):
    files = {"a.png": png(), "b.png": png(), "config.json": '{"model": {"x": 1}}', "broken.csv": b"\0\1\2"}
    source = open_samples(write_files(tmp_path, files))
    assert (
        "2 tables left out: 'broken.csv' and 'config.json' (--sidecar FILE if one describes the files)" in source.notes
    )
    many = {f"{i}.{ending}": png() if ending == "png" else '{"imagePath": "0.png"}' for i in range(11)
            for ending in ("png", "json")}  # fmt: skip
    source = open_samples(write_files(tmp_path / "many", many), kind="images")
    assert list(source.columns)[:2] == ["id", "width"]
    assert any(note.startswith("11 tables left out") for note in source.notes)


def test_damaged_metadata_is_refused(tmp_path):
    with pytest.raises(TableError, match=r"'metadata\.csv': it is empty"):
        open_samples(write_files(tmp_path, {"a.png": png(), "metadata.csv": ""}))


def test_tables_of_splits_describe_the_files_in_their_own_folder(tmp_path):
    files = {f"{split}/{name}": png() for split in ("train", "test") for name in ("a.png", "b.png")}
    tables = {
        f"{split}/metadata.csv": f"file_name,x\na.png,{i}\nb.png,{i + 1}\n" for i, split in enumerate(("test", "train"))
    }
    frame = read(open_samples(write_files(tmp_path, files | tables)))
    assert frame.columns == ["id", "split", "x"]
    assert frame["x"].to_list() == [0, 1, 1, 2]


@pytest.mark.parametrize(("cells", "expected"), [(["1", "2.5"], [1.0, 2.5]), (["007", "8"], ["007", "8"])])
def test_tables_of_splits_may_have_other_types(tmp_path, cells, expected):
    files = {f"{split}/a.png": png() for split in SPLITS}
    tables = {
        f"{split}/metadata.csv": f"file_name,x\na.png,{cell}\n" for split, cell in zip(SPLITS, cells, strict=True)
    }
    source = open_samples(write_files(tmp_path, files | tables))
    assert read(source)["x"].to_list() == expected


def test_files_without_a_row_and_rows_without_a_file_are_counted(tmp_path):
    sidecar = tmp_path / "labels.csv"
    sidecar.write_text("file,width\na.png,1\nb.png,2\nz.png,3\n")
    folder = write_files(tmp_path / "images", {"a.png": png(), "b.png": png(), "c.png": png()})
    source = open_samples(folder, sidecar=sidecar)
    assert read(source).rows() == [("a.png", 1), ("b.png", 2), ("c.png", None)]
    assert list(source.columns)[:2] == ["id", "width_source"]
    notes = " ".join(source.notes)
    assert "1 row of column 'file' name no file: left out" in notes
    assert "1 file has no row in the table" in notes


def test_a_column_of_the_table_identifies_files_on_request(tmp_path):
    write_files(tmp_path, {"a.png": png(), "b.png": png(), "metadata.csv": "file_name,key\na.png,5\nb.png,6\n"})
    source = open_samples(tmp_path, id_column="key")
    assert source.id_origin == "column"
    assert read(source).rows() == [(5, 5, "a.png"), (6, 6, "b.png")]
    write_files(tmp_path, {"c.png": png()})
    with pytest.raises(VolumeError, match="Column 'key' cannot identify samples: it is empty in 1 of 3 rows"):
        open_samples(tmp_path, id_column="key")


def test_a_sidecar_that_names_no_file_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("file,x\nq.png,1\n")
    folder = write_files(tmp_path / "images", {"a.png": png()})
    with pytest.raises(VolumeError, match=r"No column of .*labels.csv' names the files of the source, such as 'a.png'"):
        open_samples(folder, sidecar=tmp_path / "labels.csv")
