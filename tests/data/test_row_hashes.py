import datetime as dt
import io
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.row_hashes import hash_cells, hash_rows, hash_targets
from rosenblatt.data.schema.columns import schema_from_dtypes

ROWS = pl.DataFrame({"a": [1.0, 0.0, None, 1e300], "b": ["x", "y", None, "é"]})
EXPECTED = [3639529090119837901, 11310878546549478020, 4617470077557945062, 5353505310936334659]


def test_hashes_are_the_same_on_every_platform():
    assert hash_rows(ROWS).tolist() == EXPECTED
    assert hash_rows(ROWS).dtype == np.uint64


@pytest.mark.parametrize("change", [
    lambda frame: frame.select("b", "a"),
    lambda frame: frame.with_columns(a=pl.col("a") * (1 + 1e-15)),
    lambda frame: frame.with_columns(a=pl.col("a").replace(0.0, -0.0)),
    lambda frame: frame.with_columns(a=pl.col("a").fill_null(float("nan"))),
    lambda frame: frame.with_columns(pl.col("b").cast(pl.Categorical)),
    lambda frame: pl.concat([frame[:1], frame[1:]]),
])  # fmt: skip
def test_equal_values_have_equal_hashes(change):
    np.testing.assert_array_equal(hash_rows(change(ROWS)), hash_rows(ROWS))


@pytest.mark.parametrize("change", [
    lambda frame: frame.rename({"a": "b", "b": "a"}),
    lambda frame: frame.with_columns(a=pl.col("a") + 1e-6 * (1 + pl.col("a").abs())),
    lambda frame: frame.with_columns(a=pl.col("a").fill_null(0.0)),
    lambda frame: frame.with_columns(b=pl.col("b").fill_null("")),
    lambda frame: frame.with_columns(c=pl.lit(1.0)),
    lambda frame: frame.drop("b"),
])  # fmt: skip
def test_other_values_names_or_columns_have_other_hashes(change):
    assert (hash_rows(change(ROWS)) != hash_rows(ROWS)).any()


def test_a_row_has_the_same_hash_wherever_it_stands():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.normal(size=40_000), "b": rng.integers(9, size=40_000).astype(str)})
    order = rng.permutation(40_000)
    np.testing.assert_array_equal(hash_rows(frame[order]), hash_rows(frame)[order])
    assert len(np.unique(hash_rows(frame))) == frame.unique().height


def test_sequences_texts_and_images_are_hashed_by_content(tmp_path):
    frame = pl.DataFrame({"s": [[1.0, 2.0], [1.0, 3.0]]})
    sequences = schema_from_dtypes(frame).read(frame)
    assert len(set(hash_rows(sequences).tolist())) == 2
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"the same bytes")
    cells = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    images = pl.DataFrame({"image": cells}).select(photo=pl.struct("image"))
    binary = pl.DataFrame({"image": [b"the same bytes"] * 2}).select(photo=pl.struct("image"))
    assert len({*hash_rows(images).tolist(), *hash_rows(binary).tolist()}) == 1
    texts = pl.DataFrame({"text": ["one", "two"]}).select(review=pl.struct("text"))
    assert len(set(hash_rows(texts).tolist())) == 2


def test_targets_are_part_of_a_hash_and_padding_is_not():
    inputs = hash_rows(ROWS)
    y = np.array([[0, 1], [1, -1], [1, -1], [0, 0.0]])
    padded = np.column_stack([y, np.full(4, -1.0)])
    np.testing.assert_array_equal(hash_targets(inputs, y, is_padded=True), hash_targets(inputs, padded, is_padded=True))
    assert (hash_targets(inputs, y, is_padded=False) != hash_targets(inputs, padded, is_padded=False)).all()
    assert (hash_targets(inputs, y, is_padded=False) != hash_targets(inputs, 1 - y, is_padded=False)).all()


def test_numbers_of_single_precision_equal_the_decimal_fractions_that_they_were():
    values = [0.1, -12.345, 3e-7, 0.375, 7.0, 16_777_217.5, 2.0**40, 1e300, -0.0, None]
    double = pl.DataFrame({"a": values})
    single = double.with_columns(pl.col("a").cast(pl.Float32).cast(pl.Float64))
    is_equal = hash_rows(single) == hash_rows(double)
    assert is_equal.tolist() == [value not in (16_777_217.5, 1e300) for value in values]  # which have more digits


def test_numbers_are_hashed_by_value_however_they_are_written():
    plain = pl.read_csv(io.StringIO("a\n0.123\n12\n"), schema_overrides={"a": pl.Float64})
    percent = pl.DataFrame({"a": np.array([12.3, 1200.0]) / 100})
    np.testing.assert_array_equal(hash_rows(plain), hash_rows(percent))


EXACT = [17556656491266528837, 10057911157224285338, 14311316889428028477]


def test_exact_hashes_are_the_same_on_every_platform():
    assert hash_cells(pl.DataFrame({"a": ["1.5", "x", None]})).tolist() == EXACT


@pytest.mark.parametrize("cells", [
    pl.Series([7, None, 0], dtype=pl.Int8), pl.Series([7.0, None, 0.0]), pl.Series([7.0, float("nan"), -0.0]),
    pl.Series(["7", "", "0"]), pl.Series([" 7.0", None, "0e5 "]), pl.Series(["7", None, "0"], dtype=pl.Categorical),
    pl.Series([Decimal("7.0"), None, Decimal(0)]),
])  # fmt: skip
def test_a_number_has_one_exact_hash_in_all_types(cells):
    expected = hash_cells(pl.DataFrame({"a": [7, None, 0]}))
    np.testing.assert_array_equal(hash_cells(cells.alias("a").to_frame()), expected)


@pytest.mark.parametrize("cells", [
    [2**53, 2**53 + 1], [0.1, 0.1 + 2**-56], ["a", "A"], [b"a", b"b"], [dt.timedelta(1), dt.timedelta(2)],
    [dt.time(1), dt.time(2)], [dt.date(2021, 1, 1), dt.date(2021, 1, 2)], [[1], [2]], [[], None],
    [{"a": 1}, {"a": 2}], [{"a": b"x"}, {"a": b"y"}], [[b"x"], [b"y"]],
    ["12345678901234567890", "12345678901234567891"], [True, False], [float("inf"), -float("inf")],
])  # fmt: skip
def test_other_cells_of_any_type_have_other_exact_hashes(cells):
    first, second = hash_cells(pl.DataFrame({"a": cells}))
    assert first != second
