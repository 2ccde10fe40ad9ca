"""What fit and evaluate say about rows that were in training, classes without test rows, and leakage."""

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.table import Table
from rosenblatt.inspection.report import Report
from rosenblatt.models.model_file import load_model, to_bytes
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.predict import evaluate

FAST = Spec.from_hyperparameters(members=2, epochs=2, hidden_sizes=(4,), bins=8)


def fit_table(frame, spec=FAST, **tables):
    messages = []
    tables = {name: Table(part, f"{name}.csv") for name, part in tables.items()}
    return fit(Table(frame, "people.csv"), ["rich"], spec, notify=messages.append, **tables), "\n".join(messages)


def evaluate_table(model, frame):
    messages = []
    return evaluate(model, Table(frame, "t.csv"), messages.append)[1], "\n".join(messages)


@pytest.fixture
def model(people, tmp_path):
    path = tmp_path / "people.rosenblatt"
    path.write_bytes(to_bytes(fit_table(people)[0].model))
    return load_model(path)


@pytest.mark.parametrize("change", [
    lambda frame: frame,
    lambda frame: frame.sample(fraction=1, shuffle=True, seed=1),
    lambda frame: frame.select(reversed(frame.columns)).with_columns(extra=pl.lit(1)),
])  # fmt: skip
def test_the_training_table_is_recognized(model, people, change):
    evaluation, messages = evaluate_table(model, change(people))
    assert evaluation.overlap.seen == 240
    assert not evaluation.is_held_out
    assert "caution: 240 of the 300 rows were in training" in messages
    html = Report.from_fit(evaluation).to_html()
    assert "240 of the 300 rows were in training" in html
    assert "held-out" not in html


def test_new_rows_are_known_to_be_held_out(model, people):
    evaluation, messages = evaluate_table(model, people.with_columns(noise=pl.col("noise") + 1))
    assert evaluation.is_held_out
    assert "none of the 300 rows were in training" in messages
    assert "caution" not in messages
    assert "300 held-out rows" in Report.from_fit(evaluation).to_html()


def test_rows_with_another_target_are_not_those_of_training(model, people):
    swapped = people.with_columns(pl.col("rich").replace({"yes": "no", "no": "yes"}))
    assert evaluate_table(model, swapped)[0].overlap.seen == 0


def test_a_model_without_hashes_leaves_open_which_rows_it_was_trained_on(model, people):
    old = type(model)(model.spec, model.schema, model.trials, model.metadata)
    evaluation, _ = evaluate_table(old, people)
    assert evaluation.overlap is None
    assert not evaluation.is_held_out
    assert "If the model was trained on some of these rows" in Report.from_fit(evaluation).to_html()


def test_a_test_table_of_training_rows_is_not_held_out(people):
    result, messages = fit_table(people, test=people[:50])
    assert "caution: all of the 50 rows were in training" in messages
    assert not result.is_held_out
    assert result.model.metadata.cautions == result.cautions
    new, messages = fit_table(people[50:], test=people[:50])
    assert new.is_held_out
    assert "caution" not in messages


def test_validation_rows_count_as_training_rows(people):
    result, messages = fit_table(people[:200], validation=people[200:])
    assert "caution" not in messages
    assert evaluate_table(result.model, people[200:])[0].overlap.seen == 100
    result, messages = fit_table(people, validation=people)
    assert "caution: all of the 60 rows were in training" in messages
    assert not result.is_held_out


def rare_table(n_rare, n=600):
    rng = np.random.default_rng(0)
    rich = np.where(rng.permutation(n) < n_rare, "pos", "neg")
    return pl.DataFrame({"x": rng.normal(size=n), "z": rng.normal(size=n), "rich": rich})


def test_a_rare_class_has_test_rows_and_training_rows():
    result, messages = fit_table(rare_table(3))
    assert "caution: the test holds a single row of 'pos'" in messages
    assert {"balanced accuracy", "AUC"} <= {score.name for score in result.scores}


def test_a_class_of_one_row_is_for_training_and_its_scores_are_left_out():
    result, messages = fit_table(rare_table(1))
    assert "classes of one row, which is for training: 'pos'" in messages
    assert "caution: the test holds no 'pos', so balanced accuracy, AUC and F1 of pos cannot be known" in messages
    assert [score.name for score in result.scores] == ["accuracy", "log loss"]
    assert "The test holds no &#39;pos&#39;" in Report.from_fit(result).to_html()


@pytest.mark.parametrize("split", [{"groups": "g"}, {"order": "g"}])
def test_a_class_that_groups_or_order_keep_out_of_the_test_is_named(split):
    frame = rare_table(0).with_columns(
        g=pl.int_range(600) // 30, rich=pl.when(pl.int_range(600) < 30).then(pl.lit("pos")).otherwise(pl.lit("neg"))
    )
    _, messages = fit_table(frame, FAST.replace(**split))
    assert "the test holds no 'pos'" in messages


def test_signs_of_leakage_are_reported_and_kept():
    frame = rare_table(200)
    leaky = frame.with_columns(code=pl.col("rich").replace({"pos": "P", "neg": "N"}))
    result, messages = fit_table(leaky)
    assert "caution: possible leakage: column 'code' alone predicts 'rich'." in messages
    assert result.model.metadata.cautions
    assert "Possible leakage: column &#39;code&#39;" in Report.from_fit(result).to_html()
    _, messages = fit_table(pl.concat([frame] * 3))
    assert "of the 360 test rows also occur in training" in messages
    patients = frame.with_columns(patient=pl.format("P{}", pl.int_range(600) % 40))
    assert "rows of the same 'patient'" in fit_table(patients)[1]
    assert "caution" not in fit_table(patients, FAST.replace(groups="patient"))[1]
    assert "caution" not in fit_table(frame)[1]


def test_few_groups_need_no_option():
    frame = rare_table(200).with_columns(patient=pl.format("P{}", pl.int_range(600) % 10))
    result, messages = fit_table(frame, FAST.replace(groups="patient"))
    assert "folds: 8 instead of 16, as the training rows have only 8 groups" in messages
    assert result.model.resolved_spec["folds"] == 8
