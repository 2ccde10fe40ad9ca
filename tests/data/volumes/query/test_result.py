from __future__ import annotations

import polars as pl
import pytest

from rosenblatt.data.volumes.query.result import run_query
from rosenblatt.data.volumes.tags import set_tag
from rosenblatt.errors import QueryError, VolumeError
from tests.data.volumes.helpers import add_frame, add_path, open_version


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with two versions of a table."""
    folder = tmp_path_factory.mktemp("query")
    people = pl.DataFrame({"id": range(100), "age": [20 + i % 50 for i in range(100)], "town": ["Ulm", "Rom"] * 50})
    add_frame(str(folder), "people", people[:60], folder)
    add_frame(str(folder), "people", people, folder)
    opened = open_version(str(folder), "people@1")
    set_tag(opened.objects, "people", "release", opened.commit)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "query", "version", "n_samples"),
    [
        ("people", "", 2, 100),
        ("people", "age >= 60 and town = 'Rom'", 2, 10),
        ("people@1", "age >= 60 and town = 'Rom'", 1, 5),
        ("people", "@version=1 town = 'Rom'", 1, 30),
        ("people", "@version=release", 1, 60),
        ("people@1", "@version=release", 1, 60),
        ("people@latest", "age > 200", 2, 0),
    ],
)
def test_samples_of_the_version_that_is_named_are_selected(root, name, query, version, n_samples):
    result = run_query(f"{root}/{name}", query, 3)
    assert (result.volume.version, result.n_samples) == (version, n_samples)
    assert len(result.volume.to_polars()) == n_samples
    assert result.first.equals(result.volume.to_polars().head(3))


def test_a_query_cannot_name_another_version_than_its_volume(root):
    with pytest.raises(QueryError, match=r"because people@1 is a version already, but got 2:\n.*\n +\^"):
        run_query(f"{root}/people@1", "@version=2", 3)
    with pytest.raises(VolumeError, match="versions 1 to 2, but not 3"):
        run_query(f"{root}/people", "@version=3", 3)


def test_an_empty_selection_stays_empty(root):
    selected = open_version(root, "people").query("age < 0")
    assert len(selected) == 0
    assert selected.to_polars().height == 0
    assert selected.to_polars().schema == selected.schema


def test_statistics_of_the_log_leave_files_out(root):
    read = []
    opened = open_version(root, "people")
    opened.read_whole_file = lambda position, columns: read.append(position)
    assert opened.query("age > 69").selection.n_samples == 0
    assert read == []


def test_bytes_of_selected_samples_are_counted(root, tmp_path, make_photos):
    add_path(root, "photos", make_photos(tmp_path / "photos", {"cat": 3, "dog": 2}))
    result = run_query(f"{root}/photos", "label = 'cat'", 2)
    photos = open_version(root, "photos").to_polars()
    assert result.n_bytes == photos.filter(pl.col("label") == "cat")["length"].sum()
    assert result.to_json()["n_bytes_of_version"] == photos["length"].sum()
    assert [sample["label"] for sample in result.to_json()["samples"]] == ["cat", "cat"]


def test_equal_rows_are_on_one_side_of_a_split(root, tmp_path):
    add_frame(root, "towns", pl.DataFrame({"town": [f"t{i % 200}" for i in range(600)]}), tmp_path)
    sides = [
        set(run_query(f"{root}/towns", f"@split={part}", 0).volume.to_polars()["town"]) for part in ("train", "test")
    ]
    assert not sides[0] & sides[1]
    assert len(run_query(f"{root}/towns", "@split=train", 0).volume) == 3 * len(sides[0])


def test_what_the_data_decides_is_a_warning_in_python(root):
    with pytest.warns(UserWarning, match="@seed has no effect"):
        open_version(root, "people").query("age > 3 @seed=3")
    notes = []
    open_version(root, "people").query("age > 3 @seed=3", notes.append)
    assert notes == ["@seed has no effect: nothing is drawn at random."]


def test_volumes_of_a_bucket_are_queried(s3_root, tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    frame = pl.DataFrame({"id": [f"s{i}" for i in range(300)], "x": range(300)})
    rows = []
    for root in (s3_root, str(tmp_path / "volumes")):
        add_frame(root, "v", frame, tmp_path)
        rows.append(run_query(f"{root}/v", "x >= 100 @split=train", 0).volume.to_polars())
    assert rows[0].equals(rows[1])
    assert 120 < rows[0].height < 190
