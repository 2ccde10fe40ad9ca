import itertools

import numpy as np
import pytest

from rosenblatt.training.compiled.matmul import matmul, multiply, transpose

SIDES = (1, 2, 5, 12, 16, 17, 33, 70)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_of_all_tile_sizes_equal_those_of_numpy(dtype, transposed):
    rng = np.random.default_rng(0)
    for M, N, K in itertools.product(SIDES, SIDES, (0, 1, 3, 40)):
        a, b, start = (rng.normal(size=shape).astype(dtype) for shape in ((K, M), (K, N), (N,)))
        c = np.full(M * N + 7, 9, dtype)
        flat = a.ravel() if transposed else np.ascontiguousarray(a.T).ravel()
        rows, columns = (1, M) if transposed else (K, 1)
        matmul(flat, rows, columns, b.ravel(), start, 0, c, M, N, K)
        expected = a.T.astype(float) @ b + start
        np.testing.assert_allclose(c[: M * N].reshape(M, N), expected, rtol=1e-4, atol=1e-4)
        assert (c[M * N :] == 9).all()  # nothing is written beyond the end


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_few_rows_with_zeros_equal_those_of_many(dtype):
    rng = np.random.default_rng(0)
    for N, K in itertools.product((1, 17, 65, 260, 530), (1, 40)):
        a, b = rng.normal(size=(40, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
        a[rng.random(a.shape) < 0.5] = 0
        product = multiply(a, b)
        for n in (1, 2, 3):
            np.testing.assert_array_equal(multiply(a[:n], b), product[:n])


def test_a_product_can_be_added_to_its_output():
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=(20, 20)).astype(np.float32) for _ in range(3))
    expected = c + a @ b
    flat = c.ravel()
    matmul(a.ravel(), 20, 1, b.ravel(), flat, 20, flat, 20, 20, 20)
    np.testing.assert_allclose(c, expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_of_a_product_does_not_depend_on_the_other_rows(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 30)).astype(dtype), rng.normal(size=(30, 21)).astype(dtype)
    product = multiply(a, b)
    for first, last in ((0, 1), (3, 17), (39, 40)):
        np.testing.assert_array_equal(multiply(a[first:last], b), product[first:last])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transposed_matrices_equal_those_of_numpy(dtype):
    for rows, columns in itertools.product(SIDES, SIDES):
        a = np.arange(rows * columns, dtype=dtype).reshape(rows, columns)
        out = np.full(rows * columns + 5, -1, dtype)
        transpose(a.ravel(), rows, columns, out)
        np.testing.assert_array_equal(out[:-5].reshape(columns, rows), a.T)
        assert (out[-5:] == -1).all()
