"""Matrix products C = start + A B of matrices A (M, K) and B (K, N).

BLAS libraries have too much overhead for small matrices. C is computed in tiles that stay in vector registers while k
runs over the inner dimension (Goto & van de Geijn 2008, section 4). Each element of C is summed in the same order,
whatever the other rows are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rosenblatt.training.compiled.jit import jit


def _registers() -> tuple[int, int]:
    """Return the bytes of a vector register of this machine, and the number of registers."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx"):
        return 32, 16
    return 16, 32 if features.get("neon") else 16


BYTES, REGISTERS = _registers()
# Rows of a tile of two vectors. In the highest most registers hold sums; the others compute the remaining rows.
HIGH, MIDDLE, LOW = (12, 8, 4) if REGISTERS == 32 else (6, 4, 2)

I32, I64 = ir.IntType(32), ir.IntType(64)


class VectorCode:
    """Generates code for vectors of one type; the last vector is masked to `columns`."""

    def __init__(self, builder: ir.IRBuilder, dtype: types.Type, vectors: int, columns: ir.Value) -> None:
        self.builder, self.vectors = builder, vectors
        self.scalar, self.size = (ir.FloatType(), 4) if dtype == types.float32 else (ir.DoubleType(), 8)
        self.lanes = BYTES // self.size
        self.type = ir.VectorType(self.scalar, self.lanes)
        self._name = f"v{self.lanes}{self.scalar.intrinsic_name}"
        self._mask_type = ir.VectorType(ir.IntType(1), self.lanes)
        n_left = builder.trunc(builder.sub(columns, I64((vectors - 1) * self.lanes)), I32)
        lane_index = ir.Constant(ir.VectorType(I32, self.lanes), list(range(self.lanes)))
        self._mask = builder.icmp_signed("<", lane_index, self.broadcast(n_left))

    def broadcast(self, scalar: ir.Value) -> ir.Value:
        """A vector with a number in all lanes."""
        type_ = ir.VectorType(scalar.type, self.lanes)
        first = self.builder.insert_element(ir.Constant(type_, ir.Undefined), scalar, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, ir.Constant(type_, ir.Undefined), zeros)

    def load(self, start: ir.Value, offset: ir.Value, v: int) -> ir.Value:
        """Load the v-th vector of a row."""
        pointer = self._pointer(start, offset, v)
        if v < self.vectors - 1:
            return self.builder.load(pointer, align=self.size)
        zero = ir.Constant(self.type, [0.0] * self.lanes)
        argument_types = [self.type.as_pointer(), I32, self._mask_type, self.type]
        function = self._function(f"llvm.masked.load.{self._name}.p0", self.type, argument_types)
        return self.builder.call(function, [pointer, I32(self.size), self._mask, zero])

    def store(self, vector: ir.Value, start: ir.Value, offset: ir.Value, v: int) -> None:
        """Store the v-th vector of a row."""
        pointer = self._pointer(start, offset, v)
        if v < self.vectors - 1:
            self.builder.store(vector, pointer, align=self.size)
            return
        argument_types = [self.type, self.type.as_pointer(), I32, self._mask_type]
        function = self._function(f"llvm.masked.store.{self._name}.p0", ir.VoidType(), argument_types)
        self.builder.call(function, [vector, pointer, I32(self.size), self._mask])

    def multiply_add(self, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
        """total + a b."""
        return self.builder.call(
            self._function(f"llvm.fmuladd.{self._name}", self.type, [self.type] * 3), [a, b, total]
        )

    def _pointer(self, start: ir.Value, offset: ir.Value, v: int) -> ir.Value:
        element = self.builder.gep(start, [self.builder.add(offset, I64(v * self.lanes))])
        return self.builder.bitcast(element, self.type.as_pointer())

    def _function(self, name: str, result_type: ir.Type, argument_types: list[ir.Type]) -> ir.Function:
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result_type, argument_types), name)


