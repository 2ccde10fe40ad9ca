import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.bootstrap import MIN_UNITS, Resampling
from rosenblatt.models.evaluation import (
    describe_unknown_scores,
    evaluate_model,
    row_of_each_prediction,
    score_forecasts,
    score_predictions,
    scores_to_dict,
)
from rosenblatt.models.fit import fit_model
from rosenblatt.spec.spec import Spec

BINARY = Target(names=("y",), task="binary", labels=("no", "yes"))
SPEC = Spec.from_hyperparameters(kind="perceptron", epochs=2)


def simulate_binary(rng, n):
    y = rng.integers(2, size=n).astype(float)
    p = 1 / (1 + np.exp(-(2 * y - 1 + 1.5 * rng.normal(size=n))))
    return y, np.column_stack([1 - p, p])


def evaluate_rows(spec, frame, y, target=BINARY):
    inputs = frame.select("x")
    model = fit_model(spec, schema_from_dtypes(inputs), target, Dataset(inputs, y))
    return evaluate_model(model, frame, inputs, y, [0.5] * (2 if target is BINARY else y.shape[1]))


def test_an_evaluation_holds_predictions_scores_and_rows_to_check():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.normal(size=1200)})
    evaluation = evaluate_rows(SPEC, frame, (frame["x"].to_numpy() > 0).astype(float))
    accuracy = evaluation.scores[0]
    assert accuracy.name == "accuracy"
    assert accuracy.interval[0] <= accuracy.model <= accuracy.interval[1]
    assert evaluation.predictions.shape == (1200, 2)
    assert evaluation.check_rows.height == 1000
    assert scores_to_dict(evaluation.scores)["accuracy"] == {
        "model": accuracy.model,
        "baseline": accuracy.baseline,
        "interval": list(accuracy.interval),
    }


def test_steps_of_a_sequence_count_as_predictions_of_its_row():
    tagging = Target(names=("y",), task="tagging", labels=("a", "b"))
    y = np.array([[0, 1, -1], [1, -1, -1], [0, 0, 1.0]])
    np.testing.assert_array_equal(row_of_each_prediction(tagging, y, np.zeros((3, 3, 2))), [0, 0, 1, 2, 2, 2])
    np.testing.assert_array_equal(row_of_each_prediction(tagging, y, np.zeros((3, 2, 2))), [0, 0, 1, 2, 2])
    np.testing.assert_array_equal(row_of_each_prediction(BINARY, np.zeros(3), np.zeros((3, 2))), [0, 1, 2])


def test_rows_of_a_group_are_drawn_together():
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"x": np.repeat(rng.normal(size=40), 10), "patient": np.repeat(np.arange(40), 10)})
    y = (frame["x"].to_numpy() + np.repeat(rng.normal(size=40), 10) > 0).astype(float)
    single_rows = evaluate_rows(SPEC, frame, y).scores[0].interval
    groups = evaluate_rows(SPEC.replace(groups="patient"), frame, y).scores[0].interval
    assert np.diff(groups) > 2 * np.diff(single_rows)  # sqrt(10) times as wide, but for chance


def test_without_test_rows_there_are_no_scores():
    frame, values = pl.DataFrame({"x": np.arange(40.0)}), np.arange(40.0)[:, None]
    regression = Target.fit_regression(("v",), values, "none")
    mlp = Spec.from_hyperparameters(hidden_sizes=(2,), epochs=2, members=1)
    for spec, y, target, n_outputs in ((SPEC, np.arange(40) % 2.0, BINARY, 2), (mlp, values, regression, 1)):
        model = evaluate_rows(spec, frame, y, target).model
        evaluation = evaluate_model(model, frame[:0], frame[:0], y[:0], [0.5] * n_outputs)
        assert evaluation.scores == []
        assert evaluation.predictions.shape == (0, n_outputs)


