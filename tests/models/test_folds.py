import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError
from rosenblatt.models.folds import describe_folds
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.spec import Spec

N = 120
FRAME = pl.DataFrame({"x": np.random.default_rng(0).normal(size=N)})
VALUES = FRAME.to_numpy()
REGRESSION = Target.fit_regression(("v",), VALUES, "none")
BINARY = Target(names=("y",), task="binary", labels=("neg", "pos"))
ROWS = np.arange(N)
RARE = np.zeros(N)
RARE[[3, 50, 90]] = 1


def resolve_folds(data, target=REGRESSION, validation=None, **overrides):
    spec = Spec.from_hyperparameters(**overrides)
    return PreparedData(data, lambda _: target, validation).resolve(spec)["folds"], describe_folds(spec, data, target)


@pytest.mark.parametrize(("data", "folds", "line"), [
    (Dataset(FRAME, VALUES), 16, None),
    (Dataset(FRAME, VALUES, groups=ROWS % 10), 10, "folds: 10 instead of 16, as the training rows have only 10 gr"),
    (Dataset(FRAME, VALUES, groups=ROWS % 2), 2, "folds: 2 instead of 16, as the training rows have only 2 groups"),
    (Dataset(FRAME, VALUES, groups=ROWS * 0), 1, "no folds, so that all epochs are used: the training rows have"),
    (Dataset(FRAME, VALUES, groups=ROWS), 16, None),
    (Dataset(FRAME, VALUES, order=ROWS % 9), 8, "folds: 8 instead of 16, as the training rows have only 9 diff"),
    (Dataset(FRAME, VALUES, order=ROWS % 2), 1, "no folds"),
])  # fmt: skip
def test_default_folds_adapt_to_groups_and_times(data, folds, line):
    resolved, lines = resolve_folds(data)
    assert resolved == folds
    assert [text.startswith(line) for text in lines] == ([True] if line else [])


@pytest.mark.parametrize(("scoring", "folds"), [("loss", 16), ("accuracy", 16), ("roc_auc", 3), ("f1", 3)])
def test_default_folds_have_rows_of_each_class_if_the_score_needs_them(scoring, folds):
    resolved, lines = resolve_folds(Dataset(FRAME, RARE), BINARY, scoring=scoring)
    assert resolved == folds
    assert bool(lines) == (folds == 3)
    assert not lines or f"only 3 rows of class 'pos', which {scoring} needs" in lines[0]


@pytest.mark.parametrize(("columns", "message"), [
    ({"groups": ROWS % 8}, r"folds is 9, but the training rows have 8 groups\. Set folds to 8 or fewer"),
    ({"order": ROWS % 9}, r"folds is 9, but the training rows have 9 different times.*Set folds to 8 or fewer"),
    ({"groups": ROWS * 0}, r"folds is 9, but the training rows have 1 group\. Set folds to 1, which trains on all"),
])  # fmt: skip
def test_more_folds_than_groups_or_times_are_refused(columns, message):
    with pytest.raises(SpecError, match=message):
        resolve_folds(Dataset(FRAME, VALUES, **columns), folds=9)


def test_rows_with_a_validation_table_have_no_folds_to_limit():
    data = Dataset(FRAME, VALUES, groups=ROWS % 3)
    assert resolve_folds(data, validation=Dataset(FRAME, VALUES), folds=9)[0] == 9
