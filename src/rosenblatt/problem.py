"""In: a table, and what is asked of it. Out: rows to learn from, to validate on, to test on, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from rosenblatt.arguments import OVER_TIME
from rosenblatt.data.columns import Column, Schema
from rosenblatt.data.images import look_at, name_of
from rosenblatt.data.inference import infer
from rosenblatt.data.media import KINDS as MEDIA
from rosenblatt.data.sources import Table
from rosenblatt.data.splits import train_test
from rosenblatt.data.tags import unit_of_tags
from rosenblatt.data.targets import Target
from rosenblatt.data.tasks import Question, ask, column_name, has_answers, read_answers
from rosenblatt.data.texts import Vocabulary
from rosenblatt.data.windows import END, HISTORY, LEVEL, UNIT, Windows
from rosenblatt.defaults import DEEP
from rosenblatt.describing import columns_in_words, task_in_words
from rosenblatt.errors import SpecError, TableError, listed
from rosenblatt.fields import Task
from rosenblatt.learning import Data
from rosenblatt.spec import HYPERPARAMETERS, Spec

Say = Callable[[str], None]
FEW_TEST_ROWS = 30
TAKES = {"cnn": MEDIA, "rnn": MEDIA, "channel_mlp": ("image",)}  # kinds of columns that only such networks learn from
TEXT = "text"
PIECE = {"characters": 128, "words": 64, "subwords": 64}  # tokens of a row of a text that is learnt from
SPARED = 0.1  # of what is not for the test: the share that comes last, on which epochs are chosen
MOST_SAID = 30_000_000  # probabilities that a test of a language may take


@dataclass(frozen=True)
class Asked:
    """What is asked of a table besides its targets."""

    task: Task | None = None
    ignore: Sequence[str] = ()
    keep: Sequence[str] = ()
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Problem:
    """Rows to learn from and to test on, and what is asked of them."""

    spec: Spec
    schema: Schema
    question: Question
    data: Data
    validation: Data | None
    frame: pl.DataFrame  # as read, of which all rows come
    test: pl.DataFrame  # the test rows, as read
    test_typed: pl.DataFrame
    truth: np.ndarray  # of the test rows, as `Question.y`
    target: Target  # how it is spread learnt from the training rows
    windows: Windows | None = None  # of a forecast


def pose(
    table: Table,
    targets: Sequence[str],
    spec: Spec,
    asked: Asked,
    test: Table | None,
    validation: Table | None,
    say: Say,
) -> Problem:
    """The problem of a table: of rows, of series over time, or of one text. Raises TableError, SpecError."""
    if asked.task == "language":
        return _of_text(table, spec, say)
    targets = targets or ([table.target] if table.target else [])
    names = list(dict.fromkeys(column_name(table.frame, target) for target in targets))
    if not names:
        raise TableError("No target was named. Name the column to predict, with --target.")
    over_time = [name for name in sorted(OVER_TIME - {"time"}) if spec[name] != HYPERPARAMETERS[name].default]
    if over_time and not spec.data.time:
        raise SpecError(f"{over_time[0]} is for forecasts. Name the column of times with --time, or leave it out.")
    if spec.data.time:
        return _of_series(table, names, spec, asked, say)
    return _of_rows(table, names, spec, asked, test.to_score if test else table.test, validation, say)


def _of_rows(
    table: Table,
    names: list[str],
    spec: Spec,
    asked: Asked,
    test: Table | None,
    validation: Table | None,
    say: Say,
) -> Problem:
    ignored = [column_name(table.frame, name) for name in asked.ignore]
    wanted = {*names, *asked.keep, spec.data.groups, spec.data.order}
    ignored += [name for name in table.aside if name not in wanted]
    question = _question(table.frame, names, ignored, asked.task, say)
    frame, y = _answered(table.frame, question.y, question.names, say)
    if len(y) < 2:
        raise TableError(f"Only one row has {listed(question.names, 3)}; two or more are needed to learn from.")
    groups, order = _grouped(frame, spec, names)
    ignored += [column_name(frame, spec.data.groups)] if spec.data.groups else []
    kept, words = ([column_name(frame, name) for name in some] for some in (asked.keep, (*table.texts, *asked.texts)))
    schema, spec = _schema(frame, names, ignored, kept, words, spec, say)
    good = _readable(schema, spec, frame, say)
    frame, y = frame.filter(good), y[good]
    groups, order = (None if one is None else one[good] for one in (groups, order))
    for line in [*columns_in_words(schema), f"task: {task_in_words(question)}"]:
        say(line)
    if question.task == "tagging":
        spec = spec.replace(tokens=unit_of_tags(schema.read(frame), y, spec.data.tokens))
    training, test_rows = _split(y, spec, question, test is not None, groups, order)
    target = question.target(y[training], spec)
    test_frame, truth = (frame[test_rows], y[test_rows]) if test is None else answered(test, target, say)
    if test is not None:
        good = _readable(schema, spec, test_frame, say)
        test_frame, truth = test_frame.filter(good), truth[good]
    test_typed = schema.read(test_frame, say)  # what is wrong with it is said before the long work
    if question.task == "tagging" and len(truth):
        unit_of_tags(test_typed, truth, spec.data.tokens)
    rough = " (few: their scores are rough)" if 0 < len(truth) < FEW_TEST_ROWS else ""
    say(f"rows: {len(training):,} for training, {len(truth):,} for the test{rough}")
    data = Data(
        schema.read(frame[training]),
        y[training],
        groups=None if groups is None else groups[training],
        order=None if order is None else order[training],
    )
    watched = None
    if validation is not None:
        other, answers = answered(validation, target, say)
        good = _readable(schema, spec, other, say)
        typed, answers = schema.read(other.filter(good)), answers[good]
        watched = Data(typed, answers)
        if question.task == "tagging":
            unit_of_tags(typed, answers, spec.data.tokens)
    return Problem(spec, schema, question, data, watched, frame, test_frame, test_typed, truth, target)


def _of_series(table: Table, names: list[str], spec: Spec, asked: Asked, say: Say) -> Problem:
    """Windows of series: the last steps are for the test, those before them to choose epochs on."""
    if len(names) > 1:
        raise TableError(f"A forecast is of one column, but {listed(names)} were named. Fit one model for each.")
    if spec.network.kind not in DEEP:
        spec = spec.replace(kind="rnn")
    windows = Windows.of(table.frame, names[0], spec.data, asked.ignore)
    frame = windows.rows(table.frame, say)
    y = frame.select(windows.answers).to_numpy()
    plain = [
        name for name in frame.columns if name not in {HISTORY, LEVEL, UNIT, END, "name", "steps", *windows.answers}
    ]
    columns = [Column(name=HISTORY, kind="sequence", asked=True), *(Column(name=name, kind="number") for name in plain)]
    schema = Schema(columns=tuple(columns))
    end, steps = frame[END].to_numpy(), frame["steps"].to_numpy()
    first_test = np.ceil(steps * (1 - spec.data.test_fraction))
    first_spared = np.ceil(first_test * (1 - SPARED))
    learnt, spared = (
        end + windows.horizon <= first_spared,
        (end >= first_spared) & (end + windows.horizon <= first_test),
    )
    tested = end >= first_test
    if not learnt.any():
        raise TableError(
            f"The series are too short for a horizon of {windows.horizon}: no window is left to learn from. Choose a "
            "smaller horizon, or a smaller --test-fraction."
        )
    question = Question(
        "regression", tuple(windows.answers), (), y, f"the next {windows.horizon} of {windows.target!r}"
    )
    target = question.target(y[learnt], spec.replace(target_transform="none"))
    many = frame["name"].n_unique()
    say(f"forecast: {windows.horizon} steps of {windows.target!r} from the {windows.window} before, {many} series")
    say(f"windows: {learnt.sum():,} to learn from, {spared.sum():,} to choose epochs on, {tested.sum():,} for the test")
    validation = Data(schema.read(frame.filter(spared)), y[spared]) if spared.any() else None
    test = frame.filter(tested)
    data = Data(schema.read(frame.filter(learnt)), y[learnt])
    return Problem(
        spec.replace(target_transform="none"), schema, question, data, validation, frame, test, schema.read(test),
        y[tested], target, windows,
    )  # fmt: skip


def _of_text(table: Table, spec: Spec, say: Say) -> Problem:
    """Pieces of one text, each token to be told from those before it; the last pieces are for the test."""
    if spec.network.kind != "rnn":
        spec = spec.replace(kind="rnn")
    spec = spec.replace(bidirectional=False)
    if spec.training.members == "auto" and not spec.searches:
        spec = spec.replace(members=1)
    text = whole_text(table)
    size = len(text)
    first_test = round(size * (1 - spec.data.test_fraction))
    first_spared = round(first_test * (1 - SPARED))
    unit = "characters" if spec.data.tokens == "auto" else spec.data.tokens
    longest = PIECE[unit] if spec.data.max_length == "auto" else spec.data.max_length
    spec = spec.replace(tokens=unit, max_length=longest)
    how = unit, spec.data.vocabulary, spec.data.min_token_count
    rough = Vocabulary.learn(text[:first_spared].splitlines(keepends=True), *how)
    pieces = [
        _pieces(part, rough, longest)
        for part in (text[:first_spared], text[first_spared:first_test], text[first_test:])
    ]
    vocabulary = Vocabulary.learn(pieces[0], *how)  # as networks learn it from the rows
    parts = [_answered_pieces(some, vocabulary, longest) for some in pieces]
    say(f"text: {size:,} characters, a vocabulary of {vocabulary.size:,} {unit}")
    if not parts[0][0]:
        raise TableError(f"The text has only {size:,} characters, too few to learn from. Give a longer one.")
    parts[2] = _few_enough(*parts[2], vocabulary, say)
    say(
        f"rows of {longest} tokens: "
        + ", ".join(
            f"{len(rows):,} {what}"
            for (rows, _), what in zip(parts, ("to learn from", "to choose epochs on", "for the test"), strict=True)
        )
    )
    schema = Schema(columns=(Column(name=TEXT, kind="text", asked=True),))
    frames = [pl.DataFrame({TEXT: pl.Series(rows, dtype=pl.String)}) for rows, _ in parts]
    labels = ("", *vocabulary.tokens)
    question = Question("language", (TEXT,), labels, parts[0][1], "the next token")
    target = question.target(parts[0][1], spec)
    validation = Data(schema.read(frames[1]), parts[1][1]) if parts[1][0] else None
    data = Data(schema.read(frames[0]), parts[0][1])
    return Problem(
        spec, schema, question, data, validation, frames[0], frames[2], schema.read(frames[2]), parts[2][1], target
    )


def whole_text(table: Table) -> str:
    """The text of a table of one column, whose rows are its lines."""
    return "\n".join(table.frame[TEXT].to_list())


def text_to_score(table: Table, vocabulary: Vocabulary, longest: int, say: Say) -> tuple[pl.DataFrame, np.ndarray]:
    """Another text in rows of so many tokens, and for each token the one that follows it. Raises TableError."""
    rows, answers = _answered_pieces(_pieces(whole_text(table), vocabulary, longest), vocabulary, longest)
    if not rows:
        raise TableError(f"{table.source!r} is too short: there is no token that follows another. Give a longer text.")
    rows, answers = _few_enough(rows, answers, vocabulary, say)
    return pl.DataFrame({TEXT: pl.Series(rows, dtype=pl.String)}), answers


def _pieces(text: str, vocabulary: Vocabulary, longest: int) -> list[str]:
    """The text in pieces of so many tokens, the last of which may be shorter."""
    starts = [start for start, _ in vocabulary.spans(text)[::longest]]
    return [text[a:b] for a, b in pairwise([*starts, len(text)])]


def _answered_pieces(pieces: list[str], vocabulary: Vocabulary, longest: int) -> tuple[list[str], np.ndarray]:
    """Pieces of a text, and for each token the one that follows it, (n, longest); -1 where none does."""
    tokens = [vocabulary.encode(piece) for piece in pieces]
    answers = np.full((len(pieces), longest), -1.0)
    for place, (ours, after) in enumerate(zip(tokens, [*tokens[1:], tokens[0][:0]] if tokens else [], strict=True)):
        following = np.concatenate([ours[1:], after[:1]])[:longest]
        answers[place, : following.size] = following
    known = np.flatnonzero(answers.max(axis=1, initial=-1) >= 0)
    return [pieces[place] for place in known], answers[known]


def _few_enough(rows: list[str], answers: np.ndarray, vocabulary: Vocabulary, say: Say) -> tuple[list[str], np.ndarray]:
    """As many rows of a test as there is memory for the probabilities of all tokens."""
    most = max(MOST_SAID // (answers.shape[1] * vocabulary.size), 1)
    if len(rows) > most:
        say(f"the test is on the first {most:,} of {len(rows):,} rows, as there are many tokens")
    return rows[:most], answers[:most]


def _question(frame: pl.DataFrame, names: list[str], ignored: list[str], task: Task | None, say: Say) -> Question:
    if set(ignored) & set(names):
        raise TableError(f"{names[0]!r} is the target; it cannot be ignored too.")
    question = ask(frame, names, task)
    for note in question.notes:
        say(note)
    return question


def answered(table: Table, target: Target, say: Say) -> tuple[pl.DataFrame, np.ndarray]:
    """The rows of another table that have answers to the model's question, and these. Raises TableError."""
    try:
        y, notes = read_answers(table.frame, target)
    except TableError as error:
        raise TableError(f"{table.source!r}: {error}") from error
    for note in notes:
        say(f"{table.source}: {note}")
    if not has_answers(y).any():
        raise TableError(f"{table.source!r} has no values at all in {listed(target.names)}.")
    return _answered(table.frame, y, target.names, say)


