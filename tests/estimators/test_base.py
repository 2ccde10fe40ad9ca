"""Estimators of tabular data."""

import datetime as dt
import pickle
import signal
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_blobs, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from rosenblatt.data.readers.read import read_table
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import read_targets
from rosenblatt.errors import DivergedError, SpecError, TableError
from rosenblatt.estimators.mlp import MLPClassifier, MLPRegressor
from rosenblatt.estimators.perceptron import Perceptron
from rosenblatt.models.prepared import WeightScale
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.perceptron import RULES

FAST = {"members": 2, "epochs": 20, "hidden_sizes": (32,), "bins": 8}
IRIS, SPECIES = load_iris(return_X_y=True)


@pytest.fixture
def table(people):
    return people.drop("rich"), people["rich"].to_numpy()


def test_cross_validated_scores_on_real_tables_are_good():
    X, y = load_breast_cancer(return_X_y=True)
    assert cross_val_score(MLPClassifier(**FAST), X, y, cv=3).mean() > 0.95
    X, y = load_diabetes(return_X_y=True)
    assert cross_val_score(MLPRegressor(**FAST), X, y, cv=3).mean() > 0.35
    assert cross_val_score(Perceptron(), IRIS, SPECIES, cv=3).mean() > 0.85


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_may_have_categories_and_missing_values(table, kind):
    X, y = table
    X = pd.DataFrame(X.to_dict(as_series=False)) if kind == "pandas" else X
    model = MLPClassifier(**FAST).fit(X, y)
    assert model.score(X, y) > 0.85
    assert list(model.feature_names_in_) == ["age", "city", "noise"]
    assert list(model.classes_) == ["no", "yes"]


def test_pandas_and_polars_frames_give_the_same_network(table):
    X, y = table
    from_pandas = MLPClassifier(**FAST).fit(pd.DataFrame(X.to_dict(as_series=False)), y)
    from_polars = MLPClassifier(**FAST).fit(X, y)
    np.testing.assert_array_equal(from_pandas.predict_proba(X), from_polars.predict_proba(X))


def test_estimators_work_in_pipelines_and_grid_searches_and_with_set_output(table):
    X, y = table
    X = pd.DataFrame(X.to_dict(as_series=False))
    scale = make_column_transformer((MinMaxScaler(), ["age", "noise"]), remainder="passthrough").set_output(
        transform="pandas"
    )
    pipeline = make_pipeline(scale, MLPClassifier(**FAST))
    search = GridSearchCV(pipeline, {"mlpclassifier__dropout": [0.0, 0.3]}, cv=2, scoring="roc_auc").fit(X, y)
    assert search.best_score_ > 0.85
    polars_out = StandardScaler().set_output(transform="polars").fit_transform(IRIS)
    assert MLPClassifier(**FAST).fit(polars_out, SPECIES).score(polars_out, SPECIES) > 0.9


def test_clones_have_the_same_hyperparameters():
    model = MLPClassifier(hidden_sizes=(5, 4), dropout=0.3, random_state=7)
    assert clone(model).get_params() == model.get_params()


def test_the_message_about_an_unknown_argument_suggests_a_similar_name():
    with pytest.raises(TypeError, match=r"MLPClassifier has no argument 'hiden_sizes'. Did you mean 'hidden_sizes'\?"):
        MLPClassifier(hiden_sizes=(3,))
    with pytest.raises(SpecError, match="dropout must be"):
        MLPClassifier(dropout=2).fit(IRIS, SPECIES)


def test_the_class_docstring_documents_every_argument():
    for estimator in (MLPClassifier, MLPRegressor, Perceptron):
        for name in estimator().get_params():
            assert f"    {name}: " in estimator.__doc__
        sections = [estimator.__doc__.index(f"\n{section}:\n") for section in ("Args", "Attributes", "Examples")]
        assert sections == sorted(sections)


def test_several_labels_are_predicted_at_once():
    X, y = make_multilabel_classification(300, n_classes=4, random_state=0)
    for model in (MLPClassifier(**FAST), Perceptron()):
        model.fit(X, y)
        assert model.predict(X).shape == (300, 4)
        assert f1_score(y, model.predict(X), average="macro") > 0.6
    assert MLPClassifier(**FAST).fit(X, y).predict_proba(X).shape == (300, 4)


def test_several_targets_are_predicted_at_once():
    y = np.column_stack([IRIS[:, 0], IRIS[:, 3] * 10])
    model = MLPRegressor(**FAST | {"epochs": 60}).fit(IRIS[:, 1:3], y)
    assert model.predict(IRIS[:, 1:3]).shape == (150, 2)
    assert model.score(IRIS[:, 1:3], y) > 0.7


def test_a_validation_set_passed_to_fit_chooses_the_best_epochs():
    wrong_validation = (IRIS[::3], (SPECIES[::3] + 1) % 3)
    model = MLPClassifier(**FAST).fit(IRIS, SPECIES, validation=wrong_validation)
    right_model = MLPClassifier(**FAST).fit(IRIS, SPECIES, validation=(IRIS[::3], SPECIES[::3]))
    epochs = [[network.best_epoch for network in fitted.model_.networks] for fitted in (model, right_model)]
    assert max(epochs[0]) < min(epochs[1])
    with pytest.raises(TableError, match="is not one of the classes"):
        MLPClassifier(**FAST).fit(IRIS, SPECIES, validation=(IRIS, SPECIES + 7))


