"""Sampling of the batches and image augmentations of an epoch.

Batches and augmentations are hashes of a member's seed, its epoch and a position, computed on the device. A member's
batches do not depend on other members, and a resumed member sees the same batches as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from rosenblatt.data.media.columns import RaggedSequences
from rosenblatt.data.media.contents import Blocks
from rosenblatt.data.media.images import ImageDataset
from rosenblatt.errors import SpecError
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member
from rosenblatt.training.rows import DenseRows, MediaRows
from rosenblatt.training.state import TrainingConfig
from rosenblatt.training.torch.random import hash_bits, random_bits, to_uniform

BUCKET_BATCHES = 16  # consecutive batches whose rows are sorted by length together
N_PURPOSES = 8
SHUFFLE, ORDER, DROPOUT, FLIP, SHIFT, ANGLE, JITTER, CUTOUT = range(N_PURPOSES)  # purposes of random numbers
SORT_LAST = 2**31 - 1  # sort key of padding, larger than all others
MAX_KEY = 2**62  # the same, where rows are shuffled within windows
N_SMALL_WINDOWS = 4  # the first ones, each half the size of the next one, so that training begins early


class AugmentationConfig(NamedTuple):
    """Order of batches and kinds of augmentation, equal for all members of a stack; their strengths may differ."""

    batch_order: str  # shuffled, stratified, in_order
    has_shift_or_flip: bool
    has_color_jitter: bool
    has_rotation: bool
    has_mixup: bool
    cutout: float


def augmentation_config(spec: Spec) -> AugmentationConfig:
    """Return the augmentations of a resolved spec."""
    training = spec.training
    has_shift_or_flip = bool(spec["flip"]) or spec["crop"] > 0
    return AugmentationConfig(
        training.batch_order,
        has_shift_or_flip,
        training.color_jitter > 0,
        training.rotate > 0,
        training.mixup > 0,
        float(spec["cutout"]),
    )


class Augmentations(NamedTuple):
    """Random augmentations of the images of rows (...,); None for those that are off."""

    flip: Tensor | None  # (...,) bool
    shift: Tensor | None  # (..., 2) pixels down and to the right
    angle: Tensor | None  # (...,) radians
    jitter: Tensor | None  # (..., 1 + channels) contrast, then each channel's shift, in standard deviations
    cutout_center: Tensor | None  # (..., 2) center of the cut-out square, as fractions of height and width


class EpochBatches(NamedTuple):
    """The S batches of B rows of an epoch of P members; or one batch, without the axis S."""

    rows: Tensor  # (P, S, B)
    weight: Tensor  # (P, S, B) float32: weight of each row in the mean loss; 0 for padding
    seeds: Tensor  # (P, S) int32 seeds of dropout masks
    mixup_weight: Tensor | None = None  # (P, S) weight of the row itself in mixup
    augmentations: tuple[Augmentations | None, ...] = ()  # one for each medium; None if it is not images
    first_row: int = 0  # position of the first row in the batch, of which this is a part
    has_previous_row: bool = False  # whether the row before the part comes first, for mixup

    def tensors(self) -> list[Tensor]:
        """Return all tensors, in a fixed order."""
        changes = [tensor for augmentation in self.augmentations if augmentation is not None for tensor in augmentation]
        return [
            tensor for tensor in (self.rows, self.weight, self.seeds, self.mixup_weight, *changes) if tensor is not None
        ]

    def batch(self, k: int | Tensor) -> EpochBatches:
        """Return one batch, without the axis S; `k` may be a tensor (1,) on the device."""

        def select(a: Tensor | None) -> Any:
            if a is None:
                return None
            return a.select(1, k) if isinstance(k, int) else a.index_select(1, k).squeeze(1)

        changes = tuple(
            None if augmentation is None else Augmentations(*map(select, augmentation))
            for augmentation in self.augmentations
        )
        return EpochBatches(
            select(self.rows), select(self.weight), select(self.seeds), select(self.mixup_weight), changes
        )

    def part(self, rows: slice) -> EpochBatches:
        """Return a part of the rows of one batch, after the row before them if rows are mixed."""
        is_mixed = self.mixup_weight is not None
        index = torch.arange(rows.start - is_mixed, rows.stop, device=self.rows.device) % self.rows.shape[1]

        def select(a: Tensor | None) -> Any:
            return None if a is None else a[:, index]

        changes = tuple(
            None if augmentation is None else Augmentations(*map(select, augmentation))
            for augmentation in self.augmentations
        )
        return EpochBatches(
            select(self.rows), select(self.weight), self.seeds, self.mixup_weight, changes, rows.start, is_mixed
        )


class ShuffleWindows:
    """Shuffles rows so that those of few blocks, which are stored together, are near each other in an epoch.

    Blocks in random order form windows, in which rows are in random order. The windows of an epoch are the same for all
    members, so that what is fetched for one is there for all. The first windows are smaller, and double in size.

    Args:
        blocks: which rows are stored together.
        n_bytes: size of a window.
        device: of the sort keys.
    """

    def __init__(self, blocks: Blocks, n_bytes: int, device: torch.device) -> None:
        self._numbers = torch.from_numpy(blocks.numbers.astype(np.int64)).to(device)
        self._sizes = torch.from_numpy(blocks.n_bytes).to(device)
        doubling = n_bytes // 2 ** np.arange(N_SMALL_WINDOWS, 0, -1)
        n_whole = int(blocks.n_bytes.sum()) // n_bytes + 1
        self._ends = torch.from_numpy(np.cumsum([*doubling, *[n_bytes] * n_whole])).to(device)

    def sort_keys(self, keys: Tensor, rows: Tensor, epochs: Sequence[int]) -> Tensor:
        """Sort keys (P, n) int64 of rows (P, n) from random numbers (P, n) int32, by the epoch of each member."""
        windows = torch.stack([self._find_windows(epoch) for epoch in epochs])
        return (windows.gather(1, self._numbers[rows]) << 32) + (keys.to(torch.int64) + 2**31)

    def _find_windows(self, epoch: int) -> Tensor:
        """The window of each block in an epoch, (blocks,) int64."""
        seed = hash_bits(torch.tensor([epoch], dtype=torch.int32, device=self._sizes.device))
        order = random_bits(seed, ORDER, len(self._sizes))[0].argsort(stable=True)
        starts = self._sizes[order].cumsum(0) - self._sizes[order]
        windows = torch.searchsorted(self._ends, starts, right=True)
        return torch.empty_like(windows).scatter_(0, order, windows)


class BatchSampler:
    """Samples the batches of P members with equal stack keys, on a device."""

    def __init__(self, template: Member, table: DenseRows | MediaRows, lanes: int, device: torch.device) -> None:
        self.augmentation, self.device, self._members = (
            augmentation_config(template.spec),
            device,
            list[Member | None]([None] * lanes),
        )
        self.n_batches = n_batches(template.spec, template.state.order.size)
        self.batch_size = -(-template.state.order.size // self.n_batches)
        n = self.n_batches * self.batch_size

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(lanes, *shape, dtype=dtype, device=device)

        self._order, self._stratum = zeros(n, dtype=torch.int64), zeros(n, dtype=torch.int32)
        self._n_rows, self._counter = zeros(dtype=torch.int64) + 1, zeros(2, dtype=torch.int32)
        self._weight = torch.from_numpy(np.ascontiguousarray(table.weight, np.float32)).to(device)
        self._amounts = {name: zeros() for name in ("flip", "crop", "rotate", "color_jitter")}
        self._media = getattr(table, "media", ())
        ragged = next((medium for medium in self._media if isinstance(medium, RaggedSequences)), None)
        self._lengths = None if ragged is None else torch.from_numpy(ragged.lengths).to(device)
        self._length_bound = 0 if ragged is None else int(ragged.lengths.max(initial=0)) + 1
        blocks = find_blocks(self._media, template.spec)
        self._windows = None if blocks is None else ShuffleWindows(blocks, window_bytes(template.spec), device)

    def load_member(self, lane: int, member: Member) -> None:
        """Sample from the training rows of this member in a lane."""
        order, spec = member.state.order, member.spec
        self._members[lane] = member
        self._order[lane, : order.size] = torch.from_numpy(order)
        if self.augmentation.batch_order == "stratified":
            strata = cast("TrainingConfig", member.config).strata
            stratum = np.repeat(np.arange(len(strata) - 1, dtype=np.int32), np.diff(strata))
            self._stratum[lane, : order.size] = torch.from_numpy(stratum)
        self._n_rows[lane] = order.size
        self._counter[lane] = torch.from_numpy(member.state.counter[:1].view(np.int32))
        amounts = (0.5 * spec["flip"], spec["crop"], np.deg2rad(spec.training.rotate), spec.training.color_jitter)
        for column, amount in zip(self._amounts.values(), amounts, strict=True):
            column[lane] = float(amount)

    def clear_lane(self, lane: int) -> None:
        """Sample rows of weight 0 in a lane."""
        self._members[lane] = None

    def _epochs(self, epochs_ahead: int) -> list[int]:
        return [0 if member is None else member.n_epochs + epochs_ahead for member in self._members]

    def sample_epoch(self, epochs_ahead: int = 0) -> EpochBatches:
        """Sample the next epoch of each member, or a later one."""
        epochs = self._epochs(epochs_ahead)
        seeds = self._seeds(epochs)
        rows, mask = self._sample_rows(seeds, epochs)
        active = torch.tensor([medium is not None for medium in self._members], device=self.device)
        weight = self._weight[rows] * (mask & active[:, None, None])
        weight /= (weight > 0).sum(dim=2, keepdim=True).clamp(min=1)
        mixup_weights = self._mixup_weights(epochs) if self.augmentation.has_mixup else None
        augmentations = tuple(
            self._sample_augmentations(seeds, k, medium, rows.shape) if isinstance(medium, ImageDataset) else None
            for k, medium in enumerate(self._media)
        )
        return EpochBatches(rows, weight, random_bits(seeds, DROPOUT, self.n_batches), mixup_weights, augmentations)

    def _seeds(self, epochs: Sequence[int]) -> Tensor:
        """Seeds (P,) int32 of each member in this epoch."""
        epoch_numbers = torch.tensor(epochs, dtype=torch.int32, device=self.device)
        return hash_bits(self._counter[:, 0] ^ hash_bits(self._counter[:, 1] ^ hash_bits(epoch_numbers)))

    def _sample_rows(self, seeds: Tensor, epochs: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Rows (P, S, B) of all batches, and a mask that is False for padding."""
        S, n, device = self.n_batches, self._order.shape[1], self.device
        n_rows, positions = self._n_rows[:, None], torch.arange(n, device=device)
        rows = self._order
        if self.augmentation.batch_order != "in_order":
            keys = random_bits(seeds, SHUFFLE, n)
            if self._windows is not None:
                keys = self._windows.sort_keys(keys, rows, epochs)
            keys = keys.masked_fill_(positions >= n_rows, SORT_LAST if self._windows is None else MAX_KEY)
            permutation = keys.argsort(dim=1, stable=True)
            if self.augmentation.batch_order == "stratified":
                strata = self._stratum.masked_fill(positions >= n_rows, SORT_LAST).gather(1, permutation)
                permutation = permutation.gather(1, strata.argsort(dim=1, stable=True))
            rows = rows.gather(1, permutation)
        step, offsets = torch.arange(S, device=device)[:, None], torch.arange(self.batch_size, device=device)
        if self.augmentation.batch_order == "stratified":
            index = (step + S * offsets).expand(len(rows), -1, -1)  # (P, S, B)
            mask = index < n_rows[..., None]
            return rows.gather(1, torch.where(mask, index, step).flatten(1)).view(index.shape), mask
        bounds = torch.arange(S + 1, device=device) * n_rows // S
        first, size = bounds[:, :-1, None], bounds.diff(dim=1)[..., None]
        order = self._batch_order(epochs)
        if order is not None:
            rows = self._bucket_by_length(rows, bounds)
            first, size = (tensor.gather(1, order[..., None]) for tensor in (first, size))
        index, mask = first + offsets % size.clamp(min=1), offsets < size
        return rows.gather(1, index.flatten(1)).view(index.shape), mask

    def _bucket_by_length(self, rows: Tensor, bounds: Tensor) -> Tensor:
        """Sort rows (P, n) by length within groups of consecutive batches."""
        assert self._lengths is not None  # noqa: S101 - checked by the caller
        positions = torch.arange(rows.shape[1], device=self.device).expand(rows.shape)
        batch = torch.searchsorted(bounds[:, 1:].contiguous(), positions.contiguous(), right=True)
        key = batch // BUCKET_BATCHES * self._length_bound + self._lengths[rows]
        return rows.gather(1, key.masked_fill_(positions >= self._n_rows[:, None], 2**62).argsort(dim=1, stable=True))

    def _batch_order(self, epochs: Sequence[int]) -> Tensor | None:
        """Random order (P, S) of batches sorted by length, or None to keep the order.

        It is the same for all members, so that the long rows of all members of a stack are in the same step.
        """
        if self._lengths is None or self.augmentation.batch_order != "shuffled":
            return None
        seeds = hash_bits(torch.tensor(epochs, dtype=torch.int32, device=self.device))
        return random_bits(seeds, ORDER, self.n_batches).argsort(dim=1, stable=True)

    def _mixup_weights(self, epochs: Sequence[int]) -> Tensor:
        """Weights (P, S) of the row itself in mixup (Zhang et al. 2018)."""
        weights = np.ones((len(epochs), self.n_batches), np.float32)
        for lane, (member, epoch) in enumerate(zip(self._members, epochs, strict=True)):
            if member is not None:
                rng, alpha = np.random.default_rng([int(member.state.counter[0]), epoch]), member.spec.training.mixup
                weights[lane] = rng.beta(alpha, alpha, self.n_batches)
        return torch.from_numpy(weights).to(self.device)

    def _sample_augmentations(
        self, seeds: Tensor, medium: int, images: ImageDataset, shape: torch.Size
    ) -> Augmentations:
        """Sample augmentations of one medium of rows (P, S, B); either all images of a row are flipped, or none."""

        def uniform(purpose: int, *trailing: int) -> Tensor:
            n_values = int(np.prod(shape[1:] + trailing))
            return to_uniform(random_bits(seeds, purpose, n_values)).view(*shape, *trailing)

        def per_medium(purpose: int, *trailing: int) -> Tensor:
            return uniform(purpose + N_PURPOSES * medium, *trailing)

        def setting(name: str, axes: int) -> Tensor:
            return self._amounts[name].view(-1, *(1,) * axes)

        augmentation, max_shift = self.augmentation, (setting("crop", 3) * images.side).round()
        return Augmentations(
            uniform(FLIP) < setting("flip", 2) if augmentation.has_shift_or_flip else None,
            ((2 * max_shift + 1) * per_medium(SHIFT, 2) - max_shift).floor().to(torch.int64)
            if augmentation.has_shift_or_flip
            else None,
            (2 * per_medium(ANGLE) - 1) * setting("rotate", 2) if augmentation.has_rotation else None,
            (2 * per_medium(JITTER, 1 + images.channels) - 1) * setting("color_jitter", 3)
            if augmentation.has_color_jitter
            else None,
            per_medium(CUTOUT, 2) if augmentation.cutout > 0 else None,
        )


def window_bytes(spec: Spec) -> int:
    """Bytes of images that are shuffled together."""
    return max(int(spec.data.shuffle_window_gb * 1e9), 1)


def find_blocks(media: Sequence[ImageDataset | RaggedSequences], spec: Spec) -> Blocks | None:
    """Which rows are stored together; None if rows are shuffled as a whole.

    Raises SpecError if batches are stratified, which needs all rows.
    """
    candidates = [medium.blocks for medium in media if isinstance(medium, ImageDataset) and medium.blocks is not None]
    blocks = next((blocks for blocks in candidates if blocks.n_bytes.sum() > window_bytes(spec)), None)
    if blocks is not None and spec.training.batch_order == "stratified":
        raise SpecError(
            f"batch_order stratified needs all images at a time, but {blocks.n_bytes.sum() / 1e9:,.3g} GB of images "
            f"are shuffled {spec.data.shuffle_window_gb:g} GB at a time. Use shuffled, or raise shuffle_window_gb."
        )
    return blocks


def n_batches(spec: Spec, rows: int) -> int:
    """Number of batches in an epoch."""
    size = rows if spec["batch_size"] == "full" else min(spec["batch_size"], rows)
    return -(-rows // size)
