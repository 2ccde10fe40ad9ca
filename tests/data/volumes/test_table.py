from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import rosenblatt
from rosenblatt.data.media.contents import cell_name, read_content
from rosenblatt.data.media.images import read_image
from rosenblatt.data.readers.read import read_table
from rosenblatt.data.volumes.table import to_table
from rosenblatt.errors import DamagedDataError, VolumeError
from rosenblatt.inspection.description import describe_table
from tests.data.volumes.helpers import add_frame, add_path, open_version, write_files


def test_images_are_read_when_they_are_needed_and_are_those_of_the_folder(root, tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 3, "dog": 2})
    add_path(root, "photos", photos)
    table = to_table(open_version(root, "photos"))
    folder = read_table(photos)
    assert table.target == "label"
    assert table.frame["label"].to_list() == folder.frame["class"].to_list()
    for cell, path in zip(table.frame["image"], folder.frame["image"], strict=True):
        assert np.array_equal(read_image(cell), read_image(path))
    assert cell_name(table.frame["image"][0]) == "cat/0.png of photos@1"
    assert set(table.excluded_columns) == {"id", "width", "height", "channels", "format"}


def test_only_selected_images_are_in_the_table(tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 3, "dog": 2})
    add_path(str(tmp_path / "volumes"), "photos", photos)
    table = to_table(open_version(str(tmp_path / "volumes"), "photos").query("label = 'dog'"))
    assert [read_content(cell) for cell in table.frame["image"]] == [
        (photos / "dog" / f"{k}.png").read_bytes() for k in range(2)
    ]


def test_damaged_images_are_never_returned(tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 3})
    add_path(str(tmp_path / "volumes"), "photos", photos)
    (pack,) = (tmp_path / "volumes").glob("packs/*/*.tar")
    content = bytearray(pack.read_bytes())
    content[600] ^= 1
    pack.write_bytes(content)
    cells = to_table(open_version(str(tmp_path / "volumes"), "photos")).frame["image"]
    with pytest.raises(DamagedDataError, match=r"cat/0\.png"):
        read_content(cells[0])
    assert read_content(cells[1]) == (photos / "cat" / "1.png").read_bytes()


def test_folders_of_training_and_test_images_stay_apart(tmp_path, make_photos):
    make_photos(tmp_path / "photos" / "train", {"cat": 3, "dog": 2})
    make_photos(tmp_path / "photos" / "test", {"cat": 1, "dog": 1})
    add_path(str(tmp_path / "volumes"), "photos", tmp_path / "photos")
    table = to_table(open_version(str(tmp_path / "volumes"), "photos"))
    assert table.frame.height == 5
    assert table.test.frame.height == 2


def test_generated_identities_are_no_column_of_the_table(tmp_path):
    source = tmp_path / "people.csv"
    source.write_text("age,income\n31,low\n7,high\n")
    add_path(str(tmp_path / "volumes"), "people", source)
    table = to_table(open_version(str(tmp_path / "volumes"), "people"))
    assert table.frame.equals(pl.DataFrame({"age": [31, 7], "income": ["low", "high"]}))


def test_bytes_that_networks_cannot_read_are_refused(tmp_path):
    add_path(str(tmp_path / "volumes"), "raw", write_files(tmp_path / "raw", {"a.bin": b"1"}), kind="files")
    with pytest.raises(VolumeError, match="raw@1 holds files, which networks do not read yet"):
        to_table(open_version(str(tmp_path / "volumes"), "raw"))


def test_a_model_fitted_to_a_volume_is_the_one_fitted_to_its_source(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.normal(size=80).round(3), "b": rng.choice(["x", "y", "z"], 80)})
    frame = frame.with_columns(target=pl.when(pl.col("a") > 0).then(pl.lit("yes")).otherwise(pl.lit("no")))
    frame.write_csv(tmp_path / "t.csv")
    add_path(str(tmp_path / "volumes"), "t", tmp_path / "t.csv")
    spec = rosenblatt.Spec.from_hyperparameters(epochs=2, hidden_sizes=(4,), members=1)
    tables = [read_table(tmp_path / "t.csv"), to_table(open_version(str(tmp_path / "volumes"), "t"))]
    results = [rosenblatt.fit(table, ["target"], spec, notify=lambda _: None) for table in tables]
    assert [score.model for score in results[0].scores] == [score.model for score in results[1].scores]
    assert np.array_equal(results[0].model.networks[0].theta, results[1].model.networks[0].theta)


def test_columns_of_a_query_are_those_of_the_version(tmp_path):
    frame = pl.DataFrame({"id": [1, 2, 3], "x": [1.0, None, 3.0]})
    add_frame(str(tmp_path / "volumes"), "v", frame, tmp_path)
    table = to_table(open_version(str(tmp_path / "volumes"), "v").query("x is not null"))
    assert table.frame.equals(frame.drop_nulls())
    assert table.id_column == "id"


def test_validation_and_test_images_are_both_held_out(tmp_path, make_photos):
    for split, n in (("train", 3), ("val", 1), ("test", 2)):
        make_photos(tmp_path / "photos" / split, {"cat": n})
    add_path(str(tmp_path / "volumes"), "photos", tmp_path / "photos")
    table = to_table(open_version(str(tmp_path / "volumes"), "photos"))
    assert (table.frame.height, table.test.frame.height) == (3, 3)
    assert "test rows: the 3 samples whose split is 'test' and 'validation'" in table.notes


@pytest.mark.parametrize(("name", "is_typed"), [("t.csv", False), ("t.parquet", True)])
def test_words_that_may_mean_missing_are_read_as_in_the_source(tmp_path, name, is_typed):
    frame = pl.DataFrame({"severity": ["none", "mild", "severe"]})
    frame.write_csv(tmp_path / name) if name == "t.csv" else frame.write_parquet(tmp_path / name)
    add_path(str(tmp_path / "volumes"), "t", tmp_path / name)
    table = to_table(open_version(str(tmp_path / "volumes"), "t"))
    assert table.format.is_typed is is_typed
    assert table.frame["severity"].to_list() == ["none", "mild", "severe"]


def test_images_of_a_volume_are_described_by_name_and_label(root, tmp_path, make_photos):
    add_path(root, "photos", make_photos(tmp_path / "photos", {"cat": 3, "dog": 2}))
    description = describe_table(to_table(open_version(root, "photos")))
    examples = {column["name"]: column["examples"] for column in description["columns"]}
    assert examples["image"][0] == "cat/0.png of photos@1"
    assert "if 'label' is the target" in description["likely_task"]


@pytest.mark.parametrize("cell", ["volume-sample:", "volume-sample:1:2:3", "volume-sample:a:b:c:d:e", "{uri}"])
def test_a_cell_that_names_no_sample_is_refused(root, tmp_path, make_photos, cell):
    add_path(root, "photos", make_photos(tmp_path / "photos", {"cat": 1}))
    uri = open_version(root, "photos").uri
    cell = cell.format(uri=f"volume-sample:99:99:00:{len(uri)}:{uri}x")
    with pytest.raises(VolumeError, match=r"no (such )?sample"):
        read_content(cell)
    assert cell_name(cell) in (cell, "x of photos@1")
