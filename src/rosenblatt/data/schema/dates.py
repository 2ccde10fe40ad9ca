"""Dates: infer how the dates of a column are written, and read them.

The order of day and month, the century and the time zone are decided over the whole column, and saved with the model.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.schema.date_patterns import DATE, MONTH, NUMBERS, TIME, split_dates
from rosenblatt.data.schema.notes import Note
from rosenblatt.data.schema.numbers import MAX_STRAY_FRACTION
from rosenblatt.errors import TableError, format_count, format_list

Order = Literal["day/month/year", "month/day/year", "year/month/day"]
DAY_FIRST: Order = "day/month/year"
MONTH_FIRST: Order = "month/day/year"
YEAR_FIRST: Order = "year/month/day"

SAMPLE_SIZE = 100  # distinct cells that decide whether a column may hold dates
MIN_STRAY_ROWS = 20  # number of cells from which one may be no date
MAX_STRAY_WORDS = 3  # number of distinct cells, such as "unknown" or 0000-00-00, which may be more
MAX_MONTH_YEARS = 20  # number of distinct years from which Oct-03, Oct-31 etc. are rather days
MIN_YEAR, MAX_YEAR = 1000, 2200
YEARS_AHEAD = 20  # the latest year that two digits stand for, from now; 0 in columns of births
DAY_US = 86_400_000_000  # microseconds

_PLAIN_LAYOUTS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M")
_UTC_NAMES = ("utc", "etc/utc", "gmt", "etc/gmt", "zulu", "etc/zulu", "universal", "etc/universal")
_BIRTH = re.compile(r"birth|born|dob(?![a-z])|geburt|naissance|nacimiento|nascita|nascimento", re.IGNORECASE)


class DateFormat(BaseModel):
    """How the dates of a column are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layouts: tuple[str, ...] = (DATE,)  # the layouts in the training table, as `split_dates` names them
    order: Order | None = None  # of three numbers that do not start with a four-digit year; None if there are none
    is_ambiguous: bool = False  # whether the cells allow another order, too
    has_short_years: bool = False  # whether some years have two digits
    latest_year: int = 2068  # two digits stand for one of the hundred years up to this one
    zone: str = ""  # the time zone of the cells, if all that name a zone name the same one
    offset: int | None = None  # minutes from UTC to which times with a zone are converted; None leaves them
    unit: str = ""  # what numbers in place of dates count, as `numeric_dates` names it

    @property
    def has_zone(self) -> bool:
        """Whether the times of the training table have a time zone."""
        return self.offset is not None or self.zone != ""


class InferredDates(NamedTuple):
    """The dates of a column, and how they are written."""

    format: DateFormat
    dates: pl.Series  # Datetime in microseconds; null for cells that are no dates
    notes: tuple[Note, ...]  # what was guessed


