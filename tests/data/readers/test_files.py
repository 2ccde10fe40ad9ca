import gzip
import re

import polars as pl
import pytest

from rosenblatt.data.readers import sources
from rosenblatt.data.readers.read import read_table
from rosenblatt.errors import TableError

FRAME = pl.DataFrame({"a": [1.5, 2.0], "b": ["x", None]})


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("comma.csv", "a,b\n1.5,x\n2,y\n"),
        ("semicolon.csv", "a;b\n1.5;x\n2;y\n"),
        ("tab.tsv", "a\tb\n1.5\tx\n2\ty\n"),
        ("bar.txt", "a|b\n1.5|x\n2|y\n"),
        ("windows.csv", "a,b\r\n1.5,x\r\n2,y\r\n"),
        ("quoted.csv", '"a","b"\n"1.5","x"\n"2","y"'),
        ("bom.csv", b"\xef\xbb\xbfa,b\n1.5,x\n2,y\n"),
        ("utf16.csv", "a,b\n1.5,x\n2,y\n".encode("utf-16")),
        ("packed.csv.gz", gzip.compress(b"a,b\n1.5,x\n2,y\n", mtime=0)),
        ("blank names.csv", " a , b \n1.5,x\n2,y\n"),
    ],
)
def test_reads_delimited_text_in_all_dialects(tmp_path, name, content):
    frame = read_table(write(tmp_path / name, content)).frame
    assert frame.columns == ["a", "b"]
    assert frame.rows() == [("1.5", "x"), ("2", "y")]


@pytest.mark.parametrize(
    "name", ["t.parquet", "t.arrow", "t.feather", "t.jsonl", "t.jsonl.gz", "t.json", "misnamed.csv"]
)
def test_reads_typed_formats_by_their_content(tmp_path, name):
    path = tmp_path / name
    if name in ("t.parquet", "misnamed.csv"):
        FRAME.write_parquet(path)
    elif name in ("t.arrow", "t.feather"):
        FRAME.write_ipc(path)
    elif name == "t.json":
        FRAME.write_json(path)
    else:
        text = FRAME.write_ndjson().encode()
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert read_table(path).frame.equals(FRAME)


def test_fields_may_hold_separators_quotes_and_line_breaks(tmp_path):
    path = write(tmp_path / "t.csv", 'a,b\n1,"x, ""y"""\n2,"two\nlines"\n')
    assert read_table(path).frame["b"].to_list() == ['x, "y"', "two\nlines"]


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("1.5,2,yes\n2,3,no\n", ["column_1", "column_2", "column_3"]),
        ("red,yes\nblue,no\nred,no\n", ["column_1", "column_2"]),
        ("color,sold\nred,yes\nblue,no\n", ["color", "sold"]),
        ("a,a,,b\n1,2,3,4\n", ["a", "a_2", "column_3", "b"]),
        ("x\n1\n2\n", ["x"]),
        ("2019,2020,y\n1,2,0\n3,4,1\n", ["2019", "2020", "y"]),
        ("5,?,3\n1,2,0\n3,4,1\n", ["column_1", "column_2", "column_3"]),
        ("x_duplicated_a,x_duplicated_b\n1,2\n", ["x_duplicated_a", "x_duplicated_b"]),
        ("0,13;0,25\n0,5;1,5\n", ["column_1", "column_2"]),
        ("[kg],y\n1,2\n", ["[kg]", "y"]),
        ("People of 2024\n\na;b\n1;2\n3;4\n", ["a", "b"]),
        ("sep=;\na;b\n1;2\n3;4\n", ["a", "b"]),
        ("a;b;\n1;2;\n3;4;\n", ["a", "b"]),
        ("{kg},y\n1,2\n", ["{kg}", "y"]),
    ],
)
def test_detects_whether_the_first_line_names_the_columns(tmp_path, content, columns):
    assert read_table(write(tmp_path / "t.csv", content)).frame.columns == columns


def test_header_can_be_given(tmp_path):
    path = write(tmp_path / "t.csv", "1,2\n3,4\n")
    assert read_table(path, header=True).frame.columns == ["1", "2"]
    assert read_table(path, header=False).frame.height == 2


def test_real_tables_without_header_are_recognized(shared_data):
    for name, rows in (("iris-noheader.csv", 150), ("wine-noheader.csv", 178)):
        table = read_table(shared_data / name)
        assert table.frame.height == rows
        assert any("no header" in note for note in table.notes)
    assert read_table(shared_data / "adult-train.csv").frame.columns[0] == "age"


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_western_encodings_are_detected_and_noted(tmp_path, encoding):
    text = "name,city\n" + "José Núñez,Köln\nBjörn,Malmö\nZoë,Besançon\n" * 20
    table = read_table(write(tmp_path / "t.csv", text.encode(encoding)))
    assert table.frame.row(0) == ("José Núñez", "Köln")
    assert any("read as" in note for note in table.notes)


