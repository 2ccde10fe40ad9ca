"""Read what surrounds the digits of a number: signs, currencies, percent signs, magnitudes and units."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PERCENT = "%"  # unit of numbers that are divided by a hundred
SECONDS = "s"  # unit of the numbers of durations

_SYMBOLS = "$€£¥₹₽₩₪₫₺₴₦₱฿₵₡₲₸₼₾₿"
_CODES = (
    "USD|EUR|GBP|JPY|CNY|CHF|AUD|CAD|NZD|SEK|NOK|DKK|ISK|PLN|CZK|HUF|RON|BGN|RSD|RUB|UAH|TRY|INR|PKR|BDT|LKR|NPR|IDR"
    "|MYR|SGD|THB|VND|PHP|KRW|TWD|HKD|BRL|MXN|ARS|CLP|COP|PEN|UYU|ZAR|NGN|KES|GHS|EGP|MAD|TND|ILS|AED|SAR|QAR|KWD"
)
_DOLLARS = {"USD", "AUD", "CAD", "NZD", "SGD", "TWD", "HKD", "MXN", "ARS", "CLP", "COP", "UYU"}  # written as $, too
_CURRENCY = (
    rf"(?:[A-Z]{{1,3}}|Can|can)?[{_SYMBOLS}]|(?:{_CODES})|(?:{_CODES.lower()})|Rs\.?|rs\.?|kr\.?|Kr\.?"
    r"|zł|Kč|Ft|Fr\.?|RM|Rp\.?|S/\.?|lei|лв\.?|руб\.?|р\.|円|元|원|%"
)
_SAME_UNITS = {
    "$": "USD", "US$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "Rs": "INR", "rs": "INR", "₽": "RUB",
    "₩": "KRW", "₺": "TRY", "₪": "ILS", "R$": "BRL", "zł": "PLN", "Kč": "CZK", "Ft": "HUF", "KG": "kg", "Kg": "kg",
    "KM": "km", "Km": "km", "CM": "cm", "Cm": "cm", "Rp": "IDR", "円": "JPY", "元": "CNY", "원": "KRW",
    "kgs": "kg", "kms": "km", "lbs": "lb", "pts": "pt", "hr": "h", "hrs": "h", "yrs": "yr", "mos": "mo", "wks": "wk",
    "sec": "s", "mins": "min", "ft": "foot", "in": "inch", "yd": "yard",
}  # fmt: skip
_SAME_WORDS = {
    "euro": "EUR", "dollar": "USD", "hour": "h", "minute": "min", "second": "s", "sec": "s", "year": "yr",
    "month": "mo", "week": "wk", "pound": "lb", "ounce": "oz", "feet": "foot", "inche": "inch", "kilogram": "kg",
    "gram": "g", "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km", "liter": "l", "litre": "l",
}  # fmt: skip

_MAGNITUDES = {
    "k": 3, "K": 3, "tsd": 3, "thousand": 3, "lakh": 5, "lakhs": 5, "lac": 5, "lacs": 5, "M": 6, "mn": 6, "mln": 6,
    "mio": 6, "million": 6, "millions": 6, "crore": 7, "crores": 7, "bn": 9, "bln": 9, "mrd": 9, "billion": 9,
    "billions": 9, "tn": 12, "trillion": 12,
}  # fmt: skip
_LETTER_MAGNITUDES = {"B": 9, "b": 9, "m": 6, "T": 12}  # only beside other magnitudes, decimals or a currency
_ATTACHED_ONLY = {"k", "K", "M"}  # `290 K` is a temperature

# Units without a space before them: two letters or more of a prefix and an SI unit, or one of these words.
_SI = re.compile(
    r"[nμumcdhkMGT]?(?:m|g|s|A|V|W|J|Hz|Pa|N|B|b|bit|l|L|Ω|F|mol|Wh|Ah|eV|bar|cal|VA|Gy|Sv|Bq)|[pf](?:F|s)"
)
_WORDS = re.compile(
    "[mgshl]|in|ft|yd|mi|nm|oz|lbs?|mins?|hrs?|m?secs?|days?|wks?|weeks?|mos?|months?|yrs?|years?|mph|kph|kmp?h|rpm|b?hp"
    "|ps|cc|ml|mcg|iu|px|pts?|[dp]pi|pp[mb]|fps|mpge?|kmpl|nm|lbft|sqft|sqmi?|acres?|ha|ct|gal|qt|pints?|inch(?:es)?|foot"
    "|feet|miles?|met(?:er|re)s?|lit(?:er|re)s?|grams?|hours?|minutes?|seconds?|mmhg|psi|atm|[kmgt]ib|[kmg]bps|btu|kn|kts?"
    "|deg|bpm|cfu|pcs"
)
_WORD = r"(?:°?[^\W\d_]+[23²³]?\.?|°)"
_UNIT = re.compile(rf"{_WORD}(?:(?: ?[/·⋅*] ?| |-){_WORD}){{0,2}}")
_SUPERSCRIPTS = str.maketrans("23", "²³")
_NOT_UNITS = re.compile(
    r"(?:st|nd|rd|th|am|pm|a\.?m\.|p\.?m\.|ad|bc|ce|bce|uhr|o|x|(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)"
    r"(?:\.|[a-z]*ary|ch|il|e|y|ust|[a-z]*ber)?)", re.IGNORECASE
)  # fmt: skip

_BEFORE = re.compile(rf"(\()?\s*([-+])?\s*({_CURRENCY})?\s*([-+])?\s*(\()?\s*([.,])?")
_AFTER = re.compile(
    rf"\s*({'|'.join(sorted({*_MAGNITUDES, *_LETTER_MAGNITUDES}, key=len, reverse=True))})?\.?(?![^\W\d_])\s*(.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Affixes:
    """What the characters around the digits of a number say."""

    unit: str = ""
    exponent: int = 0  # power of ten by which the number is multiplied
    is_negative: bool = False
    lead: str = ""  # a decimal mark before the first digit


def canonical_unit(unit: str) -> str:
    """One spelling of units that are the same, such as $ and USD, or day and days."""
    unit = _SAME_UNITS.get(unit.rstrip("."), unit.rstrip("."))
    if re.fullmatch(_CODES, unit.upper()):
        return unit.upper()
    if len(unit) < 4:  # mW and MW differ
        return unit
    unit = unit.lower()
    unit = unit[:-1] if unit.endswith("s") and not unit.endswith("ss") else unit
    return _SAME_WORDS.get(unit, unit)


def use_letter_magnitudes(cells: Iterable[tuple[str, str, str]]) -> bool:
    """Whether B, b, m and T are magnitudes in a column, given what is before, in and after its numbers.

    They are if other magnitudes occur, or if such a letter follows a currency or a decimal, so that `12B` beside `12A`
    stays a code.
    """
    for before, digits, after in cells:
        word = after.strip()
        if (word in ("k", "K", "M") and after == word) or word.lower() in ("bn", "mn", "mln", "mrd"):
            return True
        if word in ("B", "b") and after == word and (re.search("[.,]", digits) or re.search(f"[{_SYMBOLS}]", before)):
            return True
    return False


def parse_affixes(before: str, after: str, letters: bool) -> Affixes | None:
    """Read what is before and after the digits of a number; None if it is no number.

    Args:
        before: the characters before the first digit.
        after: the characters after the last digit; superscripts may be the digits 2 and 3.
        letters: whether B, b, m and T are magnitudes.
    """
    match = _BEFORE.fullmatch(before)
    if not match:
        return None
    open_before, sign_before, currency, sign_after, open_after, lead = match.groups()
    after, is_closed = (after.rstrip()[:-1], True) if after.rstrip().endswith(")") else (after, False)
    after, has_minus = (after.rstrip()[:-1], True) if after.rstrip().endswith("-") else (after, False)
    is_open = bool(open_before or open_after)
    signs = [sign for sign in (sign_before, sign_after, "-" if has_minus else None) if sign]
    if is_open != is_closed or (open_before and open_after) or len(signs) + is_open > 1:
        return None
    tail = _parse_tail(after, bool(currency), letters)
    if tail is None:
        return None
    exponent, unit = tail
    if currency == PERCENT:  # as in Turkish
        exponent, unit = exponent - 2, "" if unit else PERCENT
        if not unit:
            return None
    elif currency:
        unit = _join_currency(currency, unit)
        if not unit:
            return None
    return Affixes(unit, exponent, is_open or signs == ["-"], lead or "")


def _join_currency(currency: str, unit: str) -> str:
    """A currency and what follows the number, such as another name of the currency; empty if they contradict."""
    if not unit:
        return currency
    if _is_currency(unit):
        is_same = canonical_unit(currency) == canonical_unit(unit) or (currency == "$" and unit.upper() in _DOLLARS)
        return unit if is_same else ""
    return "" if unit == PERCENT else currency + (unit if unit[0] == "/" else f" {unit}")


def _is_currency(unit: str) -> bool:
    return re.fullmatch(_CURRENCY, unit) is not None


def _parse_tail(after: str, has_currency: bool, letters: bool) -> tuple[int, str] | None:
    """The power of ten and the unit that follow a number; None if they are neither."""
    if not after.strip():
        return 0, ""
    is_spaced = after[0].isspace()
    exponent, rest = 0, after.strip()
    match = _AFTER.fullmatch(after)
    if match and match[1]:
        word = match[1]
        key = word if len(word) == 1 else word.lower()
        is_letter = key in _LETTER_MAGNITUDES and (has_currency or (letters and not is_spaced))
        is_magnitude = key in _MAGNITUDES and not (key in _ATTACHED_ONLY and is_spaced and not has_currency)
        if is_letter or is_magnitude:
            exponent = _MAGNITUDES.get(key) or _LETTER_MAGNITUDES[key]
            is_spaced, rest = True, match[2].strip()
    if rest in (PERCENT, "pct", "percent", "per cent", "Prozent", "‰"):
        return (exponent - (3 if rest == "‰" else 2), PERCENT)
    if not rest or _is_currency(rest) or (has_currency and re.fullmatch(rf"/ ?{_WORD}", rest)):
        return exponent, rest
    return (exponent, rest.rstrip(".").translate(_SUPERSCRIPTS)) if _is_unit(rest, is_spaced) else None


def _is_unit(word: str, is_spaced: bool) -> bool:
    if not (word[0].isalpha() or word[0] == "°") or not _UNIT.fullmatch(word) or _NOT_UNITS.fullmatch(word):
        return False
    if is_spaced or "°" in word or "/" in word or word[-1] in "²³":
        return True
    word = word.rstrip(".")
    if len(word) == 1:
        return word in ("V", "W") or _WORDS.fullmatch(word) is not None
    word = word.rstrip("23")
    return _SI.fullmatch(word) is not None or _WORDS.fullmatch(word.lower()) is not None