@pytest.mark.parametrize("scoring", ["roc_auc_ovr", "balanced_accuracy", make_scorer(f1_score, average="macro")])
def test_a_scorer_chooses_the_best_epoch(scoring):
    model = MLPClassifier(**FAST, scoring=scoring).fit(IRIS, SPECIES)
    for network in model.model_.networks:
        assert network.scores[network.best_epoch - 1] == max(network.scores)
        assert 0 <= min(network.scores) <= max(network.scores) <= 1


def test_the_message_about_an_unknown_scorer_suggests_a_similar_name():
    with pytest.raises(SpecError, match=r"scoring must be .*'roc_acu'. Did you mean 'roc_auc'\?"):
        MLPClassifier(scoring="roc_acu").fit(IRIS, SPECIES)


def test_predicted_labels_have_the_type_of_the_training_labels():
    for labels in (["a", "b", "c"], [10, 20, 30], [1.0, 2.0, 3.0]):
        y = np.asarray(labels)[SPECIES]
        predicted = MLPClassifier(**FAST).fit(IRIS, y).predict(IRIS)
        assert predicted.dtype == y.dtype
        assert (predicted == y).mean() > 0.9
    y = SPECIES == 1
    assert MLPClassifier(**FAST).fit(IRIS, y).predict(IRIS).dtype == bool


@pytest.mark.parametrize("estimator", [
    MLPClassifier(**FAST), MLPClassifier(**FAST, loss="hinge"), MLPClassifier(**FAST, loss="perceptron"),
    Perceptron(epochs=5),
], ids=["cross_entropy", "hinge", "perceptron", "Perceptron"])  # fmt: skip
def test_decision_functions_have_scikit_learns_shapes_and_decide_as_predict_does(estimator):
    X, labels = make_multilabel_classification(80, n_classes=3, random_state=0)
    many = clone(estimator).fit(IRIS, SPECIES)
    np.testing.assert_array_equal(many.decision_function(IRIS).argmax(axis=1), many.predict(IRIS))
    binary = clone(estimator).fit(IRIS, np.where(SPECIES == 1, "yes", "no"))
    assert binary.decision_function(IRIS).shape == (150,)
    np.testing.assert_array_equal(binary.decision_function(IRIS) > 0, binary.predict(IRIS) == "yes")
    several = clone(estimator).fit(X, labels)
    np.testing.assert_array_equal(several.decision_function(X) > 0, several.predict(X))
    for fitted in (many, binary, several):
        assert np.isfinite(fitted.decision_function(X[:, :4] * 1e6 if fitted is not several else X * 1e6)).all()


def test_only_losses_with_probabilities_have_predict_proba():
    for loss, has_probabilities in (("cross_entropy", True), ("focal", True), ("hinge", False), ("perceptron", False)):
        for estimator in (MLPClassifier(**FAST, loss=loss), MLPClassifier(**FAST, loss=loss).fit(IRIS, SPECIES)):
            assert hasattr(estimator, "predict_proba") == hasattr(estimator, "predict_log_proba") == has_probabilities
    model = MLPClassifier(**FAST).fit(IRIS, SPECIES).set_params(loss="hinge")
    np.testing.assert_array_equal(model.predict_log_proba(IRIS), np.log(model.predict_proba(IRIS)))
    assert cross_val_score(MLPClassifier(**FAST, loss="hinge"), IRIS, SPECIES == 1, scoring="roc_auc").min() > 0.4


@pytest.mark.parametrize("classes", [2, 3])
def test_logit_adjustment_moves_probabilities_towards_equal_class_frequencies(classes, tmp_path):
    rng = np.random.default_rng(0)
    y = rng.choice(classes, 300, p=[0.7, 0.3] if classes == 2 else [0.7, 0.2, 0.1])
    X = y[:, None] + rng.normal(0, 1, (300, 1))
    single = FAST | {"members": 1}  # with several networks, each is adjusted before averaging
    unadjusted, adjusted = (MLPClassifier(**single, logit_adjustment=strength).fit(X, y) for strength in (0.0, 0.5))
    fractions = np.bincount(y) / len(y)
    expected = unadjusted.predict_proba(X) / fractions**0.5
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(adjusted.predict_proba(X), expected)
    np.testing.assert_array_equal(adjusted.predict(X), adjusted.predict_proba(X).argmax(axis=1))
    assert (adjusted.predict(X) == 0).sum() < (unadjusted.predict(X) == 0).sum()
    adjusted.save(tmp_path / "m.rosenblatt")
    loaded = MLPClassifier.load(tmp_path / "m.rosenblatt")
    np.testing.assert_array_equal(loaded.predict_proba(X), adjusted.predict_proba(X))
    with pytest.raises(SpecError, match="logit_adjustment needs class probabilities"):
        MLPClassifier(**FAST, logit_adjustment=0.5, loss="hinge").fit(X, y)


def test_a_class_of_larger_weight_is_predicted_more_often():
    X, y = load_breast_cancer(return_X_y=True)
    light_weight, heavy_weight = (MLPClassifier(**FAST, class_weight={0: w, 1: 1}).fit(X, y) for w in (1, 30))
    assert (heavy_weight.predict(X) == 0).sum() > (light_weight.predict(X) == 0).sum()


