from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.volumes.add import AddOptions, add
from rosenblatt.data.volumes.listing import list_known_volumes
from rosenblatt.data.volumes.storage.packs import content_hash
from rosenblatt.errors import ConflictError, TableError, VolumeError
from tests.data.volumes.helpers import add_frame, add_path, open_version, write_files

PEOPLE = pl.DataFrame({"id": ["a", "b", "c"], "age": [31, None, 7], "income": ["low", "high", "low"]})


def packs_of(root: str) -> list[Path]:
    return sorted(Path(root).glob("packs/*/*.tar"))


def test_a_table_comes_back_as_it_was_added(root, tmp_path):
    result = add_frame(root, "people", PEOPLE, tmp_path)
    assert result.is_new
    assert (result.commit.version, result.commit.n_samples) == (1, 3)
    assert open_version(root, "people").to_polars().equals(PEOPLE)


def test_the_same_content_adds_no_version(root, tmp_path):
    add_frame(root, "people", PEOPLE, tmp_path)
    again = add_frame(root, "people", PEOPLE, tmp_path)
    assert not again.is_new
    assert (again.commit.version, again.bytes_written) == (1, 0)


def test_a_version_holds_what_the_source_holds_and_earlier_versions_stay(root, tmp_path):
    add_frame(root, "people", PEOPLE, tmp_path)
    changed = pl.DataFrame({"id": ["a", "c", "d"], "age": [32, 7, 1], "income": ["low", "low", "high"]})
    commit = add_frame(root, "people", changed, tmp_path).commit
    assert (commit.added, commit.changed, commit.removed) == (1, 1, 1)
    assert open_version(root, "people@2").to_polars().equals(changed)
    assert open_version(root, "people@1").to_polars().equals(PEOPLE)


def test_append_keeps_what_the_source_does_not_hold(tmp_path):
    root = str(tmp_path / "volumes")
    add_frame(root, "people", PEOPLE, tmp_path)
    more = pl.DataFrame({"id": ["b", "d"], "age": [5, 1], "income": ["low", "high"], "city": ["Ulm", "Bern"]})
    commit = add_frame(root, "people", more, tmp_path, append=True).commit
    assert (commit.added, commit.changed, commit.removed) == (1, 1, 0)
    rows = open_version(root, "people").to_polars()
    assert rows["id"].to_list() == ["a", "b", "c", "d"]
    assert rows["age"].to_list() == [31, 5, 7, 1]
    assert rows["city"].to_list() == [None, "Ulm", None, "Bern"]


def test_appended_values_of_another_type_are_refused_unless_both_are_numbers(tmp_path):
    root = str(tmp_path / "volumes")
    add_frame(root, "people", PEOPLE, tmp_path)
    add_frame(root, "people", pl.DataFrame({"id": ["d"], "age": [1.5]}), tmp_path, append=True)
    assert open_version(root, "people").to_polars()["age"].to_list() == [31.0, None, 7.0, 1.5]
    with pytest.raises(VolumeError, match="'age' holds Float64 in the volume, but String in the source"):
        add_frame(root, "people", pl.DataFrame({"id": ["e"], "age": ["old"]}), tmp_path, append=True)


@pytest.mark.parametrize("limits", [{}, {"base_rows.MAX_CACHE_BYTES": 1, "changed_rows.RUN_ROWS": 7,
    "changed_rows.BLOCK_ROWS": 3, "storage.temporary.MAX_MEMORY_BYTES": 1, "storage.hash_index.MAX_MEMORY_ROWS": 8,
    "sources.source.CHUNK_ROWS": 13, "sources.columnar.CHUNK_ROWS": 13}], ids=["in memory", "in files"])  # fmt: skip
