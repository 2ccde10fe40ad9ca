from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import polars as pl
import pytest

import rosenblatt
from rosenblatt.data.volumes.diff import diff_volumes
from rosenblatt.data.volumes.listing import describe_version, list_known_volumes, version_history
from rosenblatt.data.volumes.locations import default_root, is_volume, parse_address
from rosenblatt.data.volumes.tags import set_tag
from rosenblatt.errors import DamagedDataError, QueryError, StorageError, VolumeError
from tests.data.volumes.helpers import add_frame, add_path, open_version, write_files
from tests.data.volumes.servers import serve_files

FRAME = pl.DataFrame({"id": ["a", "b", "c", "d"], "x": [1, 2, 3, 4], "y": ["u", "v", "u", None]})


@pytest.fixture
def local(tmp_path, monkeypatch) -> str:
    """An empty default root."""
    monkeypatch.setenv("ROSENBLATT_VOLUMES", str(tmp_path / "volumes"))
    return str(tmp_path / "volumes")


def test_versions_are_named_by_number_tag_or_nothing(local, tmp_path):
    for n in (2, 3, 4):
        add_frame(local, "v", FRAME.head(n), tmp_path)
    set_tag(open_version(local, "v").objects, "v", "release", open_version(local, "v@2").commit)
    names = {"v": 4, "v@latest": 4, "v@1": 2, "v@release": 3, f"{local}/v@1": 2}
    assert {name: len(rosenblatt.volume(name)) for name in names} == names


def test_a_moved_tag_names_the_other_version_and_says_what_it_named(local, tmp_path):
    add_frame(local, "v", FRAME.head(2), tmp_path)
    add_frame(local, "v", FRAME, tmp_path)
    first, second = open_version(local, "v@1"), open_version(local, "v@2")
    assert set_tag(first.objects, "v", "release", first.commit) is None
    assert set_tag(first.objects, "v", "release", second.commit).version == 1
    assert rosenblatt.volume("v@release").version == 2


def test_a_tag_of_a_version_that_was_replaced_is_refused(local, tmp_path):
    add_frame(local, "v", FRAME, tmp_path)
    opened = open_version(local, "v")
    set_tag(opened.objects, "v", "release", opened.commit)
    path = tmp_path / "volumes" / "v" / "tags" / "release"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"root": "0" * 64}))
    with pytest.raises(DamagedDataError, match="The tag 'release' of 'v' names other content than version 1"):
        rosenblatt.volume("v@release")


@pytest.mark.parametrize("tag", ["7", "latest", "", "a b", "a/b", "..", "x" * 101])
def test_tags_that_could_not_be_told_from_versions_are_refused(local, tmp_path, tag):
    add_frame(local, "v", FRAME, tmp_path)
    opened = open_version(local, "v")
    with pytest.raises(VolumeError, match="tag"):
        set_tag(opened.objects, "v", tag, opened.commit)


def test_names_that_do_not_exist_suggest_the_nearest(local, tmp_path):
    add_frame(local, "people", FRAME, tmp_path)
    opened = open_version(local, "people")
    set_tag(opened.objects, "people", "release", opened.commit)
    with pytest.raises(VolumeError, match=r"no volume 'peple' .* Did you mean 'people'\?"):
        rosenblatt.volume("peple")
    with pytest.raises(VolumeError, match=r"no version or tag 'relase'. Did you mean 'release'\?"):
        rosenblatt.volume("people@relase")
    with pytest.raises(VolumeError, match="names no version after @"):
        rosenblatt.volume("people@")


def test_a_query_selects_samples_in_their_order(local, tmp_path):
    add_frame(local, "v", FRAME, tmp_path)
    selected = rosenblatt.volume("v").query("x > 1 and y = 'u' or x = 2")
    assert len(selected) == 2
    assert selected.to_polars().equals(FRAME[1:3])
    with pytest.raises(VolumeError, match="is queried already"):
        selected.query("x = 1")
    with pytest.raises(QueryError, match="Expected a column"):
        rosenblatt.volume("v").query("z = 1")


def test_a_query_may_name_the_version(local, tmp_path):
    add_frame(local, "v", FRAME.head(1), tmp_path)
    add_frame(local, "v", FRAME, tmp_path)
    assert rosenblatt.volume("v").query("@version=1").name == "v@1"