def test_rows_of_weight_0_have_no_influence():
    weight = np.arange(150) % 3 > 0
    filtered = MLPClassifier(**FAST).fit(IRIS[weight], SPECIES[weight])
    weighted = MLPClassifier(**FAST).fit(IRIS, SPECIES, sample_weight=weight.astype(float))
    np.testing.assert_array_equal(filtered.predict_proba(IRIS), weighted.predict_proba(IRIS))
    with pytest.raises(ValueError, match="at least one non-zero"):
        MLPClassifier(**FAST).fit(IRIS, SPECIES, sample_weight=np.zeros(150))


def test_partial_fit_trains_on_a_stream_of_batches():
    rng = np.random.default_rng(0)
    classifier, regressor, perceptron = MLPClassifier(**FAST), MLPRegressor(**FAST), Perceptron()
    for _ in range(30):
        rows = rng.permutation(150)[:50]
        classifier.partial_fit(IRIS[rows], SPECIES[rows], classes=[0, 1, 2])
        perceptron.partial_fit(IRIS[rows], SPECIES[rows], classes=[0, 1, 2])
        regressor.partial_fit(IRIS[rows, :3], IRIS[rows, 3])
    assert classifier.score(IRIS, SPECIES) > 0.9
    assert perceptron.score(IRIS, SPECIES) > 0.8
    assert regressor.score(IRIS[:, :3], IRIS[:, 3]) > 0.8
    with pytest.raises(TableError, match="is not one of the classes"):
        classifier.partial_fit(IRIS[:3], [7, 7, 7])


def test_a_regressor_trained_in_parts_leaves_the_range_of_its_first_batch():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (600, 2))
    y = 1e4 * X[:, 0]
    for first_values in (y[:10] / 1e4, np.full(10, 5.0)):
        model = MLPRegressor(**FAST | {"numeric_encoding": "standard", "bins": "auto"}).partial_fit(
            X[:10], first_values
        )
        for _ in range(20):
            for start in range(0, 600, 100):
                model.partial_fit(X[start : start + 100], y[start : start + 100])
        assert model.score(X, y) > 0.95


def test_the_scale_of_a_target_follows_a_stream_without_a_change_of_predictions():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.normal(size=(40, 2))
    model = MLPRegressor(**FAST, ema_decay=0.9).partial_fit(X, y)
    predictions, trainer = model.predict(X), model._trainer
    trainer._extend_target(1000 + 50 * y)
    target, networks = trainer._target, [member.state.mean for member in trainer._members]
    np.testing.assert_allclose(target.center, np.vstack([y, 1000 + 50 * y]).mean(axis=0))
    np.testing.assert_allclose(target.scale, np.vstack([y, 1000 + 50 * y]).std(axis=0))
    trial = model.model_.trials[0]
    rescaled = replace(trial, target=target, networks=tuple(
        replace(network, theta=theta) for network, theta in zip(trial.networks, networks, strict=True)
    ))  # fmt: skip
    np.testing.assert_allclose(replace(model.model_, trials=(rescaled,)).predict(X), predictions, atol=1e-3)


@pytest.mark.parametrize(("loss", "message"), [("auto", "predicts log"), ("poisson", "needs counts of 0 or more")])
def test_a_batch_without_a_logarithm_is_rejected(loss, message):
    transform = {"target_transform": "log"} if loss == "auto" else {}
    model = MLPRegressor(**FAST, loss=loss, **transform).partial_fit([[0.0], [1.0]], [1.0, 3.0])
    with pytest.raises(TableError, match=message):
        model.partial_fit([[0.0], [1.0]], [1.0, -2.0])
    assert model.partial_fit([[0.0], [1.0]], [1.0, 9.0]).predict([[0.5]])[0] > 0


def test_weights_are_relative_to_all_rows_of_a_stream_not_to_the_batch():
    spec, y = Spec.from_hyperparameters(class_weight="balanced"), np.repeat([0.0, 1.0], [90, 10])
    target = Target(names=("y",), task="binary", labels=("a", "b"))
    in_parts, at_once = WeightScale(spec, target), WeightScale(spec, target).scale(y, np.ones(100))
    in_parts.scale(y, np.ones(100))
    np.testing.assert_allclose(in_parts.scale(y[90:], np.ones(10)) / at_once[90:], 100 / (20 * 2) / 5, rtol=0.5)
    assert WeightScale(spec, target).scale(y[:5], np.full(5, 7.0)).tolist() == [1.0] * 5
    unbalanced = WeightScale(Spec.from_hyperparameters(), target)
    unbalanced.scale(y[:50], np.ones(50))
    np.testing.assert_allclose(unbalanced.scale(y[:50], np.full(50, 3.0)), 3 / 2)


def test_the_state_of_training_in_parts_does_not_grow():
    model = Perceptron(folds=1).partial_fit(IRIS, SPECIES)
    size = None
    for _ in range(300):
        model.partial_fit(IRIS[:10], SPECIES[:10])
        size = size or (model.n_iter_ == 150 and len(pickle.dumps(model)))
    assert model.n_iter_ == 301
    assert len(pickle.dumps(model)) == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize(("y", "classes", "message"), [
    ([0, 1] * 3, [], "classes holds nothing, but .* are 0 and 1"),
    ([0, 1] * 3, [0, 0], "only one class"),
    ([[0, 1, 0], [1, 0, 1]] * 3, [0, 1, 3], "columns of y are 0, 1 and 2"),
])  # fmt: skip
def test_unusable_classes_of_partial_fit_are_rejected(y, classes, message):
    with pytest.raises(TableError, match=message):
        MLPClassifier(**FAST).partial_fit(IRIS[:6], y, classes=classes)


