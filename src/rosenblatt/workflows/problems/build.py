"""In: a table, and what is asked of it. Out: rows to learn from, to validate on, to test on, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.encoding.vocabulary import Vocabulary
from rosenblatt.data.media.columns import KINDS as MEDIA
from rosenblatt.data.media.images import Policy, look_at
from rosenblatt.data.readers.files import Table
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.schema.inference import infer
from rosenblatt.data.splits import train_test
from rosenblatt.data.tasks.forecasting import END, Windows
from rosenblatt.data.tasks.language_modeling import first_rows, pieces, with_next
from rosenblatt.data.tasks.tagging import unit_of_tags
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import Question, ask, column_name, has_answers, read_answers
from rosenblatt.errors import SpecError, TableError, listed
from rosenblatt.estimators.parameters import OVER_TIME
from rosenblatt.inspection.description import columns_in_words, task_in_words
from rosenblatt.models.fit import Data
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import HYPERPARAMETERS, Spec

Say = Callable[[str], None]
FEW_TEST_ROWS = 30
TAKES = {"cnn": MEDIA, "rnn": MEDIA, "channel_mlp": ("image",)}  # kinds of columns that only such networks learn from
TEXT = "text"
PIECE = {"characters": 128, "words": 64, "subwords": 64}  # tokens of a row of a text that is learnt from
PAIR = 2  # tokens, of which the first tells the second
SPARED = 0.1  # of what is not for the test: the share that comes last, on which epochs are chosen


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

    @property
    def steps(self) -> int:
        """Answers of a row, where each of its steps has one; else 1."""
        return self.data.y.shape[1] if self.target.each_step else 1


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
        given = {"--target": targets, "--ignore": asked.ignore, "--keep": asked.keep, "--text": asked.texts}
        over = [name for name in sorted(OVER_TIME) if spec[name] != HYPERPARAMETERS[name].default]
        _refuse("A language is learnt from a whole text", spec, given, ("groups", "order", *over))
        return _of_text(table, spec, test, validation, say)
    targets = targets or ([table.target] if table.target else [])
    names = list(dict.fromkeys(column_name(table.frame, target) for target in targets))
    if not names:
        raise TableError("No target was named. Name the column to predict, with --target.")
    over_time = [name for name in sorted(OVER_TIME - {"time"}) if spec[name] != HYPERPARAMETERS[name].default]
    if over_time and not spec.data.time:
        raise SpecError(f"{over_time[0]} is for forecasts. Name the column of times with --time, or leave it out.")
    if spec.data.time:
        others = {"--task": asked.task, "--keep": asked.keep, "--text": asked.texts}
        _refuse("A forecast is made from numbers over time", spec, others, ("groups", "order"))
        return _of_series(table, names, spec, asked, test, validation, say)
    return _of_rows(table, names, spec, asked, test.to_score if test else table.test, validation, say)


def _refuse(what: str, spec: Spec, given: Mapping[str, object], settings: Sequence[str]) -> None:
    """Raise SpecError for options, or settings of the spec, that mean nothing beside what is asked."""
    idle = [name for name, value in given.items() if value] + [name for name in settings if spec[name]]
    if idle:
        raise SpecError(f"{what}: {idle[0]} means nothing there. Leave it out.")


def _of_kind(spec: Spec, what: str, *kinds: str) -> Spec:
    """The spec with one of these kinds of networks, the first where none was asked for. Raises SpecError."""
    if spec.network.kind == "mlp":
        return spec.replace(kind=kinds[0])
    if spec.network.kind not in kinds:
        raise SpecError(f"{what} is learnt by networks of kind {' or '.join(kinds)}, not {spec.network.kind}.")
    return spec


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
    good = readable(schema, spec.data.damaged, frame, say)
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
        good = readable(schema, spec.data.damaged, test_frame, say)
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
        good = readable(schema, spec.data.damaged, other, say)
        typed, answers = schema.read(other.filter(good)), answers[good]
        watched = Data(typed, answers)
        if question.task == "tagging":
            unit_of_tags(typed, answers, spec.data.tokens)
    return Problem(spec, schema, question, data, watched, frame, test_frame, test_typed, truth, target)


def _of_series(
    table: Table,
    names: list[str],
    spec: Spec,
    asked: Asked,
    test: Table | None,
    validation: Table | None,
    say: Say,
) -> Problem:
    """Windows of series: the last steps are for the test, those before them to choose epochs on, where these have no
    tables of their own."""
    if len(names) > 1:
        raise TableError(f"A forecast is of one column, but {listed(names)} were named. Fit one model for each.")
    spec = _of_kind(spec, "A forecast", "rnn", "cnn").replace(target_transform="none")
    ignored = [column_name(table.frame, name) for name in asked.ignore]
    windows = Windows.of(table.frame, names[0], spec.data, ignored)
    unused = [name for name in windows.unused(table.frame) if name not in ignored]
    if unused:
        say(f"left out, as they hold no numbers that change: {listed(unused)} (--known names columns of yes and no)")
    frame = windows.rows(table.frame, say)
    learnt, spared, tested = _over_time(frame, windows, spec, test is not None, validation is not None)
    if not learnt.any():
        raise TableError(
            f"The series are too short for a horizon of {windows.horizon}: no window is left to learn from. Choose a "
            "smaller horizon, or a smaller --test-fraction."
        )
    schema = windows.schema_of(frame)
    watched = windows.rows(validation.frame, say) if validation else frame.filter(spared)
    test_frame = windows.rows(test.to_score.frame, say) if test else frame.filter(tested)
    data, y = frame.filter(learnt), frame.select(windows.answers).to_numpy()
    asks = f"the next {windows.horizon} of {windows.target!r}"
    question = Question("regression", tuple(windows.answers), (), y, asks)
    target = question.target(y[learnt], spec)
    many = frame["name"].n_unique()
    say(f"forecast: {windows.horizon} steps of {windows.target!r} from the {windows.window} before, {many} series")
    say(f"windows: {_counts(data.height, watched.height, test_frame.height)}")

    def answers(some: pl.DataFrame) -> np.ndarray:
        return some.select(windows.answers).to_numpy()

    return Problem(
        spec, schema, question, Data(schema.read(data), answers(data)),
        Data(schema.read(watched), answers(watched)) if watched.height else None,
        frame, test_frame, schema.read(test_frame), answers(test_frame), target, windows,
    )  # fmt: skip


def _over_time(
    frame: pl.DataFrame, windows: Windows, spec: Spec, tested: bool, watched: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which windows to learn from, to choose epochs on, and to test on; none where these have tables of their own."""
    end, steps = frame[END].to_numpy(), frame["steps"].to_numpy()
    fraction, spared = 0.0 if tested else spec.data.test_fraction, 0.0 if watched else SPARED
    first_test = np.ceil(steps * (1 - fraction))
    first_spared = np.ceil(first_test * (1 - spared))
    return (
        end + windows.horizon <= first_spared,
        (end >= first_spared) & (end + windows.horizon <= first_test),
        end >= first_test,
    )


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


def _counts(learnt: int, watched: int, tested: int) -> str:
    return f"{learnt:,} to learn from, {watched:,} to choose epochs on, {tested:,} for the test"


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


def readable(schema: Schema, damaged: Policy, frame: pl.DataFrame, say: Say) -> np.ndarray:
    """Which rows (n,) have images that can be read. Raises TableError where others may not be left out."""
    good = np.ones(frame.height, bool)
    for column in schema.media:
        if column.kind == "image" and column.name in frame.columns:
            cells = column.read(frame[column.name])[0].struct.field("image").to_list()
            looks = look_at(cells, damaged)
            bad = [
                cell if isinstance(cell, str) else f"row {row}"
                for row, (cell, look) in enumerate(zip(cells, looks, strict=True), 1)
                if look is None
            ]
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
