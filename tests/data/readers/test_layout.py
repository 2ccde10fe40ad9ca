"""Headers, and what stands above and below a table."""

import pytest

from tests.data.readers.tables import read, rows_of_numbers

BODY = "".join(f"{['Oslo', 'Lima'][i % 2]},{i * 37 % 90},{'in' if i % 3 else 'out'}\n" for i in range(40))


@pytest.mark.parametrize(
    "above",
    [
        "Expenses of May,,\nprinted 2024-05-31,,\n,,\n",
        "Expenses of May\nprinted 2024-05-31\n\n",
        "# exported, on Monday\n# by a tool, version 2, in Oslo, today\n",
        "# exported\n",
        "\n\n",
        "Expenses of May, in euros\n",
        "sep=,\n",
        '"Expenses, of May",,\n,,\n,,\n',
    ],
)
def test_lines_above_the_table_are_left_out(path, above):
    table = read(path, above + "city,amount,way\n" + BODY)
    assert table.frame.columns == ["city", "amount", "way"]
    assert table.frame.height == 40
    assert not above.strip() or any("above the table left out" in note for note in table.notes)


@pytest.mark.parametrize("above", ["Report,,,,\nPeriod,May,,,\n,,,,\n", "Report\n"])
def test_titles_of_two_cells_above_wide_tables(path, above):
    table = read(path, above + "a,b,c,d,e\n" + rows_of_numbers(5))
    assert table.frame.columns == ["a", "b", "c", "d", "e"]


def test_a_header_that_is_repeated_is_left_out_and_counted(path):
    for header in ("size,part,y", '"size",part,y', "day,city,way"):
        content = f"{header}\n{BODY}{header}\n{BODY}{header}\n{BODY}"
        table = read(path, content)
        assert table.frame.height == 120
        assert "2 repeated header lines left out" in table.notes


@pytest.mark.parametrize(
    "extra",
    ["City,€,In or out\n", ",kg,m\n", 'Where?,How much?,Which way?\n"{""ImportId"":""a""}","{""ImportId"":""b""}",x\n'],
)
def test_further_header_lines_are_left_out(path, extra):
    body = "".join(f"{i % 5},{i * 37 % 90},{i * 3 % 11}\n" for i in range(40))
    table = read(path, "q1,q2,q3\n" + extra + body)
    assert table.frame.columns == ["q1", "q2", "q3"]
    assert table.frame.height == 40
    assert any("further header line" in note for note in table.notes)


def test_totals_and_notes_below_the_table(path):
    total = sum(i * 37 % 90 for i in range(40))
    table = read(path, f"city,amount,way\n{BODY}Total,{total},\n")
    assert table.frame.height == 40
    assert any("holds the sums of the lines above" in note for note in table.notes)
    unclear = read(path, f"city,amount,way\n{BODY}Grand total,7,\n")
    assert unclear.frame.height == 41
    assert any("may be a total" in note for note in unclear.notes)
    for footer in ("Source: the city of Oslo\n", "\nNote: rounded,,\n* estimated,,\n"):
        noted = read(path, f"city,amount,way\n{BODY}{footer}")
        assert noted.frame.height == 40
        assert any("below the table left out" in note for note in noted.notes)


def test_sizes_above_rows_of_numbers_and_rows_of_more_cells(path):
    table = read(path, "30,4,malignant,benign\n" + rows_of_numbers(9))
    assert table.frame.shape == (30, 9)
    assert any("1 line above the table left out" in note for note in table.notes)
    mixed = read(path, "".join(f"{i},a\n{i},b,c\n" for i in range(1, 9)), header=False)
    assert mixed.frame.shape == (16, 3)
    assert any("8 rows with fewer cells" in note for note in mixed.notes)
