from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.volumes.query.language import parse_query
from rosenblatt.data.volumes.query.selection import SampleSelection, select
from rosenblatt.errors import DamagedDataError, QueryError


@dataclass
class Files:
    """Metadata files in memory, which record what is read."""

    frames: list[pl.DataFrame]
    reads: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)

    def read(self, position: int, columns: list[str]) -> pl.DataFrame:
        self.reads.append((position, tuple(columns)))
        return self.frames[position].select(columns)

    def select(self, text: str) -> SampleSelection:
        statistics = pl.DataFrame(
            [{"rows": f.height, "min.n": f["n"].min(), "max.n": f["n"].max(), "null_count.n": 0} for f in self.frames]
        )
        return select(parse_query(text), self.frames[0].schema, statistics, self.read)

    def ids(self, text: str) -> list[str]:
        rows = self.select(text).rows
        return [id_ for frame, numbers in zip(self.frames, rows, strict=True) for id_ in frame["id"].gather(numbers)]


def make_files(n_samples: int, n_files: int, **columns: list) -> Files:
    numbers = list(range(n_samples))
    frame = pl.DataFrame(
        {"id": [f"photo {i}" for i in numbers], "n": numbers, "label": ["cat", "dog"] * (n_samples // 2), **columns}
    )
    step = -(-n_samples // n_files)
    return Files([frame[start : start + step] for start in range(0, n_samples, step)])


@pytest.fixture(scope="module")
def files():
    return make_files(4000, 7, patient=[f"p{i // 20}" if i % 100 else None for i in range(4000)])


def test_rows_are_in_the_order_of_the_volume(files):
    assert files.ids("label = 'dog' and n > 3 and n < 2000") == [f"photo {i}" for i in range(5, 2000, 2)]
    assert files.ids("") == [f"photo {i}" for i in range(4000)]
    assert all((np.diff(rows.astype(int)) > 0).all() for rows in files.select("@sample=50%").rows)


@pytest.mark.parametrize("options", ["", "@seed=7", "@group=patient"])
@pytest.mark.parametrize(
    ("parts", "shares"),
    [
        (["@split=train", "@split=validation", "@split=test"], [0.8, 0.1, 0.1]),
        (["@split=train:50/20/30", "@split=validation:50/20/30", "@split=test:50/20/30"], [0.5, 0.2, 0.3]),
        (["@split=train:0.7", "@split=validation:70/15/15", "@split=test:70/15/15"], [0.7, 0.15, 0.15]),
        (["@fold=1/3", "@fold=2/3", "@fold=3/3"], [1 / 3] * 3),
        (["@fold=2/4", "@fold!=2/4"], [0.25, 0.75]),
        (["@sample=30%"], [0.3]),
    ],
)
def test_parts_have_their_shares_and_no_sample_in_common(files, parts, shares, options):
    ids = [set(files.ids(f"{part} {options}")) for part in parts]
    assert [len(part) / 4000 for part in ids] == pytest.approx(shares, abs=0.08 if "group" in options else 0.025)
    assert not any(first & second for first, second in combinations(ids, 2))
    assert len(parts) == 1 or len(set().union(*ids)) == 4000


@pytest.mark.parametrize(
    "query", ["@split=train", "@split=test", "@fold=2/5", "@fold!=1/2", "@sample=0.1", "@seed=3 @split=train"]
)
def test_a_sample_stays_on_its_side_when_others_are_added(files, query):
    fewer = make_files(1000, 2)
    assert set(fewer.ids(query)) == {id_ for id_ in files.ids(query) if int(id_.split()[1]) < 1000}


def test_the_same_samples_are_selected_whatever_the_files_and_the_other_conditions(files):
    other = Files([pl.concat(files.frames)])
    query = "@split=train @fold!=1/5 @sample=0.4 @seed=11"
    assert other.ids(query) == files.ids(query)
    assert files.ids(f"label = 'cat' {query}") == [id_ for id_ in files.ids(query) if int(id_.split()[1]) % 2 == 0]


def test_a_smaller_sample_is_part_of_a_larger_one(files):
    assert set(files.ids("@sample=0.1")) < set(files.ids("@sample=20%"))


def test_seeds_choose_other_samples(files):
    assert files.ids("@sample=0.5 @seed=0") == files.ids("@sample=0.5") != files.ids("@sample=0.5 @seed=1")


def test_split_fold_and_sample_are_independent(files):
    n_train = len(files.ids("@split=train"))
    assert len(files.ids("@split=train @fold=1/2")) / n_train == pytest.approx(0.5, abs=0.03)
    assert len(files.ids("@split=train @sample=0.25")) / n_train == pytest.approx(0.25, abs=0.03)


def test_these_samples_are_selected_for_ever():
    files = make_files(40, 3)
    assert [int(id_[6:]) for id_ in files.ids("@split=test")] == [5, 12, 15, 37]
    assert [int(id_[6:]) for id_ in files.ids("@sample=0.2 @seed=5")] == [5, 7, 21, 31]


@pytest.mark.parametrize("query", ["@split=train", "@fold=2/3", "@sample=0.5"])
def test_groups_stay_together_and_samples_without_group_are_alone(files, query):
    selection = files.select(f"{query} @group=patient")
    patients = pl.concat(files.frames)["patient"]
    chosen = set(files.ids(f"{query} @group=patient"))
    sides = {p: {f"photo {i}" in chosen for i in (patients == p).arg_true()} for p in patients.drop_nulls().unique()}
    assert all(len(side) == 1 for side in sides.values())
    assert {len(side) for side in sides.values()} == {1}
    assert set(map(tuple, sides.values())) == {(True,), (False,)}
    assert selection.notes == ("40 samples have no value of 'patient': drawn one by one.",)
    alone = [f"photo {i}" in chosen for i in patients.is_null().arg_true()]
    assert 0 < sum(alone) < 40


def test_a_group_is_the_same_in_columns_of_other_types():
    whole = make_files(400, 1, patient=[i // 10 for i in range(400)])
    as_float = make_files(400, 1, patient=[float(i // 10) for i in range(400)])
    as_text = make_files(400, 1, patient=[str(i // 10) for i in range(400)])
    query = "@split=train @group=patient"
    assert whole.ids(query) == as_float.ids(query) == as_text.ids(query)


def test_a_limit_takes_the_first_samples_after_all_other_options(files):
    query = "label = 'cat' @sample=0.3"
    assert files.ids(f"{query} @limit=5") == files.ids(query)[:5]
    assert files.ids(f"{query} @limit=999999") == files.ids(query)


def test_a_limit_ends_the_search(monkeypatch):
    monkeypatch.setattr("rosenblatt.data.volumes.query.selection.cores", lambda: 1)
    files = make_files(4000, 100)
    assert files.select("label = 'cat' @limit=3").n_samples == 3
    assert len(files.reads) <= 4


def test_only_needed_columns_of_files_that_may_match_are_read(files):
    for query, columns in [
        ("n > 3500", ("n",)),
        ("n > 3500 and label = 'cat' or n > 3900", ("n", "label")),
        ("n > 3500 @split=train", ("n", "id")),
        ("n > 3500 @split=train @group=patient", ("n", "id", "patient")),
    ]:
        files.reads.clear()
        assert files.select(query).n_files_read == 1
        assert files.reads == [(6, columns)]
    files.reads.clear()
    assert files.select("@limit=700").n_samples == 700
    assert files.reads == []


@pytest.fixture
def split_files():
    values = [["train", "Test ", "val", "extra", None][min(i % 8, 4)] for i in range(400)]
    return make_files(400, 3, split=values)


def test_the_column_split_decides_on_parts(split_files):
    selection = split_files.select("@split=test @seed=3")
    assert split_files.ids("@split=test") == [f"photo {i}" for i in range(400) if i % 8 == 1]
    assert split_files.ids("n < 20 @split=validation") == [
        "photo 2",
        "photo 10",
        "photo 18",
    ]
    assert selection.notes == (
        "@split uses the column 'split': 50 train, 50 validation and 50 test; 250 samples in no part.",
        "@seed has no effect: nothing is drawn at random.",
    )


def test_files_of_one_part_are_counted_and_chosen_by_their_statistics():
    files = make_files(40, 4, split=["train"] * 20 + ["test"] * 20)
    statistics = pl.DataFrame(
        {"rows": [10] * 4, "min.split": ["train"] * 2 + ["test"] * 2, "max.split": ["train"] * 2 + ["test", None],
         "null_count.split": [0] * 4}
    )  # fmt: skip
    selection = select(parse_query("@split=test"), files.frames[0].schema, statistics, files.read)
    assert list(map(len, selection.rows)) == [0, 0, 10, 10]
    assert selection.notes == ("@split uses the column 'split': 20 train and 20 test.",)
    assert sorted(files.reads) == [(2, ("split",)), (3, ("split",)), (3, ("split",))]


def test_shares_take_the_place_of_the_column_split(split_files):
    selection = split_files.select("@split=train:80/10/10")
    assert selection.n_samples == pytest.approx(320, abs=30)
    assert selection.notes == ("@split with shares hashes identities; the column 'split' is ignored.",)


def test_a_part_that_the_column_split_does_not_name_is_refused():
    files = make_files(10, 1, split=["train"] * 8 + ["test"] * 2)
    with pytest.raises(QueryError, match=r"names, 'train' and 'test', or shares .*=validation:80/10/10") as error:
        files.select("@split=validation")
    assert str(error.value).splitlines()[-1].index("^") == len("@split=") + 2


def test_a_column_split_without_names_of_parts_is_not_used():
    files = make_files(400, 1, split=["a", "b"] * 200)
    assert files.select("@split=train").n_samples == pytest.approx(320, abs=30)
    assert files.select("@split=train").notes == (
        "The column 'split' names neither train, validation nor test, so @split hashes identities.",
    )


@pytest.mark.parametrize(
    ("query", "note"),
    [
        ("@seed=3", "@seed has no effect: nothing is drawn at random."),
        ("@group=label @limit=3", "@group has no effect: nothing is drawn at random."),
        ("@fold=1/2 @split=train @group=label", "@group has no effect on @split, which the column 'split' decides."),
    ],
)
def test_options_without_effect_are_noted(split_files, query, note):
    assert note in split_files.select(query).notes


def test_identities_of_any_type_are_drawn():
    files = make_files(400, 2)
    numbered = Files([frame.with_columns(id=pl.col("n")) for frame in files.frames])
    assert numbered.select("@split=train").n_samples == pytest.approx(320, abs=30)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("@split=train @group=patent", r"Did you mean 'patient'"),
        ("@split=train @group=tags", r"Expected a column of numbers or texts, but got column 'tags' \(List"),
        ("m > 3", "Expected a column"),
    ],
)
def test_unsuitable_columns_are_refused_before_files_are_read(query, message):
    files = make_files(10, 1, patient=[1] * 10, tags=[["a"]] * 10)
    with pytest.raises(QueryError, match=message):
        files.select(query)
    assert files.reads == []


def test_a_file_with_other_rows_than_the_log_names_is_refused():
    files = make_files(10, 1)
    statistics = pl.DataFrame({"rows": [11]})
    with pytest.raises(DamagedDataError, match="holds 10 samples, but the log names 11"):
        select(parse_query("n > 3"), files.frames[0].schema, statistics, files.read)


def test_a_volume_without_files_has_no_samples():
    selection = select(
        parse_query("n > 3 @split=train"),
        pl.Schema({"id": pl.String, "n": pl.Int64}),
        pl.DataFrame(schema={"rows": pl.Int64}),
        Files([]).read,
    )
    assert selection.rows == ()
    assert selection.n_samples == 0


def test_fields_of_structs_are_read_with_their_column():
    files = make_files(400, 2, camera=[{"model": "ab"[i % 2], "owner": f"o{i // 10}"} for i in range(400)])
    assert files.select("camera.model = 'a' @split=train @group=camera.owner").n_samples > 0
    assert files.reads == [(position, ("camera", "id")) for position in range(2)]
