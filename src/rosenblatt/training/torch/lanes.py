"""Training of members in lanes: members with equal stack keys are trained as one stack on a device.

A stack has as many lanes as fit into memory. After each epoch, a lane whose member is finished takes the next member
with the same key, so that the stack keeps its size and its arrays. A step reads its inputs from fixed addresses, so
that a CUDA graph can replay it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from rosenblatt.errors import SpecError, format_list
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.training.compiled.losses import apply_output_activation
from rosenblatt.training.member import Member
from rosenblatt.training.rows import DenseRows, MediaRows
from rosenblatt.training.schedules import member_factors
from rosenblatt.training.state import TrainingConfig
from rosenblatt.training.torch.batches import DeviceTable, LengthRange
from rosenblatt.training.torch.cuda_graphs import GraphRunner
from rosenblatt.training.torch.engine import predict_with_flips
from rosenblatt.training.torch.forward import GROUPED, IM2COL, StackedNetworks
from rosenblatt.training.torch.sampling import (
    AugmentationConfig,
    BatchSampler,
    EpochBatches,
    augmentation_config,
    n_batches,
)
from rosenblatt.training.torch.stack import MemberStack
from rosenblatt.training.validation import mean_loss

MAX_LANES = 1024
MEMORY_FRACTION = 0.8  # of the free memory of a device, for lanes
MEMORY_FACTOR = 2  # a lane needs memory for ordinary steps, and as much again for CUDA graphs
LENGTH_MULTIPLE = 16  # sequence lengths are rounded up to it, so that more batches share a CUDA graph
BLOCK_ROWS = 1024  # rows predicted at a time
TIMING_STEPS = 3  # steps that time an implementation of convolutions
PROBE_LANES = 2  # lanes for measuring the memory of one; a single lane uses other kernels

OutOfMemory: type[RuntimeError] = torch.cuda.OutOfMemoryError


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of PyTorch, CUDA or one of its libraries means that a device is out of memory."""
    message = str(error).lower()
    return isinstance(error, OutOfMemory) or "out of memory" in message or "alloc_failed" in message


def find_device(name: str) -> torch.device:
    """Return the device of this name. Raises SpecError if this machine does not have it."""
    names = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
    if name == "cuda" and len(names) > 1:
        return torch.device("cuda:0")
    if name not in names:
        raise SpecError(
            f"Device {name!r} is not available; this machine has {format_list(names)}. Choose one with --device."
        )
    return torch.device(name)


class StackKey(NamedTuple):
    """Properties that all members of a stack share."""

    architecture: Any
    loss: str
    optimizer: str
    has_ema: bool
    n_batches: int
    batch_size: int
    precision: str
    augmentation: AugmentationConfig
    uses: tuple[bool, ...]  # whether steps use dropout, input dropout, label smoothing, L1, max-norm


