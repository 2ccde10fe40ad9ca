"""Language modeling problems on texts."""

from __future__ import annotations

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Data
from rosenblatt.data.encoding.vocabulary import Vocabulary
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.language_modeling import first_rows, pieces, with_next
from rosenblatt.data.tasks.task import Question
from rosenblatt.errors import TableError
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.problem import SPARED, Problem, Say, _counts, _of_kind

TEXT = "text"
PIECE = {"characters": 128, "words": 64, "subwords": 64}  # tokens of a row of a text that is learnt from
PAIR = 2  # tokens, of which the first tells the second


def _of_text(table: Table, spec: Spec, test: Table | None, validation: Table | None, say: Say) -> Problem:
    """Pieces of one text, each token to be told from those before it; the last pieces are for the test, those before
    them to choose epochs on, where these have no texts of their own."""
    spec = _of_kind(spec, "A language", "rnn").replace(bidirectional=False)
    if spec.training.members == "auto" and not spec.searches:
        spec = spec.replace(members=1)
    text = whole_text(table)
    first_test = len(text) if test else round(len(text) * (1 - spec.data.test_fraction))
    first_spared = first_test if validation else round(first_test * (1 - SPARED))
    unit = "characters" if spec.data.tokens == "auto" else spec.data.tokens
    longest = PIECE[unit] if spec.data.max_length == "auto" else spec.data.max_length
    spec = spec.replace(tokens=unit, max_length=longest)
    how = unit, spec.data.vocabulary, spec.data.min_token_count
    rough = Vocabulary.learn(text[:first_spared].splitlines(keepends=True), *how)
    parts = [
        pieces(part, rough, longest)
        for part in (
            text[:first_spared],
            whole_text(validation) if validation else text[first_spared:first_test],
            whole_text(test) if test else text[first_test:],
        )
    ]
    if parts[0] and len(Vocabulary.learn(parts[0], *how).encode(parts[0][-1])) < PAIR:
        parts[0].pop()  # it would be no row, and the vocabulary is learnt from the rows
    vocabulary = Vocabulary.learn(parts[0], *how)  # as networks learn it
    say(f"text: {len(text):,} characters, a vocabulary of {vocabulary.size:,} {unit}")
    learnt, watched, tested = (with_next(part, vocabulary, longest) for part in parts)
    if not learnt[0]:
        raise TableError(f"The text has only {len(text):,} characters, too few to learn from. Give a longer one.")
    watched = first_rows(*watched, vocabulary, "epochs are chosen on", say)
    tested = first_rows(*tested, vocabulary, "the test is on", say)
    say(f"rows of {longest} tokens: {_counts(len(learnt[0]), len(watched[0]), len(tested[0]))}")
    schema = Schema(columns=(Column(name=TEXT, kind="text", asked=True),))
    frames = [pl.DataFrame({TEXT: pl.Series(rows, dtype=pl.String)}) for rows, _ in (learnt, watched, tested)]
    question = Question("language", (TEXT,), ("", *vocabulary.tokens), learnt[1], "the next token")
    return Problem(
        spec, schema, question, Data(schema.read(frames[0]), learnt[1]),
        Data(schema.read(frames[1]), watched[1]) if watched[0] else None,
        frames[0], frames[2], schema.read(frames[2]), tested[1], question.target(learnt[1], spec),
    )  # fmt: skip


def whole_text(table: Table) -> str:
    """The text of a table of one column, whose rows are its lines."""
    return "\n".join(table.frame[TEXT].to_list())


def text_to_score(table: Table, vocabulary: Vocabulary, longest: int, say: Say) -> tuple[pl.DataFrame, np.ndarray]:
    """Another text in rows of so many tokens, and for each token the one that follows it. Raises TableError."""
    rows, answers = with_next(pieces(whole_text(table), vocabulary, longest), vocabulary, longest)
    if not rows:
        raise TableError(f"{table.source!r} is too short: there is no token that follows another. Give a longer text.")
    rows, answers = first_rows(rows, answers, vocabulary, "scored are", say)
    return pl.DataFrame({TEXT: pl.Series(rows, dtype=pl.String)}), answers
