import numpy as np
import polars as pl
import pytest

from rosenblatt.data.readers.read import read_table
from rosenblatt.data.table import Table
from rosenblatt.errors import ModelFileError, SpecError, TableError
from rosenblatt.models.evaluation import Evaluation
from rosenblatt.models.model_file import load_model, to_bytes
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit, save
from rosenblatt.workflows.predict import predict

FAST = Spec.from_hyperparameters(members=2, epochs=10, hidden_sizes=(16,), bins=8)


def fit_table(frame, targets=("rich",), spec=FAST, **options):
    messages = []
    return fit(Table(frame, "people.csv"), targets, spec, notify=messages.append, **options), messages


def test_a_fit_reports_what_it_inferred_and_scores_held_out_rows(people):
    result, messages = fit_table(people.with_columns(pl.int_range(300).alias("id"), pl.lit("x").alias("same")))
    text = "\n".join(messages)
    assert "left out as identifiers, a different number in each row (--keep to use): id" in text
    assert "left out, as every row holds the same value: same ('x')" in text
    assert "task: two classes of 'rich'" in text
    assert "240 for training, 60 for testing" in text
    assert result.model.metadata.rows == 240
    assert {score.name: score.model for score in result.scores}["accuracy"] > 0.75


def test_test_rows_do_not_influence_the_model(people):
    result, _ = fit_table(people)
    test_ages = result.test["noise"]
    corrupted = people.with_columns(
        pl.when(pl.col("noise").is_in(test_ages.to_list())).then(-1e6).otherwise("noise").alias("noise")
    )
    second, _ = fit_table(corrupted)
    for network, second_network in zip(result.model.networks, second.model.networks, strict=True):
        np.testing.assert_array_equal(network.theta, second_network.theta)
    assert result.model.encoder == second.model.encoder


def test_a_separate_test_table_is_used(people):
    result, _ = fit_table(people, test=Table(people[:50], "test.csv"))
    assert len(result.y_test) == 50
    assert result.model.metadata.rows == 300


def test_without_test_rows_there_are_no_scores(people):
    result, _ = fit_table(people, spec=FAST.replace(test_fraction=0))
    assert result.scores == []
    assert result.model.metadata.rows == 300


def test_rows_without_a_target_are_dropped_with_a_message(people):
    frame = people.with_columns(pl.when(pl.int_range(300) < 30).then(None).otherwise("rich").alias("rich"))
    result, messages = fit_table(frame)
    assert "30 rows without 'rich' left out" in "\n".join(messages)
    assert result.model.metadata.rows + result.model.metadata.test_rows == 270


def test_a_saved_model_predicts_the_same_when_loaded(people, tmp_path):
    result, _ = fit_table(people)
    save(result, tmp_path / "m.rosenblatt")
    np.testing.assert_array_equal(
        load_model(tmp_path / "m.rosenblatt").predict_raw(people), result.model.predict_raw(people)
    )


def test_a_file_that_predicts_other_values_is_not_written(people, tmp_path, monkeypatch):
    result, _ = fit_table(people)
    other, _ = fit_table(people, spec=FAST.replace(seed=1))
    monkeypatch.setattr("rosenblatt.workflows.fit.to_bytes", lambda model: to_bytes(other.model))
    with pytest.raises(ModelFileError, match="predicts other values"):
        save(result, tmp_path / "m.rosenblatt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"a": ["?"] * 40, "y": ["p", "q"] * 20}, "No usable input column. a: .*no row has a value"),
        ({"a": ["same"] * 40, "y": ["p", "q"] * 20}, "No usable input column"),
        ({"y": ["p", "q"] * 20}, "No usable input column. The table has only the target"),
        ({"a": [1, 2], "y": ["p", None]}, "one value only"),
    ],
)
def test_tables_without_usable_columns_or_targets_are_rejected(frame, message):
    with pytest.raises(TableError, match=message):
        fit_table(pl.DataFrame({name: list(values) for name, values in frame.items()}), ["y"])


@pytest.mark.parametrize("cell", ["", "n/a", " ", "NaN", None])
def test_columns_without_any_value_are_left_out_and_reported(people, cell):
    result, messages = fit_table(people.with_columns(pl.lit(cell, pl.String).alias("memo")))
    assert [column.name for column in result.model.schema.input_columns] == ["age", "city", "noise"]
    assert "  left out, as no row has a value: memo" in messages


