"""Random numbers from seeds and positions, the same on every device: hashes of integers."""

from __future__ import annotations

from itertools import count

import torch
from torch import Tensor

GOLDEN = -1640531527  # 2^32 by the golden ratio, as a signed number
MULTIPLIER_1, MULTIPLIER_2 = -2048144789, -1028477387  # of the finalizer of MurmurHash3 (Appleby 2011)
ROW_STRIDE = 1_000_003  # places of dropout from one row to the next


def hash_bits(bits: Tensor) -> Tensor:
    """int32 numbers, in their own place, so that each bit depends on all bits there were (MurmurHash3's finalizer)."""
    bits.bitwise_xor_((bits >> 16).bitwise_and_(0xFFFF)).mul_(MULTIPLIER_1)
    bits.bitwise_xor_((bits >> 13).bitwise_and_(0x7FFFF)).mul_(MULTIPLIER_2)
    return bits.bitwise_xor_((bits >> 16).bitwise_and_(0xFFFF))


def random_bits(seeds: Tensor, purpose: int, n: int) -> Tensor:
    """(P, many) int32: what each of P seeds (int32) draws for a purpose, which is told from others by its number."""
    positions = torch.arange(n, dtype=torch.int32, device=seeds.device) * GOLDEN
    return hash_bits(positions ^ hash_bits(seeds + purpose)[:, None])


def to_uniform(bits: Tensor) -> Tensor:
    """float32 numbers from 0 to 1, without 1."""
    return (bits >> 8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)


class DropoutMasks:
    """Masks of dropout: a hash of each member's seed and the place in it, so that they depend on nothing else."""

    def __init__(self, seeds: Tensor, dropout: Tensor | None, inputs: Tensor | None) -> None:
        self.seeds, self.dropout, self.inputs = seeds, dropout, inputs  # (P,) int32; (P,) rates of units and of inputs
        self._calls = count(1)

    def drop(self, a: Tensor, rate: Tensor) -> Tensor:
        """a (P, ...) with a share of it 0, and the rest scaled up (Srivastava et al. 2014, inverted)."""
        mask = self._keep_mask(a, rate)
        return a * (mask.to(a.dtype) / (1 - rate).view(-1, *(1,) * (a.dim() - 1)).to(a.dtype))

    def drop_inputs(self, medium: Tensor) -> Tensor:
        """An image, steps or tokens, of which a share is 0; token 0 is one that is not known."""
        if self.inputs is None:
            return medium
        return medium * self._keep_mask(medium, self.inputs) if medium.dim() == 3 else self.drop(medium, self.inputs)

    def _keep_mask(self, a: Tensor, rate: Tensor) -> Tensor:
        """Which numbers of a (P, ...) stay."""
        shape = (-1,) + (1,) * (a.dim() - 1)
        rows, units = a.shape[1], a[0, 0].numel()  # a row's place does not depend on how long the others are
        positions = torch.arange(rows, dtype=torch.int32, device=a.device)[:, None] * ROW_STRIDE
        positions = positions + torch.arange(units, dtype=torch.int32, device=a.device)
        bits = (positions * GOLDEN).view(1, *a.shape[1:]) ^ (self.seeds * (2 * next(self._calls) + 1)).view(shape)
        return (hash_bits(bits) >> 8).bitwise_and_(0xFFFFFF) >= (rate * 2**24).to(torch.int32).view(shape)
