"""In: members of one shape, and how many epochs each has learnt. Out: the batches of their next epoch, all at once.

Which rows make a batch, and how images are changed, is a hash of a member's seed, its epoch and a place, computed on
the device: what a member meets depends on nothing else, and one that goes on meets what it would have met.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rosenblatt.data.media.columns import Ragged
from rosenblatt.data.media.images import Pictures
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member
from rosenblatt.training.rows import MediaRows, Rows
from rosenblatt.training.torch.random import drawn, fraction, stirred

BUCKET = 16  # batches whose rows are sorted by length together
PURPOSES = 8
SHUFFLE, ORDER, DROPOUT, FLIP, MOVE, ANGLE, JITTER, HOLE = range(PURPOSES)  # what is drawn
LAST = 2**31 - 1  # behind all else, where places are sorted


class Way(NamedTuple):
    """How rows become batches, and what is done to them: the same for all members of a stack, if not how much of it."""

    batches: str  # shuffled, stratified, in_order
    moves: bool
    recolors: bool
    turns: bool
    mixes: bool
    cutout: float


def way_of(spec: Spec) -> Way:
    """The way of a resolved spec."""
    training = spec.training
    moves = bool(spec["flip"]) or spec["crop"] > 0
    return Way(
        training.batches,
        moves,
        training.color_jitter > 0,
        training.rotate > 0,
        training.mixup > 0,
        float(spec["cutout"]),
    )


class Changes(NamedTuple):
    """How the images of some rows (...,) are changed; None for what is not."""

    flip: Tensor | None  # (...,) bool
    move: Tensor | None  # (..., 2) pixels down and to the right
    angle: Tensor | None  # (...,) radians
    jitter: Tensor | None  # (..., 1 + channels) contrast, then each channel's shift, in standard deviations
    hole: Tensor | None  # (..., 2) middle of the square that is cut out, as shares of the sides


class Dealt(NamedTuple):
    """The S batches of an epoch of P members, of B rows each; or, without the axis S, one of them."""

    rows: Tensor  # (P, S, B)
    weight: Tensor  # (P, S, B) float32: of each row in the mean loss; 0 for one that only fills the batch up
    seeds: Tensor  # (P, S) int32, of the masks of dropout
    share: Tensor | None = None  # (P, S) of the row itself, where rows are mixed
    changes: tuple[Changes | None, ...] = ()  # of the images of each medium, None where it is none

    def tensors(self) -> list[Tensor]:
        """All there are."""
        changes = [one for each in self.changes if each is not None for one in each]
        return [one for one in (self.rows, self.weight, self.seeds, self.share, *changes) if one is not None]

    def batch(self, k: int | Tensor) -> Dealt:
        """One of the batches, without the axis S. k may also be a number (1,) on the device."""

        def of(a: Tensor | None) -> Any:
            if a is None:
                return None
            return a.select(1, k) if isinstance(k, int) else a.index_select(1, k).squeeze(1)

        changes = tuple(None if each is None else Changes(*map(of, each)) for each in self.changes)
        return Dealt(of(self.rows), of(self.weight), of(self.seeds), of(self.share), changes)


class Deck:
    """The rows that P members of one shape learn from, on a device; `put` and `clear` change whose they are."""

    def __init__(self, like: Member, table: Rows | MediaRows, lanes: int, device: torch.device) -> None:
        self.way, self.device, self._members = way_of(like.spec), device, list[Member | None]([None] * lanes)
        self.batches = n_batches(like.spec, like.state.order.size)
        self.size = -(-like.state.order.size // self.batches)
        n = self.batches * self.size

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(lanes, *shape, dtype=dtype, device=device)

        self._order, self._stratum = zeros(n, dtype=torch.int64), zeros(n, dtype=torch.int32)
        self._many, self._counter = zeros(dtype=torch.int64) + 1, zeros(2, dtype=torch.int32)
        self._weight = torch.from_numpy(np.ascontiguousarray(table.weight, np.float32)).to(device)
        self._amounts = {name: zeros() for name in ("flip", "crop", "rotate", "color_jitter")}
        self._media = getattr(table, "media", ())
        ragged = next((one for one in self._media if isinstance(one, Ragged)), None)
        self._lengths = None if ragged is None else torch.from_numpy(ragged.lengths).to(device)
        self._apart = 0 if ragged is None else int(ragged.lengths.max(initial=0)) + 1

    def put(self, lane: int, member: Member, strata: np.ndarray) -> None:
        """Deal the rows of this member to a lane; `strata` is where those start that lie side by side in its order."""
        order, spec = member.state.order, member.spec
        self._members[lane] = member
        self._order[lane, : order.size] = torch.from_numpy(order)
        if self.way.batches == "stratified":
            stratum = np.repeat(np.arange(len(strata) - 1, dtype=np.int32), np.diff(strata))
            self._stratum[lane, : order.size] = torch.from_numpy(stratum)
        self._many[lane] = order.size
        self._counter[lane] = torch.from_numpy(member.state.counter[:1].view(np.int32))
        amounts = (0.5 * spec["flip"], spec["crop"], np.deg2rad(spec.training.rotate), spec.training.color_jitter)
        for column, amount in zip(self._amounts.values(), amounts, strict=True):
            column[lane] = float(amount)

    def clear(self, lane: int) -> None:
        """Deal rows that weigh nothing to a lane."""
        self._members[lane] = None

    def _epochs(self, ahead: int) -> list[int]:
        return [0 if one is None else len(one.history) + ahead for one in self._members]

    def deal(self, ahead: int = 0) -> Dealt:
        """The next epoch of each member, or one so many epochs ahead."""
        epochs = self._epochs(ahead)
        seeds = self._seeds(epochs)
        picked, inside = self._picked(seeds, epochs)
        there = torch.tensor([one is not None for one in self._members], device=self.device)
        weight = self._weight[picked] * (inside & there[:, None, None])
        weight /= (weight > 0).sum(dim=2, keepdim=True).clamp(min=1)
        share = self._shares(epochs) if self.way.mixes else None
        changes = tuple(
            self._changes(seeds, k, one, picked.shape) if isinstance(one, Pictures) else None
            for k, one in enumerate(self._media)
        )
        return Dealt(picked, weight, drawn(seeds, DROPOUT, self.batches), share, changes)

    def _seeds(self, epochs: Sequence[int]) -> Tensor:
        """(P,) int32, of each member in this epoch."""
        number = torch.tensor(epochs, dtype=torch.int32, device=self.device)
        return stirred(self._counter[:, 0] ^ stirred(self._counter[:, 1] ^ stirred(number)))

    def _picked(self, seeds: Tensor, epochs: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The rows (P, S, B) of all batches, and which of them do not only fill a batch up."""
        S, n, device = self.batches, self._order.shape[1], self.device
        many, place = self._many[:, None], torch.arange(n, device=device)
        rows = self._order
        if self.way.batches != "in_order":
            keys = drawn(seeds, SHUFFLE, n).masked_fill_(place >= many, LAST)
            dealt = keys.argsort(dim=1, stable=True)
            if self.way.batches == "stratified":
                strata = self._stratum.masked_fill(place >= many, LAST).gather(1, dealt)
                dealt = dealt.gather(1, strata.argsort(dim=1, stable=True))
            rows = rows.gather(1, dealt)
        step, within = torch.arange(S, device=device)[:, None], torch.arange(self.size, device=device)
        if self.way.batches == "stratified":
            index = (step + S * within).expand(len(rows), -1, -1)  # (P, S, B)
            inside = index < many[..., None]
            return rows.gather(1, torch.where(inside, index, step).flatten(1)).view(index.shape), inside
        ends = torch.arange(S + 1, device=device) * many // S
        first, size = ends[:, :-1, None], ends.diff(dim=1)[..., None]
        order = self._batch_order(epochs)
        if order is not None:
            rows = self._alike(rows, ends)
            first, size = (one.gather(1, order[..., None]) for one in (first, size))
        index, inside = first + within % size.clamp(min=1), within < size
        return rows.gather(1, index.flatten(1)).view(index.shape), inside

    def _alike(self, rows: Tensor, ends: Tensor) -> Tensor:
        """The rows (P, n) so that those of about one length stand together, within each few batches."""
        assert self._lengths is not None  # noqa: S101 - asked before
        place = torch.arange(rows.shape[1], device=self.device).expand(rows.shape)
        batch = torch.searchsorted(ends[:, 1:].contiguous(), place.contiguous(), right=True)
        key = batch // BUCKET * self._apart + self._lengths[rows]
        return rows.gather(1, key.masked_fill_(place >= self._many[:, None], 2**62).argsort(dim=1, stable=True))

    def _batch_order(self, epochs: Sequence[int]) -> Tensor | None:
        """(P, S): in which order batches of rows of about one length are met; one for all members, so that those of a
        stack meet long rows together. None for as they are."""
        if self._lengths is None or self.way.batches != "shuffled":
            return None
        seeds = stirred(torch.tensor(epochs, dtype=torch.int32, device=self.device))
        return drawn(seeds, ORDER, self.batches).argsort(dim=1, stable=True)

    def _shares(self, epochs: Sequence[int]) -> Tensor:
        """(P, S) of each row itself in its mixture (Zhang et al. 2018)."""
        found = np.ones((len(epochs), self.batches), np.float32)
        for lane, (member, epoch) in enumerate(zip(self._members, epochs, strict=True)):
            if member is not None:
                rng, alpha = np.random.default_rng([int(member.state.counter[0]), epoch]), member.spec.training.mixup
                found[lane] = rng.beta(alpha, alpha, self.batches)
        return torch.from_numpy(found).to(self.device)

    def _changes(self, seeds: Tensor, medium: int, pictures: Pictures, shape: torch.Size) -> Changes:
        """What is done to the images of one medium of rows (P, S, B); a row's are all mirrored, or none."""

        def uniform(what: int, *more: int) -> Tensor:
            each = int(np.prod(shape[1:] + more))
            return fraction(drawn(seeds, what, each)).view(*shape, *more)

        def own(what: int, *more: int) -> Tensor:
            return uniform(what + PURPOSES * medium, *more)

        def column(name: str, axes: int) -> Tensor:
            return self._amounts[name].view(-1, *(1,) * axes)

        way, most = self.way, (column("crop", 3) * pictures.side).round()
        return Changes(
            uniform(FLIP) < column("flip", 2) if way.moves else None,
            ((2 * most + 1) * own(MOVE, 2) - most).floor().to(torch.int64) if way.moves else None,
            (2 * own(ANGLE) - 1) * column("rotate", 2) if way.turns else None,
            (2 * own(JITTER, 1 + pictures.channels) - 1) * column("color_jitter", 3) if way.recolors else None,
            own(HOLE, 2) if way.cutout > 0 else None,
        )


def n_batches(spec: Spec, rows: int) -> int:
    """Batches of an epoch."""
    size = rows if spec["batch_size"] == "full" else min(spec["batch_size"], rows)
    return -(-rows // size)
