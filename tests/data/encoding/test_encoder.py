import numpy as np
import polars as pl
import pytest

from rosenblatt.data.encoding import encoder as encoder_module
from rosenblatt.data.encoding.encoder import CategoryEncoding, Encoder, NumberEncoding
from rosenblatt.spec.spec import Spec

RNG = np.random.default_rng(0)


def encode(encoding, values):
    out = np.empty((len(values), len(encoding.feature_names)), np.float32)
    encoding.encode(np.asarray(values, float) if isinstance(encoding, NumberEncoding) else pl.Series(values), out)
    return out


def test_piecewise_linear_parts_follow_the_equation_of_the_paper():
    """Gorishniy et al. 2022, equation 1: 0 below a bin, 1 above it, linear inside; the outer parts continue."""
    encoding = NumberEncoding(column="x", edges=(0.0, 1.0, 3.0, 4.0))
    np.testing.assert_allclose(
        encode(encoding, [-0.5, 0.5, 2.0, 3.5, 4.5])[:, 1:],
        [[-0.5, 0, 0], [0.5, 0, 0], [1, 0.5, 0], [1, 1, 0.5], [1, 1, 1.5]],
    )


def test_few_distinct_values_are_the_edges():
    encoding = NumberEncoding.fit("x", np.array([1.0, 2, 2, 5, 5, 5]), "piecewise", 48)
    assert encoding.edges == (1.0, 2.0, 5.0)


def test_a_column_that_is_mostly_0_has_edges_where_it_differs():
    x = np.concatenate([np.zeros(9000), RNG.uniform(1, 100, 1000)])
    edges = NumberEncoding.fit("x", x, "piecewise", 16).edges
    assert sum(edge > 1 for edge in edges) >= 12


