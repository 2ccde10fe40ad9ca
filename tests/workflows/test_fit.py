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
from rosenblatt.workflows.predict import evaluate, predict

FAST = Spec.from_hyperparameters(members=2, epochs=10, hidden_sizes=(16,), bins=8)


def fit_table(frame, targets=("rich",), spec=FAST, **options):
    messages = []
    return fit(Table(frame, "people.csv"), targets, spec, notify=messages.append, **options), messages


def test_a_fit_says_what_it_found_and_scores_rows_it_never_saw(people):
    result, messages = fit_table(people.with_columns(pl.int_range(300).alias("id"), pl.lit("x").alias("same")))
    text = "\n".join(messages)
    assert "id: a number for each row: left out" in text
    assert "same: every row holds 'x': left out" in text
    assert "task: two classes of 'rich'" in text
    assert "240 for training, 60 for testing" in text
    assert result.model.metadata.rows == 240
    assert {score.name: score.model for score in result.scores}["accuracy"] > 0.75


def test_test_rows_change_nothing_in_the_model(people):
    """Whatever stands in the rows set aside, the network that is learnt is the same."""
    result, _ = fit_table(people)
    test_ages = result.test["noise"]
    corrupted = people.with_columns(
        pl.when(pl.col("noise").is_in(test_ages.to_list())).then(-1e6).otherwise("noise").alias("noise")
    )
    second, _ = fit_table(corrupted)
    for network, second_network in zip(result.model.networks, second.model.networks, strict=True):
        np.testing.assert_array_equal(network.theta, second_network.theta)
    assert result.model.encoder == second.model.encoder


def test_a_test_table_of_its_own_is_used(people):
    result, _ = fit_table(people, test=Table(people[:50], "test.csv"))
    assert len(result.y_test) == 50
    assert result.model.metadata.rows == 300


def test_without_test_rows_there_are_no_scores(people):
    result, _ = fit_table(people, spec=FAST.replace(test_fraction=0))
    assert result.scores == []
    assert result.model.metadata.rows == 300


def test_rows_without_an_answer_are_left_out_and_said(people):
    frame = people.with_columns(pl.when(pl.int_range(300) < 30).then(None).otherwise("rich").alias("rich"))
    result, messages = fit_table(frame)
    assert "30 rows without 'rich' left out" in "\n".join(messages)
    assert result.model.metadata.rows + result.model.metadata.test_rows == 270


def test_predictions_have_the_class_and_each_ones_probability(people):
    result, _ = fit_table(people)
    predictions = predict(result.model, Table(people.drop("rich"), "new.csv"))
    assert predictions.columns == ["rich", "probability of no", "probability of yes"]
    sums = predictions["probability of no"] + predictions["probability of yes"]
    np.testing.assert_allclose(sums, 1)
    predictions_with_inputs = predict(result.model, Table(people, "new.csv"), with_inputs=True)
    assert predictions_with_inputs.columns[:5] == ["age", "city", "noise", "rich", "predicted rich"]


def test_unseen_categories_and_missing_cells_can_be_predicted(people):
    result, _ = fit_table(people)
    new = pl.DataFrame({"age": ["?", "33"], "city": ["Atlantis", ""], "noise": ["0", None]})
    assert predict(result.model, Table(new, "new.csv")).height == 2


def test_evaluation_repeats_the_scores_of_the_fit(people):
    result, _ = fit_table(people)
    scores, _ = evaluate(result.model, Table(result.test, "test.csv"), notify=lambda _: None)
    assert scores == result.scores


def test_a_saved_model_was_read_by_another_process_and_predicts_the_same(people, tmp_path):
    result, _ = fit_table(people)
    save(result, tmp_path / "m.rosenblatt")
    np.testing.assert_array_equal(
        load_model(tmp_path / "m.rosenblatt").predict_raw(people), result.model.predict_raw(people)
    )


def test_a_model_that_predicts_otherwise_when_read_again_is_not_written(people, tmp_path, monkeypatch):
    result, _ = fit_table(people)
    other, _ = fit_table(people, spec=FAST.replace(seed=1))
    monkeypatch.setattr("rosenblatt.workflows.fit.to_bytes", lambda model: to_bytes(other.model))
    with pytest.raises(ModelFileError, match="predicts other values"):
        save(result, tmp_path / "m.rosenblatt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"a": ["?"] * 40, "b": range(40), "y": ["p", "q"] * 20}, "No row has a value in 'a'.*--ignore a"),
        ({"a": ["same"] * 40, "y": ["p", "q"] * 20}, "No usable input column"),
        ({"y": ["p", "q"] * 20}, "No usable input column. The table has only the target"),
        ({"a": [1, 2], "y": ["p", None]}, "one value only"),
    ],
)
def test_tables_that_cannot_be_learnt_from_are_refused(frame, message):
    with pytest.raises(TableError, match=message):
        fit_table(pl.DataFrame({name: list(values) for name, values in frame.items()}), ["y"])


