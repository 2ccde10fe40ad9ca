from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.media.images import encode_image
from rosenblatt.data.table import Table
from rosenblatt.errors import SpecError, TableError
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems import problem as problem_module
from rosenblatt.workflows.problems.build import build_problem
from rosenblatt.workflows.problems.problem import (
    ProblemRequest,
    drop_damaged_test_images,
    drop_unlabelled,
    readable_image_mask,
    require_kind,
)

GOOD = encode_image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


def _problem(images, **hyperparameters):
    frame = pl.DataFrame({"image": images, "label": ["cat", "dog"] * (len(images) // 2)})
    spec = Spec.from_hyperparameters(kind="cnn", **hyperparameters)
    return build_problem(ProblemRequest(Table(frame, "photos"), spec, ["label"]), [])


def test_rows_of_damaged_images_are_masked_and_named(tmp_path):
    paths = [str(tmp_path / f"{k}.png") for k in range(30)]
    for path in paths:
        (tmp_path / path).write_bytes(GOOD)
    problem, messages = _problem(paths), []
    (tmp_path / "3.png").write_bytes(b"no image")
    frame = pl.DataFrame({"image": paths})
    mask = readable_image_mask(problem.schema, "skip", frame, messages)
    assert np.flatnonzero(~mask).tolist() == [3]
    assert messages == [f"image: 1 damaged image left out: {str(tmp_path / '3.png')!r}"]
    with pytest.raises(TableError, match="1 of 30 images cannot be read"):
        readable_image_mask(problem.schema, "raise", frame, messages)


def test_damaged_test_images_are_left_out_of_all_that_describes_test_rows(monkeypatch):
    problem, messages = _problem([GOOD] * 40), []
    assert drop_damaged_test_images(problem, messages) is problem  # they were decoded before training
    monkeypatch.setattr(problem_module, "holds_samples", lambda _: True)
    monkeypatch.setattr(problem_module, "find_damaged_images", lambda *_, **__: [1])
    changed = drop_damaged_test_images(problem, messages)
    is_left = np.arange(len(problem.y_test)) != 1
    assert changed.test.equals(problem.test.filter(is_left))
    assert changed.test_typed.height == is_left.sum()
    assert np.array_equal(changed.y_test, problem.y_test[is_left])
    assert np.array_equal(changed.test_row_numbers, problem.test_row_numbers[is_left])
    assert messages == ["image: 1 damaged image left out: 'row 2'"]


def test_rows_without_a_target_are_left_out_and_counted():
    messages = []
    rows = drop_unlabelled(pl.DataFrame({"a": [1, 2, 3]}), np.array([0.0, np.nan, 1.0]), ["y"], messages)
    assert (rows.frame["a"].to_list(), rows.numbers.tolist()) == ([1, 3], [1, 3])
    assert messages == ["1 row without 'y' left out"]


def test_a_task_chooses_the_kind_of_network_and_refuses_others():
    assert require_kind(Spec(), "tagging", "rnn").network.kind == "rnn"
    with pytest.raises(SpecError, match="tagging needs a network of kind rnn, not cnn"):
        require_kind(Spec.from_hyperparameters(kind="cnn"), "tagging", "rnn")