def test_repeated_classes_of_partial_fit_count_once_and_later_ones_must_be_the_same():
    labels = [[0, 1, 0], [1, 0, 1]] * 3
    assert MLPClassifier(**FAST).partial_fit(IRIS[:6], labels, classes=[0, 1, 2, 2]).classes_.tolist() == [0, 1, 2]
    model = MLPClassifier(**FAST).partial_fit(IRIS[:6], [0, 1] * 3, classes=[1, 0, 0])
    assert model.partial_fit(IRIS[:6], [0, 1] * 3, classes=[0, 1]).classes_.tolist() == [0, 1]
    with pytest.raises(
        TableError, match="classes holds 0, 1 and 2, but the classes of the training so far are 0 and 1"
    ):
        model.partial_fit(IRIS[:6], [0, 1] * 3, classes=[0, 1, 2])


def test_fit_after_partial_fit_starts_from_new_networks():
    model = MLPClassifier(**FAST).partial_fit(IRIS[:90], SPECIES[:90], classes=[0, 1, 2]).fit(IRIS, SPECIES)
    np.testing.assert_array_equal(
        model.predict_proba(IRIS), MLPClassifier(**FAST).fit(IRIS, SPECIES).predict_proba(IRIS)
    )


def test_fits_are_equal_for_equal_seeds_and_differ_without_a_seed():
    def proba(random_state):
        return MLPClassifier(**FAST, random_state=random_state).fit(IRIS, SPECIES).predict_proba(IRIS)

    np.testing.assert_array_equal(proba(3), proba(3))
    assert not np.array_equal(proba(3), proba(4))
    assert not np.array_equal(proba(None), proba(None))
    np.testing.assert_array_equal(proba(np.random.RandomState(5)), proba(np.random.RandomState(5)))


@pytest.mark.parametrize("cls", [MLPClassifier, Perceptron])
def test_saved_and_loaded_estimators_predict_bit_for_bit_the_same(tmp_path, table, cls):
    X, y = table
    model = cls(epochs=5, random_state=3).fit(X, y)
    model.save(tmp_path / "m.rosenblatt")
    loaded = cls.load(tmp_path / "m.rosenblatt")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.get_params() == model.get_params()
    with pytest.raises(TableError, match="which MLPRegressor cannot load"):
        MLPRegressor.load(tmp_path / "m.rosenblatt")


def test_a_regressor_is_saved_and_loaded(tmp_path):
    model = MLPRegressor(**FAST).fit(IRIS[:, :3], IRIS[:, 3])
    model.save(tmp_path / "m.rosenblatt")
    np.testing.assert_array_equal(
        MLPRegressor.load(tmp_path / "m.rosenblatt").predict(IRIS[:, :3]), model.predict(IRIS[:, :3])
    )


def test_estimators_can_be_pickled():
    model = MLPClassifier(**FAST).fit(IRIS, SPECIES)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(IRIS), model.predict_proba(IRIS))


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (IRIS, np.zeros(150), "only one class"),
        (np.where(IRIS > 7, np.inf, IRIS), SPECIES, "infinity"),
        (IRIS[:0], SPECIES[:0], "0 sample"),
        (pl.DataFrame({"a": []}, schema={"a": pl.Float64}), [], "no rows"),
        (pl.DataFrame({"a": [1.0, float("inf")]}), [0, 1], "infinite number in row 2"),
        (IRIS, SPECIES[:10], "inconsistent numbers of samples"),
        (IRIS, np.column_stack([SPECIES, SPECIES]), "several columns with more than two classes"),
    ],
)
def test_unusable_training_data_is_rejected_with_the_reason(X, y, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**FAST).fit(X, y)


@pytest.mark.parametrize(
    "days",
    [
        np.array(["2024-01-01", "2024-01-02"], "datetime64[D]"),
        np.array(["2024-01-01", "2024-01-02"], "datetime64[ns]"),
        np.array([1, 2], "timedelta64[h]"),
        [dt.date(2024, 1, 1), dt.date(2024, 1, 2)],
        [None, dt.timedelta(hours=1)],
        [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 2, tzinfo=dt.UTC)],
    ],
    ids=str,
)
def test_dates_are_no_targets(days):
    y = np.tile(np.asarray(days), 75)
    for estimator in (MLPClassifier(**FAST), MLPRegressor(**FAST)):
        for train in (estimator.fit, estimator.partial_fit):
            with pytest.raises(TableError, match=r"y holds dates or times, but .* Convert them"):
                train(IRIS, y)
        with pytest.raises(TableError, match="y holds dates or times"):
            estimator.fit(IRIS, pl.Series([dt.date(2024, 1, 1)] * 150))


