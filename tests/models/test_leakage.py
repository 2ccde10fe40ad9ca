import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.leakage import have_few_combinations, hint_at_columns, hint_at_copies, hint_at_entities
from rosenblatt.models.training_rows import RowHashes

RNG = np.random.default_rng(0)
N = 400
BINARY = Target(names=("y",), task="binary", labels=("no", "yes"))
CLASSES = Target(names=("y",), task="multiclass", labels=("a", "b", "c"))
VALUES = Target.fit_regression(("y",), np.arange(4.0)[:, None], "none")


def column_hints(target, y, **columns):
    frame = pl.DataFrame({"noise": RNG.normal(size=len(y)), **columns})
    data = Dataset(frame, y[:, None] if target is VALUES else y)
    return list(hint_at_columns(schema_from_dtypes(frame), data, target))


TWO = RNG.integers(2, size=N).astype(float)
THREE = RNG.integers(3, size=N).astype(float)
NUMBER = RNG.normal(size=N)
MOSTLY = np.where(np.arange(N) == 7, 1 - TWO, TWO)  # wrong in one row


@pytest.mark.parametrize(("target", "y", "column"), [
    (BINARY, TWO, np.where(TWO, "A", "D")),
    (BINARY, TWO, np.where(TWO, RNG.choice(["A", "B"], N), "D")),
    (BINARY, MOSTLY, np.where(TWO, "A", "D")),
    (BINARY, TWO, 3 - 2 * TWO),
    (BINARY, TWO, TWO + RNG.random(N)),
    (CLASSES, THREE, np.array(["x", "y", "z"])[THREE.astype(int)]),
    (VALUES, NUMBER, NUMBER * 1.19),
    (VALUES, NUMBER, -NUMBER + 1e-4 * RNG.normal(size=N)),
    (VALUES, NUMBER, np.exp(3 * NUMBER)),
    (VALUES, THREE * 10, np.array(["x", "y", "z"])[THREE.astype(int)]),
])  # fmt: skip
def test_a_column_that_alone_predicts_the_target_is_named(target, y, column):
    (hint,) = column_hints(target, y, code=column)
    assert hint.startswith("possible leakage: column 'code' alone predicts 'y'.")
    assert hint.endswith("leave it out with --ignore code")


@pytest.mark.parametrize(("target", "y", "column"), [
    (BINARY, TWO, RNG.choice(["A", "D"], N)),
    (BINARY, np.where(RNG.random(N) < 0.1, 1 - TWO, TWO), np.where(TWO, "A", "D")),  # right in 90% of the rows
    (BINARY, (np.arange(N) < 3).astype(float), np.where(np.arange(N) < 3, "A", "D")),  # three rows show little
    (BINARY, TWO, np.arange(N).astype(str)),
    (BINARY, TWO, RNG.normal(size=N) + 2 * TWO),
    (VALUES, NUMBER, NUMBER + 0.2 * RNG.normal(size=N)),
    (VALUES, NUMBER, RNG.choice(["A", "D"], N)),
    (VALUES, NUMBER, np.full(N, 2.0)),
])  # fmt: skip
def test_columns_that_only_help_to_predict_give_no_hint(target, y, column):
    assert column_hints(target, y, code=column) == []


def test_a_column_that_is_empty_for_one_class_is_named():
    refund = pl.Series(np.where(TWO, RNG.normal(size=N), np.nan)).fill_nan(None)
    (hint,) = column_hints(BINARY, TWO, refund=refund)
    assert "column 'refund' is empty exactly for one class of 'y'" in hint
    random_gaps = pl.Series(np.where(RNG.random(N) < 0.5, RNG.normal(size=N), np.nan)).fill_nan(None)
    assert column_hints(BINARY, TWO, refund=random_gaps) == []


def test_several_columns_share_a_line():
    (hint,) = column_hints(BINARY, TWO, code=np.where(TWO, "A", "D"), flag=TWO)
    assert "each of 'code' and 'flag' alone predicts 'y'" in hint
    assert hint.endswith("--ignore code,flag")


