"""Grammar that filters of runs and queries of volumes share: tokens, and, or, not, parentheses, and errors with a mark.

condition = all { "or" all }
all       = term { "and" term }
term      = "not" term | "(" condition ")" | comparison      (the comparison is the subclass's)
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from rosenblatt.errors import RosenblattError

MAX_DEPTH = 100  # parentheses and "not" around a comparison
MAX_CHARACTERS = 1_000_000
MAX_SHOWN_CHARACTERS = 100  # of the line in an error message
_TOKEN = re.compile(
    r"""\s*(?: (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
             | (?P<operator><=|>=|!=|<>|==|=|<|>|\(|\)|,)
             | (?P<word>(?:[^\s=<>!()'",`]|`[^`]*`|(?<=\.)"[^"]*")+) )""",
    re.VERBOSE,
)
T = TypeVar("T")
Part = TypeVar("Part")


@dataclass(frozen=True)
class Token:
    """A part of a condition, and its position in the text."""

    kind: str  # text, operator, word, end
    text: str
    position: int


def mark_position(text: str, position: int) -> str:
    """Show the line of a text that holds a position, with a mark below the position."""
    from rich.cells import cell_len

    start = text.rfind("\n", 0, position) + 1
    line, _, _ = text[start:].partition("\n")
    line = "".join(character if character.isprintable() else " " for character in line)
    column = position - start
    cut = max(0, column - MAX_SHOWN_CHARACTERS // 2) if len(line) > MAX_SHOWN_CHARACTERS else 0
    before, after = line[cut:column], line[column : cut + MAX_SHOWN_CHARACTERS]
    before = f"...{before}" if cut else before
    after = f"{after}..." if len(line) > cut + MAX_SHOWN_CHARACTERS else after
    return f"  {before}{after}\n  {' ' * cell_len(before)}^"


def unquote(text: str) -> str:
    """The content of a text in quotes, in which a doubled quote stands for one."""
    return text[1:-1].replace(text[0] * 2, text[0])


class ConditionParser(ABC, Generic[T]):
    """Recursive descent over a condition. Subclasses parse comparisons, and say what a condition becomes."""

    error_class: ClassVar[type[RosenblattError]]
    noun: ClassVar[str]  # what the text is, in messages

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            raise self.error_class(f"The {self.noun} has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}.")
        self._text = text
        self._tokens, self._index, self._depth = self._tokenize(), 0, 0

    @abstractmethod
    def combine(self, operator: str, conditions: Sequence[T]) -> T:
        """Connect two or more conditions by "and" or "or"."""

    @abstractmethod
    def negate(self, condition: T) -> T:
        """Negate a condition."""

    @abstractmethod
    def parse_comparison(self) -> T:
        """Parse a comparison, at the next token."""

    @property
    def _next(self) -> Token:
        return self._tokens[self._index]

    def _matches(self, *keywords: str) -> bool:
        return self._next.kind in ("word", "operator") and self._next.text.lower() in keywords

    def _advance(self) -> Token:
        token = self._next
        self._index += token.kind != "end"
        return token

    def _accept(self, keyword: str) -> bool:
        """Go past a keyword or symbol if it comes next."""
        is_next = self._matches(keyword)
        self._index += is_next
        return is_next

    def _expect(self, symbol: str) -> None:
        if not self._accept(symbol):
            raise self._error(f"Expected {symbol!r}")

    def expect_end(self) -> None:
        """Check that nothing follows."""
        if self._next.kind != "end":
            raise self._error("Expected 'and', 'or' or the end")

    def _error(self, expected: str, token: Token | None = None) -> RosenblattError:
        token = token or self._next
        shown = token.text if len(token.text) <= MAX_SHOWN_CHARACTERS else f"{token.text[:MAX_SHOWN_CHARACTERS]}..."
        actual = f"the {self.noun} ends" if token.kind == "end" else f"got {shown!r}"
        return self.error_class(f"{expected}, but {actual}:\n{mark_position(self._text, token.position)}")

    def parse_condition(self) -> T:
        """Parse alternatives that are connected by "or"."""
        return self._combine_separated("or", self._parse_all)

    def _parse_all(self) -> T:
        return self._combine_separated("and", self._parse_term)

    def _combine_separated(self, separator: str, parse_operand: Callable[[], T]) -> T:
        conditions = self._parse_separated(separator, parse_operand)
        return self.combine(separator, conditions) if len(conditions) > 1 else conditions[0]

    def _parse_separated(self, separator: str, parse_part: Callable[[], Part]) -> list[Part]:
        parts = [parse_part()]
        while self._accept(separator):
            parts.append(parse_part())
        return parts

    def _parse_term(self) -> T:
        if not self._matches("not", "("):
            return self.parse_comparison()
        if self._depth == MAX_DEPTH:
            raise self._error(f"Expected at most {MAX_DEPTH} levels of parentheses and 'not'")
        self._depth += 1
        if self._accept("not"):
            condition = self.negate(self._parse_term())
        else:
            self._expect("(")
            condition = self.parse_condition()
            self._expect(")")
        self._depth -= 1
        return condition

    def _tokenize(self) -> list[Token]:
        tokens, position, end = [], 0, len(self._text.rstrip())
        while position < end:
            match = _TOKEN.match(self._text, position)
            if not match or not match.lastgroup:
                position += len(self._text[position:]) - len(self._text[position:].lstrip())
                raise self._error(*self._unreadable(position))
            tokens.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            position = match.end()
        return [*tokens, Token("end", "", end)]

    def _unreadable(self, position: int) -> tuple[str, Token]:
        """What was expected in place of a character that begins no token, and that character."""
        character = self._text[position]
        expected = "the closing quote of the text" if character in "'\"`" else "a field, an operator or a value"
        return f"Expected {expected}", Token("operator", character, position)