def stack_key(member: Member) -> StackKey:
    """Return the key of a member."""
    spec, n, config = member.spec, member.state.order.size, cast("TrainingConfig", member.config)
    rates = (config.dropout, config.input_dropout, config.smoothing, config.l1, config.max_norm)
    n_steps, has_ema = n_batches(spec, n), member.state.mean.size > 0
    return StackKey(
        member.architecture, member.loss, spec.training.optimizer, has_ema, n_steps, -(-n // n_steps),
        spec.training.precision, augmentation_config(spec), tuple(rate > 0 for rate in rates),
    )  # fmt: skip


class LaneStack:
    """A stack of members on a device, and the member of each lane."""

    def __init__(self, template: Member, table: DenseRows | MediaRows, device: torch.device, lanes: int) -> None:
        self.key, self.table, self.device = stack_key(template), table, device
        self.members: list[Member | None] = [None] * lanes
        self.stack, self.sampler = MemberStack(template, lanes, device), BatchSampler(template, table, lanes, device)
        self.device_table = DeviceTable(table, template.architecture, device)
        self._filler_row, self._graph_runner = template.state.order[:1], GraphRunner(device)
        self._static_batches: EpochBatches | None = None  # tensors at fixed addresses from which steps read
        self._rates = torch.zeros(lanes, self.key.n_batches, 3, device=device, dtype=torch.float32)
        self._step_index = torch.zeros(1, device=device, dtype=torch.int64)  # of the step within its epoch

    @property
    def free_lanes(self) -> list[int]:
        """The lanes without a member."""
        return [lane for lane, member in enumerate(self.members) if member is None]

    def load_member(self, lane: int, member: Member) -> None:
        """Assign a member with this key to a lane."""
        self.members[lane] = member
        self.stack.load_member(lane, member)
        self.sampler.load_member(lane, member)

    def clear_lane(self, lane: int) -> None:
        """Remove the member of a lane."""
        self.members[lane] = None
        self.stack.clear_lane(lane)
        self.sampler.clear_lane(lane)

    def train_epoch(self, stop: np.ndarray) -> np.ndarray | None:
        """Train all members for an epoch; return their mean losses (lanes,), or None if stopped.

        Members change only in `store_members`, so that an interrupted epoch can be repeated.
        """
        total = torch.zeros(len(self.members), device=self.device, dtype=torch.float32)
        for loss in self.iter_steps():
            if stop[0]:
                return None
            total += loss
        return (total / self.key.n_batches).cpu().numpy().astype(np.float64)

    def store_members(self) -> None:
        """Copy the state of the lanes to their members."""
        self.stack.store_members(self.members)

    def iter_steps(self) -> Iterator[Tensor]:
        """Run the steps of an epoch; yield the losses (lanes,) of each."""
        epoch_batches, rates = self.sampler.sample_epoch(), np.ones((len(self.members), self.key.n_batches, 3))
        for lane, member in enumerate(self.members):
            if member is not None:
                rates[lane] = member_factors(member, member.n_epochs, 1, self.key.n_batches)
        self._rates.copy_(torch.from_numpy(rates))
        if self.device_table.has_streamed_images:
            for k, (batch, seeds) in enumerate(self.device_table.batches(epoch_batches, self.key.augmentation)):
                yield self.stack.step(batch, self._rates[:, k], seeds)
            return
        if self._static_batches is None:
            self._static_batches = epoch_batches
        for static, new in zip(self._static_batches.tensors(), epoch_batches.tensors(), strict=True):
            static.copy_(new)
        self._step_index.zero_()
        for length_ranges in self.device_table.length_ranges(epoch_batches, LENGTH_MULTIPLE):
            yield self._graph_runner(length_ranges, lambda ranges=length_ranges: self._step(ranges))  # type: ignore[misc]

    def _step(self, length_ranges: tuple[LengthRange, ...]) -> Tensor:
        """Run the next step from the static batches, without synchronizing with the host."""
        assert self._static_batches is not None  # noqa: S101 - set in `iter_steps`
        sample = self._static_batches.batch(self._step_index)
        batch = self.device_table.batch(sample, self.key.augmentation, length_ranges)
        loss = self.stack.step(batch, self._rates.index_select(1, self._step_index).squeeze(1), sample.seeds)
        self._step_index += 1
        return loss

    def validate(self) -> dict[int, tuple[np.ndarray, float]]:
        """Return each member's outputs (n, K) and mean loss on its validation rows, by lane."""
        validated_members = {lane: m for lane, m in enumerate(self.members) if m is not None and m.validation.size}
        if not validated_members:
            return {}
        longest = max(member.validation.size for member in validated_members.values())
        rows = np.stack([
            self._filler_row.repeat(longest)
            if lane not in validated_members
            else np.resize(validated_members[lane].validation, longest)
            for lane in range(len(self.members))
        ])  # fmt: skip
        theta = self.stack.mean if self.stack.mean.shape[1] else self.stack.theta
        net = StackedNetworks(self.stack.architecture, theta)
        net.convolution = self.stack.net.convolution
        parts, block = list[Tensor](), max(self.key.batch_size, BLOCK_ROWS // len(self.members))
        with torch.inference_mode():
            for start in range(0, longest, block):
                parts.append(
                    predict_with_flips(
                        net, self.device_table.batch_without_augmentation(list(rows[:, start : start + block]))
                    ).float()
                )
        steps = max(part.shape[2] for part in parts) if parts[0].dim() == 4 else 0
        if steps:
            parts = [torch.nn.functional.pad(part, (0, 0, 0, steps - part.shape[2])) for part in parts]
        z = torch.cat(parts, dim=1).cpu().numpy()
        results = {}
        for lane, member in validated_members.items():
            sums = np.ascontiguousarray(z[lane, : member.validation.size])
            loss = mean_loss(member, sums, self.table.t[member.validation], self.table.weight[member.validation])
            apply_output_activation(member.loss, sums)
            results[lane] = sums, loss
        return results

    def choose_convolution(self) -> None:
        """Choose the faster implementation of convolutions: grouped by network, or batched matrix products."""
        tower = self.stack.architecture.towers if isinstance(self.stack.architecture, DeepArchitecture) else ()
        if self.device.type != "cuda" or not any(
            getattr(layer, "kernel", None) for layers in tower for layer in layers
        ):
            return
        times, failures = dict[str, float](), list[RuntimeError]()
        rows = np.resize(self._filler_row, self.key.batch_size)
        batch = self.device_table.batch_without_augmentation([rows] * len(self.members))
        for convolution in (GROUPED, IM2COL):
            self.stack.net.convolution = convolution
            try:
                self.stack.compute_gradients(batch, None)
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                for _ in range(TIMING_STEPS):
                    self.stack.compute_gradients(batch, None)
                end.record()
                torch.cuda.synchronize(self.device)
                times[convolution] = start.elapsed_time(end)
            except RuntimeError as error:  # out of memory, or not implemented
                failures.append(error)
        if not times:
            raise failures[-1]
        self.stack.net.convolution = min(times, key=times.__getitem__)


def choose_n_lanes(template: Member, table: DenseRows | MediaRows, device: torch.device, n_waiting: int) -> int:
    """Return how many lanes fit into memory, from the memory of one step and the free memory."""
    max_lanes = max(1, min(n_waiting, MAX_LANES))
    if device.type != "cuda":
        return max_lanes
    torch.cuda.reset_peak_memory_stats(device)
    allocated_before = torch.cuda.memory_allocated(device)
    n_probe_lanes = min(PROBE_LANES, max_lanes)
    try:
        probe = LaneStack(template, table, device, n_probe_lanes)
        for lane in range(n_probe_lanes):
            probe.load_member(lane, template.copy())  # a copy, because the probe trains it
        next(probe.iter_steps())
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return 1
    table_bytes = probe.device_table.nbytes
    bytes_per_lane = max((torch.cuda.max_memory_allocated(device) - allocated_before - table_bytes) / n_probe_lanes, 1)
    free_bytes = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - allocated_before
    return max(1, min(max_lanes, int(MEMORY_FRACTION * (free_bytes - table_bytes) / (MEMORY_FACTOR * bytes_per_lane))))


NextMember = Callable[[StackKey], Member | None]
"""Return the next waiting member with this key, or None."""
MemberCallback = Callable[[Member, float, tuple[np.ndarray, float] | None], bool]
"""Called after each epoch of a member with its loss, and its outputs and loss on validation rows; returns whether it
continues."""


def train_lanes(
    first: Member,
    table: DenseRows | MediaRows,
    device: torch.device,
    n_waiting: int,
    next_member: NextMember,
    on_epoch_end: MemberCallback,
    stop: np.ndarray,
) -> None:
    """Train a member, then waiting members with the same key, until none is left or `stop` is set.

    If memory runs out, the number of lanes is halved and the epoch repeated.
    """
    pending, n_lanes = deque([first]), 0
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        while pending and not stop[0]:
            n_lanes = n_lanes or choose_n_lanes(first, table, device, n_waiting)
            if _try_lanes(
                pending,
                n_lanes,
                lambda lanes: _train(lanes, pending, next_member, on_epoch_end, stop),
                first,
                table,
                device,
            ):
                return
            n_lanes //= 2
            if device.type == "cuda":
                torch.cuda.empty_cache()


def _try_lanes(
    pending: deque[Member],
    n_lanes: int,
    train: Callable[[LaneStack], None],
    template: Member,
    table: DenseRows | MediaRows,
    device: torch.device,
) -> bool:
    """Train with this many lanes and return True; if memory runs out, put their members back and return False."""
    lanes = None
    try:
        lanes = LaneStack(template, table, device, n_lanes)
        lanes.choose_convolution()
        train(lanes)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if n_lanes == 1:
            raise MemoryError(f"one network does not fit into the memory of {device}") from error
        if lanes is not None:
            pending.extendleft(member for member in reversed(lanes.members) if member is not None)
        return False
    return True


def _train(
    lanes: LaneStack, pending: deque[Member], next_member: NextMember, on_epoch_end: MemberCallback, stop: np.ndarray
) -> None:
    key = lanes.key
    while not stop[0]:
        for lane in lanes.free_lanes:
            member = pending.popleft() if pending else next_member(key)
            if member is None:
                break
            lanes.load_member(lane, member)
        if len(lanes.free_lanes) == len(lanes.members):
            return
        losses = lanes.train_epoch(stop)
        if losses is None:
            return
        validated = lanes.validate()
        lanes.store_members()
        for lane, member in enumerate(lanes.members):
            if member is not None and not on_epoch_end(member, float(losses[lane]), validated.get(lane)):
                lanes.clear_lane(lane)


def group_by_stack_key(members: Iterable[Member]) -> Iterator[list[Member]]:
    """Group members by their key."""
    groups: dict[StackKey, list[Member]] = {}
    for member in members:
        groups.setdefault(stack_key(member), []).append(member)
    yield from groups.values()
