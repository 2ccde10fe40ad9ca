import base64
import re
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest
from matplotlib.collections import LineCollection

from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import StorageError
from rosenblatt.inspection.plots.evaluation import calibration, confusion_matrix, precision_recall, roc
from rosenblatt.inspection.plots.figure import Plot
from rosenblatt.inspection.plots.importance import importance_metric, permutation_importance, plot_importance
from rosenblatt.inspection.plots.network import decision_boundary, has_two_numeric_inputs, plot_network
from rosenblatt.inspection.plots.runs import save_curves
from rosenblatt.inspection.plots.training import hyperparameter_importance, learning_curves, search_history
from rosenblatt.models.metadata import EnsembleMember, SearchMetadata
from rosenblatt.runs.store.curves import CurvePoints
from tests.inspection.models import linear_model

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = ("<b>&\"'", "$x^2$", "plain")  # labels that must appear as they are written
TARGET = Target(names=("y",), task="multiclass", labels=HOSTILE)
BINARY = Target(names=("y",), task="binary", labels=("no", "yes"))
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
CLASSES = np.array([0, 1, 2, 1, 2])


def xy(line):
    return line.get_xydata().tolist()


def svg_texts(svg):
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_learning_curves_show_losses_scores_and_the_best_epochs():
    loss, score = learning_curves(linear_model([1, 1])).figure.axes
    assert [xy(line) for line in loss.lines] == [[[1, 3], [2, 2], [3, 1]], [[1, 4], [2, 2]]]
    first, best, second, other_best = (xy(line) for line in score.lines)
    assert first == [[1, 0.9], [2, 0.5], [3, 0.7]]
    assert best == [[2, 0.5]]
    assert second == [[1, 0.3], [2, 0.6]]
    assert other_best == [[1, 0.3]]
    assert (loss.get_xlabel(), loss.get_ylabel(), score.get_ylabel()) == ("epoch", "training loss", "validation loss")
    assert score.lines[0].get_color() == score.lines[1].get_color() != score.lines[2].get_color()


@pytest.mark.parametrize(
    ("scoring", "best"), [("loss", [3, 3, 1, 1]), ("accuracy", [3, 5, 5, 5])], ids=["lower", "higher"]
)
def test_the_search_history_follows_the_best_score_and_marks_the_ensemble(scoring, best):
    search = SearchMetadata.model_construct(
        history=((0, 3.0), (1, 5.0), (2, 1.0), (3, 4.0)),
        scoring=scoring,
        ensemble=(EnsembleMember(trial=2, weight=0.6), EnsembleMember(trial=0, weight=0.4)),
    )
    (ax,) = search_history(search).figure.axes
    trials, line, in_ensemble = ax.lines
    assert xy(trials) == [[0, 3], [1, 5], [2, 1], [3, 4]]
    assert xy(line) == [[number, value] for number, value in enumerate(best)]
    assert xy(in_ensemble) == [[0, 3], [2, 1]]
    assert ax.get_ylabel() == f"validation {scoring}"


def test_the_importance_of_hyperparameters_shows_the_first_twelve_from_the_top():
    search = SearchMetadata.model_construct(importance={f"h{rank}": 0.3 / (rank + 1) for rank in range(14)})
    (ax,) = hyperparameter_importance(search).figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"h{rank}" for rank in reversed(range(12))]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [0.3 / (r + 1) for r in reversed(range(12))])


def test_the_confusion_matrix_counts_true_against_predicted_classes():
    (ax,) = confusion_matrix(TARGET, CLASSES, PROBABILITIES).figure.axes
    counts = np.zeros((3, 3))
    np.add.at(counts, (CLASSES, PROBABILITIES.argmax(axis=1)), 1)
    np.testing.assert_allclose(ax.images[0].get_array(), counts / counts.sum(axis=1, keepdims=True))
    cells = {text.get_position(): text.get_text() for text in ax.texts}
    assert cells == {(column, row): f"{count:.0f}" for (row, column), count in np.ndenumerate(counts)}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    missing_class = confusion_matrix(TARGET, CLASSES[:2], PROBABILITIES[:2]).figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(missing_class[2], [0, 0, 0])  # no row is of the third class


