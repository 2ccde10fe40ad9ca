"""Which first rows name the columns, and how names become unique."""

import pytest

from tests.data.readers.tables import read, rows_of_numbers


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("0,1,2,label", "".join(f"{i * 37 % 101},{i % 9},{i * 3 % 7},{'hi' if i % 2 else 'lo'}\n" for i in range(30))),
        ("0,1,2,3", rows_of_numbers(4)),
        ("1,2,3,4,5", rows_of_numbers(5)),
        ("0,1", "".join(f"{i * 0.7:.2f},{i * 1.3:.2f}\n" for i in range(30))),
        ("0,label", "".join(f"{i * 37 % 101},{'hi' if i % 3 else 'lo'}\n" for i in range(30))),
        (",0,1,2", "".join(f"{i},{i * 7 % 5}.5,{i * 3 % 7}.25,{i % 4}.0\n" for i in range(30))),
        ("2019,2020,2021", rows_of_numbers(3)),
        ("2020,2021", rows_of_numbers(2)),
        ("2021,2020,2019", rows_of_numbers(3)),
        ("1990,1995,2000", "".join(f"{i},{i + 1},{i + 2}\n" for i in range(30))),
        ("0,1,2,3", "".join(f"{i},{i + 3},{i + 5},{i + 9}\n" for i in range(30))),
        ("country,2019,2020,2021", "".join(f"c{i},{i},{i % 7},{i % 3}\n" for i in range(30))),
        ("state,2021", "".join(f"S{i % 20},{'R' if i % 3 else 'D'}+{i % 15}\n" for i in range(30))),
        ("2021-01,2021-02,2021-03", rows_of_numbers(3)),
        ("400.5,410.5,420.5,430.5", rows_of_numbers(4)),
        ("id,5,17,23,99", rows_of_numbers(5)),
        ("7,11,13,y", "".join(f"w{i},x{i},z{i},{i}\n" for i in range(30))),
        ("share,price", "5%,$7\n6%,$9\n7%,$8\n"),
        ("day,city", "".join(f"2021-01-{i % 28 + 1:02},{'Oslo' if i % 2 else 'Lima'}\n" for i in range(30))),
    ],
)
def test_numbers_dates_and_words_name_columns(path, header, body):
    names = [name or "column_1" for name in header.split(",")]
    table = read(path, f"{header}\n{body}")
    assert table.frame.columns == names
    assert table.frame.height == body.count("\n")


@pytest.mark.parametrize(
    "body",
    [
        rows_of_numbers(3),
        "1,2,3\n4,5,6\n7,8,9\n",
        "0,1\n1,0\n0,0\n1,1\n" * 5,
        "1990,1991\n1995,1999\n2001,2003\n" * 3,
        "5.1,unknown,3.2,1.4\n" + "".join(f"{i}.5,{i}.1,{i}.2,{i}.9\n" for i in range(20)),
        "2021-01-01,Oslo,5\n2021-01-02,Lima,6\n2021-01-03,Rome,7\n",
        "Anna,1\nBen,2\nCleo,3\nDora,1\nEmil,2\n",
        "red,yes\nblue,no\nred,no\n",
        "45%,$5\n46%,$6\n47%,$8\n",
        "inf,1,2\n3,4,5\n1e400,7,8\n",
    ],
)
def test_rows_of_data_are_no_header(path, body):
    table = read(path, body)
    assert table.frame.height == body.count("\n")
    assert any("no header was found" in note and "--header" in note for note in table.notes)


def test_numbers_as_names_are_noted(path):
    assert any("--no-header" in note for note in read(path, "0,1,2\n" + rows_of_numbers(3)).notes)
    assert read(path, "0,1,2\n" + rows_of_numbers(3), header=False).frame.height == 31


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("size,size,size_3", ["size", "size_2", "size_3"]),
        ("size,size_3,size", ["size", "size_3", "size_3_"]),
        ("size,size_2,size,size", ["size", "size_2", "size_3", "size_4"]),
        (" a ,a,A", ["a", "a_2", "A"]),
        ("a,,column_2", ["a", "column_2_", "column_2"]),
        ("#,Name,Type", ["#", "Name", "Type"]),
        ("# a,b,c", ["a", "b", "c"]),
        ("#a,b,c", ["#a", "b", "c"]),
        ("\ufeffa,b,c", ["a", "b", "c"]),
    ],
)
def test_names_are_unique_and_stay_with_their_columns(path, header, names):
    frame = read(path, f"{header}\n{','.join('1234'[: len(names)])}\n{','.join('5678'[: len(names)])}\n").frame
    assert frame.columns == names
    assert frame.row(0) == tuple("1234"[: len(names)])
