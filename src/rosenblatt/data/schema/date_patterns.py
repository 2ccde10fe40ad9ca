"""Patterns of written dates and times: split text such as "Thu, 3 Oct 2019 1:05 PM GMT" into numbers.

A time with its zone is cut out first, wherever it stands; the rest must match one of the patterns as a whole. Which of
three numbers such as 03/10/19 is the day is not decided here.
"""

from __future__ import annotations

import polars as pl

DATE, NUMBERS, NAME, MONTH, QUARTER, WEEK, YEAR, TIME = (
    "year-month-day", "three numbers", "month names", "months", "quarters", "weeks", "years", "times",
)  # fmt: skip

_MONTH_NAMES = (
    "jan january januar jänner januari janvier janv enero ene gennaio gen janeiro",
    "feb february februar februari février fevrier févr fevr fév febrero febbraio fevereiro fev",
    "mar march märz maerz mär mrz maart mrt mars marzo março marco",
    "apr april avril avr abril abr aprile",
    "may mai mei mayo maggio mag maio",
    "jun june juni juin junio giugno giu junho",
    "jul july juli juillet juil julio luglio lug julho",
    "aug august augustus août aout agosto ago",
    "sep sept september septembre septiembre settembre setembro set",
    "oct october okt oktober octobre octubre ottobre ott outubro out",
    "nov november novembre noviembre novembro",
    "dec december dez dezember déc décembre decembre dic diciembre dicembre dezembro",
)
MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, 1) for name in names.split()}
_WEEKDAYS = (
    "mon monday tue tues tuesday wed weds wednesday thu thur thurs thursday fri friday sat saturday sun sunday "
    "mo montag di dienstag mi mittwoch do donnerstag fr freitag sa samstag sonnabend so sonntag "
    "lun lundi mardi mer mercredi jeu jeudi ven vendredi sam samedi dim dimanche "
    "lunes martes mié miércoles jue jueves vie viernes sáb sábado dom domingo "
    "lunedì martedì mercoledì giovedì venerdì sabato domenica maandag dinsdag "
    "woensdag donderdag vrijdag zaterdag zondag "
    "segunda-feira terça-feira quarta-feira quinta-feira sexta-feira"
)
WEEKDAYS = tuple(_WEEKDAYS.split())

# Minutes before or after UTC; names that several zones share, such as IST, have no entry.
_ZONE_OFFSETS = {
    "z": 0, "ut": 0, "utc": 0, "gmt": 0, "wet": 0, "west": 60, "cet": 60, "mez": 60, "cest": 120, "mesz": 120,
    "eet": 120, "eest": 180, "msk": 180, "est": -300, "edt": -240, "cst": -360, "cdt": -300, "mst": -420, "mdt": -360,
    "pst": -480, "pdt": -420, "akst": -540, "akdt": -480, "hst": -600, "jst": 540, "kst": 540, "hkt": 480, "sgt": 480,
    "aest": 600, "aedt": 660, "acst": 570, "awst": 480, "nzst": 720, "nzdt": 780,
}  # fmt: skip
_ZONE = (
    r"(?:(?:utc|gmt)?\s?[+-][0-9]{2}(?::?[0-9]{2})?|(?:utc|gmt)[+-][0-9]|(?:africa|america|asia|atlantic|australia|"
    rf"europe|pacific|etc)/[a-z_/+-]+|(?:bst|ist|{'|'.join(_ZONE_OFFSETS)})\b)"
)
_TIME = (
    r"(?:^|[^0-9:.])(?P<hour>[0-9]{1,2})[:h](?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    rf"(?:\s*(?P<half>[ap])\.?\s?m\b\.?)?(?:\s*(?P<zone>{_ZONE})(?:\s*(?:\[[^\]]*\]|\([^)]*\)))?)?(?:$|[ ,])"
)
# What is rewritten in text with words or with unusual signs, in this order, before the patterns apply.
_REWRITES = (
    (r"^\[(.*)\]$", "$1"),
    (r"[\u2010-\u2015\u2212_]", "-"),
    (r"[\s\u00a0\u2007\u202f]+", " "),
    (rf"(^|[\s,])\(?(?:{'|'.join(WEEKDAYS)})(?:[.,)\s]+|$)", "$1"),
    (r"([0-9])(?:st|nd|rd|th|er|º)\b", "$1"),
    (r"\b(?:at|of|the|de|del|le|um|uhr)\b", " "),
    (r"(^|[^0-9:.])([0-9]{1,2})\s*([ap])\.?\s?m\b", "$1$2:00 ${3}m"),
    (r"([0-9])t([0-9]{2})([0-9]{2})([0-9]{2})", "$1 $2:$3:$4"),
    (r"([0-9])t([0-9]{2})([0-9]{2})", "$1 $2:$3"),
    (r"^([0-9]{8})[ -]([0-9]{2})([0-9]{2})([0-9]{2})$", "$1 $2:$3:$4"),
    (r"^([0-9]{8})[ -]([0-9]{2})([0-9]{2})$", "$1 $2:$3"),
    (r"^([0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2})[ -]([0-9]{2})$", "$1 $2:00"),
    (r"([0-9]{4}) ([0-9]{1,2})\.([0-9]{2})$", "$1 $2:$3"),
    (r"([0-9])t([0-9]{2})(z|[+-][0-9:]+|$)", "$1 $2:00$3"),
    (r"\s*[年月년월]\s*", "-"),
    (r"[日일]", " "),
    (r"([0-9]):([0-9]{2}:[0-9]{2}:[0-9]{2})", "$1 $2"),
)
_MONTH = "|".join(MONTHS)
_USUAL = (  # what no rewrite changes
    rf"^(?:[0-9]{{1,4}}[-/.](?:[0-9]{{1,2}}|{_MONTH})[-/.][0-9]{{1,4}}|[0-9]{{1,2}} (?:{_MONTH}) [0-9]{{4}}"
    rf"|(?:{_MONTH}) [0-9]{{1,2}}, [0-9]{{4}})(?:[t ][0-9]{{1,2}}:[0-9]{{2}}(?::[0-9.]+)?(?:z| ?[ap]m)?)?$"
)