@pytest.mark.parametrize("cell", ["Köln", "25°C", "£5", "€5", "é", "AÇAILÂNDIA", "1ª", "“Noël” – ½"])
def test_a_few_western_characters_are_no_reason_for_another_encoding(tmp_path, cell):
    text = "price,city\n" + f"1.5,Bern\n2.5,Oslo\n3.5,{cell}\n" * 20
    assert read_table(write(tmp_path / "t.csv", text.encode("cp1252"))).frame["city"][2] == cell


@pytest.mark.parametrize(
    ("cell", "encoding"),
    [("Москва", "cp1251"), ("東京大學", "big5"), ("カタカナ", "cp932"), ("Καλημέρα Αθήνα", "cp1253")],
)
def test_encodings_of_other_languages_are_detected(tmp_path, cell, encoding):
    text = "price,city\n" + f"1.5,Bern\n2.5,{cell}\n" * 20
    assert read_table(write(tmp_path / "t.csv", text.encode(encoding))).frame["city"][1] == cell


def test_another_encoding_is_detected_after_many_ascii_lines(tmp_path):
    content = b"name,n\n" + b"Anna,1\n" * 100_000 + "José,2\n".encode("cp1252")
    assert read_table(write(tmp_path / "t.csv", content)).frame["name"][-1] == "José"


def test_encoding_can_be_given(tmp_path):
    path = write(tmp_path / "t.csv", "name,n\nŁódź,1\n".encode("cp1250"))
    assert read_table(path, encoding="cp1250").frame["name"][0] == "Łódź"
    with pytest.raises(TableError, match="its text is not ascii"):
        read_table(path, encoding="ascii")
    with pytest.raises(TableError, match="there is no encoding 'klingon'"):
        read_table(path, encoding="klingon")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "is empty"),
        ("blank.csv", b" \n\n", "is empty"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, but the first line has 2"),
        ("cut.csv.gz", gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)[:40], "may be damaged"),
        ("cut.parquet", b"PAR1abc", "may be damaged"),
        ("book.xlsx", b"PK\x03\x04xyz", "is a spreadsheet or a damaged zip archive"),
        ("bytes.csv", bytes(range(256)) * 20, "expected|not"),
        ("bad.jsonl", b'{"a": 1}\n{"a":', "may be damaged"),
    ],
)
def test_files_without_a_table_are_an_error_with_the_reason(tmp_path, name, content, message):
    with pytest.raises(TableError, match=message) as caught:
        read_table(write(tmp_path / name, content))
    assert name in str(caught.value)


def test_a_missing_file_and_a_folder_are_rejected(tmp_path):
    with pytest.raises(TableError, match="There is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(TableError, match="is empty, but images, texts or sequences"):
        read_table(tmp_path)


def test_a_cell_may_be_very_long(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1," + "x" * 300_000 + "\n2,y\n")
    assert read_table(path).frame["b"].str.len_chars().to_list() == [300_000, 1]


def test_empty_lines_and_preamble_lines_are_dropped_with_notes(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "My table\na,b\n1,2\n\n3,4\n,\n\n"))
    assert table.frame.rows() == [("1", "2"), ("3", "4")]
    assert table.notes == ("1 line above the table left out: 'My table'", "3 empty lines left out")


def test_a_model_file_is_not_a_table(tmp_path):
    path = write(tmp_path / "m.rosenblatt", (100).to_bytes(8, "little") + b'{"__metadata__":{}}' + bytes(500))
    with pytest.raises(TableError, match="holds binary data"):
        read_table(path)


@pytest.mark.parametrize("write", [pl.DataFrame.write_parquet, pl.DataFrame.write_ipc, pl.DataFrame.write_csv])
def test_names_with_characters_of_patterns_are_names_of_files(tmp_path, monkeypatch, write):
    monkeypatch.setattr(sources, "SAMPLE_BYTES", 8)  # larger files are read by their names
    write(FRAME, tmp_path / "t1")
    write(FRAME[:1], tmp_path / "t[1]")
    write(FRAME[1:], tmp_path / "t?")
    assert [read_table(tmp_path / name).frame["a"].cast(float).to_list() for name in ("t[1]", "t?")] == [[1.5], [2.0]]


@pytest.mark.parametrize("name", ["^k$", "*", "^.*$"])
@pytest.mark.parametrize("write", [pl.DataFrame.write_parquet, pl.DataFrame.write_ipc, pl.DataFrame.write_csv])
def test_a_column_whose_name_is_a_pattern_of_names_is_refused_with_the_file(tmp_path, write, name):
    write(pl.DataFrame({"a": [1, 2], name: [3, 4], "k": [5, 6]}), tmp_path / "t")
    message = f"t': Column {name!r} has a name that would be read as a pattern of names. Rename it."
    with pytest.raises(TableError, match=re.escape(message)):
        read_table(tmp_path / "t")


def test_names_that_only_begin_or_end_like_a_pattern_are_names(tmp_path):
    names = ["^k", "k$", "a*", "**", "k", "[a-k]"]
    pl.DataFrame({name: [i, i + 1] for i, name in enumerate(names)}).write_csv(tmp_path / "t.csv")
    frame = read_table(tmp_path / "t.csv").frame
    assert [frame[name].cast(int).to_list() for name in names] == [[i, i + 1] for i in range(6)]
