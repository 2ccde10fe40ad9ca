"""Products of the first layer, z = b + x W and dW = x^T d, which know how inputs were encoded.

The inputs of a layer are spans of features. Those of a dense span are multiplied as matrices. A piecewise span is a
number: its scaled value v, and its parts, of which those below the number's bin are 1, the one of the bin is a
fraction f, and the others are 0 (`NumberEncoding`). With the weights w_0 of the value and w_1, w_2, ... of the parts,

    z += (w_1 + ... + w_bin) + f w_(bin+1) + v w_0.

Rows are sorted by their bins. Then the sum of the weights below a bin, and the sum of the gradients above it, stay in
registers while the bins are visited in turn, and the cost hardly depends on the number of bins. The terms of a row are
summed in the same order, whatever the other rows are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rosenblatt.training.compiled.jit import jit
from rosenblatt.training.compiled.matmul import BYTES, I64, REGISTERS, VectorCode, matmul

FIRST, SIZE, PIECEWISE = range(3)  # columns of spans (S, 3): first feature, number of features, whether piecewise


class SortedRows(NamedTuple):
    """Rows of inputs, sorted by their bins in each piecewise span."""

    x: np.ndarray  # (n F,) flat
    order: np.ndarray  # (S n + n,) int64: the rows of span s in the order of their bins, from s n; and scratch
    starts: np.ndarray  # (F,) int64: from the first feature of a span, where its bins start in that order, and the end


class _Span:
    """Generates loops over the bins of a piecewise span and the rows in each.

    The arguments of a kernel are the weights (or their gradient) and its offset, the logits (or their gradient) and
    its offset, the width of both, the inputs and its offset, the row order and its offset, where the bins start in it
    and the offset of the first, the number of inputs, of bins, and of columns.
    """

    def __init__(self, context: Any, builder: Any, signature: Any, values: Any, vectors: int) -> None:
        self.builder = builder
        pointers = [
            builder.gep(context.make_array(signature.args[i])(context, builder, values[i]).data, [values[i + 1]])
            for i in (0, 2, 5, 7, 9)
        ]
        self.weights, self.outputs, self._inputs, self._order, self._starts = pointers
        self.width, self._n_inputs, self.n_bins = values[4], values[11], values[12]
        self.code = VectorCode(builder, signature.args[0].dtype, vectors, values[13])
        self.zero = ir.Constant(self.code.type, [0.0] * self.code.lanes)

    def variables(self) -> list[Any]:
        """A variable for each vector of a row, which is 0."""
        return [cgutils.alloca_once_value(self.builder, self.zero) for _ in range(self.code.vectors)]

    def rows(self, t: Any, visit: Callable[[Any, Any, Any], None]) -> None:
        """Visit each row in bin t: its offset in the outputs, its fraction, and its value."""
        builder = self.builder
        next_bin = builder.add(t, I64(1))
        bounds = [builder.load(builder.gep(self._starts, [index])) for index in (t, next_bin)]
        with cgutils.for_range_slice(builder, *bounds, I64(1)) as (k, _):
            row = builder.load(builder.gep(self._order, [k]))
            features = builder.gep(self._inputs, [builder.mul(row, self._n_inputs)])
            fraction = builder.load(builder.gep(features, [next_bin]))
            value = builder.load(features)
            visit(builder.mul(row, self.width), self.code.broadcast(fraction), self.code.broadcast(value))


def _kernel(generate_loops: Callable[[_Span, range, Any], None], vectors: int) -> Callable[..., Any]:
    """Return the compiled function for some vectors of each row of a piecewise span; it returns their columns."""

    @intrinsic
    def kernel(_typing, w, w0, z, z0, width, x, x0, order, order0, starts, starts0, n_inputs, n_bins, columns, add):
        def generate(context, builder, signature, values):
            span = _Span(context, builder, signature, values, vectors)
            generate_loops(span, range(vectors), values[14])
            return context.get_constant(types.int64, vectors * span.code.lanes)

        i = types.intp
        return types.int64(w, i, z, i, i, x, i, order, i, starts, i, i, i, i, types.boolean), generate

    return kernel


def _add_products(span: _Span, vectors: range, _add: Any) -> None:
    """z of each row += the weighted sum of its features."""
    builder, code = span.builder, span.code
    of_value = [code.load(span.weights, I64(0), v) for v in vectors]
    below = span.variables()  # sums of the weights of the parts below the bin
    with cgutils.for_range(builder, span.n_bins) as bins:
        offset = builder.mul(builder.add(bins.index, I64(1)), span.width)
        of_part = [code.load(span.weights, offset, v) for v in vectors]
        sums = [builder.load(variable) for variable in below]

        def visit(row: Any, fraction: Any, value: Any) -> None:
            for v in vectors:
                z = builder.fadd(code.load(span.outputs, row, v), sums[v])
                z = code.multiply_add(value, of_value[v], code.multiply_add(fraction, of_part[v], z))
                code.store(z, span.outputs, row, v)

        span.rows(bins.index, visit)
        for v in vectors:
            builder.store(builder.fadd(sums[v], of_part[v]), below[v])


def _sum_gradients(span: _Span, vectors: range, add: Any) -> None:
    """Write the gradient of a span's weights, or add it to that of earlier rows."""
    builder, code = span.builder, span.code
    above, of_value, of_part = span.variables(), span.variables(), span.variables()

    def visit(row: Any, fraction: Any, value: Any) -> None:
        for v in vectors:
            d = code.load(span.outputs, row, v)
            builder.store(builder.fadd(builder.load(above[v]), d), above[v])
            builder.store(code.multiply_add(fraction, d, builder.load(of_part[v])), of_part[v])
            builder.store(code.multiply_add(value, d, builder.load(of_value[v])), of_value[v])

    def write(variables: list[Any], offset: Any) -> None:
        with builder.if_then(add):
            for v in vectors:
                earlier = code.load(span.weights, offset, v)
                builder.store(builder.fadd(builder.load(variables[v]), earlier), variables[v])
        for v in vectors:
            code.store(builder.load(variables[v]), span.weights, offset, v)

    with cgutils.for_range(builder, span.n_bins) as bins:
        t = builder.sub(builder.sub(span.n_bins, I64(1)), bins.index)  # from the last bin to the first
        for v in vectors:
            builder.store(builder.load(above[v]), of_part[v])
        span.rows(t, visit)
        write(of_part, builder.mul(builder.add(t, I64(1)), span.width))
    write(of_value, I64(0))


