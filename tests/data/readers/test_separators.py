"""Separators: blanks, tabs, bars and others on request."""

import pytest

from rosenblatt.data.readers.read import read_table
from rosenblatt.errors import TableError


def read(tmp_path, content, **options):
    path = tmp_path / "t.data"
    path.write_text(content)
    return read_table(path, **options)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("  1.0  2   x\n 10.5  3   y\n  2.0  44  z\n", [("1.0", "2", "x"), ("10.5", "3", "y"), ("2.0", "44", "z")]),
        ("1.5 2\t3 \n4.5 5\t6 \n7.5 8\t9 \n", [("1.5", "2", "3"), ("4.5", "5", "6"), ("7.5", "8", "9")]),
        ('18. 8\t"my car"\n15. 4\t"vw"\n9. 3\t"x"\n', [("18.", "8", "my car"), ("15.", "4", "vw"), ("9.", "3", "x")]),
        ("1.5\t2\t3\n4.5\t\t5\t6\n7.5\t8\t9\n", [("1.5", "2", "3"), ("4.5", "5", "6"), ("7.5", "8", "9")]),
        ("A_E 0.4 cp\nB_E 0.1 im\nC_E 0.5 cp\n", [("A_E", "0.4", "cp"), ("B_E", "0.1", "im"), ("C_E", "0.5", "cp")]),
        ("1,5  2,5\n3,5  4,5\n5,5  6,5\n", [("1,5", "2,5"), ("3,5", "4,5"), ("5,5", "6,5")]),
        ("x y\n1 2\n3 4\n5 6\n", [("1", "2"), ("3", "4"), ("5", "6")]),
        ("# x y\n1 2\n3 4\n5 6\n", [("1", "2"), ("3", "4"), ("5", "6")]),
    ],
)  # fmt: skip
def test_runs_of_blanks_separate_columns_of_numbers(tmp_path, content, rows):
    table = read(tmp_path, content)
    assert table.frame.rows() == rows
    assert table.format.separator == "blanks"
    assert "columns are separated by spaces or tabs" in table.notes


@pytest.mark.parametrize(
    "content",
    [
        "name\nAnna Berg\nBen Olsen\nCleo Park\n",
        "price\n1 234\n5 678\n9 012\n",
        "when\n2021-01-02 10:00:00\n2021-01-03 11:00:00\n2021-01-04 12:00:00\n",
        "1 234\n5 678\n9 012\n",
    ],
)
def test_blanks_within_cells_of_one_column_do_not_separate(tmp_path, content):
    assert read(tmp_path, content).frame.width == 1


@pytest.mark.parametrize("cell", ["12,5 cm", "€12,50", "45,5%", "USD 1.234,50"])
def test_commas_within_numbers_with_units_do_not_separate(tmp_path, cell):
    table = read(tmp_path, f"size, net|when\n{cell}|2021-05-01\n{cell}|2021-05-02\n{cell}|2021-05-03\n")
    assert table.frame.columns == ["size, net", "when"]


def test_names_of_rows_that_r_writes_have_no_name_themselves(tmp_path):
    table = read(tmp_path, '"length" "species"\n"1" 5.1 "setosa"\n"2" 4.9 "virginica"\n"3" 4.7 "setosa"\n')
    assert table.frame.columns == ["column_1", "length", "species"]
    assert any("read as row names" in note for note in table.notes)


@pytest.mark.parametrize(
    ("separator", "text"),
    [("^", "^"), ("~", "~"), (":", ":"), ("\x01", "\x01"), (r"\x01", "\x01"), (r"\t", "\t"), ("tab", "\t"),
     ("::", "::"), ("§", "§"), ("blanks", " \t "), (" ", " "), (";", ";")],
)  # fmt: skip
def test_separators_can_be_given(tmp_path, separator, text):
    content = "a,b\n1,x\n2,y\n".replace(",", text)
    assert read(tmp_path, content, separator=separator).frame.rows() == [("1", "x"), ("2", "y")]


def test_other_separators_are_suggested_and_impossible_ones_rejected(tmp_path):
    assert any("--separator '^'" in note for note in read(tmp_path, "a^b\n1^2\n3^4\n").notes)
    assert any("--separator 'blanks'" in note for note in read(tmp_path, "1 2 3\n4 5\n6 7 8\n9 1\n" * 9).notes)
    with pytest.raises(TableError, match="cannot separate cells"):
        read(tmp_path, "a,b\n1,2\n", separator='"')


def test_lists_in_cells_do_not_separate_columns(tmp_path):
    content = "id,genres\n" + "".join(f"{i},drama;comedy\n" for i in range(9))
    assert read(tmp_path, content).frame.columns == ["id", "genres"]
    assert read(tmp_path, content.partition("\n")[2]).frame.width == 2
    assert read(tmp_path, "719,125;37,25\n3,5;4,5\n").frame.row(0) == ("719,125", "37,25")
    assert read(tmp_path, "sep=|\na|b,c\n1|2,3\n").frame.columns == ["a", "b,c"]
