import polars as pl
import pytest

from rosenblatt.data.schema.inference import detect_medium
from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import TableError
from tests.data.volumes.sources.files import read, write_files


def test_lines_of_texts_have_the_name_of_their_file_as_label(tmp_path):
    source = open_samples(write_files(tmp_path, {"spam.txt": "buy\nbuy\n\nnow", "ham.txt": "hello"}))
    assert (source.kind, source.target, source.texts, source.id_origin) == ("texts", "label", ("text",), "generated")
    frame = read(source)
    assert frame.drop("id").rows() == [("hello", "ham"), ("buy", "spam"), ("buy", "spam"), ("now", "spam")]
    assert frame["id"][2] == f"{frame['id'][1]}-2"


def test_train_and_test_texts_have_a_split(tmp_path):
    files = {f"{split}/{label}.txt": f"{split} {label}" for split in ("train", "test") for label in ("a", "b")}
    frame = read(open_samples(write_files(tmp_path, files)))
    assert frame.select("split", "label", "text").rows() == [
        ("train", "a", "train a"), ("train", "b", "train b"), ("test", "a", "test a"), ("test", "b", "test b"),
    ]  # fmt: skip


def test_many_text_files_in_a_folder_of_each_class_are_a_text_each(tmp_path):
    files = {f"{label}/{i}.txt": f"line {i}\nof {label}" for label in ("neg", "pos") for i in range(5)}
    source = open_samples(write_files(tmp_path, files))
    assert source.n_samples == 10
    assert read(source).drop("id").row(0) == ("line 0\nof neg", "neg")
    assert any("each file is one text" in note for note in source.notes)


@pytest.mark.parametrize(("width", "dtype"), [(1, pl.List(pl.Float32)), (2, pl.List(pl.List(pl.Float32)))])
def test_a_file_of_numbers_is_a_sequence_of_lists(tmp_path, width, dtype):
    def write(n, first):
        return "".join(",".join(str(first + i + j / 2) for j in range(width)) + "\n" for i in range(n))

    files = {f"s/{i}.csv": write(i + 2, i) for i in range(3)}
    files["labels.csv"] = "id,kind,day\n" + "".join(f"{i},k{i % 2},2021-01-0{i + 1}\n" for i in range(3))
    source = open_samples(write_files(tmp_path, files))
    frame = read(source)
    assert (source.kind, source.id_origin) == ("sequences", "path")
    assert frame["id"].to_list() == ["s/0.csv", "s/1.csv", "s/2.csv"]
    assert dict(frame.schema) == {"id": pl.String, "sequence": dtype, "kind": pl.String, "day": pl.Date}
    assert frame["sequence"].list.len().to_list() == [2, 3, 4]
    assert detect_medium(frame["sequence"]) == "sequence"


def test_train_and_test_sequences_have_a_split(tmp_path):
    files = {f"{split}/{label}/{i}.csv": f"{i}\n2\n" for split in ("train", "test") for label in "ab" for i in range(2)}
    source = open_samples(write_files(tmp_path, files))
    frame = read(source)
    assert source.target == "label"
    assert frame.select("split", "label").unique().sort("split", "label").rows() == [
        ("test", "a"), ("test", "b"), ("train", "a"), ("train", "b"),
    ]  # fmt: skip


def test_folders_of_other_files_are_refused(tmp_path):
    with pytest.raises(TableError, match="but holds 1 other file"):
        open_samples(write_files(tmp_path, {"a.docx": "x"}))
