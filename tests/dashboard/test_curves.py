"""Tests of curves as columns: every number is checked against the points that were logged."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rosenblatt.dashboard.curves import CurvesRequest, load_plot
from rosenblatt.runs.store.curves import make_points, summarize
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store

N = 10_000


def add_curve(batch: RecordBatch, run: str, metric: str, values: Any, steps: Any = None) -> None:
    steps = np.arange(len(values)) if steps is None else steps
    points = make_points(steps, 100.0 + 0.5 * np.arange(len(values)), values)
    batch.add_curve(run, metric, "w", 0, points, summarize(points))


@pytest.fixture(scope="module")
def curves(tmp_path_factory) -> Iterator[Store]:
    """Runs `a` and `b` with a noisy loss of 10,000 points; `short` with few points, a NaN and an infinity."""
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('curves') / 'runs.db'}")
    batch, rng = RecordBatch(), np.random.default_rng(0)
    for run in ("a", "b", "short"):
        batch.add_run(run, "e", run, "fit")
    for run in ("a", "b"):
        add_curve(batch, run, "loss", rng.normal(size=N))
    add_curve(batch, "a", "epoch", np.arange(N) / 100)
    add_curve(batch, "short", "loss", [4.0, math.nan, 1.0, math.inf, -2.0], [0, 1, 2, 3, 10])
    store.write(batch)
    yield store
    store.close()


def load(store: Store, **request: Any) -> tuple[dict[str, Any], list[tuple[dict[str, Any], np.ndarray, np.ndarray]]]:
    """The header, and for each series its description, x and values, decoded as the page does."""
    body = load_plot(store, CurvesRequest.model_validate({"runs": ["a"], "metrics": ["loss"]} | request))
    (length,) = struct.unpack_from("<I", body)
    assert (4 + length) % 8 == 0
    header, offset = json.loads(body[4 : 4 + length]), 4 + length
    counts = [series["shown"] for series in header["series"]]
    numbers = np.frombuffer(body, "<f8", header["n"] + sum(counts), offset)
    places = np.frombuffer(body, "<u4", sum(counts), offset + numbers.nbytes)
    x, values = numbers[: header["n"]], numbers[header["n"] :]
    cuts = np.cumsum(counts)[:-1]
    parts = zip(header["series"], np.split(places, cuts), np.split(values, cuts), strict=bool(counts))
    return header, [(info, x[where], column) for info, where, column in parts]


def logged(store: Store, run: str = "a") -> np.ndarray:
    return load(store, runs=[run], points=20_000)[1][0][2]


def test_few_points_come_as_they_were_logged(curves: Store):
    header, [(info, x, values)] = load(curves, runs=["short"])
    assert not header["thinned"]
    assert (info["kind"], x.tolist()) == ("raw", [0, 1, 2, 3, 10])
    np.testing.assert_array_equal(values, [4.0, math.nan, 1.0, math.nan, -2.0])
    assert header["curves"] == [{
        "run": "short", "metric": "loss", "total": 5, "in_range": 5, "not_finite": 2, "not_positive": 1, "without_x": 0,
    }]  # fmt: skip


def test_thinned_curves_keep_the_extremes_of_each_bucket_on_x_that_all_share(curves: Store):
    header, series = load(curves, runs=["a", "b"], points=100)
    assert header["thinned"]
    assert [info["total"] for info in header["curves"]] == [N, N]
    edges = np.linspace(0, N - 1, 51)
    for run, (info, x, values) in zip("ab", series, strict=True):
        all_values = logged(curves, run)
        assert info["shown"] == len(values) <= 100
        assert np.all(np.diff(x) > 0)
        buckets = np.clip(np.searchsorted(edges, np.arange(N), side="right") - 1, 0, 49)
        for bucket in range(50):
            present = values[(x >= edges[bucket]) & (x < edges[bucket + 1])]
            expected = all_values[buckets == bucket]
            assert {present.min(), present.max()} == {expected.min(), expected.max()}


def test_a_range_counts_its_points_and_shows_all_if_they_are_few(curves: Store):
    header, [(_, x, values)] = load(curves, low=500, high=520, points=100)
    assert header["curves"][0]["in_range"] == 21
    assert x.tolist() == list(range(500, 521))
    np.testing.assert_array_equal(values, logged(curves)[500:521])


def test_the_x_axis_is_the_step_the_time_or_another_metric(curves: Store):
    _, [(_, elapsed, _)] = load(curves, x="elapsed", high=1.0, low=0.0)
    assert elapsed.tolist() == [0.0, 0.5, 1.0]
    assert load(curves, x="time", high=101.0, low=100.0)[1][0][1].tolist() == [100.0, 100.5, 101.0]
    header, series = load(curves, runs=["a", "b"], x="metric", x_metric="epoch", low=1.0, high=1.05)
    assert series[0][1] == pytest.approx(np.arange(100, 106) / 100)
    assert [info["without_x"] for info in header["curves"]] == [0, N]


def test_points_that_a_logarithmic_axis_cannot_show_are_counted(curves: Store):
    header, [(_, x, _)] = load(curves, runs=["short"], log_x=True)
    assert x.tolist() == [1, 2, 3, 10]
    assert header["curves"][0]["without_x"] == 1


def test_smoothing_is_the_debiased_moving_average_beside_the_raw_curve(curves: Store):
    _, series = load(curves, points=20_000, smoothing=0.9)
    raw, smooth = series[0][2], series[1][2]
    assert [info["kind"] for info, _, _ in series] == ["raw", "smooth"]
    weights = 0.9 ** np.arange(100)[::-1]
    assert smooth[0] == pytest.approx(raw[0])
    assert smooth[99] == pytest.approx(np.sum(weights * raw[:100]) / weights.sum())
    _, [_, (_, _, with_gap)] = load(curves, runs=["short"], smoothing=0.5)
    np.testing.assert_allclose(with_gap, [4.0, math.nan, 2.0, math.nan, (-2 + 0.5 * 1 + 0.25 * 4) / 1.75])


def test_bands_are_the_mean_and_standard_deviation_of_the_runs_of_a_group(curves: Store):
    _, series = load(curves, runs=["a", "b"], points=20_000, groups=["g", "g"])
    both = np.stack([logged(curves, run) for run in "ab"])
    bands = {info["kind"]: values for info, _, values in series if info["group"] == "g"}
    np.testing.assert_allclose(bands["mean"], both.mean(axis=0))
    np.testing.assert_allclose(bands["high"] - bands["low"], 2 * both.std(axis=0), atol=1e-12)
    _, thinned = load(curves, runs=["a", "b"], points=100, groups=["g", "g"])
    mean = next(values for info, _, values in thinned if info["kind"] == "mean")
    assert len(mean) == 50
    assert mean.mean() == pytest.approx(both.mean(), abs=0.01)


def test_several_points_of_one_step_are_not_lost(tmp_path):
    store, batch = Store(f"sqlite:///{tmp_path / 'runs.db'}"), RecordBatch()
    batch.add_run("a", "e", "", "fit")
    add_curve(batch, "a", "loss", [1.0, 5.0, -3.0, 2.0], [1, 1, 1, 1])
    store.write(batch)
    header, [(_, _, values)] = load(store)
    assert header["thinned"]
    assert sorted(values) == [-3.0, 5.0]
    store.close()


def test_metrics_and_runs_that_do_not_exist_have_no_curves(curves: Store):
    empty = {"n": 0, "thinned": False, "curves": [], "series": []}
    assert load(curves, runs=["a", "nobody"], metrics=["nothing"]) == (empty, [])


@pytest.mark.parametrize(
    "request_",
    [{"runs": []}, {"runs": ["a"] * 30, "metrics": ["m"] * 30}, {"groups": []}, {"smoothing": 1}, {"points": 5}],
)
def test_requests_of_impossible_sizes_are_refused(request_: dict[str, Any]):
    with pytest.raises(ValidationError):
        CurvesRequest.model_validate({"runs": ["a"], "metrics": ["loss"]} | request_)
