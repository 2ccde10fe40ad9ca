import json

import polars as pl
import pytest

from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import TableError, VolumeError
from tests.data.volumes.sources.files import png, read, write_files

COCO = {
    "info": {"year": 2017},
    "images": [
        {"id": 7, "file_name": "a.png", "width": 2, "height": 3, "license": 1},
        {"id": 9, "file_name": "b.png", "width": 2, "height": 3, "license": 2},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 1.5, 2, 3], "area": 6, "iscrowd": 0,
         "segmentation": [[1, 2, 3]]},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "area": 1.5, "iscrowd": 1,
         "segmentation": {"counts": "x", "size": [2, 3]}},
        {"id": 3, "image_id": 99, "category_id": 1},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
}  # fmt: skip


def write(folder, document, name="annotations/instances.json"):
    return write_files(folder, {"images/a.png": png(), "images/b.png": png(color=1), name: json.dumps(document)})


def check(source):
    first, second = read(source).rows(named=True)
    assert (first["id"][-5:], first["image_id"], first["license"]) == ("a.png", 7, 1)
    assert (first["n_annotations"], first["categories"]) == (2, ["cat", "dog"])
    assert first["annotations"][0] == {
        "id": 1, "category": "dog", "bbox": [0.0, 1.5, 2.0, 3.0], "area": 6.0, "iscrowd": 0,
        "segmentation": "[[1, 2, 3]]",
    }  # fmt: skip
    assert json.loads(first["annotations"][1]["segmentation"]) == {"counts": "x", "size": [2, 3]}
    assert (second["n_annotations"], second["categories"], second["annotations"]) == (0, [], [])
    assert "label" not in source.columns
    assert any(note.startswith("1 annotation of images that instances.json does not list") for note in source.notes)


def test_annotations_beside_the_folder_of_images_give_a_row_for_each_image(tmp_path):
    source = open_samples(write(tmp_path, COCO))
    assert read(source)["annotations"].list.len().to_list() == [2, 0]
    assert [note for note in source.notes if "annotations/instances.json: gives the columns" in note]


def test_annotations_given_as_sidecar_are_the_same(tmp_path):
    write(tmp_path, COCO)
    check(open_samples(tmp_path / "images", sidecar=tmp_path / "annotations/instances.json"))


def test_annotations_of_other_kinds_for_the_same_images_are_noted(tmp_path):
    captions = COCO | {"annotations": [{"id": 5, "image_id": 9, "caption": "a cat"}]}
    write(tmp_path, COCO)
    (tmp_path / "annotations/captions.json").write_text(json.dumps(captions))
    source = open_samples(tmp_path)
    note = next(note for note in source.notes if note.startswith("cells of"))
    assert "'annotations'" in note
    assert "annotations/instances.json left out, as another table gives them (--sidecar FILE" in note


def test_captions_are_texts(tmp_path):
    write(tmp_path, COCO | {"annotations": [{"id": 5, "image_id": 9, "caption": "a cat"}], "categories": []})
    frame = read(open_samples(tmp_path))
    assert frame["annotations"].to_list() == [[], [{"id": 5, "caption": "a cat"}]]
    assert frame["annotations"].dtype == pl.List(pl.Struct({"id": pl.Int64, "caption": pl.String}))


@pytest.mark.parametrize("document", [
    COCO | {"images": [{"id": 1}]}, COCO | {"annotations": [{"id": 1}]}, COCO | {"images": 5},
    COCO | {"annotations": [{"image_id": 7, "bbox": ["x"]}]}, COCO | {"annotations": [{"image_id": 7, "area": "x"}]},
])  # fmt: skip
def test_annotations_that_do_not_hold_what_coco_describes_are_refused(tmp_path, document):
    write(tmp_path, document)
    with pytest.raises(TableError, match=r"instances.json' (is not in COCO's format|holds annotations of several)"):
        open_samples(tmp_path)


def test_annotations_alone_are_refused_with_what_to_do(tmp_path):
    write(tmp_path, COCO)
    with pytest.raises(VolumeError, match=r"Add the folder of the images, with --sidecar instances.json"):
        open_samples(tmp_path / "annotations/instances.json")