_Y4, _Y, _D, _SEPARATOR = r"(?P<year>[0-9]{4})", r"(?P<year>[0-9]{4}|[0-9]{2})", "[0-9]{1,2}", "[-/. ]+"
_THIRD = "(?P<third>[0-9]{4}|[0-9]{2})"
_NAME = f"(?P<name>{_MONTH})"
_PATTERNS = (
    (DATE, rf"^{_Y4}{_SEPARATOR}(?P<month>{_D}){_SEPARATOR}(?P<day>{_D})(?:\.|z)?$"),
    (NUMBERS, rf"^(?P<first>{_D})(?P<separator>{_SEPARATOR})(?P<second>{_D}){_SEPARATOR}{_THIRD}\.?$"),
    (DATE, rf"^{_Y4}(?P<month>[0-9]{{2}})(?P<day>[0-9]{{2}})$"),
    (NAME, rf"^(?P<day>{_D})[-/., ]*{_NAME}[-/., ]*'?{_Y}\.?$"),
    (NAME, rf"^{_NAME}[-/. ]*(?P<day>{_D})[-/., ]+'?{_Y}$"),
    (NAME, rf"^{_Y4}[-/., ]*{_NAME}[-/. ]*(?P<day>{_D})$"),
    (MONTH, rf"^{_Y4}[-/.](?P<month>{_D})$"),
    (MONTH, rf"^(?P<month>{_D})[-/.]{_Y4}$"),
    (MONTH, rf"^{_Y4}[-/ ]?m(?P<month>{_D})$"),
    (MONTH, rf"^m(?P<month>{_D})[-/ ]?{_Y4}$"),
    (MONTH, rf"^{_NAME}[-/., ]*{_Y4}$"),
    (MONTH, rf"^{_NAME}\.?\s*[-/'’]+{_Y}$"),
    (MONTH, rf"^{_Y4}[-/., ]*{_NAME}\.?$"),
    (QUARTER, rf"^(?:fy)?{_Y}[-/.: ]*q(?P<quarter>[1-4])$"),
    (QUARTER, rf"^q(?P<quarter>[1-4])[-/., ]*(?:fy)?[ ']*{_Y}$"),
    (QUARTER, rf"^(?P<quarter>[1-4])\.?\s*(?:q|qtr|quarter|quartal|trimestre)[-/., ]*'?{_Y}$"),
    (QUARTER, rf"^{_Y4}[-/ ]*h(?P<half_year>[12])$"),
    (QUARTER, rf"^h(?P<half_year>[12])[-/, ]*{_Y4}$"),
    (WEEK, rf"^{_Y4}[-/ ]*(?:w|wk|week|kw|cw)[-. ]*(?P<week>{_D})(?:-?(?P<weekday>[1-7]))?$"),
    (WEEK, rf"^(?:w|wk|week|kw|cw)[-. ]*(?P<week>{_D})[-/, ]+'?{_Y}$"),
    (YEAR, rf"^(?:fy|cy)[- ]*'?{_Y}$"),
)  # fmt: skip
_NUMBERS = ("year", "month", "day", "first", "second", "third", "quarter", "half_year", "week", "weekday")


