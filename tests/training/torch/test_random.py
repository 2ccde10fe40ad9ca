"""Random numbers from hashes are reproducible, uniform and uncorrelated."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.training.torch.random import hash_bits, random_bits, to_uniform

pytestmark = pytest.mark.torch

SEEDS = torch.arange(64, dtype=torch.int32)


def murmur(h):
    """The finalizer of MurmurHash3, with Python's integers."""
    h ^= h >> 16
    h = h * 0x85EBCA6B & 0xFFFFFFFF
    h ^= h >> 13
    h = h * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def test_hashes_equal_those_of_murmurhash3():
    numbers = [0, 1, 2, 12345, 2**31 - 1, 2**31, 2**32 - 1]
    signed = torch.tensor(np.array(numbers, np.uint32).view(np.int32))
    assert hash_bits(signed).numpy().view(np.uint32).tolist() == [murmur(value) for value in numbers]


def test_equal_seeds_give_equal_numbers_and_different_purposes_do_not():
    assert torch.equal(random_bits(SEEDS, 3, 100), random_bits(SEEDS, 3, 100))
    assert torch.equal(random_bits(SEEDS[5:6], 3, 100)[0], random_bits(SEEDS, 3, 100)[5])
    assert not (random_bits(SEEDS, 3, 100) == random_bits(SEEDS, 4, 100)).any(dim=1).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_numbers_are_uniform_and_neighbors_are_uncorrelated(axis):
    uniform = to_uniform(random_bits(torch.arange(400, dtype=torch.int32), 0, 400)).double()
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 4 * np.sqrt(1 / 12 / uniform.numel())
    counts = torch.histc(uniform.float(), 50, 0, 1)
    assert ((counts - 3200) ** 2 / 3200).sum() < 49 + 5 * np.sqrt(2 * 49)
    neighbours = torch.corrcoef(
        torch.stack([uniform.narrow(axis, 0, 399).flatten(), uniform.narrow(axis, 1, 399).flatten()])
    )
    assert abs(neighbours[0, 1]) < 4 / np.sqrt(399 * 400)
