from __future__ import annotations

import polars as pl
import pytest

from rosenblatt.data.volumes.maintenance.pull import check_relative, pull
from rosenblatt.errors import DamagedDataError, VolumeError
from tests.data.volumes.helpers import add_frame, add_path, open_version, write_files


def contents_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_come_back_as_they_were_added(root, tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 3, "dog": 2})
    add_path(root, "photos", photos)
    result = pull(open_version(root, "photos"), tmp_path / "out")
    assert contents_of(tmp_path / "out") == contents_of(photos)
    assert (result.n_samples, result.n_written) == (5, 5)


def test_a_pulled_folder_is_the_same_version_with_its_further_columns(tmp_path, make_photos):
    root, photos = str(tmp_path / "volumes"), make_photos(tmp_path / "photos", {"cat": 2})
    owners = pl.DataFrame({"file_name": ["cat/0.png", "cat/1.png"], "owner": ["Ann", None], "age": [3.5, 4.0]})
    owners.write_parquet(tmp_path / "owners.parquet")
    add_path(root, "photos", photos, sidecar=str(tmp_path / "owners.parquet"))
    pull(open_version(root, "photos"), tmp_path / "out")
    assert not add_path(root, "photos", tmp_path / "out").is_new


def test_labels_and_splits_that_folders_do_not_give_are_kept(tmp_path, make_photos):
    root, photos = str(tmp_path / "volumes"), make_photos(tmp_path / "photos", {"cat": 2})
    (photos / "metadata.csv").write_text("file_name,label,split\ncat/0.png,a,train\ncat/1.png,b,test\n")
    add_path(root, "photos", photos)
    pull(open_version(root, "photos"), tmp_path / "out")
    assert not add_path(root, "photos", tmp_path / "out").is_new


def test_a_pull_continues_where_it_stopped(tmp_path):
    root = str(tmp_path / "volumes")
    add_path(root, "raw", write_files(tmp_path / "raw", {"a/1.bin": b"one", "b/2.bin": b"two"}), kind="files")
    pull(open_version(root, "raw"), tmp_path / "out")
    (tmp_path / "out" / "b" / "2.bin").unlink()
    result = pull(open_version(root, "raw"), tmp_path / "out")
    assert (result.n_written, result.n_bytes) == (1, 3)


def test_other_files_are_replaced_only_on_request(tmp_path):
    root = str(tmp_path / "volumes")
    add_path(root, "raw", write_files(tmp_path / "raw", {"a.bin": b"one"}), kind="files")
    write_files(tmp_path / "out", {"a.bin": b"precious"})
    with pytest.raises(VolumeError, match="holds something else"):
        pull(open_version(root, "raw"), tmp_path / "out")
    pull(open_version(root, "raw"), tmp_path / "out", force=True)
    assert contents_of(tmp_path / "out") == {"a.bin": b"one"}


def test_only_selected_samples_are_copied(tmp_path):
    root = str(tmp_path / "volumes")
    add_path(root, "raw", write_files(tmp_path / "raw", {"a.bin": b"one", "b.bin": b"two"}), kind="files")
    pull(open_version(root, "raw").query("id = 'b.bin'"), tmp_path / "out")
    assert contents_of(tmp_path / "out") == {"b.bin": b"two"}


def test_a_table_becomes_a_parquet_file(tmp_path):
    frame = pl.DataFrame({"id": ["a", "b"], "x": [1, None], "l": [[1.5], []]})
    add_frame(str(tmp_path / "volumes"), "v", frame, tmp_path)
    pull(open_version(str(tmp_path / "volumes"), "v"), tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out" / "v.parquet").equals(frame)
    assert pull(open_version(str(tmp_path / "volumes"), "v"), tmp_path / "out").n_written == 0


def test_damaged_samples_are_not_written(tmp_path):
    root = str(tmp_path / "volumes")
    add_path(root, "raw", write_files(tmp_path / "raw", {"a.bin": b"one"}), kind="files")
    (pack,) = (tmp_path / "volumes").glob("packs/*/*.tar")
    pack.write_bytes(pack.read_bytes().replace(b"one", b"two"))
    with pytest.raises(DamagedDataError, match=r"a\.bin"):
        pull(open_version(root, "raw"), tmp_path / "out")
    assert contents_of(tmp_path / "out") == {}


@pytest.mark.parametrize("name", ["", "..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/./b", "a\0b"])
def test_names_that_lead_out_of_the_folder_are_refused(name):
    with pytest.raises(VolumeError, match="no name that a file in the folder could have"):
        check_relative(name)


@pytest.mark.parametrize("ids", [["a", "a.png"], ["metadata.parquet", "b"]])
def test_samples_that_would_share_a_file_are_refused_before_any_is_written(tmp_path, make_photos, ids):
    root, photos = str(tmp_path / "volumes"), make_photos(tmp_path / "photos", {"cat": 2})
    images = [(photos / "cat" / f"{k}.png").read_bytes() for k in range(2)]
    add_frame(root, "v", pl.DataFrame({"id": ids, "image": images, "owner": ["Ann", "Bob"]}), tmp_path)
    with pytest.raises(VolumeError, match="Several files would be named"):
        pull(open_version(root, "v"), tmp_path / "out", force=True)
    assert contents_of(tmp_path / "out") == {}
    pull(open_version(root, "v").query(f"id = '{ids[1]}'"), tmp_path / "out")