def infer_dates(cells: pl.Series, name: str, day_first: bool | None = None) -> InferredDates | None:
    """Infer how the cells of a column are written, if they are dates.

    Args:
        cells: strings without nulls.
        name: the name of the column.
        day_first: whether the user says that the day comes before the month, if the cells allow both.

    Returns:
        None if the column does not hold dates.
    """
    distinct = cells.unique(maintain_order=True)
    plain_dates = _read_plain_dates(distinct)
    if plain_dates is not None:
        return InferredDates(DateFormat(latest_year=_latest_year(name)), _look_up(cells, distinct, plain_dates), ())
    sample = distinct.gather_every(max(len(distinct) // SAMPLE_SIZE, 1))
    if not sample.str.contains("[0-9]").any() or split_dates(sample)["layout"].null_count() > len(sample) / 2:
        return None
    parts = split_dates(distinct)
    if _are_other_periods(parts):
        return None
    layouts = parts["layout"].drop_nulls()
    is_time = layouts == TIME
    layouts = layouts.filter(is_time if 2 * int(is_time.sum()) > len(layouts) else ~is_time)
    zone, offset = _choose_zone(parts)
    written = DateFormat(
        layouts=tuple(layouts.unique(maintain_order=True)),
        has_short_years=bool((parts["year_digits"] == 2).any()),
        latest_year=_latest_year(name),
        zone=zone,
        offset=offset,
    )
    order, is_ambiguous = _choose_order(parts, written, day_first)
    written = written.model_copy(update={"order": order, "is_ambiguous": is_ambiguous})
    distinct_dates = to_dates(parts, written)
    dates = _look_up(cells, distinct, distinct_dates)
    strays = cells.filter(dates.is_null())
    if not may_be_strays(strays, len(cells)):
        return None
    is_date = distinct_dates.is_not_null()
    notes = _describe(distinct.filter(is_date), parts.filter(is_date), distinct_dates.filter(is_date), written)
    return InferredDates(written, dates, notes + describe_strays(strays))


def read_dates(text: pl.Series, format: DateFormat, notes: list[Note]) -> pl.Series:
    """Read text as dates in the format of the training table; null for cells that are no dates.

    Dates in another layout are converted, of which `notes` receives a note. Raises TableError if the order of their day
    and month cannot be known.
    """
    distinct = text.drop_nulls().unique(maintain_order=True)
    if distinct.is_empty():
        return pl.Series(text.name, [None] * len(text), dtype=pl.Datetime("us"))
    is_plain = DATE in format.layouts and not format.zone and format.offset is None
    plain_dates = _read_plain_dates(distinct) if is_plain else None
    if plain_dates is not None:
        return _look_up(text, distinct, plain_dates)
    parts = split_dates(distinct)
    new_format = _adapt_order(parts, distinct, format)
    dates = to_dates(parts, new_format)
    new_layouts = sorted(set(parts["layout"].filter(dates.is_not_null())) - set(format.layouts))
    if new_layouts or new_format.order != format.order:
        written, trained = _name_layouts(new_format, new_layouts or [NUMBERS]), _name_layouts(format, format.layouts)
        notes.append(Note(text=f"dates written as {written} are converted ({trained} in training)"))
    if not format.has_short_years:
        notes += _short_year_notes(parts, dates, format)
    notes += _zone_notes(parts.filter(dates.is_not_null()), format)
    return _look_up(text, distinct, dates)


def _read_plain_dates(text: pl.Series) -> pl.Series | None:
    """The dates of text in one usual layout that starts with the year, which is read fast; None for other text."""
    if text.is_empty() or text.str.contains(":60", literal=True).any():
        return None
    for layout in _PLAIN_LAYOUTS:
        if text.head(1).str.to_datetime(layout, strict=False, time_unit="us").has_nulls():
            continue
        dates = text.str.to_datetime(layout, strict=False, time_unit="us")
        is_possible = not dates.has_nulls() and bool(dates.dt.year().is_between(MIN_YEAR, MAX_YEAR).all())
        return dates if is_possible else None
    return None


def _latest_year(name: str) -> int:
    return dt.datetime.now(tz=dt.UTC).year + (0 if _BIRTH.search(name) else YEARS_AHEAD)


def _adapt_order(parts: pl.DataFrame, distinct: pl.Series, format: DateFormat) -> DateFormat:
    """The format with the order of new cells, where it must differ from the one in the training table."""
    numbers = (parts["layout"] == NUMBERS).fill_null(False)
    if not numbers.any():
        return format
    if format.order:
        impossible = int(to_dates(parts.filter(numbers), format).null_count())
        if impossible <= max(MAX_STRAY_FRACTION * int(numbers.sum()), 1):
            return format
    order, is_ambiguous = _choose_order(parts, format)
    if is_ambiguous and format.order is None:
        raise TableError(
            f"Column {distinct.name!r} holds dates such as {distinct.filter(numbers)[0]!r}, in which day and month "
            f"could be swapped; in training, they were written as {_name_layouts(format, format.layouts)}. Add "
            "--day-first or --month-first, or write the year first."
        )
    return format if is_ambiguous or order is None else format.model_copy(update={"order": order})


def find_order(text: pl.Series, format: DateFormat) -> Order | None:
    """The order of day, month and year in which `read_dates` reads cells; None if no cell depends on it.

    Raises TableError if some cells are dates in another order only.
    """
    distinct = text.drop_nulls().unique(maintain_order=True)
    parts = split_dates(distinct)
    is_numeric = (parts["layout"] == NUMBERS).fill_null(False)
    if not is_numeric.any():
        return None
    numeric, cells = parts.filter(is_numeric), distinct.filter(is_numeric)
    written = _adapt_order(parts, distinct, format)
    is_impossible = to_dates(numeric, written).is_null()
    for order in (DAY_FIRST, MONTH_FIRST, YEAR_FIRST):
        other = to_dates(numeric, format.model_copy(update={"order": order})).is_not_null()
        if (is_impossible & other).any():
            raise TableError(
                f"Column {text.name!r} holds {cells.filter(is_impossible & other)[0]!r}, which is no date in the order "
                f"{written.order} of other cells. Correct the column, or use --no-stream, which decides over all rows."
            )
    return written.order


def _choose_order(parts: pl.DataFrame, format: DateFormat, day_first: bool | None = None) -> tuple[Order | None, bool]:
    """Choose the order of three numbers over a whole column, and say whether another would be possible, too.

    The order with the fewest impossible dates wins. If there are several: the order that the user gives; the one in
    which all dates are the first of a month; the month first with slashes, else the day
    first. Two digits are the year at the start only if they can hardly be a day.
    """
    parts = parts.filter(parts["layout"] == NUMBERS)
    if parts.is_empty():
        return None, False
    dates = {
        order: to_dates(parts, format.model_copy(update={"order": order}))
        for order in (DAY_FIRST, MONTH_FIRST, YEAR_FIRST)
    }
    fewest_impossible = min(values.null_count() for values in dates.values())
    if fewest_impossible == len(parts):
        return None, False
    best = [order for order, values in dates.items() if values.null_count() == fewest_impossible]
    if best == [YEAR_FIRST]:
        return YEAR_FIRST, False
    first, second = parts["first"], parts["second"]
    may_be_year = YEAR_FIRST in best and first.n_unique() < parts["third"].n_unique() and not bool((first == 1).all())
    if may_be_year and day_first is None and _is_rather_year_first(parts, dates):
        return YEAR_FIRST, True
    best = [order for order in best if order != YEAR_FIRST]
    if len(best) == 1 or bool((first == second).all()):
        return best[0], may_be_year and day_first is None
    if day_first is not None:
        return (DAY_FIRST if day_first else MONTH_FIRST), False
    if (first == 1).all() != (second == 1).all():
        return (DAY_FIRST if (first == 1).all() else MONTH_FIRST), True
    return (MONTH_FIRST if parts["separator"].mode()[0] == "/" else DAY_FIRST), True


def _is_rather_year_first(parts: pl.DataFrame, dates: dict[Order, pl.Series]) -> bool:
    """Whether a number at the start that varies less than the last is rather the year than the day.

    It is if the numbers are separated by hyphens, or if only years at the start are years up to now.
    """
    years = {order: values.dt.year().drop_nulls() for order, values in dates.items()}
    now = dt.datetime.now(tz=dt.UTC).year
    is_future = bool((years[DAY_FIRST] > now).any()) and not (years[YEAR_FIRST] > now).any()
    return is_future or parts["separator"].mode()[0] == "-"


def _are_other_periods(parts: pl.DataFrame) -> bool:
    """Whether what looks like months is something else: seasons such as 2009-10, or days such as Oct-31."""
    months = parts.filter(pl.col("layout") == MONTH)
    if months.height < 2:
        return False
    if (months["year_digits"] == 4).all():
        return bool((months["month"] == (months["year"] + 1) % 100).all())
    days = months["year"].unique()
    return len(days) > MAX_MONTH_YEARS and bool(days.is_between(1, 31).all())


def _choose_zone(parts: pl.DataFrame) -> tuple[str, int | None]:
    """The zone of a column, and the offset to which its times are converted: none if all have the same zone."""
    zones = parts.filter(pl.col("zone").is_not_null()).select("zone", "offset").unique(maintain_order=True)
    offsets = zones["offset"].unique()
    if len(offsets) == 1 and (offsets[0] is not None or zones.height == 1):
        return zones["zone"][0], offsets[0]
    return ("", 0) if len(offsets) else ("", None)


def to_dates(parts: pl.DataFrame, format: DateFormat) -> pl.Series:
    """Compute dates (Datetime in microseconds) from their parts; null for impossible ones."""
    days = _to_days(parts, format)
    is_time = pl.col("layout") == TIME
    shift = (pl.lit(format.offset, pl.Int64) - pl.col("offset")).fill_null(0) * 60_000_000
    is_known_zone = pl.col("zone").is_null() | (pl.col("zone") == format.zone)
    if format.offset is not None or not format.zone:
        is_known_zone |= pl.col("offset").is_not_null()
    is_possible = is_known_zone & (~pl.col("has_time") | pl.col("time").is_not_null())
    date = pl.col("days") * DAY_US + pl.col("time").fill_null(0) + shift
    if TIME in format.layouts:
        date = pl.when(is_time).then(pl.col("time").clip(upper_bound=DAY_US - 1))  # 24:00 is the end of the day
    values = parts.with_columns(days=days).select(date=pl.when(is_possible).then(date))
    return values["date"].cast(pl.Datetime("us"))


def _to_days(parts: pl.DataFrame, format: DateFormat) -> pl.Series:
    """Days since 1970, null if the year, month or day is impossible."""
    year, month, day = pl.col("year"), pl.col("month").fill_null(1), pl.col("day").fill_null(1)
    if format.order:
        names = ("first", "second", "third")
        column = dict(zip(format.order.split("/"), names, strict=True))
        year = pl.coalesce("year", column["year"])
        month = pl.coalesce("month", column["month"], pl.lit(1))
        day = pl.coalesce("day", column["day"], pl.lit(1))
    is_short = pl.col("year_digits") == 2
    if format.order == YEAR_FIRST:
        is_short |= pl.col("layout") == NUMBERS
    year = pl.when(is_short).then(format.latest_year - (format.latest_year - year) % 100).otherwise(year)
    table = parts.select(y=year, m=month, d=day, week="week", weekday=pl.col("weekday").fill_null(1))
    possible = table["y"].is_between(MIN_YEAR, MAX_YEAR) & table["m"].is_between(1, 12) & table["d"].is_between(1, 31)
    if format.order == YEAR_FIRST:  # the first of 03-10-2019 is no year
        possible &= ~((parts["layout"] == NUMBERS) & (parts["year_digits"] == 4))
    possible &= parts["layout"].is_not_null() & (parts["layout"] != TIME)
    y, m, d = (table[name].set(~possible.fill_null(False), None).fill_null(1).to_numpy() for name in "ymd")
    months = ((y - 1970) * 12 + m - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64) + d - 1
    is_in_month = (days.astype("datetime64[D]").astype("datetime64[M]") == months) & possible.fill_null(
        False
    ).to_numpy()
    values = pl.Series("days", days).set(pl.Series(~is_in_month), None)
    return _weeks_to_days(values, table["week"], table["weekday"]) if table["week"].is_not_null().any() else values


def _weeks_to_days(new_year: pl.Series, week: pl.Series, weekday: pl.Series) -> pl.Series:
    """Days since 1970: of the days of ISO weeks, else as given; `new_year` is the first day of the year of a week."""
    fourth = new_year + 3  # 4 January is in the first week
    monday = fourth - (fourth + 3) % 7 + 7 * (week - 1)
    in_year = (monday + 3).cast(pl.Date).dt.year() == new_year.cast(pl.Date).dt.year()
    days = (monday + weekday - 1).set(~(in_year & (week >= 1)).fill_null(False), None)
    return days.zip_with(week.is_not_null(), new_year)


def _look_up(text: pl.Series, distinct: pl.Series, values: pl.Series) -> pl.Series:
    """The value of each cell, given the values of distinct cells in their order in the text."""
    if len(distinct) == len(text):
        return values.alias(text.name)
    return text.replace_strict(distinct, values, default=None, return_dtype=values.dtype)


def may_be_strays(strays: pl.Series, n: int) -> bool:
    """Whether these of n cells may be read as missing, as they are few, or the same few words."""
    if len(strays) <= max(MAX_STRAY_FRACTION * n, n >= MIN_STRAY_ROWS):
        return True
    return n >= MIN_STRAY_ROWS and len(strays) < n / 2 and strays.n_unique() <= MAX_STRAY_WORDS


def describe_strays(strays: pl.Series) -> tuple[Note, ...]:
    """A note on cells that are no dates, if there are any."""
    if strays.is_empty():
        return ()
    examples = format_list(strays.unique(maintain_order=True).to_list(), 3)
    detail = f"{examples} in {format_count(len(strays), 'cell')}"
    return (Note(text="cells that are not valid dates read as missing", detail=detail),)


def _describe(cells: pl.Series, parts: pl.DataFrame, dates: pl.Series, format: DateFormat) -> tuple[Note, ...]:
    """Notes on what was guessed."""
    notes = []
    if format.is_ambiguous:
        example = cells.filter(parts["layout"] == NUMBERS)[0]
        text = f"ambiguous order of day and month, read as {format.order} (--day-first or --month-first decides)"
        notes.append(Note(text=text, detail=f"such as {example!r}"))
    notes += _short_year_notes(parts, dates, format)
    if format.offset == 0 and not format.zone:
        zones = parts["zone"].drop_nulls().unique(maintain_order=True).str.to_uppercase().to_list()
        notes.append(Note(text="times in several time zones converted to UTC", detail=format_list(zones, 3)))
    return tuple(notes)


def _short_year_notes(parts: pl.DataFrame, dates: pl.Series, format: DateFormat) -> list[Note]:
    """A note on the century of years of two digits, if there are any."""
    years = dates.filter((parts["year_digits"] == 2).fill_null(False)).drop_nulls().dt.year().sort()
    if years.is_empty():
        return []
    text = f"two-digit years read as {format.latest_year - 99} to {format.latest_year}"
    return [Note(text=text, detail=f"here {years[0]} to {years[-1]}")]


def _zone_notes(parts: pl.DataFrame, format: DateFormat) -> list[Note]:
    """Notes on times in a later table whose zone is not that of the training table."""
    zones, notes = parts["zone"].fill_null(""), []
    if not format.has_zone:
        others, text = zones.filter(zones != ""), "time zones are ignored, as training had none"
    else:
        is_other = (parts["offset"] != (format.offset or 0)).fill_null(False) & (format.zone != "")
        others, text = zones.filter(is_other), "times are converted to the time zone of training"
    if len(others):
        notes.append(Note(text=text, detail=format_list(others.unique(maintain_order=True).str.to_uppercase(), 3)))
    if format.has_zone and ((zones == "") & parts["has_time"]).any():
        note = Note(text="times without a time zone are read in that of training", detail=format.zone.upper() or "UTC")
        notes.append(note)
    return notes


def _name_layouts(format: DateFormat, layouts: tuple[str, ...] | list[str]) -> str:
    return " or ".join(format.order if layout == NUMBERS and format.order else layout for layout in layouts)


def typed_date_format(dtype: pl.DataType) -> DateFormat:
    """The format of a typed column of a training table: its time zone."""
    zone = (dtype.time_zone or "").lower() if isinstance(dtype, pl.Datetime) else ""
    return DateFormat(zone=zone, offset=0 if zone in _UTC_NAMES else None)


def as_dates(series: pl.Series, format: DateFormat | None = None, notes: list[Note] | None = None) -> pl.Series:
    """Convert dates, times or durations to Datetime; times and durations count from 1 January 1970.

    Args:
        series: typed cells.
        format: of the training table, to whose time zone times are converted; None keeps the time zone of the cells.
        notes: receives what was converted or ignored.

    Raises TableError if the offset of the time zone of training from UTC is not known.
    """
    if isinstance(series.dtype, pl.Datetime):
        local = series.dt.replace_time_zone(None).cast(pl.Datetime("us"))
        return local if format is None else _to_training_zone(series, local, format, [] if notes is None else notes)
    if series.dtype == pl.Time:
        return (series.cast(pl.Int64) // 1000).cast(pl.Datetime("us"))
    if series.dtype == pl.Duration:
        return series.dt.total_microseconds().cast(pl.Datetime("us"))
    return series.cast(pl.Datetime("us"))


def _to_training_zone(series: pl.Series, local: pl.Series, format: DateFormat, notes: list[Note]) -> pl.Series:
    """Times of a typed column in the time zone of training; `local` are the same as they stand in the column."""
    zone = getattr(series.dtype, "time_zone", None)
    if zone is None or not format.has_zone:
        if format.has_zone:
            detail = format.zone.upper() or "UTC"
            notes.append(Note(text="times without a time zone are read in that of training", detail=detail))
        elif zone is not None:
            notes.append(Note(text="time zones are ignored, as training had none", detail=zone))
        return local
    if format.offset is not None:
        minutes = pl.duration(minutes=format.offset)
        utc = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us"))
        converted = utc.to_frame().select(pl.col(series.name) + minutes).to_series()
    elif format.zone == zone.lower():
        return local
    else:
        name = zone_name(series.name, format)
        converted = series.dt.convert_time_zone(name).dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if not converted.equals(local):
        notes.append(Note(text="times are converted to the time zone of training", detail=zone))
    return converted


def zone_name(name: str, format: DateFormat) -> str:
    """The time zone of a column of training, by its name in the database of time zones.

    Raises TableError if it has none, such as IST, which several zones share.
    """
    names = {zone.lower(): zone for zone in available_timezones()}
    if format.zone not in names:
        raise TableError(
            f"Column {name!r} holds times with a time zone, but those of training were in {format.zone.upper()}, which "
            "is no unique time zone. Give times without a time zone, in that of training."
        )
    return names[format.zone]


def to_local_time(moment: dt.datetime, name: str, format: DateFormat) -> dt.datetime:
    """The time of one cell in the time zone of training, as `as_dates` converts a column; as written if it had none.

    Raises TableError as `zone_name` does.
    """
    if moment.tzinfo is None or not format.has_zone:
        return moment.replace(tzinfo=None)
    if format.offset is not None:
        return moment.astimezone(dt.timezone(dt.timedelta(minutes=format.offset))).replace(tzinfo=None)
    return moment.astimezone(ZoneInfo(zone_name(name, format))).replace(tzinfo=None)


def as_seconds(durations: pl.Series) -> pl.Series:
    """Convert durations to seconds, Float64."""
    return durations.dt.total_microseconds().cast(pl.Float64) / 1e6


def date_features(dates: pl.Series) -> tuple[str, ...]:
    """The features of dates that vary: the day, and the position in the year, the week and the day."""
    values = dates.drop_nulls()
    if values.dt.date().n_unique() == 1:
        return ("hour",)
    has_time = bool((values.dt.time() != dt.time()).any())
    return ("day", "month", "weekday", "hour") if has_time else ("day", "month", "weekday")


def date_feature(dates: pl.Series, part: str) -> pl.Series:
    """One of `date_features`, as Float64: days since 1970, month 1 to 12, weekday 1 (Monday) to 7, hour 0 to 24."""
    if part == "day":
        return dates.dt.timestamp("ms").cast(pl.Float64) / 86_400_000
    if part == "month":
        return dates.dt.month().cast(pl.Float64)
    if part == "weekday":
        return dates.dt.weekday().cast(pl.Float64)
    return dates.dt.hour().cast(pl.Float64) + dates.dt.minute().cast(pl.Float64) / 60