def test_any_sequence_of_additions_gives_what_a_dictionary_would_hold(tmp_path, monkeypatch, limits):
    for name, limit in ({"merge.MAX_FILE_ROWS": 16, "merge.SMALL_FILE_ROWS": 4} | limits).items():
        monkeypatch.setattr(f"rosenblatt.data.volumes.{name}", limit)
    root, rng, versions = str(tmp_path / "volumes"), np.random.default_rng(0), list[dict]()
    expected = dict[int, int]()
    for step in range(12):
        ids = rng.choice(80, rng.integers(1, 60), replace=False).tolist()
        rows = {key: int(rng.integers(3)) for key in ids}
        append = bool(step % 2)
        kept = dict(expected) if append else {key: value for key, value in expected.items() if key in rows}
        expected = kept | rows
        add_frame(root, "v", pl.DataFrame({"id": list(rows), "x": list(rows.values())}), tmp_path, append=append)
        versions.append(expected)
    current = open_version(root, "v").version
    assert current > 5
    frame = open_version(root, "v").to_polars()
    assert dict(frame.rows()) == versions[-1]
    assert frame["id"].to_list() == list(versions[-1])  # samples keep their place, new ones come last
    assert all(file.rows <= 20 for file in open_version(root, "v").data_files)


def test_images_keep_their_bytes_labels_and_sizes(root, tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 3, "dog": 2})
    result = add_path(root, "photos", photos)
    opened = open_version(root, "photos")
    rows = opened.to_polars()
    assert (result.commit.kind, result.commit.target) == ("images", "label")
    assert rows["label"].to_list() == ["cat"] * 3 + ["dog"] * 2
    for name, hash_ in rows.select("id", "hash").rows():
        assert content_hash((photos / name).read_bytes()) == hash_


def test_packs_are_tars_whose_members_are_named_by_their_hash(tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 3})
    add_path(str(tmp_path / "volumes"), "photos", photos)
    (pack,) = packs_of(str(tmp_path / "volumes"))
    assert content_hash(pack.read_bytes()) == pack.stem
    with tarfile.open(pack) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}
    assert contents == {f"{content_hash(file.read_bytes())}.png": file.read_bytes() for file in photos.rglob("*.png")}


def test_equal_content_is_stored_once_also_in_other_volumes(tmp_path):
    root = str(tmp_path / "volumes")
    folder = write_files(tmp_path / "a", {"1.bin": b"one", "2.bin": b"two", "copy.bin": b"one"})
    add_path(root, "first", folder, kind="files")
    result = add_path(root, "second", folder, kind="files")
    assert len(packs_of(root)) == 1
    assert result.commit.n_samples == 3
    (folder / "1.bin").write_bytes(b"three")
    add_path(root, "first", folder, kind="files")
    (folder / "1.bin").write_bytes(b"one")
    add_path(root, "first", folder, kind="files")
    assert len(packs_of(root)) == 2  # what an earlier version holds is not written again


def test_a_corrected_label_moves_no_media_and_rewrites_one_metadata_file(tmp_path, make_photos):
    root, photos = str(tmp_path / "volumes"), make_photos(tmp_path / "photos", {"cat": 4, "dog": 4})
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    labels = pl.DataFrame({"file_name": names, "owner": ["Ann"] * 8})
    labels.write_csv(tmp_path / "owners.csv")
    add_path(root, "photos", photos, sidecar=str(tmp_path / "owners.csv"))
    before = packs_of(root)
    labels.with_columns(owner=pl.Series(["Bob"] + ["Ann"] * 7)).write_csv(tmp_path / "owners.csv")
    commit = add_path(root, "photos", photos, sidecar=str(tmp_path / "owners.csv")).commit
    assert (commit.added, commit.changed, commit.removed) == (0, 1, 0)
    assert packs_of(root) == before
    assert open_version(root, "photos").to_polars()["owner"].to_list().count("Bob") == 1


def test_linked_files_stay_where_they_are(tmp_path):
    folder = write_files(tmp_path / "raw", {"a.bin": b"one", "b.bin": b"two"})
    add_path(str(tmp_path / "volumes"), "raw", folder, kind="files", link=True)
    rows = open_version(str(tmp_path / "volumes"), "raw").to_polars()
    assert not packs_of(str(tmp_path / "volumes"))
    assert rows["pack"].to_list() == [(folder / name).as_uri() for name in ("a.bin", "b.bin")]
    assert rows["hash"].to_list() == [content_hash(b"one"), content_hash(b"two")]


