import numpy as np
import pytest
from scipy.special import ndtri

from rosenblatt.models.export.feature_plan import make_feature_plan
from rosenblatt.models.export.signature import read_signature
from rosenblatt.models.export.single_precision import (
    CENTER,
    MAX_TAIL,
    TAIL,
    rounded_columns,
    shift_plan,
    split,
)
from tests.models.export.fitted_models import make_dense_model, typed_rows


def plan_and_numbers(encoding):
    model = make_dense_model("relu", encoding, n_networks=1)
    signature = read_signature(model)
    numbers = typed_rows(1).select(signature.numbers).to_numpy()
    return make_feature_plan(model.encoder, signature), np.where(np.isnan(numbers), 0.0, numbers)


def shifted_numbers(numbers, anchor, anchor_rest):
    rounded, rest = split(numbers)
    return (rounded - anchor) + (rest - anchor_rest)


def test_a_number_is_the_sum_of_its_parts():
    numbers = 1.7e9 + np.arange(1000) / 7
    rounded, rest = split(numbers)
    assert rounded.dtype == rest.dtype == np.float32
    np.testing.assert_allclose(rounded.astype(float) + rest, numbers, rtol=1e-15)


@pytest.mark.parametrize("encoding", ["standard", "robust", "piecewise"])
def test_only_timestamps_need_more_than_float32(encoding):
    plan, _ = plan_and_numbers(encoding)
    assert rounded_columns(plan).tolist() == [2]  # 1.7e9 seconds and a few days


@pytest.mark.parametrize("encoding", ["standard", "robust"])
def test_scaled_timestamps_are_exact_to_float32(encoding):
    plan, numbers = plan_and_numbers(encoding)
    shifted, *anchor = shift_plan(plan, has_rest=True)
    y = shifted_numbers(numbers, *anchor)
    got = (y[:, plan.scaled_columns] - shifted.center) * shifted.factor
    assert got.dtype == np.float32
    expected = (numbers[:, plan.scaled_columns] - plan.center) * plan.factor
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_piecewise_parts_of_timestamps_are_exact_to_float32():
    plan, numbers = plan_and_numbers("piecewise")
    shifted, *anchor = shift_plan(plan, has_rest=True)
    y = shifted_numbers(numbers, *anchor)
    got = np.clip((y[:, plan.part_columns] - shifted.part_start) / shifted.part_width, plan.part_min, plan.part_max)
    expected = (numbers[:, plan.part_columns] - plan.part_start) / plan.part_width
    np.testing.assert_allclose(got, np.clip(expected, plan.part_min, plan.part_max), atol=2e-5)


@pytest.mark.parametrize("has_rest", [True, False])
def test_cells_that_equal_a_quantile_stay_equal_to_it(has_rest):
    plan, _ = plan_and_numbers("quantile")
    shifted, anchor, anchor_rest = shift_plan(plan, has_rest=has_rest)
    for (column, quantiles), (_, shifted_quantiles) in zip(
        plan.quantile_columns, shifted.quantile_columns, strict=True
    ):
        rounded, rest = split(quantiles)
        cells = (rounded - anchor[column]) + ((rest if has_rest else 0) - anchor_rest[column])
        np.testing.assert_array_equal(cells, shifted_quantiles)


def test_the_coefficients_are_those_of_the_normal_quantile():
    p = np.linspace(1e-3, 0.5, 10_001)
    r = np.sqrt(-np.log(p)) - 1.6
    tail = -np.polyval(TAIL[0], r) / np.polyval(TAIL[1], r)
    r = 0.180625 - (p - 0.5) ** 2
    center = (p - 0.5) * np.polyval(CENTER[0], r) / np.polyval(CENTER[1], r)
    np.testing.assert_allclose(np.where(p < MAX_TAIL, tail, center), ndtri(p), atol=5e-7)