@pytest.mark.parametrize("rows", [
    np.array([[60], [7200]], "timedelta64[s]"), [[dt.timedelta(minutes=1)], [dt.timedelta(hours=2)]],
    pd.DataFrame({"x": pd.to_timedelta(["1min", "2h"])}),
    pl.DataFrame({"x": [dt.timedelta(minutes=1), dt.timedelta(hours=2)]}),
], ids=["array", "list", "pandas", "Polars"])  # fmt: skip
def test_durations_are_seconds_and_never_mixed_with_plain_numbers(rows):
    model = MLPClassifier(**FAST).fit(rows, [0, 1])
    column = model.model_.schema.columns[0]
    assert (column.kind, column.number_format.unit) == ("number", "s")
    assert model.model_.encoder.encodings[0].center == pytest.approx(3630)
    numbers = MLPClassifier(**FAST).fit(pl.DataFrame({"x": [1.0, 2.0]}), [0, 1])
    with pytest.raises(TableError, match="must hold numbers, as in training, but its cells are of type Duration"):
        numbers.predict(pl.DataFrame({"x": [dt.timedelta(1)]}))


@pytest.mark.parametrize(("X", "message"), [
    ([[1, 2], [3]], "equally many numbers"), ([[1, [2]], [3, [4]]], "equally many numbers"),
    (np.array([[1j], [2]]), "X holds complex numbers"), ([[1j], [2]], "X holds complex numbers"),
], ids=str)  # fmt: skip
def test_nested_and_complex_rows_are_rejected_in_one_sentence(X, message):
    for estimator in (MLPClassifier(**FAST), MLPRegressor(**FAST), Perceptron()):
        with pytest.raises(TableError, match=message) as error:
            estimator.fit(X, [0, 1])
        assert "\n" not in str(error.value)


def test_masked_values_are_missing_ones():
    X = np.ma.masked_array(IRIS, mask=IRIS > 6)
    with_nan = np.where(IRIS > 6, np.nan, IRIS)
    models = [MLPClassifier(**FAST).fit(rows, SPECIES) for rows in (X, with_nan)]
    np.testing.assert_array_equal(models[0].predict_proba(X), models[1].predict_proba(with_nan))
    y = np.ma.masked_array(SPECIES, mask=SPECIES == 2)
    for estimator in (MLPClassifier(**FAST), MLPRegressor(**FAST)):
        with pytest.raises(ValueError, match="Input y contains NaN"):
            estimator.fit(IRIS, y)
    with pytest.raises(TableError, match="y contains missing values"):
        MLPClassifier(**FAST).fit(IRIS, np.ma.masked_array(np.array(["a", "b", "c"])[SPECIES], mask=SPECIES == 2))


def test_classes_that_are_large_integers_stay_exact():
    y = np.array([1, 2**63 + 5] * 75, np.uint64)
    assert set(MLPClassifier(**FAST).fit(IRIS, y).predict(IRIS).tolist()) <= {1, 2**63 + 5}


def test_prediction_before_fit_or_with_other_columns_is_rejected(table):
    X, y = table
    with pytest.raises(NotFittedError):
        MLPClassifier().predict(IRIS)
    model = MLPClassifier(**FAST).fit(X, y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename({"age": "Age"}))


def test_columns_of_one_name_are_rejected():
    frame = pd.DataFrame({"a": range(20), "b": range(20)})
    labels = [0, 1] * 10
    twice = frame.set_axis(["a", "a"], axis=1)
    fitted = MLPClassifier(**FAST).fit(frame, labels)
    for call in (lambda: MLPClassifier(**FAST).fit(twice, labels), lambda: fitted.predict(twice)):
        with pytest.raises(TableError, match="Several columns are named 'a'"):
            call()


def test_very_few_rows_are_all_used_for_training():
    model = MLPClassifier(**FAST).fit([[0.0], [1.0], [0.1], [0.9]], [0, 1, 0, 1])
    assert model.model_.networks[0].scores == ()
    np.testing.assert_array_equal(model.predict([[0.0], [1.0]]), [0, 1])


def test_ctrl_c_leaves_a_fitted_estimator_with_the_best_epochs_so_far():
    model = MLPClassifier(members=2, hidden_sizes=(32,), epochs=1_000_000, patience=1_000_000)
    MLPClassifier(**FAST).fit(IRIS, SPECIES)  # compiles, so that only training is interrupted
    threading.Timer(1.0, lambda: signal.raise_signal(signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(IRIS, SPECIES)
    assert model.score(IRIS, SPECIES) > 0.8


def test_perceptron_coefficients_reproduce_the_decision_function():
    X, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), [0, 0, 0, 1]
    model = Perceptron(numeric_encoding="none").fit(X, y)
    np.testing.assert_allclose(model.decision_function(X), (X @ model.coef_.T + model.intercept_)[:, 0], rtol=1e-6)
    assert model.coef_.shape == (1, 2)
    assert not hasattr(model, "predict_proba")


def test_n_jobs_counts_cores_as_joblib_does():
    proba = [MLPClassifier(**FAST, n_jobs=n).fit(IRIS, SPECIES).predict_proba(IRIS) for n in (1, -1, -2)]
    np.testing.assert_array_equal(proba[0], proba[1])
    np.testing.assert_array_equal(proba[0], proba[2])
    with pytest.raises(SpecError, match="n_jobs must be"):
        MLPClassifier(n_jobs=0).fit(IRIS, SPECIES)


def test_partial_fit_continues_from_a_fitted_or_loaded_model(tmp_path):
    model = MLPClassifier(**FAST).fit(IRIS, SPECIES)
    model.save(tmp_path / "m.rosenblatt")
    for fitted in (model, MLPClassifier.load(tmp_path / "m.rosenblatt")):
        before = fitted.score(IRIS, SPECIES)
        assert fitted.partial_fit(IRIS[:10], SPECIES[:10]).score(IRIS, SPECIES) > before - 0.1


def test_a_diverging_batch_is_an_error_and_leaves_a_usable_model():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 2)), rng.normal(size=50)
    model = MLPRegressor(**FAST | {"numeric_encoding": "none", "bins": "auto"}).partial_fit(X, y)
    with pytest.raises(DivergedError):
        model.partial_fit(X * 1e30, y)
    assert np.isfinite(model.partial_fit(X, y).predict(X)).all()