def _answered(frame: pl.DataFrame, y: np.ndarray, names: Sequence[str], say: Say) -> tuple[pl.DataFrame, np.ndarray]:
    known = has_answers(y)
    if not known.all():
        say(f"{int((~known).sum()):,} rows without {listed(names, 3)} are left out")
    return frame.filter(known), y[known]


def _schema(
    frame: pl.DataFrame,
    targets: Sequence[str],
    ignore: Sequence[str],
    keep: Sequence[str],
    texts: Sequence[str],
    spec: Spec,
    say: Say,
) -> tuple[Schema, Spec]:
    """What the columns hold; and the spec, with another kind of network where only that can learn from them."""
    schema = infer(frame.drop([*targets, *ignore]), spec.data.max_categories).keeping(keep).as_texts(texts)
    media = [column.kind for column in schema.columns if column.kind in MEDIA]
    if spec.network.kind == "mlp" and media and (texts or not schema.learnt):
        spec = spec.replace(kind="cnn" if media[0] == "image" else "rnn")
        say(f"kind: {spec.network.kind}, as the rows hold {media[0]}s")
    schema = schema.with_media(TAKES.get(spec.network.kind, ()))
    empty = [column.name for column in schema.columns if column.kind == "empty"]
    if empty:
        raise TableError(
            f"No row has a value in {listed(empty)}. Fill in the table, or leave out what is empty with "
            f"--ignore {','.join(empty)}."
        )
    if not schema.learnt:
        reasons = "; ".join(f"{column.name}: {column.note}" for column in schema.columns)
        raise TableError(f"No column is left to learn from. {reasons or 'The table has only the target.'}")
    return schema, spec


