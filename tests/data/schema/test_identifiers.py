import polars as pl
import pytest

from rosenblatt.data.schema.identifiers import are_codes, is_numbering, split_name

AMOUNTS = pl.Series([1000 + (i * 7919) % 90001 for i in range(300)])
SHUFFLED = pl.Series([(i * 7) % 300 + 500 for i in range(300)])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("customer_id", ["customer", "id"]),
        ("customerId", ["customer", "id"]),
        ("userID", ["user", "id"]),
        ("ID_Kunde", ["id", "kunde"]),
        ("HTTPIndex", ["http", "index"]),
        ("Unnamed: 0", ["unnamed", "0"]),
        ("bid", ["bid"]),
        ("Übung-ID", ["übung", "id"]),
        ("--", []),
    ],
)
def test_names_are_split_into_words(name, words):
    assert split_name(name) == words


@pytest.mark.parametrize("name", ["id", "ID", "customer_id", "customerId", "ID_Kunde", "Id", "Unnamed: 0", "index"])
def test_distinct_integers_under_the_name_of_an_identifier_identify_rows(name):
    assert is_numbering(name, AMOUNTS, has_missing=False)
    assert is_numbering(name, AMOUNTS, has_missing=True)


@pytest.mark.parametrize(
    "name", ["bid", "paid", "humid", "valid", "GRID", "price_index", "income_no", "cost_key", "pH", "Druck", "column_1"]
)
def test_distinct_amounts_are_no_identifiers(name):
    assert not is_numbering(name, AMOUNTS, has_missing=False)


def test_a_name_of_a_numbering_counts_with_values_in_a_row_only():
    assert is_numbering("invoice_no", SHUFFLED, has_missing=False)
    assert is_numbering("column_1", SHUFFLED, has_missing=False)
    assert not is_numbering("income", SHUFFLED, has_missing=False)
    assert not is_numbering("invoice_no", SHUFFLED, has_missing=True)


def test_numbers_in_the_order_of_the_rows_identify_them_whatever_the_name():
    assert is_numbering("income", pl.Series(range(1, 301)), has_missing=False)
    assert not is_numbering("year", pl.Series(range(1900, 2020)), has_missing=False)
    assert not is_numbering("id", pl.Series(range(10)), has_missing=False)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["007", "7", "12"], True),
        (["007", "012", "100"], False),
        (["7", "7.0"], False),
        (["0.5", "1"], False),
        (["9007199254740993", "9007199254740992"], True),
        ([9007199254740993, 9007199254740992], True),
        ([1, 2], False),
    ],
)
def test_digits_that_are_equal_as_numbers_only_are_codes(cells, expected):
    series = pl.Series(cells)
    assert are_codes(series, series.cast(pl.Float64)) == expected
