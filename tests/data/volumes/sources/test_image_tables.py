import pytest

from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import VolumeError
from tests.data.volumes.sources.files import png, read, read_bytes, write_files

IMAGES = {"images/a.png": png(), "images/b.png": png(color=1)}


def test_a_table_that_names_images_gives_their_bytes_and_its_columns(tmp_path):
    write_files(tmp_path, IMAGES | {"t.csv": "file,age,format\nimages/b.png,?,x\nimages/a.png,4,y\n"})
    source = open_samples(tmp_path / "t.csv")
    assert (source.kind, source.id_origin) == ("images", "path")
    assert read(source).rows() == [("images/b.png", None, "x"), ("images/a.png", 4, "y")]
    assert list(source.columns)[:3] == ["id", "age", "format_source"]
    assert read_bytes(source) == [png(color=1), png()]


@pytest.mark.parametrize(("table", "origin"), [
    ("id,file\n5,images/a.png\n6,images/a.png\n", "column"), ("x,file\n5,images/a.png\n6,images/a.png\n", "generated")
])  # fmt: skip
def test_rows_that_name_one_image_twice_have_other_ids(tmp_path, table, origin):
    source = open_samples(write_files(tmp_path, IMAGES | {"t.csv": table}) / "t.csv")
    assert source.id_origin == origin
    assert read(source)["id"].n_unique() == 2


@pytest.mark.parametrize("cell", ["", "images/z.png"])
def test_rows_that_name_no_image_are_refused(tmp_path, cell):
    write_files(tmp_path, IMAGES | {"t.csv": f"file,x\nimages/b.png,1\n{cell},2\nimages/a.png,3\n"})
    with pytest.raises(VolumeError, match=r"must name an image file in each row, but does not in 1 row, such as"):
        open_samples(tmp_path / "t.csv")