def test_names_appear_in_svg_as_they_are_written():
    plot = confusion_matrix(TARGET, CLASSES, PROBABILITIES)
    texts = svg_texts(plot.svg)
    assert all(texts.count(label) == 2 for label in HOSTILE)  # on both axes; neither markup nor formulas
    redrawn = confusion_matrix(TARGET, CLASSES, PROBABILITIES)
    assert redrawn.svg == plot.svg
    kind, data = plot.data_uri().split(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data) == plot.svg
    assert plot.to_bytes("x.SVG") == plot.svg
    assert plot.to_bytes("x.png").startswith(b"\x89PNG")


def test_captions_are_escaped_in_notebooks():
    caption, title = "<script>alert(1)</script>", 'a "title"'
    html = Plot(title, caption, confusion_matrix(TARGET, CLASSES, PROBABILITIES).figure)._repr_html_()
    assert "<script>" not in html
    root = ET.fromstring(html)
    assert root.find("figcaption").text == caption
    assert root.find("img").get("alt") == title


def test_roc_curves_have_their_area_by_pairs():
    y = np.array([0, 0, 1, 1, 0, 1])
    p = np.array([0.1, 0.4, 0.35, 0.8, 0.2, 0.3])
    (ax,) = roc(BINARY, y, np.column_stack([1 - p, p])).figure.axes
    curve, diagonal = ax.lines
    pairs = np.subtract.outer(p[y == 1], p[y == 0])
    area = (pairs > 0).mean()  # Hanley & McNeil 1982: the share of pairs in the right order
    assert curve.get_label() == f"yes (AUC {area:.3f})"
    np.testing.assert_allclose(np.trapezoid(*curve.get_xydata().T[::-1]), area)
    assert xy(diagonal) == [[0, 0], [1, 1]]
    several_classes = roc(TARGET, CLASSES[:2], PROBABILITIES[:2]).figure.axes[0]
    # none is of the third
    assert [line.get_label().split(" (")[0] for line in several_classes.lines[:-1]] == list(HOSTILE[:2])


def test_calibration_compares_the_mean_probability_with_the_observed_frequency():
    rng = np.random.default_rng(0)
    p = rng.permutation(np.linspace(0.01, 0.99, 200))
    y = (rng.random(200) < p).astype(int)
    (ax,) = calibration(BINARY, y, np.column_stack([1 - p, p])).figure.axes
    order = np.argsort(p).reshape(10, 20)
    expected = np.column_stack([p[order].mean(axis=1), y[order].mean(axis=1)])
    np.testing.assert_allclose(ax.lines[0].get_xydata(), expected)
    assert ax.lines[0].get_label() == "yes"


def test_precision_recall_steps_and_average_precision():
    y = np.array([1, 0, 1, 0])
    p = np.array([0.9, 0.8, 0.7, 0.1])
    (ax,) = precision_recall(BINARY, y, np.column_stack([1 - p, p])).figure.axes
    curve, prevalence = ax.lines
    points = {tuple(point) for point in np.round(curve.get_xydata(), 6).tolist()}
    # all rows, the first three, the first two (recall 1/2, precision 1/2), the first one, none
    assert {(1, 0.5), (1, 0.666667), (0.5, 0.5), (0.5, 1), (0, 1)} >= points
    assert {(1, 0.666667), (0.5, 1), (0, 1)} <= points
    assert curve.get_label() == f"yes (average precision {0.5 * 1 + 0.5 * 2 / 3:.3f})"
    assert prevalence.get_ydata() == [0.5, 0.5]


def test_shuffling_the_only_useful_column_loses_twice_the_variance():
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"a": rng.normal(size=2000), "b": rng.normal(size=2000)})
    model, y = linear_model([1, 0]), frame["a"].to_numpy().reshape(-1, 1)
    importances = permutation_importance(model, frame, y, repeats=4)
    assert importances["a"].shape == (4,)
    np.testing.assert_allclose(importances["a"], 2, atol=0.1)  # E (a - a')^2 = 2 var(a), and R2 was 1
    np.testing.assert_array_equal(importances["b"], np.zeros(4))
    (ax,) = plot_importance(importances, importance_metric(model.target, y)).figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a"]  # the most important one on top
    assert ax.get_xlabel().startswith("R2 ")