WIDE, MIDDLE = REGISTERS // 4, REGISTERS // 8  # vectors of a row at a time: three sums of each stay in registers
_add_products_wide, _add_products_middle, _add_products_narrow = (
    _kernel(_add_products, vectors) for vectors in (WIDE, MIDDLE, 1)
)
_sum_gradients_wide, _sum_gradients_middle, _sum_gradients_narrow = (
    _kernel(_sum_gradients, vectors) for vectors in (WIDE, MIDDLE, 1)
)


@jit
def sort_by_bin(spans, rows):
    """Sort the rows by their bins, for each piecewise span: write `rows.order` and `rows.starts`."""
    n_inputs = rows.starts.size
    n_rows = rows.x.size // n_inputs
    bins = rows.order[spans.shape[0] * n_rows :]
    for s in range(spans.shape[0]):
        if not spans[s, PIECEWISE]:
            continue
        first, last_bin = spans[s, FIRST], spans[s, SIZE] - 2
        bounds = rows.starts[first : first + last_bin + 2]
        for t in range(last_bin + 2):
            bounds[t] = 0
        for i in range(n_rows):
            bins[i] = find_bin(rows.x, i * n_inputs + first + 1, last_bin)
            bounds[bins[i]] += 1
        for t in range(last_bin + 1):
            bounds[t + 1] += bounds[t]
        for i in range(n_rows - 1, -1, -1):
            bounds[bins[i]] -= 1
            rows.order[s * n_rows + bounds[bins[i]]] = i