def test_labels_of_pandas_extension_types_are_predicted_with_numpy_types():
    y = pd.Series(SPECIES == 1, dtype="boolean")
    assert MLPClassifier(**FAST).fit(IRIS, y).predict(IRIS).dtype == bool
    y = pd.Series(SPECIES, dtype="Int64")
    assert MLPClassifier(**FAST).fit(IRIS, y).predict(IRIS).dtype == np.int64


def test_booleans_stay_booleans_in_categories_and_objects():
    X, y = [[0.0], [1.0]] * 20, [False, True] * 20
    for labels in (pd.Series(y, dtype="category"), np.array(y, object)):
        estimator = MLPClassifier(epochs=1, members=1).fit(X, labels)
        assert estimator.model_.target.labels == (False, True)
        assert estimator.classes_.dtype == bool


@pytest.mark.parametrize(
    "classes",
    [(0.0, 1.0), ("007", "7"), (False, True), ("A", "a"), ("EU", "NA"), ("False", "True"), (2**53, 2**53 + 1)],
    ids=str,
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_classes_of_an_estimator_are_recognized_in_a_file(tmp_path, classes, suffix):
    y = [classes[k % 2] for k in range(40)]
    target = MLPClassifier(epochs=1, members=1).fit([[float(k % 2)] for k in range(40)], y).model_.target
    path = tmp_path / f"table.{suffix}"
    frame = pl.DataFrame({"y": y})
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    table = read_table(path)
    np.testing.assert_array_equal(read_targets(table.frame, target, format=table.format), [k % 2 for k in range(40)])


def test_integer_keys_of_class_weight_apply_to_float_labels():
    MLPClassifier(**FAST, class_weight={0: 1, 1: 5}).fit(IRIS, (SPECIES == 1).astype(float))


def test_a_scorer_function_is_not_saved_in_the_model_file(tmp_path):
    scorer = make_scorer(f1_score, average="macro")
    MLPClassifier(**FAST, scoring=scorer).fit(IRIS, SPECIES).save(tmp_path / "m")
    assert MLPClassifier.load(tmp_path / "m").scoring == "loss"


def test_arrays_are_predicted_by_position_after_a_fit_on_a_frame(table):
    X, y = table
    model = MLPClassifier(**FAST).fit(X.select("age", "noise"), y)
    with pytest.warns(UserWarning, match="valid feature names"):
        predicted = model.predict(X.select("age", "noise").to_numpy())
    np.testing.assert_array_equal(predicted, model.predict(X.select("age", "noise")))


MIXED = pd.DataFrame(
    {
        "a": IRIS[:, 0],
        "b": np.where(IRIS[:, 1] > 3, "x", "y"),
        "c": SPECIES > 1,
        "d": pd.date_range("2024", periods=150),
    }
)


@pytest.mark.parametrize(
    "table", [MIXED, MIXED[["a", "c"]], pl.DataFrame(IRIS, list("abcd"))], ids=["mixed", "two", "numbers"]
)
def test_explainers_that_pass_arrays_and_drop_the_names_get_the_same_predictions(table):
    model = MLPClassifier(**FAST).fit(table, SPECIES)
    expected = model.predict_proba(table)
    with pytest.warns(UserWarning, match="valid feature names"):
        np.testing.assert_array_equal(model.predict_proba(table.to_numpy()), expected)
    model.feature_names_in_ = None  # as SHAP sets it
    np.testing.assert_array_equal(model.predict_proba(table.to_numpy()), expected)


@pytest.mark.parametrize("table", [MIXED, MIXED[["a", "c"]], pd.DataFrame(IRIS)], ids=["mixed", "two", "numbers"])
def test_frames_are_predicted_by_position_after_a_fit_on_an_array(table):
    model = MLPClassifier(**FAST).fit(table.to_numpy(), SPECIES)
    named = table.set_axis([f"c{i}" for i in range(table.shape[1])], axis=1)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        np.testing.assert_array_equal(model.predict_proba(named), model.predict_proba(table.to_numpy()))


def test_a_warning_names_columns_that_are_not_used():
    frame = pl.DataFrame({"id": [f"u{i}" for i in range(60)], "x": np.arange(60.0)})
    with pytest.warns(UserWarning, match="Columns not used, .*: 'id'"):
        MLPClassifier(**FAST).fit(frame, np.arange(60) % 2)
    with pytest.raises(TableError, match="No usable input column"):
        MLPClassifier(**FAST).fit(frame.select("id"), np.arange(60) % 2)


def test_missing_targets_and_dates_as_targets_are_rejected():
    with pytest.raises(TableError, match="y contains missing values"):
        MLPClassifier().fit(IRIS[:3], ["a", None, "b"])
    with pytest.raises(TableError, match="y holds dates"):
        MLPRegressor().fit(IRIS[:2], np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"))


def test_sparse_and_dense_rows_give_the_same_perceptron(tmp_path):
    rng = np.random.default_rng(0)
    X = sparse.random(200, 50, 0.2, format="csr", random_state=0)
    y = np.where(X @ rng.normal(size=50) > 0, "up", "down")
    for rule in ("rosenblatt", "averaged", "voted", "passive_aggressive_1"):
        sparse_model = Perceptron(perceptron_rule=rule, numeric_encoding="none", folds=4, members=2, epochs=5).fit(X, y)
        dense_model = Perceptron(perceptron_rule=rule, numeric_encoding="none", folds=4, members=2, epochs=5).fit(
            X.toarray(), y
        )
        np.testing.assert_allclose(
            sparse_model.decision_function(X), dense_model.decision_function(X.toarray()), rtol=1e-3, atol=1e-3
        )
        sparse_model.save(tmp_path / "p.rosenblatt")
        loaded = Perceptron.load(tmp_path / "p.rosenblatt")
        np.testing.assert_array_equal(loaded.decision_function(X), sparse_model.decision_function(X))
        assert loaded.partial_fit(X, y).score(X, y) > 0.8


def test_an_array_and_a_frame_of_equal_values_give_the_same_perceptron():
    rng = np.random.default_rng(0)
    X, y = rng.normal(3, 2, size=(120, 4)), rng.integers(0, 3, 120)
    array, frame = Perceptron(epochs=5).fit(X, y), Perceptron(epochs=5).fit(pd.DataFrame(X, columns=list("abcd")), y)
    np.testing.assert_allclose(array.coef_, frame.coef_, rtol=1e-4, atol=1e-5)
    X_missing = X.copy()
    X_missing[3, 1] = np.nan
    assert len(array.predict(X_missing)) == 120


@pytest.mark.parametrize("rule", RULES)
def test_every_perceptron_rule_trains_and_continues_training(rule):
    X, y = make_blobs(150, centers=3, random_state=0, cluster_std=0.6)
    perceptron = Perceptron(perceptron_rule=rule, epochs=10, random_state=1).fit(X, y)
    assert perceptron.score(X, y) > 0.8
    perceptron.partial_fit(X[:75], y[:75]).partial_fit(X[75:], y[75:])
    assert perceptron.score(X, y) > 0.7
    if rule in ("voted", "kernel"):
        with pytest.raises(AttributeError, match="more than one layer"):
            _ = perceptron.coef_
    else:
        assert perceptron.coef_.shape == (3, 2)


@pytest.mark.parametrize("loss", ["focal", "hinge", "perceptron"])
def test_every_loss_for_classes_trains(loss):
    X, y = make_blobs(150, centers=3, random_state=0, cluster_std=0.6)
    mlp = MLPClassifier(loss=loss, **FAST | {"epochs": 60}).fit(X, y)
    assert mlp.score(X, y) > 0.8
    if loss == "focal":
        np.testing.assert_allclose(mlp.predict_proba(X).sum(axis=1), 1)
    else:
        assert not hasattr(mlp, "predict_proba")


@pytest.mark.parametrize("loss", ["absolute", "huber", "quantile", "poisson"])
def test_every_loss_for_values_trains(loss):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 1))
    y = rng.poisson(np.exp(1 + x[:, 0])).astype(float)
    mlp = MLPRegressor(loss=loss, **FAST | {"epochs": 60}, **({"quantile": 0.9} if loss == "quantile" else {})).fit(
        x, y
    )
    predicted = mlp.predict(x)
    if loss == "quantile":
        assert 0.8 < (y <= predicted).mean() < 0.97
    else:
        assert np.corrcoef(predicted, np.exp(1 + x[:, 0]))[0, 1] > 0.9
    if loss == "poisson":
        assert predicted.min() >= 0
        assert predicted.mean() == pytest.approx(y.mean(), rel=0.1)
        with pytest.raises(SpecError, match="poisson needs counts"):
            MLPRegressor(loss="poisson", **FAST).fit(x, y - 1)


