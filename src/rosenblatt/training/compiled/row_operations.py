"""Compiled operations on one row of a dense or sparse table."""

from __future__ import annotations

from numba.extending import overload

from rosenblatt.training.compiled.jit import prefetch, real
from rosenblatt.training.rows import SparseRows

LINE = 16  # numbers of a cache line


def _is_sparse(rows):
    return rows.instance_class is SparseRows


def weighted_sum(rows, i, units, k):
    """z of unit k of units (K, F + 1), weights and bias, for row i."""
    return (_sum_of_sparse if isinstance(rows, SparseRows) else _sum_of_dense)(rows, i, units, k)


def _sum_of_sparse(rows, i, units, k):
    values, columns, j, end = rows.values, rows.columns, rows.starts[i], rows.starts[i + 1]
    a, b, c, d = units[k, -1], real(0, units), real(0, units), real(0, units)
    while j + 4 <= end:  # four sums at a time: none waits for another
        a += values[j] * units[k, columns[j]]
        b += values[j + 1] * units[k, columns[j + 1]]
        c += values[j + 2] * units[k, columns[j + 2]]
        d += values[j + 3] * units[k, columns[j + 3]]
        j += 4
    while j < end:
        a += values[j] * units[k, columns[j]]
        j += 1
    return (a + b) + (c + d)


def _sum_of_dense(rows, i, units, k):
    z = units[k, -1]
    for j in range(rows.x.shape[1]):
        z += rows.x[i, j] * units[k, j]
    return z


@overload(weighted_sum)
def _weighted_sum(rows, i, units, k):
    return _sum_of_sparse if _is_sparse(rows) else _sum_of_dense


def move(rows, i, units, k, change):
    """Move unit k by `change` along row i, and its bias along the constant input 1."""
    (_move_along_sparse if isinstance(rows, SparseRows) else _move_along_dense)(rows, i, units, k, change)


def _move_along_sparse(rows, i, units, k, change):
    units[k, -1] += change
    for j in range(rows.starts[i], rows.starts[i + 1]):
        units[k, rows.columns[j]] += change * rows.values[j]


def _move_along_dense(rows, i, units, k, change):
    units[k, -1] += change
    for j in range(rows.x.shape[1]):
        units[k, j] += change * rows.x[i, j]


@overload(move)
def _move(rows, i, units, k, change):
    return _move_along_sparse if _is_sparse(rows) else _move_along_dense


def square_length(rows, i):
    """|x|^2 of row i, the constant input 1 with it."""
    return (_square_of_sparse if isinstance(rows, SparseRows) else _square_of_dense)(rows, i)


def _square_of_sparse(rows, i):
    total = real(1, rows.values)
    for j in range(rows.starts[i], rows.starts[i + 1]):
        total += rows.values[j] * rows.values[j]
    return total


def _square_of_dense(rows, i):
    total = real(1, rows.x)
    for j in range(rows.x.shape[1]):
        total += rows.x[i, j] * rows.x[i, j]
    return total


@overload(square_length)
def _square_length(rows, i):
    return _square_of_sparse if _is_sparse(rows) else _square_of_dense


def fetch(rows, i):
    """Have the processor fetch row i, as it is met soon: rows come in random order. In plain Python nothing is done."""


def _fetch_sparse(rows, i):
    for j in range(rows.starts[i], rows.starts[i + 1], LINE):
        prefetch(rows.values, j)
        prefetch(rows.columns, j)


def _fetch_dense(rows, i):
    width = rows.x.shape[1]
    for j in range(i * width, (i + 1) * width, LINE):
        prefetch(rows.x, j)


@overload(fetch)
def _fetch(rows, i):
    return _fetch_sparse if _is_sparse(rows) else _fetch_dense
