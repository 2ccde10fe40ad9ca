"""Random numbers as hashes of seeds and positions, the same on every device."""

from __future__ import annotations

from itertools import count

import torch
from torch import Tensor

GOLDEN = -1640531527  # 2^32 / golden ratio, as a signed number
MULTIPLIER_1, MULTIPLIER_2 = -2048144789, -1028477387  # of the finalizer of MurmurHash3 (Appleby 2011)
ROW_STRIDE = 1_000_003  # distance between the dropout positions of adjacent rows


def hash_bits(bits: Tensor) -> Tensor:
    """Hash int32 numbers in place, so that each bit depends on all bits (finalizer of MurmurHash3)."""
    bits.bitwise_xor_((bits >> 16).bitwise_and_(0xFFFF)).mul_(MULTIPLIER_1)
    bits.bitwise_xor_((bits >> 13).bitwise_and_(0x7FFFF)).mul_(MULTIPLIER_2)
    return bits.bitwise_xor_((bits >> 16).bitwise_and_(0xFFFF))


def random_bits(seeds: Tensor, purpose: int, n: int) -> Tensor:
    """Draw n int32 numbers from each of P seeds (int32), independent for each purpose; return (P, n)."""
    positions = torch.arange(n, dtype=torch.int32, device=seeds.device) * GOLDEN
    return hash_bits(positions ^ hash_bits(seeds + purpose)[:, None])


def to_uniform(bits: Tensor) -> Tensor:
    """Convert to float32 numbers in [0, 1)."""
    return (bits >> 8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)


def _wrap_int32(number: int) -> int:
    """The int32 number that is equal modulo 2^32."""
    return (number + 2**31) % 2**32 - 2**31


class DropoutMasks:
    """Dropout masks of P members, as hashes of each member's seed and a position.

    `first_row` is the position, in the whole batch, of the first of the rows that this process has.
    """

    def __init__(self, seeds: Tensor, dropout: Tensor | None, inputs: Tensor | None, first_row: int = 0) -> None:
        self.seeds, self.dropout, self.inputs = seeds, dropout, inputs  # (P,) int32; (P,) rates, or None
        self._first_row, self._calls = first_row, count(1)

    def drop(self, a: Tensor, rate: Tensor, row_stride: int = ROW_STRIDE) -> Tensor:
        """Set a fraction `rate` (P,) of a (P, ...) to 0, scale up the rest (Srivastava et al. 2014, inverted).

        `row_stride` is the distance between the positions of adjacent rows of the batch, by default the rows of a.
        """
        mask = self._keep_mask(a, rate, row_stride)
        return a * (mask.to(a.dtype) / (1 - rate).view(-1, *(1,) * (a.dim() - 1)).to(a.dtype))

    def drop_inputs(self, medium: Tensor) -> Tensor:
        """Apply input dropout to images, steps or tokens; dropped tokens become 0, the unknown token."""
        if self.inputs is None:
            return medium
        return medium * self._keep_mask(medium, self.inputs) if medium.dim() == 3 else self.drop(medium, self.inputs)

    def _keep_mask(self, a: Tensor, rate: Tensor, row_stride: int = ROW_STRIDE) -> Tensor:
        """Mask of the values of a (P, ...) to keep."""
        shape = (-1,) + (1,) * (a.dim() - 1)
        rows, units = a.shape[1], a[0, 0].numel()  # positions do not depend on the length of other rows
        positions = torch.arange(rows, dtype=torch.int32, device=a.device)[:, None] * ROW_STRIDE
        positions = positions + torch.arange(units, dtype=torch.int32, device=a.device)
        if self._first_row:
            positions += _wrap_int32(self._first_row * row_stride)
        bits = (positions * GOLDEN).view(1, *a.shape[1:]) ^ (self.seeds * (2 * next(self._calls) + 1)).view(shape)
        return (hash_bits(bits) >> 8).bitwise_and_(0xFFFFFF) >= (rate * 2**24).to(torch.int32).view(shape)
