import numpy as np
import polars as pl

from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.partial_dependence import partial_dependence
from rosenblatt.inspection.plots.partial_dependence import partial_dependence_plots
from tests.inspection.models import linear_model


def test_lines_of_numbers_are_means_and_single_rows():
    frame = pl.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1.0, 1.0, 4.0]})
    (a, b) = partial_dependence(linear_model([3.0, 1.0]), frame, ["a", "b"])
    plots = partial_dependence_plots([a, b])
    assert [plot.title for plot in plots] == ["Partial dependence on a", "Partial dependence on b"]
    assert "3 rows" in plots[0].caption
    (ax,) = plots[0].figure.axes
    *rows, mean = ax.lines
    assert mean.get_xydata().tolist() == [[0, 2], [1, 5], [2, 8]]
    assert [line.get_ydata().tolist() for line in rows] == [[1, 4, 7], [1, 4, 7], [4, 7, 10]]
    assert len({plot.figure.axes[0].get_ylim() for plot in plots}) == 1


def test_each_class_has_a_line_with_its_name():
    target = Target(names=("y",), task="multiclass", labels=("p", "q", "r"))
    model = linear_model([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], target)
    frame = pl.DataFrame({"a": [0.0, 1.0], "b": [0.0, 1.0]})
    (plot, _) = partial_dependence_plots(partial_dependence(model, frame, ["a", "b"]))
    (ax,) = plot.figure.axes
    assert [line.get_label() for line in ax.lines] == [f"probability of {label}" for label in "pqr"]
    np.testing.assert_allclose(sum(line.get_ydata() for line in ax.lines), 1)


def test_no_columns_have_no_plots():
    assert partial_dependence_plots([]) == []