def test_another_kind_of_samples_is_refused(tmp_path):
    root = str(tmp_path / "volumes")
    add_frame(root, "people", PEOPLE, tmp_path)
    with pytest.raises(VolumeError, match=r"holds a table, but .* holds files. Add it to another volume"):
        add_path(root, "people", write_files(tmp_path / "raw", {"a.bin": b"1"}), kind="files")


def test_a_second_writer_is_told_of_the_first(tmp_path, monkeypatch):
    root = str(tmp_path / "volumes")
    add_frame(root, "people", PEOPLE, tmp_path)
    from rosenblatt.data.volumes.storage.log import VolumeLog

    commit = VolumeLog.commit

    def commit_second(self, *arguments):
        monkeypatch.setattr(VolumeLog, "commit", commit)
        add_frame(root, "people", PEOPLE.head(1), tmp_path, message="first")
        return commit(self, *arguments)

    monkeypatch.setattr(VolumeLog, "commit", commit_second)
    with pytest.raises(ConflictError, match=r"people@2 was committed by .* in the meantime"):
        add_frame(root, "people", PEOPLE.head(2), tmp_path)
    assert open_version(root, "people").to_polars().equals(PEOPLE.head(1))


def test_names_of_versions_and_reserved_names_are_refused(tmp_path):
    source = tmp_path / "people.csv"
    source.write_text("a,b\n1,2\n")
    for name, reason in [
        ("people@2", "versions do not change"),
        ("packs", "name of a folder of each root"),
        ("..", "is no name of a volume"),
        ("a b", "is no name of a volume"),
        ("-x", "is no name of a volume"),
    ]:
        with pytest.raises(VolumeError, match=reason):
            add(f"{tmp_path}/volumes/{name}", str(source), AddOptions(), notify=lambda _: None)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "jsonl"])
@pytest.mark.parametrize("name", ["^k$", "*"])
def test_a_column_whose_name_is_a_pattern_of_others_is_refused(tmp_path, suffix, name):
    frame, path = pl.DataFrame({"id": [1, 2], name: [1.5, 2.5], "k": [1, 2]}), tmp_path / f"t.{suffix}"
    writers = {"parquet": frame.write_parquet, "arrow": frame.write_ipc, "csv": frame.write_csv}
    writers.get(suffix, frame.write_ndjson)(path)
    with pytest.raises(TableError, match=re.escape(f"Column {name!r} has a name that would be read as a pattern")):
        add_path(str(tmp_path / "volumes"), "t", path)


def test_a_field_whose_name_is_a_pattern_of_others_is_refused(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"id": 1, "size": {"^k$": 1, "k": 2}}\n{"id": 2, "size": {"^k$": 3, "k": 4}}\n')
    with pytest.raises(VolumeError, match=r"Fields of column 'size': the fields whose name is a pattern of names"):
        add_path(str(tmp_path / "volumes"), "t", path)


def test_names_may_have_letters_of_any_language(tmp_path):
    root = str(tmp_path / "volumes")
    add_frame(root, "Häuser-東京", PEOPLE, tmp_path)
    assert len(open_version(root, "Häuser-東京")) == 3


