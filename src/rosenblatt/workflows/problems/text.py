"""Language modeling problems on texts."""

from __future__ import annotations

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.encoding.vocabulary import Vocabulary
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.language_modeling import limit_rows, next_token_targets, split_into_rows
from rosenblatt.data.tasks.task import SupervisedTask
from rosenblatt.errors import TableError
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.problem import (
    VALIDATION_FRACTION,
    LearningProblem,
    _format_counts,
    _require_kind,
)

TEXT = "text"
TOKENS_PER_ROW = {"characters": 128, "words": 64, "subwords": 64}  # tokens of a row of a text that is learnt from
MIN_TOKENS = 2  # tokens, of which the first tells the second


def _language_problem(
    table: Table, spec: Spec, test: Table | None, validation: Table | None, messages: list[str]
) -> LearningProblem:
    """Pieces of one text, each token to be told from those before it; the last pieces are for the test, those before
    them to choose epochs on, where these have no texts of their own."""
    spec = _require_kind(spec, "A language", "rnn").replace(bidirectional=False)
    if spec.training.members == "auto" and not spec.has_search:
        spec = spec.replace(members=1)
    text = whole_text(table)
    first_test = len(text) if test else round(len(text) * (1 - spec.data.test_fraction))
    first_validation = first_test if validation else round(first_test * (1 - VALIDATION_FRACTION))
    unit = "characters" if spec.data.tokens == "auto" else spec.data.tokens
    max_length = TOKENS_PER_ROW[unit] if spec.data.max_length == "auto" else spec.data.max_length
    spec = spec.replace(tokens=unit, max_length=max_length)
    vocabulary_options = unit, spec.data.max_vocabulary, spec.data.min_token_count
    draft_vocabulary = Vocabulary.fit(text[:first_validation].splitlines(keepends=True), *vocabulary_options)
    parts = [
        split_into_rows(part, draft_vocabulary, max_length)
        for part in (
            text[:first_validation],
            whole_text(validation) if validation else text[first_validation:first_test],
            whole_text(test) if test else text[first_test:],
        )
    ]
    if parts[0] and len(Vocabulary.fit(parts[0], *vocabulary_options).encode(parts[0][-1])) < MIN_TOKENS:
        parts[0].pop()  # it would be no row, and the vocabulary is learnt from the rows
    vocabulary = Vocabulary.fit(parts[0], *vocabulary_options)  # as networks learn it
    messages.append(f"text: {len(text):,} characters, a vocabulary of {vocabulary.size:,} {unit}")
    train_pairs, validation_pairs, test_pairs = (next_token_targets(part, vocabulary, max_length) for part in parts)
    if not train_pairs[0]:
        raise TableError(f"The text has only {len(text):,} characters, too few to learn from. Give a longer one.")
    validation_pairs = limit_rows(*validation_pairs, vocabulary, "epochs are chosen on", messages)
    test_pairs = limit_rows(*test_pairs, vocabulary, "the test is on", messages)
    messages.append(
        f"rows of {max_length} tokens: "
        f"{_format_counts(len(train_pairs[0]), len(validation_pairs[0]), len(test_pairs[0]))}"
    )
    schema = Schema(columns=(Column(name=TEXT, kind="text", include=True),))
    frames = [
        pl.DataFrame({TEXT: pl.Series(rows, dtype=pl.String)})
        for rows, _ in (train_pairs, validation_pairs, test_pairs)
    ]
    supervised_task = SupervisedTask("language", (TEXT,), ("", *vocabulary.tokens), train_pairs[1], "the next token")
    return LearningProblem(
        spec, schema, supervised_task, Dataset(schema.read(frames[0]), train_pairs[1]),
        Dataset(schema.read(frames[1]), validation_pairs[1]) if validation_pairs[0] else None,
        frames[0], frames[2], schema.read(frames[2]), test_pairs[1], supervised_task.target(train_pairs[1], spec),
    )  # fmt: skip


def whole_text(table: Table) -> str:
    """The text of a table of one column, whose rows are its lines."""
    return "\n".join(table.frame[TEXT].to_list())


def text_to_score(
    table: Table, vocabulary: Vocabulary, max_length: int, messages: list[str]
) -> tuple[pl.DataFrame, np.ndarray]:
    """Another text in rows of so many tokens, and for each token the one that follows it. Raises TableError."""
    rows, targets = next_token_targets(
        split_into_rows(whole_text(table), vocabulary, max_length), vocabulary, max_length
    )
    if not rows:
        raise TableError(f"{table.source!r} is too short: there is no token that follows another. Give a longer text.")
    rows, targets = limit_rows(rows, targets, vocabulary, "scored are", messages)
    return pl.DataFrame({TEXT: pl.Series(rows, dtype=pl.String)}), targets
