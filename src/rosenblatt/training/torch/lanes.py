"""In: members of any shapes, and a device. Out: members trained, those of one shape as one stack, lane by lane.

A stack has so many lanes as fit into the memory. All lanes train an epoch; a lane whose member is done takes the next
one of its shape, so that the stack never shrinks and nothing is made anew. A step reads what it needs from places that
stay, so that a GPU can repeat it by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from rosenblatt.errors import SpecError, listed
from rosenblatt.networks.deep import Deep
from rosenblatt.training.compiled.losses import LINKS, predict_from_sums
from rosenblatt.training.member import Member
from rosenblatt.training.rows import MediaRows, Rows
from rosenblatt.training.state import Recipe
from rosenblatt.training.torch.batches import Resident, Span
from rosenblatt.training.torch.cuda_graphs import Repeater
from rosenblatt.training.torch.engine import rates_of, said, strata_of
from rosenblatt.training.torch.forward import GROUPED, IM2COL, Stacked
from rosenblatt.training.torch.sampling import Dealt, Deck, Way, n_batches, way_of
from rosenblatt.training.torch.stack import Stack
from rosenblatt.training.validation import mean_loss

MOST = 1024  # lanes
SHARE = 0.8  # of the memory that is free, for lanes
TWICE = 2  # what a lane takes: in a step that is done, and in one that is repeated
ROUND = 16  # steps of sequences: batches whose longest ones differ by less are repeated alike
BLOCK = 1024  # rows that are predicted at a time
TIMED = 3  # steps by which two ways of convolution are compared

PROBED = 2  # lanes by which it is found out what one takes: one alone is computed by other kernels

OutOfMemory: type[RuntimeError] = torch.cuda.OutOfMemoryError


def is_of_memory(error: RuntimeError) -> bool:
    """Whether the memory of a device was not enough: PyTorch, CUDA and its libraries each say so in their own way."""
    said = str(error).lower()
    return isinstance(error, OutOfMemory) or "out of memory" in said or "alloc_failed" in said


def device_of(name: str) -> torch.device:
    """The device of this name. Raises SpecError, saying which there are, for one that is not there."""
    there = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
    if name == "cuda" and len(there) > 1:
        return torch.device("cuda:0")
    if name not in there:
        raise SpecError(f"There is no device {name!r}; this machine has {listed(there)}. Choose one with --device.")
    return torch.device(name)


class Shape(NamedTuple):
    """What members of one stack have in common."""

    architecture: Any
    loss: str
    optimizer: str
    averages: bool
    batches: int
    rows: int  # of a batch
    precision: str
    way: Way
    parts: tuple[bool, ...]  # dropout of units, of inputs, smoothing, L1, bounded norms: whether a step has them


def shape_of(member: Member) -> Shape:
    """The shape of a member."""
    spec, n, recipe = member.spec, member.state.order.size, cast("Recipe", member.recipe)
    amounts = (recipe.dropout, recipe.input_dropout, recipe.smoothing, recipe.l1, recipe.max_norm)
    batches, averages = n_batches(spec, n), member.state.mean.size > 0
    return Shape(
        member.architecture, member.loss, spec.training.optimizer, averages, batches, -(-n // batches),
        spec.training.precision, way_of(spec), tuple(amount > 0 for amount in amounts),
    )  # fmt: skip


class Lanes:
    """A stack of members on a device, and which member each lane holds."""

    def __init__(self, like: Member, table: Rows | MediaRows, device: torch.device, lanes: int) -> None:
        self.shape, self.table, self.device = shape_of(like), table, device
        self.members: list[Member | None] = [None] * lanes
        self.stack, self.deck = Stack(like, lanes, device), Deck(like, table, lanes, device)
        self.resident = Resident(table, like.architecture, device)
        self._order, self._repeat = like.state.order[:1], Repeater(device)
        self._dealt: Dealt | None = None  # places from which steps read
        self._rates = torch.zeros(lanes, self.shape.batches, 3, device=device, dtype=torch.float32)
        self._number = torch.zeros(1, device=device, dtype=torch.int64)  # of the step within its epoch

    @property
    def free(self) -> list[int]:
        """The lanes without a member."""
        return [lane for lane, member in enumerate(self.members) if member is None]

    def fill(self, lane: int, member: Member) -> None:
        """Give a lane a member of this shape."""
        self.members[lane] = member
        self.stack.put(lane, member)
        self.deck.put(lane, member, strata_of(member))

    def empty(self, lane: int) -> None:
        """Take a lane's member away."""
        self.members[lane] = None
        self.stack.clear(lane)
        self.deck.clear(lane)

    def epoch(self, stop: np.ndarray) -> np.ndarray | None:
        """An epoch of all members; their mean losses (lanes,), or None where it was stopped half-way.

        What members have come to is written back by `keep`, so that an epoch that is interrupted can be begun again.
        """
        total = torch.zeros(len(self.members), device=self.device, dtype=torch.float32)
        for loss in self.steps():
            if stop[0]:
                return None
            total += loss
        return (total / self.shape.batches).cpu().numpy().astype(np.float64)

    def keep(self) -> None:
        """Write what the lanes have come to into their members."""
        self.stack.get(self.members)

    def steps(self) -> Iterator[Tensor]:
        """The losses (lanes,) of one step of an epoch after the other."""
        dealt, rates = self.deck.deal(), np.ones((len(self.members), self.shape.batches, 3))
        for lane, member in enumerate(self.members):
            if member is not None:
                rates[lane] = rates_of(member, len(member.history), self.shape.batches)
        self._rates.copy_(torch.from_numpy(rates))
        if self.resident.streams:
            for k, (batch, seeds) in enumerate(self.resident.batches(dealt, self.shape.way)):
                yield self.stack.step(batch, self._rates[:, k], seeds)
            return
        if self._dealt is None:
            self._dealt = dealt
        for place, new in zip(self._dealt.tensors(), dealt.tensors(), strict=True):
            place.copy_(new)
        self._number.zero_()
        for spans in self.resident.spans(dealt, ROUND):
            yield self._repeat(spans, lambda spans=spans: self._step(spans))  # type: ignore[misc]

    def _step(self, spans: tuple[Span, ...]) -> Tensor:
        """The next step, of what stands in its places; nothing is asked of the host."""
        assert self._dealt is not None  # noqa: S101 - set before
        dealt = self._dealt.batch(self._number)
        batch = self.resident.batch(dealt, self.shape.way, spans)
        loss = self.stack.step(batch, self._rates.index_select(1, self._number).squeeze(1), dealt.seeds)
        self._number += 1
        return loss

    def validated(self) -> dict[int, tuple[np.ndarray, float]]:
        """By lane: what each member says of its validation rows (n, K), and its mean loss on them."""
        held = {lane: m for lane, m in enumerate(self.members) if m is not None and m.validation.size}
        if not held:
            return {}
        longest = max(member.validation.size for member in held.values())
        rows = np.stack([
            self._order.repeat(longest) if lane not in held else np.resize(held[lane].validation, longest)
            for lane in range(len(self.members))
        ])  # fmt: skip
        theta = self.stack.mean if self.stack.mean.shape[1] else self.stack.theta
        net = Stacked(self.stack.architecture, theta)
        net.convolve = self.stack.net.convolve
        parts, block = list[Tensor](), max(self.shape.rows, BLOCK // len(self.members))
        with torch.inference_mode():
            for first in range(0, longest, block):
                parts.append(said(net, self.resident.plain(list(rows[:, first : first + block]))).float())
        steps = max(part.shape[2] for part in parts) if parts[0].dim() == 4 else 0
        if steps:
            parts = [torch.nn.functional.pad(part, (0, 0, 0, steps - part.shape[2])) for part in parts]
        z = torch.cat(parts, dim=1).cpu().numpy()
        found = {}
        for lane, member in held.items():
            sums = np.ascontiguousarray(z[lane, : member.validation.size])
            loss = mean_loss(member, sums, self.table.t[member.validation], self.table.weight[member.validation])
            predict_from_sums(LINKS.get(member.loss, 0), sums.reshape(-1, sums.shape[-1]))
            found[lane] = sums, loss
        return found

    def choose_convolution(self) -> None:
        """Take the way of convolution that is faster here: one with a group for each network, or batched products."""
        tower = self.stack.architecture.towers if isinstance(self.stack.architecture, Deep) else ()
        if self.device.type != "cuda" or not any(
            getattr(layer, "kernel", None) for layers in tower for layer in layers
        ):
            return
        times, failures = dict[str, float](), list[RuntimeError]()
        rows = np.resize(self._order, self.shape.rows)
        batch = self.resident.plain([rows] * len(self.members))
        for way in (GROUPED, IM2COL):
            self.stack.net.convolve = way
            try:
                self.stack.learn_from(batch, None)
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                for _ in range(TIMED):
                    self.stack.learn_from(batch, None)
                end.record()
                torch.cuda.synchronize(self.device)
                times[way] = begin.elapsed_time(end)
            except RuntimeError as error:  # no memory, or no kernel for it
                failures.append(error)
        if not times:
            raise failures[-1]
        self.stack.net.convolve = min(times, key=times.__getitem__)


def lanes_for(like: Member, table: Rows | MediaRows, device: torch.device, waiting: int) -> int:
    """How many lanes there is memory for: by what one lane takes in one step, and what is free."""
    most = max(1, min(waiting, MOST))
    if device.type != "cuda":
        return most
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    lanes = min(PROBED, most)
    try:
        probe = Lanes(like, table, device, lanes)
        for lane in range(lanes):
            probe.fill(lane, like.copy())  # what it learns is not kept
        next(probe.steps())
    except RuntimeError as error:
        if not is_of_memory(error):
            raise
        return 1
    resident = probe.resident.bytes
    taken = max((torch.cuda.max_memory_allocated(device) - before - resident) / lanes, 1)
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - before
    return max(1, min(most, int(SHARE * (free - resident) / (TWICE * taken))))


Next = Callable[[Shape], Member | None]
"""The next member of this shape that waits for a lane."""
Told = Callable[[Member, float, tuple[np.ndarray, float] | None], bool]
"""Told of an epoch of a member: its loss, and what it says of its validation rows; whether it goes on."""


def train_lanes(
    first: Member,
    table: Rows | MediaRows,
    device: torch.device,
    waiting: int,
    following: Next,
    told: Told,
    stop: np.ndarray,
) -> None:
    """Train a member, and all of its shape that follow, until none is left or the flag to stop is set.

    Where the memory is not enough after all, the lanes are halved, and the epoch is begun again.
    """
    held, size = deque([first]), 0
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        while held and not stop[0]:
            size = size or lanes_for(first, table, device, waiting)
            if _fits(held, size, lambda lanes: _train(lanes, held, following, told, stop), first, table, device):
                return
            size //= 2
            if device.type == "cuda":
                torch.cuda.empty_cache()


def _fits(
    held: deque[Member],
    size: int,
    train: Callable[[Lanes], None],
    like: Member,
    table: Rows | MediaRows,
    device: torch.device,
) -> bool:
    """Train so many lanes, if there is memory for them; else their members are held again."""
    lanes = None
    try:
        lanes = Lanes(like, table, device, size)
        lanes.choose_convolution()
        train(lanes)
    except RuntimeError as error:
        if not is_of_memory(error):
            raise
        if size == 1:
            raise MemoryError(f"one network does not fit into that of {device}") from error
        if lanes is not None:
            held.extendleft(member for member in reversed(lanes.members) if member is not None)
        return False
    return True


def _train(lanes: Lanes, held: deque[Member], following: Next, told: Told, stop: np.ndarray) -> None:
    shape = lanes.shape
    while not stop[0]:
        for lane in lanes.free:
            member = held.popleft() if held else following(shape)
            if member is None:
                break
            lanes.fill(lane, member)
        if len(lanes.free) == len(lanes.members):
            return
        losses = lanes.epoch(stop)
        if losses is None:
            return
        validated = lanes.validated()
        lanes.keep()
        for lane, member in enumerate(lanes.members):
            if member is not None and not told(member, float(losses[lane]), validated.get(lane)):
                lanes.empty(lane)


def by_shape(members: Iterable[Member]) -> Iterator[list[Member]]:
    """Members of one shape together."""
    groups: dict[Shape, list[Member]] = {}
    for member in members:
        groups.setdefault(shape_of(member), []).append(member)
    yield from groups.values()
