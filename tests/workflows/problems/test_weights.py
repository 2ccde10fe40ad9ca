"""Sample weights: how they are read, and what they weigh."""

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.table import Table
from rosenblatt.errors import SpecError, TableError
from rosenblatt.models.model_file import load_model, to_bytes
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.predict import evaluate
from tests.workflows.problems.test_build import FRAME, SERIES, N, build

W = pl.Series("w", [float(k % 5) for k in range(N)])
WEIGHTED = FRAME.with_columns(W)
FAST = {"hidden_sizes": (4,), "epochs": 3, "members": 2, "folds": 2}


def weight_by_input(frame):
    return dict(zip(frame["a"], frame["w"].cast(pl.Float64), strict=True))


def scores(result):
    return {score.name: score.model for score in result.scores}


def test_rows_have_their_weights_on_both_sides_of_the_split_and_those_of_weight_zero_are_left_out():
    problem, lines = build(WEIGHTED, weight="w")
    weights = weight_by_input(WEIGHTED)
    assert problem.data.weight.tolist() == [weights[a] for a in problem.data.frame["a"]]
    assert problem.test_weight.tolist() == problem.test["w"].to_list() == [weights[a] for a in problem.test["a"]]
    assert WEIGHTED["a"].gather(problem.test_row_numbers - 1).to_list() == problem.test["a"].to_list()
    assert len(problem.data.y) + len(problem.y_test) == (W > 0).sum()
    assert [column.name for column in problem.schema.columns] == ["a", "b", "person"]
    assert f"{(W == 0).sum()} rows of weight 0 in 'w' left out" in lines
    assert any("scores are weighted by 'w'" in line for line in lines)


