"""Notes on columns: what was guessed about their cells, or done to them."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

MAX_NOTED_COLUMNS = 5  # columns that a line about a kind of note names


class Note(BaseModel):
    """What was guessed about a column, or done to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str  # the same for all columns to which the same was done
    detail: str = ""  # what is special to this column, such as a count and an example

    def __str__(self) -> str:
        """The note on a single column."""
        return f"{self.text} ({self.detail})" if self.detail else self.text


def summarize_notes(notes: Iterable[tuple[str, Note]]) -> list[str]:
    """One line for each kind of note, given the column and the note."""
    columns_by_text: dict[str, list[str]] = {}
    for name, note in notes:
        columns_by_text.setdefault(note.text, []).append(f"{name} ({note.detail})" if note.detail else name)
    lines = []
    for text, columns in columns_by_text.items():
        more = f" and {len(columns) - MAX_NOTED_COLUMNS} more" if len(columns) > MAX_NOTED_COLUMNS else ""
        lines.append(f"{text}: {', '.join(columns[:MAX_NOTED_COLUMNS])}{more}")
    return lines