def test_the_drawing_of_a_network_has_a_line_for_each_weight():
    weights = np.array([[3.0, -1.0, 0.5], [-2.0, 1.0, 4.0]])
    (ax,) = plot_network(linear_model(weights, TARGET, ("x$1$", "<i>"))).figure.axes
    (lines,) = (collection for collection in ax.collections if isinstance(collection, LineCollection))
    assert len(lines.get_segments()) == 6
    np.testing.assert_allclose(lines.get_linewidths(), 2.2 * np.abs(weights.ravel()) / 4)
    colors = [tuple(color) for color in lines.get_colors()]
    assert len(set(colors)) == 2
    assert [color == colors[0] for color in colors] == (weights.ravel() > 0).tolist()
    assert [text.get_text() for text in ax.texts] == ["2 inputs", "3 outputs", "x$1$", "<i>", *HOSTILE]
    wide = plot_network(linear_model(np.arange(40.0), names=[f"x{i}" for i in range(40)])).figure.axes[0]
    shown = [text.get_text() for text in wide.texts if re.fullmatch(r"x\d+", text.get_text())]
    assert shown == [f"x{i}" for i in range(26, 40)]  # the 14 inputs with the strongest weights


def test_the_decision_boundary_shows_what_the_model_predicts_and_the_rows():
    frame = pl.DataFrame({"a": [0.0, 4.0, None], "b": [0.0, 4.0, 1.0], "y": ["no", "yes", "no"]})
    model = linear_model([1.0, -1.0], BINARY)
    assert has_two_numeric_inputs(model)
    assert not has_two_numeric_inputs(linear_model([1.0, 1.0, 1.0], BINARY, ("a", "b", "c")))
    ax = decision_boundary(model, frame, row=2).figure.axes[0]
    (mesh,) = ax.collections
    predicted = np.asarray(mesh.get_array()).reshape(200, 200)
    down, across = np.indices((200, 200))
    np.testing.assert_array_equal(predicted[across > down], 1)  # "yes" where a > b
    np.testing.assert_array_equal(predicted[across < down], 0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    points_by_label = {line.get_label(): xy(line) for line in ax.lines}
    assert points_by_label["no"] == [[0, 0]]  # the row without a value of `a` has no place in the plane
    assert points_by_label["yes"] == [[4, 4]]
    assert xy(ax.lines[-1]) == [[4, 4]]


def test_saved_curves_have_a_part_for_each_metric_and_a_line_for_each_run(tmp_path):
    curve = CurvePoints(np.arange(3), np.zeros(3, np.int64), np.array([3.0, 1.0, 2.0]))
    single = CurvePoints(np.arange(1), np.zeros(1, np.int64), np.array([1.0]))
    path = tmp_path / "curves.svg"
    save_curves({"loss $L$": {"<run> & 1": curve, "second": single}, "auc": {"second": curve}, "empty": {}}, str(path))
    texts = svg_texts(path.read_bytes())
    assert texts.count("loss $L$") == texts.count("auc") == 1
    assert "empty" not in texts
    assert texts.count("<run> & 1") == texts.count("second") == 1  # the legend
    assert texts.count("step") == 2


def test_curves_that_cannot_be_saved_are_an_error_with_their_place(tmp_path):
    curve = CurvePoints(np.arange(3), np.zeros(3, np.int64), np.zeros(3))
    with pytest.raises(StorageError, match="no metric"):
        save_curves({"loss": {}}, str(tmp_path / "x.svg"))
    with pytest.raises(StorageError, match=r"x\.nonsense"):
        save_curves({"loss": {"r": curve}}, str(tmp_path / "x.nonsense"))
    with pytest.raises(StorageError, match="missing"):
        save_curves({"loss": {"r": curve}}, str(tmp_path / "missing" / "x.svg"))
