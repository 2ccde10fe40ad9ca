"""Language modeling problems on a text."""

from __future__ import annotations

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.encoding.vocabulary import TokenUnit, Vocabulary
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.language_modeling import TEXT, next_token_rows, split_into_rows
from rosenblatt.data.tasks.task import SupervisedTask
from rosenblatt.errors import TableError
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.problem import (
    VALIDATION_FRACTION,
    LearningProblem,
    ProblemRequest,
    format_split,
    require_kind,
)

TOKENS_PER_ROW = {"characters": 128, "words": 64, "subwords": 64}  # default length of a row, by token unit
MIN_TOKENS = 2  # a row needs a token and the next one


def language_problem(request: ProblemRequest, messages: list[str]) -> LearningProblem:
    """Predict each token of a text from the tokens before it in its row.

    Without texts of their own, the test rows are the end of the text, and the validation rows the part before it.
    Raises TableError, SpecError.
    """
    # Rows: the three parts of the text, cut into rows of tokens.
    spec, unit, max_length = _language_spec(request.spec)
    text = whole_text(request.table)
    vocabulary, parts = _fit_vocabulary(_split_text(text, request), spec, unit, max_length)
    messages.append(f"text: {len(text):,} characters, a vocabulary of {vocabulary.size:,} {unit}")

    # Targets: for each token the next one.
    train, validation, test = (next_token_rows(part, vocabulary, max_length) for part in parts)
    if not train.texts:
        raise TableError(f"The text has only {len(text):,} characters, too few for training. Give a longer one.")
    validation = validation.limit(vocabulary, "validation", messages)
    test = test.limit(vocabulary, "test", messages)
    counts = format_split(len(train.texts), len(validation.texts), len(test.texts))
    messages.append(f"rows of {max_length} tokens: {counts}")

    schema = Schema(columns=(Column(name=TEXT, kind="text", include=True),))
    task = SupervisedTask("language", (TEXT,), ("", *vocabulary.tokens), train.targets, "the next token")
    return LearningProblem(
        spec, schema, task, task.target(train.targets, spec), Dataset(schema.read(train.frame), train.targets),
        Dataset(schema.read(validation.frame), validation.targets) if validation.texts else None,
        train.frame, test.frame, schema.read(test.frame), test.targets,
    )  # fmt: skip


def _language_spec(spec: Spec) -> tuple[Spec, TokenUnit, int]:
    """The spec with the settings that a language model needs, its token unit and its tokens per row."""
    unit: TokenUnit = "characters" if spec.data.tokens == "auto" else spec.data.tokens
    max_length = TOKENS_PER_ROW[unit] if spec.data.max_length == "auto" else spec.data.max_length
    spec = require_kind(spec, "Language modeling", "rnn")
    spec = spec.replace(bidirectional=False, tokens=unit, max_length=max_length)
    if spec.training.members == "auto" and not spec.has_search:
        spec = spec.replace(members=1)
    return spec, unit, max_length


def _split_text(text: str, request: ProblemRequest) -> tuple[str, str, str]:
    """The training, validation and test parts of a text, in this order."""
    first_test = len(text) if request.test else round(len(text) * (1 - request.spec.data.test_fraction))
    first_validation = first_test if request.validation else round(first_test * (1 - VALIDATION_FRACTION))
    return (
        text[:first_validation],
        whole_text(request.validation) if request.validation else text[first_validation:first_test],
        whole_text(request.test) if request.test else text[first_test:],
    )


def _fit_vocabulary(
    parts: tuple[str, str, str], spec: Spec, unit: TokenUnit, max_length: int
) -> tuple[Vocabulary, list[list[str]]]:
    """The vocabulary of the training rows, as networks fit it too, and the rows of each part."""
    options = unit, spec.data.max_vocabulary, spec.data.min_token_count
    draft = Vocabulary.fit(parts[0].splitlines(keepends=True), *options)
    rows = [split_into_rows(part, draft, max_length) for part in parts]
    training = rows[0]
    if training and len(Vocabulary.fit(training, *options).encode(training[-1])) < MIN_TOKENS:
        training.pop()  # a row without a target, which networks never see
    return Vocabulary.fit(training, *options), rows


def whole_text(table: Table) -> str:
    """The text of a table of one column, whose rows are its lines."""
    return "\n".join(table.frame[TEXT].to_list())


def text_to_score(
    table: Table, vocabulary: Vocabulary, max_length: int, messages: list[str]
) -> tuple[pl.DataFrame, np.ndarray]:
    """A text as rows of at most `max_length` tokens, and the next token of each token. Raises TableError."""
    rows = next_token_rows(split_into_rows(whole_text(table), vocabulary, max_length), vocabulary, max_length)
    if not rows.texts:
        raise TableError(f"{table.source!r} is too short: a text needs two tokens or more. Give a longer text.")
    rows = rows.limit(vocabulary, "evaluation", messages)
    return rows.frame, rows.targets