def test_a_volume_of_another_root_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_VOLUMES", str(tmp_path / "default"))
    source = tmp_path / "people.csv"
    source.write_text("a,b\n1,2\n")
    add("people", str(source), AddOptions(to=str(tmp_path / "other")), notify=lambda _: None)
    assert add("people", str(source), notify=lambda _: None).address.root == str(tmp_path / "other")
    with pytest.raises(VolumeError, match=r"is in .*other' already"):
        add("people", str(source), AddOptions(to=str(tmp_path / "third")), notify=lambda _: None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # WebDataset leaves files open
def test_other_readers_read_a_volume_without_us(tmp_path, make_photos):
    import duckdb
    import webdataset

    root = str(tmp_path / "volumes")
    add_frame(root, "people", PEOPLE, tmp_path)
    add_frame(root, "people", PEOPLE.head(2), tmp_path)
    photos = make_photos(tmp_path / "photos", {"cat": 2, "dog": 2})
    add_path(root, "photos", photos)
    assert pl.read_delta(f"{root}/people").equals(PEOPLE.head(2))
    assert pl.read_delta(f"{root}/people", version=1).equals(PEOPLE)
    files = [f"{root}/people/{file.path}" for file in open_version(root, "people").data_files]
    assert duckdb.read_parquet(files).pl().equals(PEOPLE.head(2))
    (pack,) = packs_of(root)
    with webdataset.WebDataset(str(pack), shardshuffle=False) as samples:
        contents = {sample["__key__"]: sample["png"] for sample in samples}
    hashes = open_version(root, "photos").to_polars()["hash"].to_list()
    assert sorted(contents) == sorted(hashes)
    assert all(content_hash(content) == key for key, content in contents.items())


def test_vacuums_of_other_tools_delete_nothing(tmp_path):
    from deltalake import DeltaTable

    root = str(tmp_path / "volumes")
    for n in (3, 2, 1):
        add_frame(root, "people", PEOPLE.head(n), tmp_path)
    assert DeltaTable(f"{root}/people").vacuum(dry_run=False) == []
    assert len(open_version(root, "people@1")) == 3


def test_the_log_names_who_added_what_and_why(tmp_path):
    root = str(tmp_path / "volumes")
    add_frame(root, "people", PEOPLE, tmp_path, message="the first three")
    entry = (tmp_path / "volumes" / "people" / "_delta_log" / f"{1:020}.json").read_text().splitlines()[0]
    info = json.loads(entry)["commitInfo"]
    assert info["rosenblatt"]["message"] == "the first three"
    assert "@" in info["userName"]


def test_columns_of_a_table_may_have_the_names_of_bytes_columns(tmp_path):
    root = str(tmp_path / "volumes")
    frame = pl.DataFrame(
        {"id": ["a", "b"], "pack": ["x", "y"], "offset": [1, 2], "length": [0.5, 0.7], "hash": ["", "z"]}
    )
    assert add_frame(root, "v", frame, tmp_path).commit.n_bytes == 0
    corrected = frame.with_columns(offset=pl.Series([1, 3]), pack=pl.Series(["w", "y"]))
    assert add_frame(root, "v", corrected, tmp_path).commit.changed == 2
    assert open_version(root, "v").to_polars().equals(corrected)
    assert open_version(root, "v").query("offset = 3 and length > 0.6").to_polars().height == 1


def test_damaged_images_are_stored_and_counted(tmp_path, make_photos):
    photos, notes = make_photos(tmp_path / "photos", {"cat": 2}), list[str]()
    (photos / "cat" / "broken.png").write_bytes(b"no image")
    for _ in range(2):
        add(f"{tmp_path}/volumes/photos", str(photos), notify=notes.append)
    frame = open_version(str(tmp_path / "volumes"), "photos").to_polars()
    assert frame["width"].null_count() == 1
    note = (
        "stored as they are, without width, height, channels and format, as they cannot be read: 1 sample, such as "
        "'cat/broken.png'"
    )
    assert notes.count(note) == 2


@pytest.mark.parametrize("has_cache", [False, True])
def test_metadata_files_of_a_bucket_are_fetched_once_if_there_is_a_cache(
    tmp_path, s3_root, s3_proxy, monkeypatch, has_cache
):
    if not has_cache:
        (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    add_frame(s3_root, "people", PEOPLE, tmp_path)
    s3_proxy.clear()
    assert add_frame(s3_root, "people", PEOPLE.head(2), tmp_path).commit.removed == 1
    n_fetches = sum(e.method == "GET" and e.path.partition("?")[0].endswith(".parquet") for e in s3_proxy.exchanges)
    assert n_fetches == 1 if has_cache else n_fetches > 1


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, make_photos, monkeypatch):
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    photos, notes = make_photos(tmp_path / "photos", {"cat": 2}), list[str]()
    assert add(f"{tmp_path}/volumes/photos", str(photos), notify=notes.append).is_new
    assert any("cannot be written" in note and "read again next time" in note for note in notes)


def test_samples_keep_their_values_of_columns_that_an_appended_source_lacks(tmp_path):
    root = str(tmp_path / "volumes")
    add_frame(root, "people", PEOPLE, tmp_path)
    commit = add_frame(root, "people", pl.DataFrame({"id": ["a", "d"], "age": [32, 9]}), tmp_path, append=True).commit
    assert (commit.added, commit.changed) == (1, 1)
    assert open_version(root, "people").to_polars().rows() == [
        ("a", 32, "low"), ("b", None, "high"), ("c", 7, "low"), ("d", 9, None),
    ]  # fmt: skip


def test_linked_files_are_copied_without_link_and_followed_with_it(tmp_path):
    root, files = str(tmp_path / "volumes"), write_files(tmp_path / "files", {"a.bin": b"1", "b.bin": b"2"})
    add_path(root, "v", files, kind="files", link=True)
    files = files.rename(tmp_path / "moved")
    assert add_path(root, "v", files, kind="files", link=True).commit.changed == 2
    assert open_version(root, "v")[1]["bytes"] == b"2"
    assert add_path(root, "v", files, kind="files").commit.changed == 2
    assert not add_path(root, "v", files, kind="files", link=True).is_new  # what is stored stays stored
    shutil.rmtree(files)
    assert open_version(root, "v")[1]["bytes"] == b"2"


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"commitInfo": {}}', None])
def test_a_volume_that_cannot_be_read_does_not_keep_others_from_being_added_and_listed(tmp_path, damage):
    root, files = str(tmp_path / "volumes"), write_files(tmp_path / "files", {"a.bin": b"1"})
    add_path(root, "damaged", files, kind="files")
    if damage is None:
        next((tmp_path / "volumes" / "damaged" / "data").iterdir()).write_bytes(b"x")
    else:
        (tmp_path / "volumes" / "damaged" / "_delta_log" / f"{1:020}.json").write_bytes(damage)
    notes = list[str]()
    assert add(f"{root}/v", str(files), AddOptions(kind="files"), notes.append).is_new
    assert any("cannot be read" in note and "'damaged'" in note for note in notes)
    assert "v" in [item.name for item in list_known_volumes(root, notes.append)]