def _tile(rows: int, vectors: int) -> Callable[..., Any]:
    """Return the compiled function for a tile of C, from flat arrays and the tile's offset in each.

    Strides in elements: `ar` and `ac` between rows and columns of A, `width` between rows of B and C, `sr` of start.
    """

    @intrinsic
    def tile(_typing, a, a0, ar, ac, b, b0, start, s0, sr, c, c0, width, K, columns):
        def generate(context, builder, signature, values):
            _, a0, ar, ac, _, b0, _, s0, sr, _, c0, width, K, columns = values
            pointers = []
            for i, offset in ((0, a0), (4, b0), (6, s0), (9, c0)):
                data = context.make_array(signature.args[i])(context, builder, values[i]).data
                pointers.append(builder.gep(data, [offset]))
            A, B, S, C = pointers
            vector = VectorCode(builder, signature.args[0].dtype, vectors, columns)
            cells = [(r, v) for r in range(rows) for v in range(vectors)]
            sums = {
                (r, v): cgutils.alloca_once_value(builder, vector.load(S, builder.mul(sr, I64(r)), v)) for r, v in cells
            }
            with cgutils.for_range(builder, K) as loop:
                b_row = [vector.load(B, builder.mul(loop.index, width), v) for v in range(vectors)]
                column = builder.mul(loop.index, ac)
                for r in range(rows):
                    element = builder.gep(A, [builder.add(column, builder.mul(ar, I64(r)))])
                    x = vector.broadcast(builder.load(element))
                    for v in range(vectors):
                        total = vector.multiply_add(x, b_row[v], builder.load(sums[r, v]))
                        builder.store(total, sums[r, v])
            for r, v in cells:
                vector.store(builder.load(sums[r, v]), C, builder.mul(width, I64(r)), v)
            return context.get_constant(types.int64, rows)

        i = types.intp
        return types.int64(a, i, i, i, b, i, start, i, i, c, i, i, i, i), generate

    return tile


def _row(vectors: int) -> Callable[..., Any]:
    """Return the compiled function for vectors of a row of C, from column j; it skips rows of B whose factor is 0."""

    @intrinsic
    def row(_typing, a, ac, b, start, c, j, width, K, columns):
        def generate(context, builder, signature, values):
            _, ac, _, _, _, j, width, K, columns = values
            data = [context.make_array(signature.args[i])(context, builder, values[i]).data for i in (0, 2, 3, 4)]
            A, B, S, C = data[0], *(builder.gep(pointer, [j]) for pointer in data[1:])
            vector = VectorCode(builder, signature.args[0].dtype, vectors, columns)
            sums = [cgutils.alloca_once_value(builder, vector.load(S, I64(0), v)) for v in range(vectors)]
            with cgutils.for_range(builder, K) as loop:
                element = builder.load(builder.gep(A, [builder.mul(loop.index, ac)]))
                is_used = builder.fcmp_unordered("!=", element, ir.Constant(element.type, 0.0))
                with builder.if_then(is_used):
                    x, offset = vector.broadcast(element), builder.mul(loop.index, width)
                    for v in range(vectors):
                        total = vector.multiply_add(x, vector.load(B, offset, v), builder.load(sums[v]))
                        builder.store(total, sums[v])
            for v in range(vectors):
                vector.store(builder.load(sums[v]), C, I64(0), v)
            return context.get_constant(types.int64, vectors * vector.lanes)

        i = types.intp
        return types.int64(a, i, b, start, c, i, i, i, i), generate

    return row


_high_wide, _high_narrow = _tile(HIGH, 2), _tile(HIGH, 1)
_middle_wide, _middle_narrow = _tile(MIDDLE, 2), _tile(MIDDLE, 1)
_low_wide, _low_narrow = _tile(LOW, 2), _tile(LOW, 1)
_row_wide, _row_narrow = _tile(1, 2), _tile(1, 1)
WIDEST = REGISTERS // 2  # vectors of a row that are summed at a time, so that B is read in long runs
_vectors_widest, _vectors_wide, _vector = _row(WIDEST), _row(4), _row(1)


@jit
def row_product(a, ac, b, start, c, N, K):
    """c = start + a b of one row a (K,) with stride `ac`; if rows are few, the time is that of reading b."""
    lanes, j = BYTES // c.itemsize, 0
    while j < N:
        if N - j > (WIDEST - 1) * lanes:
            j += _vectors_widest(a, ac, b, start, c, j, N, K, min(N - j, WIDEST * lanes))
        elif N - j > 3 * lanes:
            j += _vectors_wide(a, ac, b, start, c, j, N, K, min(N - j, 4 * lanes))
        else:
            j += _vector(a, ac, b, start, c, j, N, K, min(N - j, lanes))