def test_an_entity_is_not_taken_for_a_column_that_gives_the_target_away():
    patient = np.array([f"P{i}" for i in np.arange(N) % 40])
    y = (np.arange(N) % 40 % 3 == 0).astype(float)
    assert column_hints(BINARY, y, patient=patient) == []
    (hint,) = column_hints(BINARY, y, ward=patient)
    assert "'ward' alone predicts" in hint


def test_small_tables_and_single_columns_give_no_hint():
    assert column_hints(BINARY, TWO[:20], code=TWO[:20]) == []
    frame = pl.DataFrame({"code": TWO})
    assert list(hint_at_columns(schema_from_dtypes(frame), Dataset(frame, TWO), BINARY)) == []


def copies_hint(inputs, y, target=BINARY, n_train=240):
    frame, y = pl.DataFrame({"x": inputs.astype(float)}), y.astype(float)
    train, test = (RowHashes.from_rows(frame[part], y[part], target) for part in (slice(n_train), slice(n_train, None)))
    return hint_at_copies(train, test, target, y[n_train:])


def test_copies_of_training_rows_are_counted():
    rows = np.arange(300) % 50
    hint = copies_hint(rows, rows % 2)
    assert "60 of the 60 test rows also occur in training" in hint
    assert "--groups" in hint


def test_rows_that_coincide_by_chance_are_no_copies():
    assert copies_hint(RNG.integers(10, size=300), RNG.integers(2, size=300)) == ""  # targets differ
    assert copies_hint(np.arange(300), RNG.integers(2, size=300)) == ""
    inputs = np.arange(300.0)
    inputs[-3:] = inputs[:3]
    assert copies_hint(inputs, np.zeros(300)) == ""  # three of 60


PATIENTS = pl.DataFrame({"patient": [f"P{i % 30}" for i in range(300)]})


@pytest.mark.parametrize("name", [
    "patient", "Patient", "patient_id", "PatientID", "patientId", "id_patient", "CUSTOMER_ID", "user id", "Subject",
    "person-number", "site_id", "id",
])  # fmt: skip
def test_entities_with_rows_on_both_sides_are_named(name):
    frame = PATIENTS.rename({"patient": name})
    hint = hint_at_entities(frame, frame[240:], ["y"], is_separate=False)
    assert f"rows of the same {name!r} are in training and in the test" in hint
    assert hint.endswith(f"--groups {name}")


@pytest.mark.parametrize(
    "name", ["paid", "humid", "bid", "outpatients", "customer_type", "valid", "ideal", "user score"]
)
def test_names_that_only_contain_such_a_word_give_no_hint(name):
    frame = PATIENTS.rename({"patient": name})
    assert hint_at_entities(frame, frame[240:], ["y"], is_separate=False) == ""


@pytest.mark.parametrize("values", [
    [f"P{i}" for i in range(300)],  # one row each
    [f"P{i // 30}" for i in range(300)],  # rows 240 and later have patients of their own
    ["yes" if i % 2 else "no" for i in range(300)],  # whether a person is a patient
])  # fmt: skip
def test_entities_on_one_side_or_with_one_row_each_give_no_hint(values):
    frame = pl.DataFrame({"patient": values})
    assert hint_at_entities(frame, frame[240:], ["y"], is_separate=False) == ""


def test_entities_of_a_separate_test_table_are_compared_with_all_training_rows():
    other = pl.DataFrame({"patient": [f"Q{i % 30}" for i in range(60)]})
    assert hint_at_entities(PATIENTS, other, ["y"], is_separate=True) == ""
    assert "'patient'" in hint_at_entities(PATIENTS, PATIENTS[:60], ["y"], is_separate=True)
    assert hint_at_entities(PATIENTS, PATIENTS[:60], ["patient"], is_separate=True) == ""


def test_rows_of_few_values_coincide_by_chance_and_copied_rows_do_not():
    grid = pl.DataFrame({"a": TWO, "b": THREE})
    assert have_few_combinations(Dataset(grid, TWO))
    copied = pl.concat([pl.DataFrame({"a": NUMBER[:50], "b": NUMBER[50:100]})] * 6)
    assert not have_few_combinations(Dataset(copied, np.tile(TWO[:50], 6)))
