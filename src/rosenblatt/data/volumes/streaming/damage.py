"""Policies for samples that are damaged or cannot be decoded: raise an error, leave them out, or replace them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rosenblatt.data.media.images import MAX_DAMAGED_FRACTION
from rosenblatt.errors import DamagedDataError, Notify, format_count, format_list

DamagePolicy = Literal["raise", "skip", "replace"]
DAMAGE_POLICIES: tuple[DamagePolicy, ...] = ("raise", "skip", "replace")


@dataclass(frozen=True)
class DamagedSample:
    """A sample that was left out or replaced."""

    epoch: int
    position: int  # in the epoch
    id: Any
    reason: str


class DamageLog:
    """Applies the policy to the damaged samples of each batch, and lists them.

    Args:
        name: what is streamed, for messages.
        policy: raise an error, skip them (their batches are smaller, and the positions of others do not change), or
            replace each by the nearest good sample of its batch.
        n_samples: samples of an epoch that this process gets: up to 5 % of them, and at least one, may be damaged.
    """

    def __init__(self, name: str, policy: DamagePolicy, n_samples: int) -> None:
        self._name, self._policy, self._n_samples = name, policy, n_samples
        self.samples: list[DamagedSample] = []
        self._n_in_epoch = 0

    def choose(self, n: int, damage: dict[int, DamagedSample]) -> list[int]:
        """Choose the samples of a batch of n: indices without those of damaged ones, or with replacements for them.

        Raises:
            DamagedDataError: if the policy is to raise, if too many are damaged, or all of a batch cannot be replaced.
        """
        first = next(iter(damage.values()))
        if self._policy == "raise":
            raise DamagedDataError(first.reason)
        self.samples += damage.values()
        self._n_in_epoch += len(damage)
        good = [index for index in range(n) if index not in damage]
        if self._n_in_epoch > max(1, MAX_DAMAGED_FRACTION * self._n_samples):
            raise DamagedDataError(f"{self._describe()}, more than {MAX_DAMAGED_FRACTION:.0%}. First: {first.reason}")
        if self._policy == "skip":
            return good
        if not good:
            raise DamagedDataError(f"{self._name}: all samples of a batch are damaged. First: {first.reason}")
        return [min(good, key=lambda other: abs(other - index)) for index in range(n)]

    def end_epoch(self, notify: Notify) -> None:
        """Tell how many samples of an epoch were damaged, and which."""
        if self._n_in_epoch:
            action = "left out" if self._policy == "skip" else "replaced"
            notify(f"{self._describe()}, and were {action}. First: {self.samples[-self._n_in_epoch].reason}")
        self._n_in_epoch = 0

    def _describe(self) -> str:
        ids = format_list(sample.id for sample in self.samples[-self._n_in_epoch :])
        total = format_count(self._n_samples, "sample")
        return f"{self._name}: {self._n_in_epoch:,} of {total} are damaged or cannot be decoded ({ids})"
