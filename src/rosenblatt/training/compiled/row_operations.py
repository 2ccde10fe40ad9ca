"""Compiled operations on one row of a dense or sparse table."""

from __future__ import annotations

from numba.extending import overload

from rosenblatt.training.compiled.jit import constant_like, prefetch
from rosenblatt.training.rows import SparseRows

CACHE_LINE_NUMBERS = 16  # float32 numbers in a cache line


def _is_sparse(rows):
    return rows.instance_class is SparseRows


def weighted_sum(rows, i, units, k):
    """Logit of unit k of units (K, F + 1), weights and bias, for row i."""
    return (_sparse_weighted_sum if isinstance(rows, SparseRows) else _dense_weighted_sum)(rows, i, units, k)


def _sparse_weighted_sum(rows, i, units, k):
    values, columns, j, end = rows.values, rows.columns, rows.starts[i], rows.starts[i + 1]
    a, b, c, d = units[k, -1], constant_like(0, units), constant_like(0, units), constant_like(0, units)
    while j + 4 <= end:  # four independent sums run in parallel
        a += values[j] * units[k, columns[j]]
        b += values[j + 1] * units[k, columns[j + 1]]
        c += values[j + 2] * units[k, columns[j + 2]]
        d += values[j + 3] * units[k, columns[j + 3]]
        j += 4
    while j < end:
        a += values[j] * units[k, columns[j]]
        j += 1
    return (a + b) + (c + d)


def _dense_weighted_sum(rows, i, units, k):
    z = units[k, -1]
    for j in range(rows.x.shape[1]):
        z += rows.x[i, j] * units[k, j]
    return z


@overload(weighted_sum)
def _weighted_sum(rows, i, units, k):
    return _sparse_weighted_sum if _is_sparse(rows) else _dense_weighted_sum


def add_scaled_row(rows, i, units, k, change):
    """Add `change` times row i to the weights of unit k, and `change` to its bias."""
    (_add_sparse_row if isinstance(rows, SparseRows) else _add_dense_row)(rows, i, units, k, change)


def _add_sparse_row(rows, i, units, k, change):
    units[k, -1] += change
    for j in range(rows.starts[i], rows.starts[i + 1]):
        units[k, rows.columns[j]] += change * rows.values[j]


def _add_dense_row(rows, i, units, k, change):
    units[k, -1] += change
    for j in range(rows.x.shape[1]):
        units[k, j] += change * rows.x[i, j]


@overload(add_scaled_row)
def _add_scaled_row(rows, i, units, k, change):
    return _add_sparse_row if _is_sparse(rows) else _add_dense_row


def squared_norm(rows, i):
    """|x|^2 of row i, including the constant input 1."""
    return (_sparse_squared_norm if isinstance(rows, SparseRows) else _dense_squared_norm)(rows, i)


def _sparse_squared_norm(rows, i):
    total = constant_like(1, rows.values)
    for j in range(rows.starts[i], rows.starts[i + 1]):
        total += rows.values[j] * rows.values[j]
    return total


def _dense_squared_norm(rows, i):
    total = constant_like(1, rows.x)
    for j in range(rows.x.shape[1]):
        total += rows.x[i, j] * rows.x[i, j]
    return total


@overload(squared_norm)
def _squared_norm(rows, i):
    return _sparse_squared_norm if _is_sparse(rows) else _dense_squared_norm


def prefetch_row(rows, i):
    """Prefetch row i into the cache, because rows come in random order; does nothing in plain Python."""


def _prefetch_sparse(rows, i):
    for j in range(rows.starts[i], rows.starts[i + 1], CACHE_LINE_NUMBERS):
        prefetch(rows.values, j)
        prefetch(rows.columns, j)


def _prefetch_dense(rows, i):
    width = rows.x.shape[1]
    for j in range(i * width, (i + 1) * width, CACHE_LINE_NUMBERS):
        prefetch(rows.x, j)


@overload(prefetch_row)
def _prefetch_row(rows, i):
    return _prefetch_sparse if _is_sparse(rows) else _prefetch_dense
