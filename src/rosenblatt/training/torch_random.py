"""In: seeds and places. Out: numbers that look random, and are the same on every device: hashes of integers."""

from __future__ import annotations

import torch
from torch import Tensor

GOLDEN = -1640531527  # 2^32 by the golden ratio, as a signed number
FIRST, SECOND = -2048144789, -1028477387  # of the finalizer of MurmurHash3 (Appleby 2011)


def stirred(bits: Tensor) -> Tensor:
    """int32 numbers, in their own place, so that each bit depends on all bits there were (MurmurHash3's finalizer)."""
    bits.bitwise_xor_((bits >> 16).bitwise_and_(0xFFFF)).mul_(FIRST)
    bits.bitwise_xor_((bits >> 13).bitwise_and_(0x7FFFF)).mul_(SECOND)
    return bits.bitwise_xor_((bits >> 16).bitwise_and_(0xFFFF))


def drawn(seeds: Tensor, what: int, many: int) -> Tensor:
    """(P, many) int32: what each of P seeds (int32) draws for a purpose, which is told from others by its number."""
    place = torch.arange(many, dtype=torch.int32, device=seeds.device) * GOLDEN
    return stirred(place ^ stirred(seeds + what)[:, None])


def fraction(bits: Tensor) -> Tensor:
    """float32 numbers from 0 to 1, without 1."""
    return (bits >> 8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)
