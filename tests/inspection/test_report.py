import re
import shutil
import subprocess

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_diabetes, load_iris

from rosenblatt.data.table import Table
from rosenblatt.estimators.mlp import MLPClassifier, MLPRegressor
from rosenblatt.inspection.plots.importance import permutation_importance
from rosenblatt.inspection.report import Report
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit

FAST = {"members": 2, "epochs": 5, "hidden_sizes": (16,), "bins": 8}


def fitted(frame, targets, **changes):
    return fit(Table(frame, "t.csv"), targets, Spec.from_hyperparameters(**FAST | changes), notify=lambda _: None)


def titles(report):
    return [plot.title for plot in report.plots]


def test_two_classes_are_pictured_whole(people):
    report = Report.from_fit(fitted(people, ["rich"]))
    assert titles(report) == [
        "Learning curves",
        "Confusion matrix",
        "ROC",
        "Calibration",
        "Importance of columns",
        "The network",
    ]


def test_a_perceptron_has_no_calibration(people):
    assert "Calibration" not in titles(
        Report.from_fit(
            fit(Table(people, "t"), ["rich"], Spec.from_hyperparameters(kind="perceptron"), notify=lambda _: None)
        )
    )


def test_values_have_residuals():
    X, y = load_diabetes(return_X_y=True)
    report = Report.from_estimator(MLPRegressor(**FAST).fit(X[:300], y[:300]), X[300:], y[300:])
    assert titles(report) == ["Learning curves", "Predictions and residuals", "Importance of columns", "The network"]


def test_many_classes_and_labels_are_pictured():
    X, y = load_iris(return_X_y=True)
    report = Report.from_estimator(MLPClassifier(**FAST).fit(X, y), X, y)
    assert "ROC" in titles(report)
    labels = pl.DataFrame(X).with_columns(pl.Series("a", y == 0), pl.Series("b", y == 1))
    assert "Confusion matrix" not in titles(Report.from_fit(fitted(labels, ["a", "b"])))


def test_the_page_is_one_file_that_needs_nothing_else(people, tmp_path):
    report = Report.from_fit(fitted(people, ["rich"]))
    report.save(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert page.count("<img") == len(report.plots)
    assert report._repr_html_() == page
    assert report["ROC"]._repr_html_().startswith("<figure><img")


def test_names_from_the_table_cannot_break_the_page(people):
    renamed = people.rename({"age": "<script>alert(1)</script>"})
    assert "<script>" not in Report.from_fit(fitted(renamed, ["rich"])).to_html()


def test_dollar_signs_in_names_are_dollar_signs(people):
    money = people.rename({"age": "$^$"}).with_columns(rich=pl.col("rich").replace({"yes": "$1^$", "no": "$0$"}))
    Report.from_fit(fitted(money, ["rich"])).to_html()


def test_importance_tells_columns_apart_whose_names_begin_alike(people):
    renamed = people.rename({"noise": "age (day)"})
    result = fitted(renamed, ["rich"], epochs=30)
    importances = permutation_importance(result.model, result.test, result.y_test)
    assert importances["age"].mean() > abs(importances["age (day)"].mean()) + 0.05


def test_importance_finds_the_columns_that_matter(people):
    result = fitted(people, ["rich"], epochs=30)
    importances = permutation_importance(result.model, result.test, result.y_test)
    assert importances["age"].mean() > abs(importances["noise"].mean()) + 0.05
    assert importances["age"].shape == (3,)


@pytest.mark.browser
def test_a_browser_shows_every_picture(people, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine: `scripts/install-system-packages` installs it")
    report = Report.from_fit(fitted(people, ["rich"]))
    report.save(tmp_path / "r.html")
    script = (
        "<script>addEventListener('load', () => { document.title = 'shown: ' + [...document.images].filter("
        "image => image.complete && image.naturalWidth > 100).length })</script></body>"
    )
    page = (tmp_path / "r.html").read_text().replace("</body>", script)
    (tmp_path / "checked.html").write_text(page)
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
        (tmp_path / "checked.html").as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert f"<title>shown: {len(report.plots)}</title>" in dom
    assert np.isfinite(report.scores[0].model)