@pytest.mark.parametrize("numbers", ["piecewise", "robust", "quantile", "standard", "none"])
def test_missing_numbers_are_flagged_and_filled_with_the_median(numbers):
    values = np.array([1.0, 2.0, 3.0, np.nan, 10.0])
    encoding = NumberEncoding.fit("x", values, numbers, 8)
    out = encode(encoding, values)
    np.testing.assert_array_equal(out[:, -1], [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(out[3, :-1], encode(encoding, [2.5])[0, :-1])
    assert np.isfinite(out).all()


def test_robust_scaling_centers_on_the_median_and_clips_smoothly():
    x = RNG.normal(100, 10, 1001)
    encoding = NumberEncoding.fit("x", x, "robust", 8)
    assert encode(encoding, [np.median(x)])[0, 0] == 0
    assert np.abs(encode(encoding, [1e12, -1e12])).max() <= 3


def test_quantile_scaling_is_normal_and_averages_ties():
    x = np.concatenate([RNG.exponential(size=5000), np.zeros(1000)])
    out = encode(NumberEncoding.fit("x", x, "quantile", 8), x)[:5000, 0]
    assert abs(np.median(out) - 0.2) < 0.1  # a sixth of the values lies below all of these
    assert np.abs(out).max() < 3.2
    assert (np.diff(out[np.argsort(x[:5000])]) >= 0).all()


def test_standard_scaling_has_mean_0_and_variance_1():
    x = RNG.normal(100, 10, 1000)
    out = encode(NumberEncoding.fit("x", x, "standard", 8), x)
    assert abs(out.mean()) < 1e-6
    assert abs(out.std() - 1) < 1e-6


@pytest.mark.parametrize("numbers", ["piecewise", "robust", "quantile", "standard", "none"])
@pytest.mark.parametrize(
    "values", [[np.nan] * 3, [2.0] * 3, [1e300, -1e300, 0], [1e-300, 0, 2e-300], [1.0, np.nan, 1.0]]
)
def test_odd_columns_stay_finite(numbers, values):
    with np.errstate(over="ignore"):
        encoding = NumberEncoding.fit("x", np.asarray(values, float), numbers, 8)
        out = encode(encoding, [*values, 0.5, np.nan])
    if numbers != "none" or np.nanmax(np.abs([*values, 0])) < 1e30:
        assert np.isfinite(out).all()


@pytest.mark.parametrize("numbers", ["piecewise", "robust", "quantile", "none"])
def test_a_matrix_is_fitted_as_its_columns(numbers, monkeypatch):
    monkeypatch.setattr(encoder_module, "MAX_SORTED_VALUES", 100)
    x = np.column_stack([RNG.normal(size=(40, 5)), np.full(40, 3.0), RNG.integers(0, 2, 40), np.arange(40) == 7])
    data = Spec.from_hyperparameters(numeric_encoding=numbers, bins=8).data
    together = Encoder.fit(x, data).encodings
    assert together == tuple(NumberEncoding.fit(f"x{i}", x[:, i], numbers, 8) for i in range(x.shape[1]))


def test_spans_join_features_without_structure():
    def number(n_edges, *, missing=False):
        return NumberEncoding(column="x", edges=tuple(range(n_edges)), missing_indicator=missing)

    category = CategoryEncoding(column="x", categories=("a", "b"))
    encoder = Encoder(encodings=(number(0), category, number(9), number(8, missing=True), category, number(3)))
    assert encoder.spans.tolist() == [[0, 3, 0], [3, 9, 1], [12, 8, 1], [20, 6, 0]]
    assert encoder.width == 26
    assert Encoder(encodings=()).spans.shape == (0, 3)


def test_frequent_categories_get_a_column_and_the_rest_share_one():
    values = ["a"] * 5 + ["b"] * 4 + ["c"] * 3 + ["d", "e"]
    encoding = CategoryEncoding.fit("x", pl.Series("x", values), max_categories=3, min_rows=2)
    assert encoding.feature_names == ["x = a", "x = b", "x = c", "x is another"]
    np.testing.assert_array_equal(encode(encoding, ["b", "e", "never met"]), [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]])


def test_missing_values_are_a_category_and_unseen_ones_have_no_feature_without_rare_ones():
    encoding = CategoryEncoding.fit("x", pl.Series("x", ["a", "a", None, None]), max_categories=8, min_rows=1)
    assert encoding.feature_names == ["x = a", "x is missing"]
    np.testing.assert_array_equal(encode(encoding, [None, "a", "new"]), [[0, 1], [1, 0], [0, 0]])


def test_an_encoder_survives_a_round_trip_through_json():
    frame = pl.DataFrame({"n": RNG.normal(size=50), "c": RNG.choice(["a", "b"], 50)})
    encoder = Encoder.fit(frame, Spec.from_hyperparameters(numeric_encoding="piecewise", bins=8).data)
    restored = Encoder.model_validate_json(encoder.model_dump_json())
    np.testing.assert_array_equal(encoder.encode(frame), restored.encode(frame))
    assert len(encoder.feature_names) == len(encoder.source_columns) == encoder.encode(frame).shape[1]


def test_a_table_larger_than_a_chunk_is_encoded_as_row_by_row():
    frame = pl.DataFrame({"n": RNG.normal(size=20_000), "c": RNG.choice(["a", "b", "c"], 20_000)})
    encoder = Encoder.fit(frame, Spec.from_hyperparameters(numeric_encoding="piecewise", bins=8).data)
    x = encoder.encode(frame)
    for row in (0, 8191, 8192, 19_999):
        np.testing.assert_array_equal(x[row : row + 1], encoder.encode(frame[row : row + 1]))


def test_columns_and_categories_of_any_name_are_encoded():
    for name in ("count", "rows", "category", "(other)"):
        values = pl.Series(name, ["(other)", "(missing)", "count", None, "count"])
        encoding = CategoryEncoding.fit(name, values, max_categories=8, min_rows=2)
        np.testing.assert_array_equal(encode(encoding, values), [[0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0]])
