"""Folders and archives of images, texts and sequences as tables."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from rosenblatt.data.media.columns import sequences_from_column
from rosenblatt.data.readers.read import read_table
from rosenblatt.errors import TableError


def save_image(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)


def test_a_folder_of_images_has_a_class_for_each_folder(tmp_path):
    for part, name in (("train", "cat"), ("train", "dog"), ("test", "cat"), ("test", "dog")):
        for k in range(2):
            save_image(tmp_path / part / name / f"{k}.png")
    (tmp_path / "train" / ".hidden").write_text("x")
    table = read_table(tmp_path)
    assert table.frame["class"].to_list() == ["cat", "cat", "dog", "dog"]
    assert table.target == "class"
    assert table.test.frame.height == 4
    assert table.frame["image"][0].endswith("train/cat/0.png")


def test_a_test_folder_with_other_classes_is_rejected_and_missing_ones_are_noted(tmp_path):
    for part, name in (("train", "cat"), ("train", "dog"), ("test", "cat")):
        save_image(tmp_path / part / name / "a.png")
    assert "no test rows of 'dog'" in read_table(tmp_path).notes
    save_image(tmp_path / "test" / "cow" / "a.png")
    with pytest.raises(TableError, match="classes 'cow', but the training folder does not"):
        read_table(tmp_path)


def test_images_without_classes_and_images_beside_folders(tmp_path):
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png")
    assert read_table(tmp_path).frame.columns == ["image"]
    save_image(tmp_path / "cat" / "c.png")
    with pytest.raises(TableError, match=r"'a\.png' is in none"):
        read_table(tmp_path)


def test_an_archive_of_images_is_read_without_unpacking(tmp_path):
    save_image(tmp_path / "x" / "cat" / "0.png", 7)
    save_image(tmp_path / "x" / "dog" / "0.png", 9)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("cat/0.png", "dog/0.png"):
            archive.write(tmp_path / "x" / name, f"x/{name}")
    table = read_table(tmp_path / "x.zip")
    assert table.frame["class"].to_list() == ["cat", "dog"]
    assert table.frame["image"][0].startswith(b"\x89PNG")
    assert table.frame["file"].to_list() == ["cat/0.png", "dog/0.png"]


def test_text_files_have_a_sample_per_line_in_any_encoding(tmp_path):
    (tmp_path / "French.txt").write_bytes("Hélène\n\nÉlodie\n".encode("cp1252"))
    (tmp_path / "Greek.txt").write_text("Ελένη\n", encoding="utf-8")
    table = read_table(tmp_path)
    assert table.frame.rows() == [("Hélène", "French"), ("Élodie", "French"), ("Ελένη", "Greek")]
    assert table.texts == ("text",)


@pytest.mark.parametrize("parts", [[""], ["train/", "test/"]])
def test_many_text_files_in_the_folder_of_each_class_are_a_text_each(tmp_path, parts):
    for part in parts:
        for label in ("neg", "pos"):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(2 if part == "test/" else 9):
                (tmp_path / part / label / f"{i}.txt").write_text(f"first line\nof {label} {i}")
    table = read_table(tmp_path)
    assert table.frame.height == 18
    assert table.frame.row(0) == ("first line\nof neg 0", "neg")
    assert "each file is one text; for a text in each line, join the files of each folder" in table.notes
    assert table.test is None or table.test.frame["class"].to_list() == ["neg", "neg", "pos", "pos"]


def test_sequences_with_line_ends_of_old_macs_are_read(tmp_path):
    for i in range(2):
        (tmp_path / f"{i}.csv").write_bytes(b"a,b\r1,2\r3,4\r")
    assert read_table(tmp_path).frame["sequence"].struct.field("channels").to_list() == [2, 2]


def test_many_text_files_in_one_folder_are_a_class_each(tmp_path):
    (tmp_path / "languages").mkdir()
    for i in range(9):
        (tmp_path / f"languages/{i}.txt").write_text("first line\nsecond line")
    assert read_table(tmp_path).frame["class"].n_unique() == 9


def test_sequences_of_an_archive_are_joined_with_their_metadata(tmp_path):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for k in (10, 2, 1):
            rows = "\n".join(f"{k},{step}" for step in range(k))
            archive.writestr(f"data/s_{k}.csv", f"#a, b\n{rows}\n")
        archive.writestr("data/target.csv", "#ID, label\n1,up\n2,down\n10,up\n")
        archive.writestr("groups/person.csv", "#ID, person\n1,7\n2,8\n10,9\n")
        archive.writestr("other.csv", "what,ever\nx,y\n")
    table = read_table(tmp_path / "s.zip")
    sequences = sequences_from_column(table.frame["sequence"])
    assert {len(sequence): label for sequence, label in zip(sequences, table.frame["label"], strict=True)} == {
        1: "up",
        2: "down",
        10: "up",
    }
    assert table.excluded_columns == ("file", "person")
    assert table.frame["file"].to_list() == ["data/s_1.csv", "data/s_10.csv", "data/s_2.csv"]
    assert any("other.csv does not describe these sequences" in note for note in table.notes)


def test_sequences_with_other_channels_and_empty_folders_are_rejected(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x,y\n1,2\n3,4\n")
    assert read_table(tmp_path).frame.height == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(TableError, match="is empty, but images, texts or sequences were expected"):
        read_table(empty)
    (empty / "song.mp3").write_bytes(b"x")
    with pytest.raises(TableError, match=r"must hold images.* holds 1 other file"):
        read_table(empty)


def test_real_sequences_of_unequal_length(shared_data):
    table = read_table(shared_data / "IndoorMovement.zip")
    lengths = [len(sequence) for sequence in sequences_from_column(table.frame["sequence"])]
    assert (len(lengths), sum(lengths)) == (314, 13197)
    assert set(table.frame["class_label"]) == {"1", "-1"}
    assert "path_ID" in table.excluded_columns