def test_a_file_or_folder_comes_before_a_volume_of_the_same_name(local, tmp_path, monkeypatch):
    add_frame(local, "v", FRAME, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert is_volume("v")
    assert is_volume("v@1")
    assert is_volume("s3://bucket/folder/v@1")
    assert not is_volume("w")
    assert not is_volume("-")
    assert not is_volume("s3://bucket/table.csv")
    (tmp_path / "v").write_text("")
    assert not is_volume("v")


def test_the_default_root_is_beside_the_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("ROSENBLATT_VOLUMES", raising=False)
    (tmp_path / ".rosenblatt").mkdir(mode=0o700)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert default_root() == str(tmp_path / ".rosenblatt" / "volumes")
    assert parse_address("v@3").version == "3"


def test_differences_are_counted_by_sample_and_column(local, tmp_path):
    add_frame(local, "v", FRAME, tmp_path)
    second = pl.DataFrame({"id": ["b", "c", "e"], "x": [2, 30, 5], "y": ["w", "t", "u"], "z": [1.0, None, None]})
    add_frame(local, "v", second, tmp_path)
    difference = diff_volumes(rosenblatt.volume("v@1"), rosenblatt.volume("v@2"))
    assert difference.added["id"].to_list() == ["e"]
    assert sorted(difference.removed["id"]) == ["a", "d"]
    assert difference.changed.rows() == [("b", ["y"]), ("c", ["x", "y"])]
    assert difference.changed_cells == {"y": 2, "x": 1}
    assert difference.new_columns == {"z": "Float64"}
    assert not difference.dropped_columns


def test_equal_versions_have_no_differences(local, tmp_path):
    add_frame(local, "v", FRAME, tmp_path)
    add_frame(local, "v", FRAME.head(2), tmp_path)
    add_frame(local, "v", FRAME, tmp_path)
    difference = diff_volumes(rosenblatt.volume("v@1"), rosenblatt.volume("v@3"))
    assert not difference.added.height + difference.removed.height + difference.changed.height


def test_listings_show_volumes_versions_tags_and_columns(local, tmp_path):
    add_frame(local, "v", FRAME, tmp_path, message="first")
    opened = open_version(local, "v")
    set_tag(opened.objects, "v", "release", opened.commit)
    add_path(local, "raw", write_files(tmp_path / "raw", {"a.bin": b"12345"}), kind="files")
    assert [(item.name, item.commit.n_samples, item.commit.n_bytes) for item in list_known_volumes()] == [
        ("raw", 1, 5),
        ("v", 4, 0),
    ]
    assert [(item.commit.message, item.tags) for item in version_history("v", 10)] == [("first", ["release"])]
    columns = {column.name: column for column in describe_version("v").columns}
    assert (columns["x"].minimum, columns["x"].maximum, columns["x"].missing) == ("1", "4", 0)
    assert columns["y"].values == {"u": 2, "v": 1}
    assert columns["y"].missing == 1


def test_without_the_extra_one_sentence_says_what_to_install(local, monkeypatch):
    monkeypatch.setattr("rosenblatt.data.volumes.requirements.find_spec", lambda _: None)
    with pytest.raises(VolumeError, match=r"pip install 'rosenblatt\[volumes\]'"):
        rosenblatt.volume("v")


def test_batches_of_an_epoch_hold_each_selected_sample_once(root, tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 5, "dog": 4})
    add_path(root, "photos", photos)
    opened = open_version(root, "photos").query("label = 'cat'")
    contents = dict[str, bytes]()
    for batch in opened.batches(2, seed=3):
        contents |= zip(batch.frame["id"], map(bytes, batch.samples), strict=True)
    assert contents == {f"cat/{k}.png": (photos / "cat" / f"{k}.png").read_bytes() for k in range(5)}


@pytest.mark.torch
def test_images_become_tensors_and_datasets_can_be_sent_to_workers(root, tmp_path, make_photos):
    pytest.importorskip("torch")
    add_path(root, "photos", make_photos(tmp_path / "photos", {"cat": 5, "dog": 4}))
    opened = open_version(root, "photos").query("label = 'cat'")
    opened.samples.row(0)
    for dataset in (opened.torch_dataset(2, seed=3), pickle.loads(pickle.dumps(opened.torch_dataset(2, seed=3)))):
        batches = list(dataset)
        assert [tuple(batch["sample"].shape) for batch in batches] == [(2, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8)]
        assert {name for batch in batches for name in batch["id"]} == {f"cat/{k}.png" for k in range(5)}
    samples = pickle.loads(pickle.dumps(opened.torch_samples()))
    assert [samples[k]["id"] for k in range(5)] == [f"cat/{k}.png" for k in range(5)]
    assert samples[4]["sample"].shape == (3, 8, 8)