def test_steps_of_a_sequence_are_drawn_together():
    rng = np.random.default_rng(2)
    target = Target(names=("y",), task="tagging", labels=("a", "b"))
    y = np.where(np.arange(9) < rng.integers(3, 9, size=(60, 1)), 0.0, -1.0)
    is_right = rng.random((60, 1)) < 0.5  # each sequence is either right or wrong in all steps
    predictions = np.where(is_right[..., None], [0.9, 0.1], [0.1, 0.9]) * np.ones((60, 9, 1))
    low, high = score_predictions(target, y, predictions, [0.5, 0.5], Resampling())[0].interval
    assert 0.2 < high - low < 0.32  # 4 standard errors of 60 independent sequences: 0.26; of single steps 0.11


def test_blocks_of_windows_cover_the_true_error_of_forecasts():
    rng = np.random.default_rng(3)
    intervals, errors = [], []
    for _ in range(200):
        noise = rng.normal(size=403)
        y = np.lib.stride_tricks.sliding_window_view(noise, 4)  # windows that overlap by 3 of 4 steps
        score = score_forecasts(y, np.zeros_like(y), np.ones_like(y))[0]
        intervals.append(score.interval)
        errors.append(score.model)
    n_covering = sum(low <= np.sqrt(2 / np.pi) <= high for low, high in intervals)
    assert n_covering / 200 == pytest.approx(0.95, abs=0.045)  # three standard errors
    assert np.mean([high - low for low, high in intervals]) == pytest.approx(3.92 * np.std(errors), rel=0.2)


def test_equal_tests_have_equal_intervals():
    y, p = simulate_binary(np.random.default_rng(4), 80)
    first, second = (score_predictions(BINARY, y, p, [0.5, 0.5], Resampling()) for _ in range(2))
    assert first == second
    assert all(score.interval[0] <= score.model <= score.interval[1] for score in first)


@pytest.mark.parametrize("n", [1, MIN_UNITS - 1])
def test_few_rows_have_no_interval(n):
    y, p = simulate_binary(np.random.default_rng(5), n)
    assert all(score.interval is None for score in score_predictions(BINARY, y, p, [0.5, 0.5], Resampling()))


@pytest.mark.parametrize(("y", "caution"), [
    ([0] * 20, "the test holds no 'yes', so balanced accuracy, AUC and F1 of yes cannot be known"),
    ([1] * 20, "the test holds no 'no', so balanced accuracy and AUC cannot be known"),
    ([0] * 19 + [1], "the test holds a single row of 'yes', too few to rely on balanced accuracy, AUC and F1 of yes"),
])  # fmt: skip
def test_scores_that_cannot_be_known_are_named(y, caution):
    y, p = np.array(y, float), np.linspace(0.1, 0.9, 20)
    scores = score_predictions(BINARY, y, np.column_stack([1 - p, p]), [0.5, 0.5], Resampling())
    assert list(describe_unknown_scores(BINARY, y, scores)) == [caution]
    assert all(score.interval is None for score in scores if score.name in ("balanced accuracy", "AUC"))


@pytest.mark.parametrize(("y", "caution"), [
    ([2.5], "the test holds a single row, so R2 cannot be known"),
    ([2.5, 2.5], "the test holds one value of 'v' only, 2.5, so R2 cannot be known"),
])  # fmt: skip
def test_constant_values_have_no_r2(y, caution):
    target, values = Target.fit_regression(("v",), np.arange(40.0)[:, None], "none"), np.array(y)[:, None]
    scores = score_predictions(target, values, values + 0.1, [0.0])
    assert "R2" not in [score.name for score in scores]
    assert list(describe_unknown_scores(target, values, scores)) == [caution]


def test_classes_of_which_all_have_test_rows_need_no_caution():
    y, p = simulate_binary(np.random.default_rng(5), 40)
    assert not list(describe_unknown_scores(BINARY, y, score_predictions(BINARY, y, p, [0.5, 0.5])))
