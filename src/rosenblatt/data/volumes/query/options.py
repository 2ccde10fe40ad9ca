"""Options of a query, such as `@split=train` and `@fold=2/5`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

PARTS = ("train", "validation", "test")
DEFAULT_SHARES = (Fraction(8, 10), Fraction(1, 10), Fraction(1, 10))
MAX_FOLDS = 1_000
MAX_DIGITS = 18  # of numbers in options
_DECIMAL = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}(?:\.[0-9]{{0,{MAX_DIGITS}}})?|\.[0-9]{{1,{MAX_DIGITS}}}")


@dataclass(frozen=True)
class SplitOption:
    """One of the parts train, validation and test, and the share of each part; None: the default shares."""

    part: str
    shares: tuple[Fraction, Fraction, Fraction] | None = None


@dataclass(frozen=True)
class FoldOption:
    """One of `count` folds, counted from 1, or the samples of all other folds (`is_excluded`)."""

    number: int
    count: int
    is_excluded: bool = False


@dataclass(frozen=True)
class Option:
    """How the value of an option is parsed (ValueError if it is invalid), and what its error message expects."""

    parse: Callable[[str], Any]
    expected: str


def _parse_version(text: str) -> int | str:
    """Parse the number of a version, or the name of a tag."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else _parse_name(text)


def _parse_name(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def _parse_split(text: str) -> SplitOption:
    part, colon, shares = text.partition(":")
    if part not in PARTS:
        raise ValueError(text)
    return SplitOption(part, _parse_shares(shares, part) if colon else None)


def _parse_shares(text: str, part: str) -> tuple[Fraction, Fraction, Fraction]:
    """Parse the shares of all parts, or that of train, in which case validation and test have equal shares."""
    if part == "train" and "/" not in text:
        rest = 1 - _parse_fraction(text)
        return 1 - rest, rest / 2, rest / 2
    numbers = [_parse_decimal(share) for share in text.split("/")]
    if len(numbers) != len(PARTS) or sum(numbers) not in (1, 100):
        raise ValueError(text)
    train, validation, test = (number / sum(numbers) for number in numbers)
    return train, validation, test


def _parse_fold(text: str) -> FoldOption:
    number, _, count = text.partition("/")
    fold = FoldOption(_parse_integer(number, 1, MAX_FOLDS), _parse_integer(count, 2, MAX_FOLDS))
    if fold.number > fold.count:
        raise ValueError(text)
    return fold


def _parse_fraction(text: str) -> Fraction:
    """Parse a number above 0 and below 1, or a percentage."""
    number = _parse_decimal(text[:-1]) / 100 if text.endswith("%") else _parse_decimal(text)
    if not 0 < number < 1:
        raise ValueError(text)
    return number


def _parse_decimal(text: str) -> Fraction:
    if not _DECIMAL.fullmatch(text):
        raise ValueError(text)
    return Fraction(text)


def _parse_integer(text: str, minimum: int, maximum: int) -> int:
    if not re.fullmatch(r"[0-9]{1,20}", text) or not minimum <= int(text) <= maximum:
        raise ValueError(text)
    return int(text)


OPTIONS = {
    "version": Option(_parse_version, "a version's number such as @version=3, or the name of a tag"),
    "split": Option(
        _parse_split,
        "@split=train, validation or test, with other shares than 80/10/10 as in @split=train:70/15/15 (or train:0.7, "
        "in which case validation and test have equal shares)",
    ),
    "fold": Option(
        _parse_fold, f"@fold=2/5 (the second of five folds, at most {MAX_FOLDS:,}) or @fold!=2/5 (the others)"
    ),
    "sample": Option(
        _parse_fraction, "a fraction such as @sample=0.1 or @sample=10% (for a number of samples, use @limit)"
    ),
    "seed": Option(lambda text: _parse_integer(text, 0, 2**64 - 1), "a whole number from 0 to 2^64 - 1"),
    "group": Option(_parse_name, "the name of a column"),
    "limit": Option(lambda text: _parse_integer(text, 1, 2**63 - 1), "a number of samples such as @limit=100"),
}
