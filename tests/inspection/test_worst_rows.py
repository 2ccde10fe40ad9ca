import io

import numpy as np
import polars as pl
from PIL import Image

from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.tables import Thumbnail
from rosenblatt.inspection.worst_rows import MAX_WORST_ROWS, worst_rows, worst_rows_table

CLASSES = Target(names=("y",), task="multiclass", labels=("a", "b", "c"))
VALUES = Target(names=("y",), task="regression", center=(0,), scale=(1,))
SCHEMA = Schema(columns=(Column(name="x", kind="number"), Column(name="t", kind="text", include=True)))


def test_confident_mistakes_come_first_and_right_rows_are_left_out():
    y = np.array([0.0, 1, 2, 0])
    predictions = np.array([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.1, 0.9, 0.0], [0.3, 0.4, 0.3]])
    assert worst_rows(CLASSES, y, predictions).tolist() == [2, 1, 3]
    inputs = pl.DataFrame({"x": ["1.50", None, "3", "4"], "t": ["p", "q", "r <b>", "s"]})
    table = worst_rows_table(CLASSES, y, predictions, inputs, np.array([11, 12, 13, 14]), SCHEMA)
    assert table.headers[:3] == ("row", "true", "predicted")
    assert table.rows[0] == ("13", "c", "b", "0.900", "0", "3", "r <b>")
    assert table.rows[1] == ("12", "b", "a", "0.600", "0.300", "", "q")
    assert table.is_numeric == (True, False, False, True, True, True, False)


def test_values_go_by_their_absolute_errors():
    y = np.arange(30.0).reshape(-1, 1)
    predictions = y + np.where(np.arange(30) % 2, 1, -1).reshape(-1, 1) * y
    rows = worst_rows(VALUES, y, predictions)
    assert rows.tolist() == list(range(29, 29 - MAX_WORST_ROWS, -1))
    table = worst_rows_table(VALUES, y, predictions, pl.DataFrame(), None, SCHEMA)
    assert table.headers == ("true", "predicted", "error")
    assert table.rows[:2] == (("29.00", "58.00", "+29.0"), ("28.00", "0", "-28.0"))


def test_of_several_targets_errors_are_relative_to_their_spread():
    target = Target(names=("small", "large"), task="regression", center=(0, 0), scale=(1, 1))
    y = np.array([[0.0, 0.0], [1.0, 1000.0]])
    predictions = y + np.array([[0.9, 0.0], [0.0, 100.0]])
    table = worst_rows_table(target, y, predictions, pl.DataFrame(), None, SCHEMA)
    assert [row[:3] for row in table.rows] == [("small", "0", "0.9000"), ("large", "1,000", "1,100")]


def test_labels_are_named():
    target = Target(names=("p", "q"), task="multilabel")
    y, predictions = np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[0.9, 0.2], [0.1, 0.1]])
    table = worst_rows_table(target, y, predictions, pl.DataFrame(), None, SCHEMA)
    assert table.rows == (("p, q", "p"),)


def test_no_mistakes_have_no_table():
    assert worst_rows_table(CLASSES, np.array([0.0]), np.array([[0.9, 0.1, 0]]), pl.DataFrame(), None, SCHEMA) is None


def test_images_are_thumbnails_and_unreadable_ones_are_names(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (200, 100), "red").save(content, format="png")
    (tmp_path / "red.png").write_bytes(content.getvalue())
    schema = Schema(columns=(Column(name="i", kind="image", include=True),))
    inputs = pl.DataFrame({"i": [str(tmp_path / "red.png"), "gone.png"]})
    table = worst_rows_table(VALUES, np.array([[1.0], [2.0]]), np.array([[9.0], [3.0]]), inputs, None, schema)
    thumbnail, name = (row[-1] for row in table.rows)
    assert isinstance(thumbnail, Thumbnail)
    assert thumbnail.data_uri.startswith("data:image/png;base64,")
    assert thumbnail.label.endswith("red.png")
    assert name == "gone.png"