def test_columns_can_be_ignored(people):
    result, _ = fit_table(people.with_columns(pl.lit(None).alias("void")), ignore=["void", "age"])
    assert [column.name for column in result.model.schema.columns] == ["city", "noise"]


def test_several_labels_and_values_are_learnt_from_tables(people):
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
    spec = Spec.from_hyperparameters(members=2, epochs=8)
    adult = fit(
        read_table(shared_data / "adult-train.csv"), ["income"], spec, test=read_table(shared_data / "adult-test.csv"),
        notify=lambda _: None,
    )  # fmt: skip
    assert isinstance(adult, Evaluation)
    assert {score.name: score.model for score in adult.scores}["AUC"] > 0.915
    iris = fit(read_table(shared_data / "iris-noheader.csv"), ["column_5"], Spec(), notify=lambda _: None)
    assert {score.name: score.model for score in iris.scores}["accuracy"] > 0.85


def test_a_test_table_that_does_not_fit_is_refused_before_training(people, monkeypatch):
    monkeypatch.setattr("rosenblatt.workflows.fit.fit_model", None)
    with pytest.raises(TableError, match="lacks 'noise'"):
        fit_table(people, test=Table(people.drop("noise"), "test.csv"))


def test_cells_read_as_missing_at_prediction_are_said(people):
    result, messages = fit_table(people)
    predict(
        result.model,
        Table(pl.DataFrame({"age": ["abc"], "city": ["Oslo"], "noise": ["0"]}), "n"),
        notify=messages.append,
    )
    assert "age: 'abc' and whatever else is not numbers (1 cells) is read as missing" in messages


def test_inputs_beside_predictions_twice_get_new_names(people):
    result, _ = fit_table(people)
    first = predict(result.model, Table(people, "t"), with_inputs=True)
    second = predict(result.model, Table(first, "t"), with_inputs=True)
    assert "predicted predicted rich" in second.columns


@pytest.mark.slow
def test_files_in_the_working_folder_do_not_disturb_the_check(people, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random.py").write_text("raise SystemExit('a file of the user was run')")
    result, _ = fit_table(people)
    save(result, tmp_path / "m.rosenblatt")


@pytest.mark.parametrize(("scoring", "target"), [("f1", "city"), ("neg_log_loss", "age")])
def test_a_scorer_that_does_not_suit_the_task_is_refused(people, scoring, target):
    values = people.with_columns(pl.col("age").fill_null(40.0))
    with pytest.raises(SpecError, match=f"scoring {scoring} does not suit the task"):
        fit_table(values, [target], FAST.replace(scoring=scoring))


def test_a_table_without_answers_is_refused_by_name(people):
    with pytest.raises(TableError, match=r"'v.csv': The table lacks the target 'rich'"):
        fit_table(people, validation=Table(people.drop("rich"), "v.csv"))


def test_a_fold_that_cannot_be_scored_does_not_end_training():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.normal(size=80), "y": ["rare" if i < 3 else "often" for i in range(80)]})
    result, _ = fit_table(frame, ["y"], FAST.replace(members=4, scoring="roc_auc"))
    assert result.model.metadata.failures == ()
    assert len(result.model.networks) == 4


def test_what_a_perceptron_does_not_have_is_refused(people):
    with pytest.raises(
        SpecError,
        match="dropout has an effect only with kind mlp or cnn or rnn or channel_mlp, but kind is perceptron",
    ):
        fit_table(people, spec=Spec.from_hyperparameters(kind="perceptron", dropout=0.5))


def test_identifiers_are_kept_when_asked_and_targets_are_not_ignored(people):
    counted = people.with_columns(pl.int_range(300).alias("n"))
    result, _ = fit_table(counted, keep=["n"])
    assert "n" in [column.name for column in result.model.schema.input_columns]
    with pytest.raises(TableError, match="'rich' is the target and cannot be ignored"):
        fit_table(people, ignore=["rich"])


def test_categories_never_met_are_said(people):
    result, messages = fit_table(people)
    predict(
        result.model,
        Table(pl.DataFrame({"age": ["3"], "city": ["Paris"], "noise": ["0"]}), "n"),
        notify=messages.append,
    )
    assert "city: 'Paris' was not seen in training (1 row)" in messages


def test_each_of_several_values_has_its_own_scores(people):
    values = people.with_columns(pl.col("age").fill_null(40.0), (pl.col("noise") * 2).alias("twice"))
    names = [score.name for score in fit_table(values, ["age", "twice"])[0].scores]
    assert names[::3] == ["R2 of age", "R2 of twice"]