def _readable(schema: Schema, spec: Spec, frame: pl.DataFrame, say: Say) -> np.ndarray:
    """Which rows (n,) have images that can be read. Raises TableError where others may not be left out."""
    good = np.ones(frame.height, bool)
    for column in schema.media:
        if column.kind == "image":
            cells = column.read(frame[column.name])[0].struct.field("image").to_list()
            looks = look_at(cells, spec.data.damaged)
            bad = [name_of(cell) for cell, look in zip(cells, looks, strict=True) if look is None]
            if bad:
                say(f"{column.name}: {len(bad)} damaged images are left out: {listed(bad, 5)}")
            good &= [look is not None for look in looks]
    return good


def _grouped(frame: pl.DataFrame, spec: Spec, targets: Sequence[str]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The number of each row's group, and each row's place in order, where the spec names columns for them."""
    found: list[np.ndarray | None] = []
    for what, asked in (("groups", spec.data.groups), ("order", spec.data.order)):
        if not asked:
            found.append(None)
            continue
        name = column_name(frame, asked)
        if name in targets:
            raise TableError(f"{name!r} is the target; it cannot be the {what} too.")
        if frame[name].has_nulls():
            raise TableError(f"{name!r} is to be the {what}, but {frame[name].null_count()} rows have no value there.")
        column = frame[name] if what == "groups" else _times(frame[name])
        found.append((column.rank("dense") - 1).to_numpy())
    if found[0] is not None and found[1] is not None:
        raise TableError("Rows can be split by groups or by order, not by both. Leave one of them out.")
    return found[0], found[1]


def _times(column: pl.Series) -> pl.Series:
    """A column whose order is that of time: numbers and dates, also where they were read as text."""
    if column.dtype != pl.String:
        return column
    return infer(column.to_frame(), 1).columns[0].in_order(column)


def _split(
    y: np.ndarray,
    spec: Spec,
    question: Question,
    given: bool,
    groups: np.ndarray | None,
    order: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are for training, and which for the test; none where the test has a table of its own."""
    n, fraction = len(y), spec.data.test_fraction
    if given or fraction == 0:
        return np.arange(n), np.arange(0)
    return train_test(n, fraction, spec.training.seed, y if question.labels and y.ndim == 1 else None, groups, order)
