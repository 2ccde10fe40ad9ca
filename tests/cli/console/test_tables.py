"""Tables on the terminal: width, alignment, folding, and text from users."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from rosenblatt.cli.console.tables import format_number, make_console, print_table, printable, printable_lines


@pytest.fixture
def render(monkeypatch, capsys):
    """Print a table at a width and return its lines without trailing blanks."""

    def render(width, *arguments, **options):
        monkeypatch.setenv("COLUMNS", str(width))
        print_table(make_console(), *arguments, **options)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return render


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.75, "0.7500"),
        (12.3, "12.30"),
        (1234.56, "1,235"),
        (-0.05, "-0.05000"),
        (0.0, "0.0000"),
        (3e-7, "3.000e-07"),
        (1234567, "1,234,567"),
        (True, "true"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_a_number_has_four_significant_digits_and_an_integer_all(value, text):
    assert format_number(value) == text


def test_decimal_points_are_below_one_another(render):
    lines = render(80, ["score", "value"], [["auc", 0.75], ["rmse", 1234.5], ["rows", 12], ["none", None]])
    assert lines[2:] == ["auc        0.7500", "rmse   1,234", "rows      12", "none"]
    assert lines[0] == "score       value"


def test_percentages_are_aligned_on_the_right(render):
    lines = render(80, ["column", "missing"], [["a", "25.0%"], ["b", "3.0%"]], right=["missing"])
    assert lines[2:] == ["a         25.0%", "b          3.0%"]


def test_text_from_users_is_printed_as_it_is(render):
    lines = render(80, ["[b]name", "x"], [["[red]", "\\[/]"], [":car:", "two\nlines\x1b[31m"]])
    assert lines[0].split() == ["[b]name", "x"]
    assert lines[2:] == ["[red]    \\[/]", ":car:    two\\nlines\\x1b[31m"]
    assert printable("Ærø ▇") == "Ærø ▇"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_long_text_wraps_and_names_do_not(render, width):
    name, help_text = "parametric_activation_lr_multiplier"[:30], "word " * 60
    lines = render(width, ["hyperparameter", "value", "help"], [[name, 0.5, help_text]])
    assert max(map(len, lines)) <= width
    assert lines[2].startswith(f"{name}  0.5000  word word")
    assert sum(line.count("word") for line in lines) == 60


def test_a_table_wider_than_the_terminal_continues_below(render):
    lines = render(40, ["trial", *(f"n{k}" for k in range(10))], [["score", *(k / 7 for k in range(1, 11))]])
    assert max(map(len, lines)) <= 40
    assert len([line for line in lines if line.startswith("score")]) > 1
    assert all(f"n{k}" in " ".join(lines).split() for k in range(10))


def test_optional_columns_are_left_out_of_a_table_that_is_too_wide(render):
    rows = [["4kd9", "2026-11-26 09:00", "3.2 s", 0.75]]
    titles = ["run", "started", "took", "auc"]
    assert render(80, titles, rows, optional=["started", "took"])[0].split() == titles
    lines = render(22, titles, rows, optional=["started", "took"])
    assert lines[0].split() == ["run", "took", "auc"]
    assert " ".join(lines[3:]) == "not shown for lack of width: started (--all)"


def test_long_tables_fold_and_count_what_is_left(render):
    rows = [[str(k), k] for k in range(10)]
    assert render(80, ["a", "b"], rows, max_rows=4, noun="columns")[-1] == "and 6 more columns like these (--all)"
    assert render(80, ["a", "b"], rows, max_rows=9)[-1].startswith("9"), "no line to save a single row"
    assert len(render(80, ["a", "b"], rows)) == 12


def test_output_to_a_file_has_no_colors_and_no_line_breaks(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(make_console(), ["name", "help"], [["a", "word " * 200]])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 3


def test_a_table_without_rows_shows_its_titles(render):
    assert render(80, ["name", "value"], [])[0].split() == ["name", "value"]


def test_columns_without_any_value_are_left_out(render):
    lines = render(80, ["name", "note", "value"], [["a", "", 1], ["b", None, 0]])
    assert lines[0].split() == ["name", "value"]


def test_styles_show_on_a_terminal():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system="standard")
    print_table(console, ["state"], [[Text("failed", "red")]])
    assert "\x1b[31mfailed" in file.getvalue()


def test_long_titles_of_numbers_wrap_so_that_no_digit_is_cut(render):
    rows = [("AUC (one against rest)", 0.5), ("log loss", 2.299)]
    lines = render(40, ("test score", "baseline: majority class"), rows)
    assert max(map(len, lines)) <= 40
    assert {"0.5000", "2.299"} <= set(" ".join(lines).split())


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J", "\x1b]8;;http://x\x07", "\x1b]52;c;eA==\x1b\\", "\r", "\b", "\u202e", "\x9b31m"]
)
def test_control_characters_are_printed_as_text(capsys, hostile):
    console = make_console()
    console.print(f"name {hostile}\tx\ny")
    console.print(Text(hostile, "bold"))
    print_table(console, [f"a{hostile}", f"n{hostile}"], [[hostile, 1], [Text(hostile), 2]])
    output = capsys.readouterr().out
    assert printable(hostile) in output
    assert all(character.isprintable() or character in "\n\t" for character in output)
    assert printable_lines(f"a\n\t{hostile}") == f"a\n\t{printable(hostile)}"