@pytest.mark.parametrize("text", [["0.5", "1.5"], ["0,5", "1,5"], [" 5 ", "15"], ["1e-9", "2e9"]])
def test_weights_of_a_text_table_are_numbers(text):
    problem, _ = build(FRAME.with_columns(w=pl.Series(text * (N // 2))), weight="w")
    assert np.ptp(problem.data.weight) > 0
    assert problem.data.weight.min() > 0


def test_constant_weights_are_reported():
    problem, lines = build(FRAME.with_columns(w=pl.lit(2)), weight="w")
    assert set(problem.data.weight) == {2.0}
    assert any("all weights are 2" in line for line in lines)


@pytest.mark.parametrize(
    ("value", "message"),
    [(None, "row 8 holds nothing"), (-1.0, "row 8 holds -1"), (float("inf"), "(?i)'w'.*infinite.*row 8"),
     (float("nan"), "row 8 holds nan")],
)  # fmt: skip
def test_weights_that_are_no_weights_are_refused_with_their_row(value, message):
    weights = pl.Series("w", [value if k == 7 else 1.0 + k for k in range(N)])
    with pytest.raises(TableError, match=message):
        build(FRAME.with_columns(weights), weight="w")


def test_classes_without_a_weighted_row_are_refused_or_named():
    frame = FRAME.with_columns(y=pl.Series(["u", "v", "w"])[np.arange(N) % 3], w=pl.Series(np.arange(N) % 3 > 0))
    _, lines = build(frame, weight="w")
    assert "classes without a row of weight, which are never predicted: 'u'" in lines
    with pytest.raises(TableError, match=r"All rows with a weight in 'w' have the class 'u'; training needs two"):
        build(frame.with_columns(w=pl.col("y") == "u"), weight="w")


def test_a_row_without_a_target_needs_no_weight():
    frame = WEIGHTED.with_columns(
        pl.when(pl.int_range(N) == 4).then(None).otherwise(pl.col(name)).alias(name) for name in ("y", "w")
    )
    problem, _ = build(frame, weight="w")
    assert len(problem.data.y) + len(problem.y_test) == (W > 0).sum() - (W[4] > 0)


@pytest.mark.parametrize(
    ("frame", "weight", "message"),
    [(WEIGHTED.with_columns(w=pl.lit(0.0)), "w", "'w' are 0"), (WEIGHTED, "y", "'y' is the target.*weight"),
     (WEIGHTED, "v", "no column 'v'"),
     (WEIGHTED.with_columns(w=pl.col("person")), "w", "'w' must hold numbers.*categories"),
     (WEIGHTED.with_columns(w=pl.lit(1e300)), "w", "'w' are too large"),
     (WEIGHTED.with_columns(w=(pl.int_range(N) == 0).cast(pl.Float64)), "w", "one row has 'y'")],
)  # fmt: skip
def test_columns_that_cannot_be_weights_are_refused(frame, weight, message):
    with pytest.raises(TableError, match=message):
        build(frame, weight=weight)


def test_forecasts_have_no_weights():
    with pytest.raises(SpecError, match="weight has no effect for forecasting"):
        build(SERIES, targets=["value"], time="t", weight="value")


def test_other_tables_are_weighted_if_they_have_the_column():
    test, validation = Table(WEIGHTED[:50], "test.csv"), Table(FRAME[50:], "other.csv")
    problem, lines = build(WEIGHTED, weight="w", test=test, validation=validation)
    assert problem.test_weight.tolist() == W[:50].filter(W[:50] > 0).to_list()
    assert problem.validation.weight == pytest.approx(np.full(50, problem.data.weight.mean()))
    assert "other.csv: the table has no weight column 'w': its rows count equally" in lines


def test_faults_of_another_table_name_it():
    test = Table(WEIGHTED.with_columns(w=pl.when(pl.int_range(N) == 3).then(-1.0).otherwise(1.0)), "test.csv")
    with pytest.raises(TableError, match=r"'test\.csv': .*row 4 holds -1"):
        build(WEIGHTED, weight="w", test=test)


def test_scores_baseline_and_training_are_weighted():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = np.where(rng.random(400) < 0.5, "yes", "no")  # independent of x: the weights alone decide
    frame = pl.DataFrame({"x": x, "y": y, "w": np.where(y == "yes", 9.0, 1.0)})
    spec = Spec.from_hyperparameters(**FAST | {"epochs": 30, "learning_rate": 0.02, "weight": "w"})
    result = fit(Table(frame, "t.csv"), ["y"], spec, notify=lambda _: None)
    assert result.predictions[:, 1].mean() == pytest.approx(0.9, abs=0.07)
    assert result.model.metadata.baseline[1] == pytest.approx(0.9, abs=0.02)
    assert scores(result)["accuracy"] == pytest.approx(0.9, abs=0.05)


def test_evaluation_of_a_saved_model_weights_the_rows_of_a_table_with_weights(tmp_path):
    spec = Spec.from_hyperparameters(**FAST | {"weight": "w"})
    text = WEIGHTED.with_columns(w=pl.col("w").cast(pl.String).str.replace(".", ",", literal=True) + "5")
    result = fit(Table(text, "t.csv"), ["y"], spec, test=Table(text, "t.csv"), notify=lambda _: None)
    (tmp_path / "m.rosenblatt").write_bytes(to_bytes(result.model))
    model, lines = load_model(tmp_path / "m.rosenblatt"), []
    assert evaluate(model, Table(text, "t.csv"), lines.append)[0] == result.scores
    assert "scores are weighted by 'w'" in lines
    unweighted = evaluate(model, Table(FRAME, "new.csv"), lines.append)[0]
    assert "the table has no weight column 'w': its rows count equally" in lines
    assert unweighted != result.scores
    times = [round(20 * float(value.replace(",", "."))) for value in text["w"]]
    repeated = Table(FRAME[np.repeat(np.arange(N), times).tolist()], "new.csv")
    for score, expected in zip(evaluate(model, repeated, lines.append)[0], result.scores, strict=True):
        assert score.model == pytest.approx(expected.model)
        assert score.baseline == pytest.approx(expected.baseline)
