import json

import polars as pl
import pytest

from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import VolumeError
from tests.data.volumes.sources.files import png, read, read_bytes

FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    "n": {"dtype": "int64", "_type": "Value"},
}


def rows(labels):
    images = pl.DataFrame({"bytes": [png(color=label + 2) for label in labels], "path": ["x.png"] * len(labels)})
    return pl.DataFrame([images.to_struct("image"), pl.Series("label", labels), pl.Series("n", labels)])


def save_to_disk(folder, labels):
    folder.mkdir(parents=True)
    rows(labels).write_ipc_stream(folder / "data-00000-of-00001.arrow")
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def test_a_saved_dataset_keeps_images_and_names_of_classes(tmp_path):
    save_to_disk(tmp_path / "d", [0, 1, -1])
    source = open_samples(tmp_path / "d")
    assert (source.kind, source.target) == ("images", "label")
    assert read(source).select("label", "n").rows() == [("cat", 0), ("dog", 1), (None, -1)]
    assert read_bytes(source) == [png(color=2), png(color=3), png(color=1)]
    assert any("numbers of classes are replaced by names: label ('cat' and 'dog')" in note for note in source.notes)


def test_the_splits_of_a_saved_dataset_become_a_column(tmp_path):
    for split, labels in (("train", [0, 1]), ("test", [1])):
        save_to_disk(tmp_path / split, labels)
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    assert read(open_samples(tmp_path)).select("label", "split").rows() == [
        ("cat", "train"), ("dog", "train"), ("dog", "test"),
    ]  # fmt: skip


@pytest.mark.parametrize("state", [
    {"_data_files": [{"filename": "../outside.arrow"}]},
    {"_data_files": [], "_indices_files": [{"filename": "indices.arrow"}]},
    {"_data_files": []}, {}, {"_data_files": [{"filename": "missing.arrow"}]}, {"_data_files": [{}, 1]},
])  # fmt: skip
def test_a_saved_dataset_that_cannot_be_used_is_refused(tmp_path, state):
    save_to_disk(tmp_path / "d", [0])
    (tmp_path / "d/state.json").write_text(json.dumps(state))
    with pytest.raises(VolumeError, match=r"names files outside|is a selection of rows|without files|lacks the files"):
        open_samples(tmp_path / "d")


def test_names_of_shards_give_splits_and_names_of_folders_give_columns(tmp_path):
    metadata = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    for name, labels in (("train-00000-of-00001", [0]), ("test-00000-of-00001", [1])):
        path = tmp_path / "year=2021" / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        rows(labels).write_parquet(path, metadata=metadata)
    source = open_samples(tmp_path)
    assert read(source).select("label", "split", "year").sort("label").rows() == [
        ("cat", "train", "2021"), ("dog", "test", "2021"),
    ]  # fmt: skip
    assert {"names of files give the column 'split'", "names of folders give the columns 'year', as text"} <= {
        *source.notes
    }