def test_margin_training_stops_when_every_row_has_the_margin():
    X, y = make_blobs(100, centers=2, random_state=0, cluster_std=0.5)
    wide_margin = Perceptron(perceptron_rule="margin", margin=5, numeric_encoding="none", folds=1, epochs=500).fit(X, y)
    assert (np.abs(wide_margin.decision_function(X)) > 5).all()
    assert wide_margin.n_iter_ < 500


@pytest.mark.parametrize("rule", ["adaline", "delta", "voted"])
def test_one_vs_rest_rules_have_sensible_validation_scores(rule):
    X, y = load_iris(return_X_y=True)
    scores = Perceptron(perceptron_rule=rule, folds=5, epochs=5).fit(X, y).model_.networks[0].scores
    assert max(scores) > -0.6


def test_a_diverging_perceptron_raises_an_error():
    X, y = make_blobs(100, centers=2, random_state=0)
    with pytest.raises(DivergedError, match="not finite"):
        Perceptron(perceptron_rule="delta", learning_rate=50, folds=1, numeric_encoding="none").fit(X, y)
    with pytest.raises(TableError, match="NaN or infinite"):
        Perceptron().fit(sparse.csr_matrix(np.where(X.mean() < X, np.nan, X)), y)


def test_a_diverging_batch_leaves_the_predictions_unchanged():
    X, y = load_iris(return_X_y=True)
    mlp = MLPRegressor(**FAST | {"numeric_encoding": "none", "bins": "auto"}).fit(X, y)
    before = mlp.predict(X)
    with pytest.raises(DivergedError):
        mlp.partial_fit(X * 1e30, y)
    np.testing.assert_array_equal(mlp.predict(X), before)
    after = mlp.partial_fit(X, y).predict(X)
    assert np.abs(after - before).max() < 0.5


