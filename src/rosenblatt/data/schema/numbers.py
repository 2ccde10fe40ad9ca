"""Parse numbers as people write them: decimal marks, thousands separators, currencies, percent signs and units.

A plain cast reads most cells. The others are split into digits and what surrounds them (`units.py`). Whether a point or
a comma is the decimal mark is decided before, from cells that allow one reading only (`decimal_marks.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.schema.notes import Note
from rosenblatt.data.schema.units import PERCENT, canonical_unit, parse_affixes, use_letter_magnitudes
from rosenblatt.errors import TableError, format_count, format_list

DecimalMark = Literal[".", ","]

MAX_STRAY_FRACTION = 0.02  # fraction of cells of another kind that are read as missing
MAX_AFFIXES = 1000  # number of different surroundings of digits in a column that are read
N_SAMPLE = 1000  # number of cells by which columns without numbers are recognized

# A whole number, or up to six groups of three digits (or of two, as in India) with one separator in a cell; the first
# group has no leading zero. Groups exclude an exponent.
_CELL = r"^([^0-9]*)([0-9](?:[0-9.,' ]*[0-9])?\.?(?:[eE][-+]?[0-9]+)?)([^0-9]*[23²³]?)$"
_WHOLE_AMOUNT = r"(\d)[.,] ?--?( ?\D*)$"  # 5,- or 5.--, without cents
_GROUPS = "|".join(
    [rf"[1-9]\d{{0,2}}(?:{s}\d{{3}}){{1,5}}" for s in ("S", " ", "'")] + [r"[1-9]\d?(?:S\d{2}){1,7}S\d{3}"]
)
NUMBER_FORMS: dict[DecimalMark, str] = {
    ".": rf"^(?:(?:{_GROUPS.replace('S', ',')})(?:\.\d*)?|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)$",
    ",": rf"^(?:(?:{_GROUPS.replace('S', '[.]')})(?:,\d+)?|(?:\d+(?:,\d+)?|,\d+)(?:[eE][-+]?\d+)?)$",
}
_GROUP_MARKS: dict[DecimalMark, str] = {".": "[,' ]", ",": "[.' ]"}

_DASHES = "−–—‒﹣－‐‑"
_DIGITS = {
    chr(zero + digit): str(digit) for zero in (0x660, 0x6F0, 0x966, 0x9E6, 0xE50) for digit in range(10)
}  # Arabic-Indic, Persian, Devanagari, Bengali and Thai; NFKC converts others
_CHARACTERS = dict.fromkeys(_DASHES, "-") | _DIGITS | {"’": "'", "ʼ": "'", "٫": ".", "٬": ",", "º": "°"}


class NumberFormat(BaseModel):
    """How the numbers of a column are written; saved with the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decimal: DecimalMark = "."
    thousands: str = ""  # the separators of thousands that occurred
    has_decimals: bool = True  # whether some numbers had decimals
    unit: str = ""  # what surrounds the numbers, such as kg or $; % if they are divided by a hundred
    has_plain: bool = False  # whether some numbers were without the unit
    plain_is_percent: bool = False  # whether numbers without a percent sign were percentages, too
    is_fraction: bool = False  # whether all numbers are between -1 and 1, so that 45% is one of them

    def plain_notes(self, numbers: pl.Series) -> tuple[Note, ...]:
        """Notes on numbers without a unit in a later table, if those of training had one."""
        if not self.unit or self.has_plain or not (numbers != 0).any():
            return ()
        if self.unit == PERCENT:
            return (Note(text="numbers without a percent sign are read as fractions"),)
        return (Note(text="numbers without the unit of training are read as if they had it", detail=self.unit),)


@dataclass(frozen=True)
class ParsedNumbers:
    """The numbers of a column, and the unit of each."""

    values: pl.Series  # Float64, null where the cell is not a number
    units: pl.Series | None = None  # canonical unit of each number, empty for none; None if no cell has one
    spellings: dict[str, str] = field(default_factory=dict)  # how each canonical unit is written
    notes: tuple[Note, ...] = ()  # on signs and magnitudes


def plain_numbers(series: pl.Series) -> pl.Series | None:
    """The numbers of a string column, if a plain cast reads all cells; else None."""
    numbers = series.cast(pl.Float64, strict=False)
    return None if numbers.null_count() > series.null_count() or numbers.is_nan().any() else numbers


