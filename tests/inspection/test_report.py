import re
import shutil
import subprocess

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_diabetes, load_iris

from rosenblatt.data.table import Table
from rosenblatt.errors import TableError
from rosenblatt.estimators.mlp import MLPClassifier, MLPRegressor
from rosenblatt.estimators.perceptron import Perceptron
from rosenblatt.inspection.plots.importance import permutation_importance
from rosenblatt.inspection.report import Report
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.predict import evaluate

FAST = {"members": 2, "epochs": 5, "hidden_sizes": (16,), "bins": 8}


def fitted(frame, targets, **changes):
    return fit(Table(frame, "t.csv"), targets, Spec.from_hyperparameters(**FAST | changes), notify=lambda _: None)


def titles(report):
    return [plot.title for plot in report.plots]


def test_two_classes_have_all_plots_and_tables(people):
    report = Report.from_fit(fitted(people, ["rich"], epochs=30))
    assert titles(report) == [
        "Confusion matrix",
        "ROC",
        "Precision and recall",
        "Calibration",
        "Importance of columns",
        "Partial dependence on age",
        "Partial dependence on city",
        "Partial dependence on noise",
        "Learning curves",
        "Network",
    ]
    assert [section.title for section in report.sections] == ["Errors", "Columns", "Training"]
    assert [table.title for table in report.sections[0].tables] == ["Thresholds", "Largest errors"]


def test_a_perceptron_has_no_calibration(people):
    assert "Calibration" not in titles(
        Report.from_fit(
            fit(Table(people, "t"), ["rich"], Spec.from_hyperparameters(kind="perceptron"), notify=lambda _: None)
        )
    )


def test_values_have_residuals():
    X, y = load_diabetes(return_X_y=True)
    report = Report.from_estimator(MLPRegressor(**FAST).fit(X[:300], y[:300]), X[300:], y[300:])
    assert titles(report)[:3] == ["True and predicted values", "Residuals", "Importance of columns"]
    assert titles(report)[-2:] == ["Learning curves", "Network"]


def test_many_classes_and_labels_are_pictured():
    X, y = load_iris(return_X_y=True)
    report = Report.from_estimator(MLPClassifier(**FAST).fit(X, y), X, y)
    assert "ROC" in titles(report)
    labels = pl.DataFrame(X).with_columns(pl.Series("a", y == 0), pl.Series("b", y == 1))
    assert "Confusion matrix" not in titles(Report.from_fit(fitted(labels, ["a", "b"])))


def test_sparse_rows_have_the_report_of_dense_ones():
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier(**FAST).fit(csr_array(X), y)
    assert Report.from_estimator(model, csr_array(X), y).to_html() == Report.from_estimator(model, X, y).to_html()
    perceptron = Perceptron(epochs=2).fit(csr_array(X), y)
    with pytest.raises(TableError, match="takes sparse rows as they are, without columns"):
        Report.from_estimator(perceptron, csr_array(X), y)


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


def test_importance_distinguishes_columns_whose_names_begin_alike(people):
    renamed = people.rename({"noise": "age (day)"})
    result = fitted(renamed, ["rich"], epochs=30)
    importances = permutation_importance(result.model, result.test, result.y_test)
    assert importances["age"].mean() > abs(importances["age (day)"].mean()) + 0.05


def test_importance_finds_the_columns_that_matter(people):
    result = fitted(people, ["rich"], epochs=30)
    importances = permutation_importance(result.model, result.test, result.y_test)
    assert importances["age"].mean() > abs(importances["noise"].mean()) + 0.05
    assert importances["age"].shape == (3,)


def test_the_rows_with_the_largest_errors_have_their_numbers_in_the_table(people):
    numbered = people.with_columns(rich=pl.when(pl.int_range(300) % 7 == 3).then(None).otherwise("rich"))
    result = fitted(numbered.with_columns(mark=pl.int_range(1, 301).cast(pl.String)), ["rich"], epochs=1)
    assert result.test["mark"].cast(pl.Int64).to_list() == result.row_numbers.tolist()
    table = Report.from_fit(result).sections[0].tables[-1]
    assert table.headers[0] == "row"
    for row in table.rows:
        assert people["rich"][int(row[0]) - 1] == row[1] != row[2]


def test_rows_of_a_test_table_keep_their_numbers_if_some_are_left_out(people):
    spec = Spec.from_hyperparameters(**FAST)
    train, test = people[:200], people[200:]
    whole = fit(Table(train, "a"), ["rich"], spec, test=Table(test, "b"), notify=lambda _: None)
    assert whole.row_numbers.tolist() == list(range(1, 101))
    gaps = test.with_columns(rich=pl.when(pl.int_range(100) == 5).then(None).otherwise("rich"))
    fitted_with_gaps = fit(Table(train, "a"), ["rich"], spec, test=Table(gaps, "b"), notify=lambda _: None)
    others = [number for number in range(1, 101) if number != 6]
    assert fitted_with_gaps.row_numbers.tolist() == others
    assert evaluate(whole.model, Table(test, "b"), lambda _: None)[1].row_numbers.tolist() == list(range(1, 101))
    assert evaluate(whole.model, Table(gaps, "b"), lambda _: None)[1].row_numbers.tolist() == others


def test_errors_are_grouped_by_a_column_the_model_does_not_use(people):
    table = people.with_columns(team=pl.Series(["red", "blue"] * 150))
    result = fit(Table(table, "t"), ["rich"], Spec.from_hyperparameters(**FAST), ignore=["team"], notify=lambda _: None)
    report = Report.from_fit(result, by=["team", "1"])
    groups, by_age = report.sections[0].tables[:2]
    assert (groups.title, by_age.title) == ("Errors by team", "Errors by age")
    right = result.y_test == result.predictions.argmax(axis=1)
    for row in groups.rows:
        is_member = (result.test["team"] == row[0]).to_numpy()
        assert row[1:3] == (str(is_member.sum()), f"{right[is_member].mean():.3f}")
    with pytest.raises(TableError, match=r"no column 'tean'.*Did you mean 'team'"):
        Report.from_fit(result, by="tean")


def test_a_report_without_test_rows_says_so(people):
    report = Report.from_fit(fitted(people, ["rich"], test_fraction=0))
    assert "No rows were held out for a test" in report.to_html()
    assert titles(report) == ["Learning curves", "Network"]
    with pytest.raises(TableError, match="no rows were held out"):
        Report.from_fit(fitted(people, ["rich"], test_fraction=0), by="city")


def test_equal_reports_are_equal_bytes(people):
    result = fitted(people, ["rich"])
    assert Report.from_fit(result, "city").to_html() == Report.from_fit(result, "city").to_html()


def test_categories_of_groups_cannot_break_the_page(people):
    hostile = people.with_columns(city=pl.lit("<script>alert(1)</script>"))
    hostile = hostile.with_columns(city=pl.when(pl.int_range(300) % 2 == 0).then(pl.lit("<b>&")).otherwise("city"))
    page = Report.from_fit(fitted(hostile, ["rich"]), "city").to_html()
    assert "<script>" not in page
    assert "<b>&" not in page


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