@jit
def matmul(a, ar, ac, b, start, sr, c, M, N, K):
    """c = start + a b for flat arrays a (M, K) with row stride `ar` and column stride `ac`, b (K, N) and c (M, N).

    `sr` is the row stride of `start`: N for a matrix, which may be c itself, or 0 to repeat one row.
    """
    if M < LOW:
        for i in range(M):
            row_product(a[i * ar :], ac, b, start[i * sr :], c[i * N :], N, K)
        return
    lanes = BYTES // c.itemsize
    for j in range(0, N, 2 * lanes):
        columns = min(N - j, 2 * lanes)
        i = 0
        while i < M:
            a0, s0, c0 = i * ar, i * sr + j, i * N + j
            if columns > lanes:
                if i + HIGH <= M:
                    i += _high_wide(a, a0, ar, ac, b, j, start, s0, sr, c, c0, N, K, columns)
                elif i + MIDDLE <= M:
                    i += _middle_wide(a, a0, ar, ac, b, j, start, s0, sr, c, c0, N, K, columns)
                elif i + LOW <= M:
                    i += _low_wide(a, a0, ar, ac, b, j, start, s0, sr, c, c0, N, K, columns)
                else:
                    i += _row_wide(a, a0, ar, ac, b, j, start, s0, sr, c, c0, N, K, columns)
            elif i + HIGH <= M:
                i += _high_narrow(a, a0, ar, ac, b, j, start, s0, sr, c, c0, N, K, columns)
            elif i + MIDDLE <= M:
                i += _middle_narrow(a, a0, ar, ac, b, j, start, s0, sr, c, c0, N, K, columns)
            elif i + LOW <= M:
                i += _low_narrow(a, a0, ar, ac, b, j, start, s0, sr, c, c0, N, K, columns)
            else:
                i += _row_narrow(a, a0, ar, ac, b, j, start, s0, sr, c, c0, N, K, columns)


@intrinsic
def _transpose_square(_typing, a, a0, ar, out, o0, width):
    """Transpose a square of as many rows as a vector has lanes, by interleaving its halves log2(lanes) times."""

    def generate(context, builder, signature, values):
        source, target = (context.make_array(signature.args[i])(context, builder, values[i]).data for i in (0, 3))
        vector = VectorCode(builder, signature.args[0].dtype, 2, I64(0))  # whole vectors, without a mask
        n = vector.lanes
        read, write = builder.gep(source, [values[1]]), builder.gep(target, [values[4]])
        rows = [vector.load(read, builder.mul(values[2], I64(r)), 0) for r in range(n)]
        halves = [[i // 2 + n * (i % 2) + half for i in range(n)] for half in (0, n // 2)]
        masks = [ir.Constant(ir.VectorType(I32, n), half) for half in halves]
        for _ in range(n.bit_length() - 1):
            pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
            rows = [builder.shuffle_vector(top, low, mask) for top, low in pairs for mask in masks]
        for r, row in enumerate(rows):
            vector.store(row, write, builder.mul(values[5], I64(r)), 0)
        return context.get_constant(types.int64, n)

    i = types.intp
    return types.int64(a, i, i, out, i, i), generate


@jit
def transpose(a, rows, columns, out):
    """out (columns, rows) = a^T of a flat array a (rows, columns)."""
    lanes = BYTES // a.itemsize
    for i0 in range(0, rows, lanes):
        j = 0
        if i0 + lanes <= rows:
            while j + lanes <= columns:
                j += _transpose_square(a, i0 * columns + j, columns, out, j * rows + i0, rows)
        while j < columns:
            for i in range(i0, min(i0 + lanes, rows)):
                out[j * rows + i] = a[i * columns + j]
            j += 1


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b for C-contiguous matrices (M, K) and (K, N) of one type, float32 or float64."""
    M, K = a.shape
    out = np.zeros((M, b.shape[1]), a.dtype)
    flat = out.ravel()
    matmul(a.ravel(), K, 1, b.ravel(), flat, b.shape[1], flat, M, b.shape[1], K)
    return out