def test_files_of_volumes_are_not_added_and_those_of_the_user_not_mixed_with_them(tmp_path):
    files = write_files(tmp_path / "files", {"a.bin": b"1"})
    for root, source in ((tmp_path, tmp_path), (files, files), (files / "volumes", files)):
        with pytest.raises(VolumeError, match="holds the root of the volume"):
            add_path(str(root), "v", source, kind="files")
    with pytest.raises(VolumeError, match="holds other files"):
        add_path(str(tmp_path), "files", files, kind="files")
    assert add_path(str(files / ".volumes"), "v", files, kind="files").is_new


@pytest.mark.parametrize("values", [[5, None], ["x", None], [[1], None], [{"a": 1}, None], [0.5, None]])
def test_an_appended_column_without_values_has_the_type_of_the_other_one(tmp_path, values):
    root, empty = (
        str(tmp_path / "volumes"),
        pl.DataFrame({"id": ["a", "b"], "x": pl.Series([None, None], dtype=pl.String)}),
    )
    filled = pl.DataFrame({"id": ["c", "d"], "x": values})
    for name, first, second in (("v", empty, filled), ("w", filled, empty)):
        add_frame(root, name, first, tmp_path)
        add_frame(root, name, second, tmp_path, append=True)
        assert open_version(root, name).to_polars().sort("id")["x"].equals(pl.Series("x", [None, None, *values]))