@jit
def find_bin(x, first, last_bin):
    """The number of parts that are 1, from position `first` of x, but not the last."""
    low, n = first, last_bin + 1  # a binary search without branches, which would be mispredicted
    while n > 1:
        half = n // 2
        low += half * (x[low + half - 1] == 1)
        n -= half
    return low - first


@jit
def multiply_inputs(spans, rows, W, b, z):
    """z (n, N) flat = b + x W, with W (F, N) flat; the rows are sorted."""
    N, n_inputs = b.size, rows.starts.size
    n_rows = rows.x.size // n_inputs
    sort_by_bin(spans, rows)
    if spans[0, PIECEWISE]:
        for i in range(n_rows):
            for j in range(N):
                z[i * N + j] = b[j]
    for s in range(spans.shape[0]):
        first, size = spans[s, FIRST], spans[s, SIZE]
        if spans[s, PIECEWISE]:
            add_piecewise_products(spans, s, rows, W, z, N)
        elif s == 0:
            matmul(rows.x[first:], n_inputs, 1, W[first * N :], b, 0, z, n_rows, N, size)
        else:
            matmul(rows.x[first:], n_inputs, 1, W[first * N :], z, N, z, n_rows, N, size)


@jit
def add_piecewise_products(spans, s, rows, W, z, N):
    """Add the products of piecewise span s to z (n, N)."""
    x, order, starts = rows
    first, n_bins, n_inputs = spans[s, FIRST], spans[s, SIZE] - 1, starts.size
    n_rows, lanes, j, w0 = x.size // n_inputs, BYTES // z.itemsize, 0, first * N
    while starts[first + n_bins - 1] == n_rows:  # there are no rows in the last bin
        n_bins -= 1
    while j < N:
        places = order, s * n_rows, starts, first, n_inputs, n_bins
        if N - j > (WIDE - 1) * lanes:
            j += _add_products_wide(W, w0 + j, z, j, N, x, first, *places, min(N - j, WIDE * lanes), True)
        elif N - j > (MIDDLE - 1) * lanes:
            j += _add_products_middle(W, w0 + j, z, j, N, x, first, *places, min(N - j, MIDDLE * lanes), True)
        else:
            j += _add_products_narrow(W, w0 + j, z, j, N, x, first, *places, min(N - j, lanes), True)


@jit
def input_weight_gradient(spans, rows, d, dW, zeros, accumulate):
    """dW (F, N) = x^T d, or += if `accumulate`, for rows that `multiply_inputs` has sorted; flat arrays."""
    n_inputs = rows.starts.size
    n_rows, N = rows.x.size // n_inputs, dW.size // n_inputs
    for s in range(spans.shape[0]):
        first, size = spans[s, FIRST], spans[s, SIZE]
        x, out = rows.x[first:], dW[first * N :]
        if spans[s, PIECEWISE]:
            sum_piecewise_gradients(spans, s, rows, d, dW, N, accumulate)
        elif accumulate:
            matmul(x, 1, n_inputs, d, out, N, out, size, N, n_rows)
        else:
            matmul(x, 1, n_inputs, d, zeros, 0, out, size, N, n_rows)


@jit
def sum_piecewise_gradients(spans, s, rows, d, dW, N, accumulate):
    """Write the gradient of the weights of piecewise span s, or add it."""
    x, order, starts = rows
    first, n_bins, n_inputs = spans[s, FIRST], spans[s, SIZE] - 1, starts.size
    n_rows, lanes, j, w0 = x.size // n_inputs, BYTES // d.itemsize, 0, first * N
    while j < N:
        places = order, s * n_rows, starts, first, n_inputs, n_bins
        if N - j > (WIDE - 1) * lanes:
            j += _sum_gradients_wide(dW, w0 + j, d, j, N, x, first, *places, min(N - j, WIDE * lanes), accumulate)
        elif N - j > (MIDDLE - 1) * lanes:
            j += _sum_gradients_middle(dW, w0 + j, d, j, N, x, first, *places, min(N - j, MIDDLE * lanes), accumulate)
        else:
            j += _sum_gradients_narrow(dW, w0 + j, d, j, N, x, first, *places, min(N - j, lanes), accumulate)