def sample_cells(text: pl.Series) -> pl.Series:
    """Evenly spaced cells of a column, without missing ones."""
    cells = text.drop_nulls()
    return cells.gather_every(max(1, len(cells) // N_SAMPLE))


def parse_numbers(text: pl.Series, decimal: DecimalMark, thousands: str = "") -> ParsedNumbers:
    """Parse strings as numbers with a decimal mark; null for other strings.

    `thousands` may give separators besides the usual ones, such as an underscore.
    """
    values = _cast(text, decimal)
    is_rest = values.is_null() & text.is_not_null()
    if not is_rest.any():
        return ParsedNumbers(values)
    rest = text.filter(is_rest)
    distinct = rest.unique(maintain_order=True)
    parts = split_cells(distinct, thousands)
    numbers = parts.with_columns(text=distinct, value=_to_values(parts, decimal))
    numbers = numbers.filter(parts["digits"].str.contains(NUMBER_FORMS[decimal]) & numbers["value"].is_not_null())
    if numbers.is_empty():
        return ParsedNumbers(values)
    matched = rest.alias("text").to_frame().join(numbers, on="text", how="left", maintain_order="left")
    values, notes = values.scatter(is_rest.arg_true(), matched["value"]), _sign_notes(numbers)
    if not (numbers["unit"] != "").any():
        return ParsedNumbers(values, notes=notes)
    names = {unit: canonical_unit(unit) for unit in numbers["unit"].unique()}
    canonical = matched["unit"].replace_strict(names, default=None, return_dtype=pl.String)
    units = pl.Series([""]).new_from_index(0, len(text)).set(values.is_null(), None)
    spellings = _frequent_spellings(matched["unit"], names)
    return ParsedNumbers(values, units.scatter(is_rest.arg_true(), canonical), spellings, notes)


def _sign_notes(numbers: pl.DataFrame) -> tuple[Note, ...]:
    """Notes on numbers in parentheses, and on those with a magnitude such as K."""
    negative = numbers["text"].filter(numbers["text"].str.contains(r"\(|-$"))
    large = numbers["text"].filter(numbers["power"].str.contains(r"^e\d"))
    notes = (
        ("numbers in parentheses or before a minus are negative", negative),
        ("magnitudes such as K and M are multiplied out", large),
    )
    return tuple(Note(text=text, detail=f"such as {cells[0]!r}") for text, cells in notes if len(cells))


def _frequent_spellings(units: pl.Series, names: dict[str, str]) -> dict[str, str]:
    """The most frequent spelling of each canonical unit."""
    counts = units.drop_nulls().alias("unit").value_counts(sort=True)["unit"].to_list()
    return {names[unit]: unit for unit in reversed(counts)}


def _cast(text: pl.Series, decimal: DecimalMark) -> pl.Series:
    """The numbers that need no splitting."""
    if decimal == ",":
        text = text.set(text.str.contains(".", literal=True).fill_null(False), None).str.replace(",", ".", literal=True)
    return text.cast(pl.Float64, strict=False).fill_nan(None)


def _to_values(parts: pl.DataFrame, decimal: DecimalMark) -> pl.Series:
    digits = parts["digits"].str.replace_all(_GROUP_MARKS[decimal], "")
    digits = digits.str.replace(",", ".", literal=True) if decimal == "," else digits
    return (parts["sign"] + digits + parts["power"]).cast(pl.Float64, strict=False)


def split_cells(text: pl.Series, thousands: str = "") -> pl.DataFrame:
    """Split strings into sign, digits (with marks), power of ten and unit; digits are null for other strings."""
    text = _to_ascii(text).str.strip_chars().str.replace(_WHOLE_AMOUNT, "$1$2")
    for separator in sorted(set(thousands) - set(".,' ")):
        text = text.str.replace_all(separator, "'", literal=True)
    parts = text.str.extract_groups(_CELL).struct.unnest()
    parts.columns = ["before", "digits", "after"]
    surroundings = parts.drop_nulls().group_by("before", "after").agg(pl.len(), pl.col("digits").first())
    surroundings = surroundings.sort("len", descending=True).head(MAX_AFFIXES)
    letters = use_letter_magnitudes(surroundings.select("before", "digits", "after").iter_rows())
    rows = [
        (before, after, "-" if affixes.is_negative else "", affixes.lead, affixes.exponent, affixes.unit)
        for before, after in surroundings.select("before", "after").iter_rows()
        if (affixes := parse_affixes(before, after, letters)) is not None
    ]
    names = {"before": pl.String, "after": pl.String, "sign": pl.String, "lead": pl.String, "exponent": pl.Int64}
    table = pl.DataFrame(rows, schema=names | {"unit": pl.String}, orient="row")
    parts = parts.join(table, on=["before", "after"], how="left", maintain_order="left")
    is_phone = parts["before"].str.contains("+", literal=True) & parts["digits"].str.contains(" ", literal=True)
    return parts.select(
        "sign",
        pl.when(~is_phone).then(pl.col("lead") + pl.col("digits")).alias("digits"),
        pl.when(pl.col("exponent") == 0).then(pl.lit("")).otherwise(pl.format("e{}", "exponent")).alias("power"),
        "unit",
    )


def _to_ascii(text: pl.Series) -> pl.Series:
    """Replace digits, dashes and spaces outside of ASCII by their counterparts, except in powers such as 10²."""
    is_other = (text.str.len_bytes() > text.str.len_chars()) & ~text.str.contains(r"\d[⁰¹²³⁴-⁹₀-₉]")
    if not is_other.any():
        return text
    rows = is_other.arg_true()
    keys, values = list(_CHARACTERS), list(_CHARACTERS.values())
    return text.clone().scatter(rows, text[rows].str.replace_many(keys, values).str.normalize("NFKC"))


@dataclass(frozen=True)
class TypedNumbers:
    """The numbers of a column, how they are written, and what was guessed or converted."""

    values: pl.Series  # Float64, null where the cell is not a number
    format: NumberFormat = field(default_factory=NumberFormat)
    notes: tuple[Note, ...] = ()


def infer_numbers(text: pl.Series, decimal: DecimalMark, thousands: str = "") -> TypedNumbers:
    """Parse a column of a training table, and find its unit.

    Numbers in other units than most are null if they are few, and else all numbers are.

    Raises:
        TableError: if the scale of numbers beside percentages is unknown.
    """
    nothing = pl.repeat(None, len(text), dtype=pl.Float64, eager=True).alias(text.name)
    if parse_numbers(sample_cells(text), decimal, thousands).values.is_null().all():
        return TypedNumbers(nothing, NumberFormat(decimal=decimal))
    parsed = parse_numbers(text, decimal, thousands)
    values, units, unit, notes = parsed.values, parsed.units, "", [*parsed.notes]
    has_plain = plain_is_percent = False
    if units is not None:
        counts = units.drop_nulls().alias("unit").value_counts(sort=True).filter(pl.col("unit") != "")
        unit, is_other = counts["unit"][0], ~units.is_in(["", counts["unit"][0]]).fill_null(True)
        if is_other.sum() > MAX_STRAY_FRACTION * len(text):
            detail = format_list([f"{parsed.spellings[name]}: {n:,}" for name, n in counts.iter_rows()], 4)
            note = Note(text="numbers in different units are read as words", detail=detail)
            is_most = values.count() > len(text) / 2
            return TypedNumbers(nothing, NumberFormat(decimal=decimal), (note,) if is_most else ())
        values, has_plain = values.set(is_other, None), bool((units == "").any())
        if unit == PERCENT:
            plain_is_percent = _is_plain_percent(text, values, units == "")
            values = (values / 100).zip_with((units == "") & plain_is_percent, values)
        notes += _unit_notes(text, units == "", parsed.spellings[unit], plain_is_percent)
    separators = _thousands_separators(text.filter(values.is_not_null()), decimal, thousands)
    if decimal == "," or separators:
        notes.append(Note(text=f"numbers written as 1{(separators or '.')[0]}234{decimal}5"))
    number_format = NumberFormat(
        decimal=decimal, thousands=separators, unit=parsed.spellings[unit] if unit else "",
        has_plain=has_plain, plain_is_percent=plain_is_percent,
    )  # fmt: skip
    return TypedNumbers(values, number_format, tuple(notes))


def _is_plain_percent(text: pl.Series, values: pl.Series, is_plain: pl.Series) -> bool:
    """Whether numbers without a percent sign, beside some with one, are percentages and not fractions.

    Raises TableError if they can be neither only.
    """
    plain = values.filter(is_plain.fill_null(False)).drop_nulls().abs()
    if plain.is_empty() or (plain <= 1).all():
        return False
    if (plain.is_between(0, 1, closed="none")).any():
        example = text.filter(is_plain.fill_null(False) & (values.abs() > 1))[0]
        raise TableError(
            f"Column {text.name!r} holds percentages, and numbers without a percent sign, such as {example!r}, which "
            "are neither all fractions nor all percentages. Write all of them with a percent sign."
        )
    return True


def _unit_notes(text: pl.Series, is_plain: pl.Series, unit: str, plain_is_percent: bool) -> list[Note]:
    """What is read with a unit, and the numbers without one."""
    is_plain = is_plain.fill_null(False)
    n_plain = int(is_plain.sum())
    if unit != PERCENT:
        notes = [Note(text="numbers with a unit", detail=unit)]
        meaning = "numbers without a unit are read like those with one"
    else:
        notes = [Note(text="percentages are divided by 100")]
        meaning = f"numbers without a percent sign are read as {'percentages' if plain_is_percent else 'fractions'}"
    if n_plain:
        example = text.filter(is_plain)[0]
        notes.append(Note(text=meaning, detail=f"{format_count(n_plain, 'cell')}, such as {example!r}"))
    return notes


def _thousands_separators(text: pl.Series, decimal: DecimalMark, thousands: str) -> str:
    """The characters that separate thousands in numbers, among them the given one."""
    other = "," if decimal == "." else "."
    patterns = {other: rf"\d[{other}]\d{{2,3}}", "'": r"\d['’]\d", " ": r"\d\s\d"}
    seen = "".join(mark for mark, pattern in patterns.items() if text.str.contains(pattern).any())
    return seen + thousands * (thousands not in ".,' " and bool(text.str.contains(thousands, literal=True).any()))


def read_numbers(text: pl.Series, format: NumberFormat) -> TypedNumbers:
    """Parse a column of a later table, written as in training except for the unit.

    Raises:
        TableError: if the numbers have another unit or an unknown scale.
    """
    parsed = parse_numbers(text, format.decimal, format.thousands)
    values, unit, notes = parsed.values, canonical_unit(format.unit), list[Note]()
    units = pl.Series([""]).new_from_index(0, len(text)) if parsed.units is None else parsed.units
    is_plain = (values.is_not_null() & (units == "")).fill_null(False)
    if unit == PERCENT:
        values = scale_plain_numbers(text.name, values, is_plain, format)
    notes += format.plain_notes(values.filter(is_plain))
    is_other = ~units.is_in(["", unit]).fill_null(True)
    if not is_other.any():
        return TypedNumbers(values, format, tuple(notes))
    if unit and is_other.sum() <= MAX_STRAY_FRACTION * len(text):
        return TypedNumbers(values.set(is_other, None), format, tuple(notes))
    others, example = units.filter(is_other).unique().to_list(), text.filter(is_other)[0]
    if unit or len(others) > 1 or (others == [PERCENT] and not format.is_fraction):
        expected = f"numbers in {format.unit}" if unit else "numbers without a unit"
        raise TableError(
            f"Column {text.name!r} must hold {expected}, as in training, but holds {example!r}. Convert the column."
        )
    is_percent = others == [PERCENT]
    meaning = "percentages are divided by 100" if is_percent else "units are ignored, as training had none"
    notes.append(Note(text=meaning, detail=f"such as {example!r}"))
    return TypedNumbers(values, format, tuple(notes))


def has_letter_magnitudes(text: pl.Series) -> bool | None:
    """Whether B, b, m and T after numbers are magnitudes, by all cells of a column; None if that does not matter."""
    cells = text.filter(text.str.contains(r"\d ?[A-Za-z]+\)?$").fill_null(False)).unique()
    if cells.is_empty():
        return None
    parts = _to_ascii(cells).str.strip_chars().str.extract_groups(_CELL).struct.unnest().drop_nulls()
    if use_letter_magnitudes(parts.iter_rows()):
        return True
    return False if cells.str.contains(r"\d ?[BbmT]\)?$").any() else None


def find_other_units(text: pl.Series, format: NumberFormat) -> tuple[str, ...] | None:
    """The units of numbers that had none in training; None if all are without a unit."""
    units = None if format.unit else parse_numbers(text, format.decimal, format.thousands).units
    return None if units is None else tuple(sorted(set(units.drop_nulls()) - {""})) or None


def scale_plain_numbers(name: str, values: pl.Series, is_plain: pl.Series, format: NumberFormat) -> pl.Series:
    """Divide numbers without a percent sign by 100, in a column of percentages, if they were percentages in training.

    Raises TableError if they may be fractions or percentages.
    """
    plain = values.set(~is_plain, None).abs()
    is_wrong = (plain.is_between(0, 1, closed="none") if format.plain_is_percent else plain > 1).fill_null(False)
    if is_wrong.any():
        kind = "percentages" if format.plain_is_percent else "fractions, such as 0.45,"
        raise TableError(
            f"Column {name!r} must hold percentages, such as 45%, or {kind} as in training, but holds "
            f"{values.filter(is_wrong)[0]:g} without a percent sign. Add the sign, or convert the number."
        )
    return (values / 100).zip_with(is_plain, values) if format.plain_is_percent else values