def test_validation_rows_may_be_an_array_or_a_frame_whatever_the_training_rows_are():
    X, y = load_iris(return_X_y=True)
    X_missing = X.copy()
    X_missing[::7, 0] = np.nan
    for train, validation in ((X, X_missing), (X_missing, X)):
        assert Perceptron(epochs=5).fit(train, y, validation=(validation, y)).score(X, y) > 0.6
    with pytest.raises(TableError, match="must both be sparse"):
        Perceptron().fit(sparse.csr_matrix(X), y, validation=(X, y))


def test_standard_scaling_ignores_constant_columns():
    X, y = load_iris(return_X_y=True)
    constant = np.column_stack([X, np.full(150, 0.1)])
    perceptron = Perceptron(epochs=5).fit(constant, y)
    shifted = np.column_stack([X, np.full(150, 0.11)])
    np.testing.assert_array_equal(perceptron.decision_function(shifted), perceptron.decision_function(constant))
    large_values = np.random.default_rng(0).normal(1000, 1, (200_000, 1)).astype(np.float32)
    encoding = Perceptron(epochs=1).fit(large_values, np.arange(200_000) % 2).model_.encoder.encodings[0]
    assert encoding.center == pytest.approx(1000, abs=0.1)
    assert encoding.scale == pytest.approx(1, rel=0.01)


def test_partial_fit_continues_from_averaged_parameters():
    X, y = load_iris(return_X_y=True)
    mlp = MLPClassifier(ema_decay=0.99, **FAST).fit(X, y)
    before = mlp.predict_proba(X)
    assert np.abs(mlp.partial_fit(X[:10], y[:10]).predict_proba(X) - before).max() < 0.1


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"perceptron_rule": "passive_aggressive", "learning_rate": 5}, "computes its own step sizes"),
        (
            {"perceptron_rule": "adaline", "multiclass": "crammer_singer"},
            "cannot be combined with multiclass crammer_singer",
        ),
        ({"batch_order": "stratified"}, "a perceptron is trained row by row"),
        ({"margin": 2}, "margin has an effect only with perceptron_rule margin"),
    ],
)
def test_hyperparameters_without_effect_are_rejected(hyperparameters, message):
    with pytest.raises(SpecError, match=message):
        Perceptron(**hyperparameters).fit([[0.0], [1.0]], [0, 1])


def test_batches_of_one_row_do_not_change_the_running_statistics():
    X, y = load_iris(return_X_y=True)
    mlp = MLPClassifier(normalization="batch", **FAST).fit(X, y)
    network = mlp.model_.networks[0]
    before = network.architecture.parameters_by_name(network.theta)[0, "variance"].copy()
    for i in range(0, 150, 10):
        mlp.partial_fit(X[i : i + 1], y[i : i + 1])
    after = mlp.model_.networks[0]
    np.testing.assert_array_equal(after.architecture.parameters_by_name(after.theta)[0, "variance"], before)


def test_the_batch_size_may_exceed_the_number_of_rows():
    X, y = load_iris(return_X_y=True)
    assert MLPClassifier(**FAST | {"batch_size": 2**63 - 1}).fit(X, y).n_iter_ == FAST["epochs"]


@pytest.mark.parametrize("estimator", [MLPClassifier(**FAST), Perceptron(epochs=5)], ids=str)
def test_a_scorer_of_several_labels_chooses_the_best_epoch(estimator):
    X, y = make_multilabel_classification(100, n_classes=3, random_state=0)
    network = clone(estimator).set_params(scoring="f1_macro").fit(X, y).model_.networks[0]
    assert network.scores[network.best_epoch - 1] == max(network.scores) <= 1


def test_epochs_without_a_score_are_counted_and_never_the_best_ones():
    n_calls = []

    def unknown_at_times(estimator, X, y):
        n_calls.append(len(X))
        return np.nan if len(n_calls) > 5 else float(len(n_calls))

    with pytest.warns(UserWarning, match=r"unknown_at_times is not a finite number after 16 of 20 epochs"):
        model = MLPClassifier(**FAST | {"members": 1}, scoring=unknown_at_times).fit(IRIS, SPECIES)
    assert model.model_.networks[0].best_epoch == 4
    n_calls += [0] * 10
    with pytest.warns(UserWarning, match="cannot be known from the validation rows of 1 of 1 network: the last epoch"):
        model = MLPClassifier(**FAST | {"members": 1}, scoring=unknown_at_times).fit(IRIS, SPECIES)
    assert model.model_.networks[0].best_epoch == 20


def test_a_scoring_function_named_loss_is_rejected():
    def loss(estimator, X, y):
        return -1.0

    with pytest.raises(SpecError, match='must not be named "loss"'):
        MLPClassifier(**FAST, scoring=loss).fit(IRIS, SPECIES)
