import pytest

from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import TableError, VolumeError
from tests.data.volumes.sources.files import png, read, wav, write_files


@pytest.mark.parametrize(("files", "kind"), [
    ({"a.png": png(), "metadata.csv": "file_name,x\na.png,1\n"}, "images"),
    ({"a.png": png(), "b.png": png(), "a.txt": "x"}, "images"),
    ({"a.wav": wav(), "b.wav": wav(), "a.png": png()}, "audio"),
    ({"a.txt": "x", "b.txt": "y", "readme.md": "z"}, "texts"),
    ({"0.csv": "1\n2\n", "1.csv": "3\n4\n"}, "sequences"),
])  # fmt: skip
def test_most_files_decide_what_a_folder_holds(tmp_path, files, kind):
    source = open_samples(write_files(tmp_path, files))
    assert source.kind == kind
    read(source)


@pytest.mark.parametrize("kind", ["images", "texts", "sequences", "audio", "files"])
def test_the_user_decides_what_a_folder_holds(tmp_path, kind):
    files = {"a.png": png(), "b.wav": wav(), "0.csv": "1\n2\n", "1.csv": "3\n4\n", "x.txt": "one", "y.txt": "two"}
    source = open_samples(write_files(tmp_path, files), kind=kind)
    assert source.kind == kind
    assert read(source).height == {"images": 1, "audio": 1, "files": 6}.get(kind, 2)


def test_another_kind_than_a_file_holds_is_refused(tmp_path):
    write_files(tmp_path, {"t.csv": "a\n1\n2\n"})
    with pytest.raises(VolumeError, match="holds a table, not images"):
        open_samples(tmp_path / "t.csv", kind="images")


@pytest.mark.parametrize("name", ["missing.csv", "missing/"])
def test_a_missing_source_is_named(tmp_path, name):
    with pytest.raises(TableError, match="There is no file"):
        open_samples(tmp_path / name)


@pytest.mark.parametrize("files", [{"t.csv": "a\n1\n2\n"}, {"a.txt": "x"}, {"0.csv": "1\n2\n", "1.csv": "3\n4\n"}])
def test_options_without_effect_are_refused(tmp_path, files):
    write_files(tmp_path / "data", files)
    write_files(tmp_path, {"side.csv": "file,x\na,1\n"})
    source = tmp_path / "data" / (next(iter(files)) if len(files) == 1 and "t.csv" in files else "")
    with pytest.raises(VolumeError, match="--sidecar describes the files of a folder or zip archive"):
        open_samples(
            source, sidecar=tmp_path / "side.csv", kind=None if "t.csv" in files else open_samples(source).kind
        )
    if "t.csv" not in files:
        with pytest.raises(VolumeError, match="--id has no effect for"):
            open_samples(source, id_column="x")


def test_a_folder_without_tables_is_no_table(tmp_path):
    with pytest.raises(VolumeError, match="holds no Parquet or Arrow files"):
        open_samples(write_files(tmp_path, {"a.png": png()}), kind="table")
