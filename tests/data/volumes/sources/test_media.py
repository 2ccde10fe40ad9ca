import pytest

from rosenblatt.data.media import headers
from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import VolumeError
from tests.data.volumes.sources.files import png, read, wav, write_files


def test_images_are_named_by_path_and_labeled_by_folder(tmp_path):
    source = open_samples(write_files(tmp_path, {"dog/b.png": png(), "cat/a.PNG": png(4, 5, "L")}))
    assert (source.kind, source.id_origin, source.target, source.n_samples) == ("images", "path", "label", 2)
    assert list(source.columns) == ["id", "label", "width", "height", "channels", "format"]
    [chunk] = source.chunks()
    assert chunk.frame.rows() == [("cat/a.PNG", "cat"), ("dog/b.png", "dog")]
    assert chunk.contents.extension(0) == "png"
    assert chunk.contents.read(1) == png()
    assert source.inspect(chunk.contents.read(0)) == {"width": 4, "height": 5, "channels": 1, "format": "png"}
    assert source.inspect(b"\x89PNG damaged") == dict.fromkeys(["width", "height", "channels", "format"])


@pytest.mark.parametrize(("folders", "splits"), [
    (["train", "test"], ["train", "test"]),
    (["Training", "val"], ["train", "test"]),
    (["train", "test", "val"], ["train", "test", "validation"]),
    (["train", "other"], None),
    (["validation", "test"], None),
])  # fmt: skip
def test_train_and_test_folders_give_a_split(tmp_path, folders, splits):
    frame = read(open_samples(write_files(tmp_path, {f"{folder}/cat/a.png": png() for folder in folders})))
    if splits is None:
        assert frame.columns == ["id", "label"]
        assert set(frame["label"]) == {f"{folder}/cat" for folder in folders}
    else:
        assert set(frame["label"]) == {"cat"}
        assert set(frame["split"]) == set(splits)


def test_folders_beside_those_of_training_and_test_have_a_split_of_their_own(tmp_path):
    names = ["train/cat/a.png", "test/cat/b.png", "unlabeled/c.png"]
    source = open_samples(write_files(tmp_path, dict.fromkeys(names, png())))
    assert read(source).sort("id").select("split", "label").rows() == [
        ("test", "cat"), ("train", "cat"), ("unlabeled", None),
    ]  # fmt: skip
    assert any("1 sample in folders beside those of training and test" in note for note in source.notes)


def test_texts_of_the_same_names_are_a_column(tmp_path):
    files = {"cat/a.png": png(), "cat/a.txt": " a cat ", "dog/b.jpg": png(), "dog/b.TXT": "a dog", "cat/c.png": png()}
    source = open_samples(write_files(tmp_path, files | {"notes.txt": "x"}))
    assert (source.kind, source.texts) == ("images", ("text",))
    assert read(source).select("id", "text").rows() == [
        ("cat/a.png", "a cat"), ("cat/c.png", None), ("dog/b.jpg", "a dog"),
    ]  # fmt: skip
    assert "2 text files of the same names give the column 'text'" in source.notes
    assert "files that are no images left out: 1, such as 'notes.txt' (.txt: 1)" in source.notes


def test_names_of_any_unicode_are_labels(tmp_path):
    names = ["k\u00f6pek\nve kedi/a.png", "\u732b/\u5199\u771f.png", "a b'\"/c.png"]
    source = open_samples(write_files(tmp_path, dict.fromkeys(names, png())))
    assert set(read(source)["label"]) == {name.split("/")[0] for name in names}
    assert set(read(source)["id"]) == set(names)


def test_an_image_outside_of_the_folders_of_classes_is_refused(tmp_path):
    with pytest.raises(VolumeError, match=r"'b.png' is in none. Move it into its class"):
        open_samples(write_files(tmp_path, {"cat/a.png": png(), "b.png": png()}))


def test_other_files_are_counted_and_left_out(tmp_path):
    source = open_samples(write_files(tmp_path, {"a.png": png(), "x/.hidden.png": "", "Thumbs.db": "", "n.docx": ""}))
    assert source.n_samples == 1
    assert source.notes == (
        "hidden files and folders left out: 2, such as 'Thumbs.db' and 'x/.hidden.png'",
        "files that are no images left out: 1, such as 'n.docx' (.docx: 1)",
    )


def test_sounds_have_sampling_and_length(tmp_path):
    files = {"yes/a.wav": wav(16_000, 8000), "no/b.WAV": wav(4000, 16_000, 2)}
    source = open_samples(write_files(tmp_path, files))
    [chunk] = source.chunks()
    assert (source.kind, source.target) == ("audio", "label")
    assert chunk.frame["id"].to_list() == ["no/b.WAV", "yes/a.wav"]
    assert source.inspect(chunk.contents.read(0)) == {
        "sample_rate": 16_000, "n_channels": 2, "seconds": 0.25, "format": "wav"
    }  # fmt: skip


def test_files_of_any_kind_are_taken_on_request(tmp_path):
    write_files(tmp_path, {"a.bin": b"\0\1", "b/c.png": png(), ".hidden": "x"})
    source = open_samples(tmp_path, kind="files")
    assert (source.kind, list(source.columns)) == ("files", ["id"])
    assert read(source)["id"].to_list() == ["a.bin", "b/c.png"]


@pytest.mark.parametrize("kind", ["images", "audio"])
def test_a_folder_without_files_of_the_given_kind_is_refused(tmp_path, kind):
    with pytest.raises(VolumeError, match=f"holds no {kind}"):
        open_samples(write_files(tmp_path, {"a.txt": "x"}), kind=kind)


def test_sounds_that_need_soundfile_are_noted_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr(headers, "_soundfile", lambda: None)
    source = open_samples(write_files(tmp_path, {"a.ogg": b"OggS", "b.wav": wav()}))
    assert "the sampling of OGG files is unknown without soundfile (pip install soundfile)" in source.notes
    assert set(source.inspect(b"OggS").values()) == {None}