def test_columns_can_be_ignored(people):
    result, _ = fit_table(people.with_columns(pl.lit(None).alias("void")), ignore=["void", "age"])
    assert [column.name for column in result.model.schema.columns] == ["city", "noise"]


def test_several_labels_and_several_values_can_be_predicted(people):
    labels = people.with_columns((pl.col("noise") > 0).alias("loud"))
    result, _ = fit_table(labels, ["rich", "loud"])
    predictions = predict(result.model, Table(labels, "t"))
    assert predictions.columns == ["rich", "loud", "probability of rich", "probability of loud"]
    assert set(predictions["rich"]) == {"no", "yes"}
    values = people.with_columns(pl.col("age").fill_null(40.0), (pl.col("noise") * 2).alias("twice"))
    result, _ = fit_table(values, ["age", "twice"])
    assert predict(result.model, Table(values, "t")).columns == ["age", "twice"]


@pytest.mark.slow
def test_real_tables_end_to_end(shared_data):
    spec = Spec.from_hyperparameters(members=1, epochs=6)
    adult = fit(
        read_table(shared_data / "adult-train.csv"), ["income"], spec, test=read_table(shared_data / "adult-test.csv"),
        notify=lambda _: None,
    )  # fmt: skip
    assert isinstance(adult, Evaluation)
    assert {score.name: score.model for score in adult.scores}["AUC"] > 0.915
    iris = fit(read_table(shared_data / "iris-noheader.csv"), ["column_5"], Spec(), notify=lambda _: None)
    assert {score.name: score.model for score in iris.scores}["accuracy"] > 0.85


def test_a_test_table_that_does_not_fit_is_rejected_before_training(people, monkeypatch):
    monkeypatch.setattr("rosenblatt.workflows.fit.fit_prepared", None)
    with pytest.raises(TableError, match="lacks 'noise'"):
        fit_table(people, test=Table(people.drop("noise"), "test.csv"))


@pytest.mark.slow
def test_files_in_the_working_folder_are_not_imported_by_the_check(people, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random.py").write_text("raise SystemExit('a file of the user was run')")
    result, _ = fit_table(people)
    save(result, tmp_path / "m.rosenblatt")


@pytest.mark.parametrize(("scoring", "target"), [("f1", "city"), ("neg_log_loss", "age")])
def test_a_scorer_for_another_task_is_rejected(people, scoring, target):
    values = people.with_columns(pl.col("age").fill_null(40.0))
    with pytest.raises(SpecError, match=f"scoring {scoring} does not suit the task"):
        fit_table(values, [target], FAST.replace(scoring=scoring))


def test_a_validation_table_without_targets_is_rejected_by_name(people):
    with pytest.raises(TableError, match=r"'v.csv': The table lacks the target 'rich'"):
        fit_table(people, validation=Table(people.drop("rich"), "v.csv"))


def test_a_fold_without_a_score_does_not_end_training():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.normal(size=80), "y": ["rare" if i < 3 else "often" for i in range(80)]})
    result, messages = fit_table(frame, ["y"], FAST.replace(members=4, folds=4, scoring="roc_auc"))
    assert any("roc_auc cannot be known from the validation rows of 2 of 4 networks" in line for line in messages)
    assert result.model.metadata.failures == ()
    assert len(result.model.networks) == 4


def test_hyperparameters_without_effect_on_a_perceptron_are_rejected(people):
    with pytest.raises(
        SpecError,
        match="dropout has an effect only with kind mlp or cnn or rnn or channel_mlp, but kind is perceptron",
    ):
        fit_table(people, spec=Spec.from_hyperparameters(kind="perceptron", dropout=0.5))


def test_identifiers_can_be_kept_and_targets_cannot_be_ignored(people):
    counted = people.with_columns(pl.int_range(300).alias("n"))
    result, _ = fit_table(counted, keep=["n"])
    assert "n" in [column.name for column in result.model.schema.input_columns]
    with pytest.raises(TableError, match="'rich' is the target and cannot be ignored"):
        fit_table(people, ignore=["rich"])


def test_each_of_several_values_has_its_own_scores(people):
    values = people.with_columns(pl.col("age").fill_null(40.0), (pl.col("noise") * 2).alias("twice"))
    names = [score.name for score in fit_table(values, ["age", "twice"])[0].scores]
    assert names[::3] == ["R2 of age", "R2 of twice"]