def split_dates(text: pl.Series) -> pl.DataFrame:
    """Split text into the parts of dates and times.

    Returns:
        A row for each cell: `layout`, null for cells that are no dates; `year`, `month`, `day`, `week`, `weekday`;
        `first`, `second`, `third` and `separator` of three numbers; `year_digits`; `time`, in microseconds since
        midnight, null if there is none or it is impossible; `has_time`; `zone` as written, and its `offset` in minutes.
    """
    text = text.str.strip_chars().str.to_lowercase()
    unusual = ~text.str.contains(_USUAL).fill_null(True)
    if unusual.any():
        rewritten = text.filter(unusual)
        for pattern, replacement in _REWRITES:
            rewritten = rewritten.str.replace_all(pattern, replacement)
        text = text.scatter(unusual.arg_true(), rewritten.str.strip_chars())
    times = _split_times(text)
    date_text = text
    if times["has_time"].any():
        date_text = text.str.replace(_TIME, " ").str.strip_chars(" ,-")
    return _match_patterns(date_text, times["has_time"]).hstack(times)


def _split_times(text: pl.Series) -> pl.DataFrame:
    groups = text.str.extract_groups(_TIME).struct.unnest()
    has_time = groups["hour"].is_not_null()
    if not has_time.any():
        return pl.select(
            time=pl.repeat(None, len(text), dtype=pl.Int64), has_time=pl.repeat(False, len(text)),
            zone=pl.repeat(None, len(text), dtype=pl.String), offset=pl.repeat(None, len(text), dtype=pl.Int64),
        )  # fmt: skip
    hour, minute, second = (pl.col(name).cast(pl.Int64).fill_null(0) for name in ("hour", "minute", "second"))
    half = pl.col("half").fill_null("")
    midnight = (hour == 24) & (minute == 0) & (second == 0)  # the end of the day, as in ISO 8601
    is_valid = ((hour <= 23) | midnight) & (minute <= 59) & (second <= 59) & ~((half == "a") & (hour > 12))
    hour_of_day = pl.when(half == "").then(hour).when(half == "p").then(hour % 12 + 12).otherwise(hour % 12)
    seconds = hour_of_day * 3600 + minute * 60 + second
    fraction = ("0." + pl.col("fraction").fill_null("0")).cast(pl.Float64)
    sign = pl.when(pl.col("zone").str.contains("-")).then(-1).otherwise(1)
    digits = pl.col("zone").str.extract(r"[+-]([0-9:]+)$").str.replace(":", "")
    minutes = digits.str.slice(0, 2).cast(pl.Int64) * 60 + digits.str.slice(2).replace("", "0").cast(pl.Int64)
    named = pl.col("zone").replace_strict(_ZONE_OFFSETS, default=None, return_dtype=pl.Int64)
    return groups.select(
        time=pl.when(pl.col("hour").is_not_null() & is_valid).then(
            seconds * 1_000_000 + (fraction * 1_000_000).round().cast(pl.Int64)
        ),
        has_time=has_time,
        zone="zone",
        offset=pl.coalesce(sign * minutes, named),
    )  # fmt: skip


def _match_patterns(text: pl.Series, has_time: pl.Series) -> pl.DataFrame:
    """The parts of dates by the first pattern that fits; a time without a date has the layout of times."""
    rows = pl.int_range(len(text), eager=True, dtype=pl.UInt32)
    is_time = has_time & (text == "")
    matches = [pl.DataFrame({"row": rows.filter(is_time)}).with_columns(layout=pl.lit(TIME))]
    rest = pl.DataFrame({"row": rows, "text": text}).filter(~is_time & (text.str.len_chars() > 0).fill_null(False))
    for layout, pattern in _PATTERNS:
        if rest.is_empty():
            break
        is_match = rest["text"].str.contains(pattern)
        if is_match.any():
            matched = rest.filter(is_match)
            parts = matched["text"].str.extract_groups(pattern).struct.unnest()
            matches.append(matched.select("row", layout=pl.lit(layout)).hstack(_to_numbers(parts)))
            rest = rest.filter(~is_match)
    columns = [pl.lit(None, pl.Int64).alias(name) for name in ("year_digits", *_NUMBERS)]
    words = [pl.lit(None, pl.String).alias(name) for name in ("layout", "separator")]
    empty = pl.DataFrame({"row": rows}).head(0).with_columns(*words, *columns)
    parsed = pl.concat([empty, *matches], how="diagonal")
    return pl.DataFrame({"row": rows}).join(parsed, on="row", how="left", maintain_order="left").drop("row")


def _to_numbers(parts: pl.DataFrame) -> pl.DataFrame:
    year = "third" if "third" in parts.columns else "year"
    numbers = parts.select(
        pl.col(year).str.len_chars().cast(pl.Int64).alias("year_digits"),
        *(pl.col(name).cast(pl.Int64) for name in parts.columns if name in _NUMBERS),
    )
    if "separator" in parts.columns:
        return numbers.with_columns(parts["separator"].str.strip_chars())
    if "name" in parts.columns:
        month = parts["name"].replace_strict(MONTHS, default=None, return_dtype=pl.Int64)
        return numbers.with_columns(month.alias("month"))
    if "quarter" in parts.columns:
        return numbers.with_columns(month=3 * pl.col("quarter") - 2)
    if "half_year" in parts.columns:
        return numbers.with_columns(month=6 * pl.col("half_year") - 5)
    return numbers
