import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, RobustScaler, StandardScaler

from rosenblatt.errors import ExportError
from rosenblatt.models.imports.assembly import Names, assemble_model
from rosenblatt.models.imports.sklearn_reader import read_estimator
from tests.models.imports.foreign_files import X, predictions

RNG = np.random.default_rng(1)
WORDS = np.array(["a", "b", "c"])[RNG.integers(0, 3, len(X))]
ESTIMATORS = {
    "classifier": (make_pipeline(StandardScaler(), MLPClassifier((5, 4), max_iter=5)), WORDS),
    "two classes": (make_pipeline(RobustScaler(), MLPClassifier((5,), activation="tanh", max_iter=5)), WORDS == "a"),
    "labels": (MLPClassifier((5,), activation="logistic", max_iter=5), RNG.integers(0, 2, (len(X), 3))),
    "regressor": (make_pipeline(MinMaxScaler(), MLPRegressor(hidden_layer_sizes=(5,), max_iter=5)), X[:, 0]),
    "several values": (MLPRegressor(hidden_layer_sizes=(5,), activation="identity", max_iter=5), X[:, :2]),
    "perceptron": (Perceptron(max_iter=5, tol=None), WORDS),
    "perceptron of two classes": (make_pipeline(StandardScaler(), Perceptron(max_iter=5, tol=None)), WORDS == "a"),
}


def outputs(estimator):
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(X)
    return estimator.decision_function(X) if hasattr(estimator, "decision_function") else estimator.predict(X)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_predict_as_scikit_learn_does(name):
    estimator, y = ESTIMATORS[name]
    estimator.fit(X, y)
    expected = outputs(estimator).reshape(len(X), -1)
    model = assemble_model(read_estimator(estimator), Names(), "m").model
    got = model.predict_typed(X.astype(np.float64))
    np.testing.assert_allclose(got[:, -expected.shape[1] :], expected, rtol=1e-4, atol=1e-5)
    if y.ndim == 1 and hasattr(estimator, "classes_"):
        assert model.predict(X).tolist() == estimator.predict(X).tolist()


def test_other_estimators_and_steps_are_refused_by_name():
    with pytest.raises(ExportError, match="LogisticRegression is no dense network"):
        read_estimator(LogisticRegression().fit(X, WORDS))
    counts = MLPRegressor("poisson", hidden_layer_sizes=(3,), max_iter=5).fit(X, np.abs(X[:, 0]))
    with pytest.raises(ExportError, match=r"MLPRegressor .*its outputs have the activation exp"):
        read_estimator(counts)
    with pytest.raises(ExportError, match="PolynomialFeatures is no dense network"):
        read_estimator(make_pipeline(PolynomialFeatures(), MLPClassifier((3,), max_iter=5)).fit(X, WORDS))
    with pytest.raises(ExportError, match=r"MinMaxScaler .*it clips values"):
        read_estimator(make_pipeline(MinMaxScaler(clip=True), MLPClassifier((3,), max_iter=5)).fit(X, WORDS))


def test_files_of_skops_are_read_and_untrusted_types_refused(tmp_path):
    skops_io = pytest.importorskip("skops.io")
    estimator = ESTIMATORS["classifier"][0].fit(X, WORDS)
    skops_io.dump(estimator, tmp_path / "m.skops")
    np.testing.assert_allclose(predictions(tmp_path / "m.skops"), estimator.predict_proba(X), rtol=1e-4, atol=1e-5)
    estimator.notes = pytest.ExitCode  # a type of another package
    skops_io.dump(estimator, tmp_path / "x.skops")
    with pytest.raises(ExportError, match=r"The file needs .*ExitCode, which is code that is not run"):
        predictions(tmp_path / "x.skops")
    (tmp_path / "x.skops").write_bytes((tmp_path / "m.skops").read_bytes()[:-100])
    with pytest.raises(ExportError, match="is damaged, or not a file of skops"):
        predictions(tmp_path / "x.skops")