def test_samples_are_read_by_position(root, tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 3, "dog": 2})
    add_path(root, "photos", photos)
    opened = open_version(root, "photos")
    assert opened[3]["id"] == "dog/0.png"
    assert bytes(opened[-1]["bytes"]) == (photos / "dog" / "1.png").read_bytes()
    with pytest.raises(IndexError, match="photos@1 has 5 samples"):
        opened[5]


def test_rows_of_tables_are_batched_and_read_by_position(local, tmp_path):
    add_frame(local, "v", FRAME, tmp_path)
    opened = rosenblatt.volume("v")
    assert opened[1] == {"id": "b", "x": 2, "y": "v"}
    assert sorted(x for batch in opened.batches(3) for x in batch.frame["x"]) == [1, 2, 3, 4]


@pytest.mark.parametrize("index", [slice(0, 2), [0, 1], 1.0, "a", None])
def test_a_position_that_is_no_integer_is_refused(local, tmp_path, index):
    add_frame(local, "v", FRAME, tmp_path)
    with pytest.raises(TypeError, match="samples are numbered by integers"):
        open_version(local, "v")[index]


def test_mistakes_in_python_are_named(local, tmp_path):
    add_frame(local, "v", FRAME, tmp_path)
    opened = rosenblatt.volume(tmp_path / "volumes" / "v")
    for columns in ("x", ["nope"]):
        with pytest.raises(VolumeError, match=r"Expected a list of columns of v@1, 'id'"):
            opened.metadata(columns)
    assert opened.metadata(["x", "x"]).columns == ["x"]
    with pytest.raises(TypeError, match="expected a query"):
        opened.query(None)
    with pytest.raises(TypeError, match="expected the name of a volume"):
        rosenblatt.volume(None)


def test_a_volume_that_is_removed_while_it_is_open_is_reported(local, tmp_path):
    add_frame(local, "v", FRAME, tmp_path)
    opened = open_version(local, "v")
    assert len(opened.to_polars()) == len(FRAME)
    shutil.rmtree(local)
    with pytest.raises(DamagedDataError, match="is missing"):
        opened.to_polars()


def test_a_web_server_says_that_it_cannot_be_listed_and_lacks_no_volume_it_has(local, tmp_path):
    add_frame(local, "v", FRAME, tmp_path)
    with serve_files(Path(local)) as address:
        assert len(open_version(address, "v@1")) == 4
        with pytest.raises(StorageError, match="cannot be listed"):
            list_known_volumes(address)
        with pytest.raises(VolumeError, match="There is no volume 'w'"):
            open_version(address, "w")


def test_a_missing_file_with_an_at_sign_is_named(local):
    with pytest.raises(VolumeError, match=r"There is no volume 'data' in .*, and no file data@2024\.csv"):
        rosenblatt.volume("data@2024.csv")


def test_without_pytorch_its_datasets_say_what_to_install(local, tmp_path, monkeypatch):
    add_frame(local, "v", FRAME, tmp_path)
    opened = rosenblatt.volume("v")
    monkeypatch.setattr("rosenblatt.data.volumes.requirements.find_spec", lambda _: None)
    for make in (opened.torch_dataset, opened.torch_samples):
        with pytest.raises(VolumeError, match=r"pip install 'rosenblatt\[torch\]'"):
            make()


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_roots_and_sources_may_have_characters_of_patterns_in_their_names(tmp_path, suffix):
    write = {"parquet": pl.DataFrame.write_parquet, "arrow": pl.DataFrame.write_ipc}[suffix]
    write(FRAME.head(1), tmp_path / f"x1.{suffix}")
    write(FRAME, path := tmp_path / f"x[1].{suffix}")
    root = str(tmp_path / "volumes [1]*")
    for _ in range(2):  # the second addition reads what the first one wrote
        add_path(root, "v", path)
    opened = open_version(root, "v")
    assert opened.to_polars().equals(FRAME)
    assert opened.query("x > 1").to_polars().equals(FRAME[1:])
