"""Batches of rows as tensors on a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt.data.media.columns import RaggedSequences
from rosenblatt.data.media.images import ImageDataset
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.training.rows import DenseRows, MediaRows
from rosenblatt.training.torch.forward import Batch
from rosenblatt.training.torch.sampling import AugmentationConfig, Augmentations, EpochBatches


class LengthRange(NamedTuple):
    """Length of the longest sequence of a batch, and whether all sequences have it."""

    max_length: int
    uniform: bool


class DeviceTable:
    """A table on a device, from which batches are gathered; images that do not fit into memory are streamed."""

    def __init__(
        self, table: DenseRows | MediaRows, architecture: DenseArchitecture | DeepArchitecture, device: torch.device
    ) -> None:
        def put(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.device = device
        self.x, self.t = put(table.x), put(table.t)
        self.media = cast("tuple[ImageDataset | RaggedSequences, ...]", getattr(table, "media", ()))
        self._storage: list[Any] = []  # pixels of images; steps, starts, lengths and longest length of sequences
        self._length_ranges = list[LengthRange | None]()  # of media whose length is the same in all batches
        for medium in self.media:
            if isinstance(medium, RaggedSequences):
                uniform = len(medium.lengths) > 0 and bool((medium.lengths == medium.max_length).all())
                steps = put(
                    medium.values.reshape(-1, medium.max_length, *medium.values.shape[1:]) if uniform else medium.values
                )
                offsets = (None, None) if uniform else (put(medium.starts), put(medium.lengths))
                self._storage.append((steps, *offsets, int(medium.lengths.max(initial=1))))
                is_fixed = uniform or architecture.kind == "cnn"  # convolutions read the padding
                self._length_ranges.append(LengthRange(medium.max_length, uniform) if is_fixed else None)
            else:
                self._storage.append(None if medium.pixels is None else put(medium.pixels))
                self._length_ranges.append(LengthRange(0, uniform=True))
        self._normalization = [
            tuple(
                torch.tensor(pair, dtype=torch.float32, device=device)
                for pair in (medium.center, 1 / np.asarray(medium.scale))
            )
            if isinstance(medium, ImageDataset)
            else None
            for medium in self.media
        ]

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        tensors = [
            tensor for storage in self._storage for tensor in (storage if isinstance(storage, tuple) else (storage,))
        ]
        return sum(tensor.nbytes for tensor in (self.x, self.t, *tensors) if isinstance(tensor, Tensor))

    @property
    def has_streamed_images(self) -> bool:
        """Whether any images are streamed."""
        return any(storage is None for storage in self._storage)

    def length_ranges(self, epoch_batches: EpochBatches, multiple_of: int = 1) -> list[tuple[LengthRange, ...]]:
        """Return the length range of each medium for each batch of an epoch, with lengths rounded up to a multiple."""
        S, ranges = epoch_batches.rows.shape[1], list[list[LengthRange]]()
        for storage, fixed_range in zip(self._storage, self._length_ranges, strict=True):
            if fixed_range is not None:
                ranges.append([fixed_range] * S)
                continue
            lengths = storage[2][epoch_batches.rows]
            bounds = torch.stack([lengths.amax(dim=(0, 2)), lengths.amin(dim=(0, 2))]).tolist()
            if multiple_of > 1:
                ranges.append(
                    [
                        LengthRange(min(-(-longest // multiple_of) * multiple_of, storage[3]), uniform=False)
                        for longest in bounds[0]
                    ]
                )
            else:
                ranges.append(
                    [LengthRange(longest, longest == shortest) for longest, shortest in zip(*bounds, strict=True)]
                )
        return list(zip(*ranges, strict=True)) if ranges else [()] * S

    def batches(
        self, epoch_batches: EpochBatches, augmentation: AugmentationConfig, part: slice | None = None
    ) -> Iterator[tuple[Batch, Tensor]]:
        """Yield the batches of an epoch, or a part of the rows of each, with the seeds (P,) of their dropout masks.

        Sequences of a part are as long as in the whole batch.
        """
        samples = [epoch_batches.batch(k) for k in range(epoch_batches.rows.shape[1])]
        if part is not None:
            samples = [sample.part(part) for sample in samples]
        rows = [sample.rows.flatten().cpu().numpy() for sample in samples] if self.has_streamed_images else []
        streams = [
            medium.batches(rows) if storage is None and isinstance(medium, ImageDataset) else None
            for medium, storage in zip(self.media, self._storage, strict=True)
        ]
        for sample, length_ranges in zip(samples, self.length_ranges(epoch_batches), strict=True):
            pixels = [None if stream is None else torch.from_numpy(next(stream)).to(self.device) for stream in streams]
            yield self.batch(sample, augmentation, length_ranges, pixels), sample.seeds

    def batch(
        self,
        sample: EpochBatches,
        augmentation: AugmentationConfig,
        length_ranges: Sequence[LengthRange],
        pixels: Sequence[Tensor | None] = (),
    ) -> Batch:
        """Gather a batch for each of P members without synchronizing with the host; `pixels` are streamed images."""
        rows, media, lengths = sample.rows, list[Tensor](), list[Tensor | None]()
        for k, medium in enumerate(self.media):
            if isinstance(medium, RaggedSequences):
                values, medium_lengths = self._steps(k, rows, length_ranges[k])
                media.append(values)
                lengths.append(medium_lengths)
            else:
                augmentations = sample.augmentations[k] if sample.augmentations else None
                media.append(self._images(k, rows, augmentations, augmentation, pixels[k] if pixels else None))
                lengths.append(None)
        t = self.t[rows]
        batch = Batch(self.x[rows], tuple(media), tuple(lengths), t, sample.weight, first_row=sample.first_row)
        if sample.mixup_weight is None:
            return batch
        return _mixup(batch, sample.mixup_weight[:, None], sample.has_previous_row)

    def batch_without_augmentation(self, rows: Sequence[np.ndarray]) -> Batch:
        """Gather rows without augmentation, equally many for each of P networks."""
        index = torch.from_numpy(np.stack(rows).astype(np.int64)).to(self.device)[:, None]
        ones = torch.ones(index.shape, device=self.device, dtype=torch.float32)
        seeds = torch.zeros(index.shape[:2], device=self.device, dtype=torch.int32)
        augmentation = AugmentationConfig(
            "in_order", has_shift_or_flip=False, has_color_jitter=False, has_rotation=False, has_mixup=False, cutout=0.0
        )
        return next(self.batches(EpochBatches(index, ones, seeds), augmentation))[0]

    def _steps(self, k: int, rows: Tensor, length_range: LengthRange) -> tuple[Tensor, Tensor | None]:
        """Gather numbers (P, B, T, C) or tokens (P, B, T), zero-padded, and lengths (P, B), or None if all are T."""
        values, starts, lengths, _ = self._storage[k]
        if starts is None:
            return values[rows], None
        positions = torch.arange(length_range.max_length, device=self.device)
        row_starts = starts[rows][..., None]
        if length_range.uniform:
            return values[row_starts + positions], None
        row_lengths = lengths[rows]
        mask = positions < row_lengths[..., None]
        steps = values[torch.where(mask, row_starts + positions, 0)]
        return steps.masked_fill_(~mask if steps.dim() == 3 else ~mask[..., None], 0), row_lengths

    def _images(
        self,
        k: int,
        rows: Tensor,
        augmentations: Augmentations | None,
        augmentation: AugmentationConfig,
        streamed_pixels: Tensor | None,
    ) -> Tensor:
        """Gather images (P, B, C, H, W) of rows (P, B), standardized and augmented."""
        normalization, storage = self._normalization[k], self._storage[k]
        flat_augmentations = (
            augmentations
            if augmentations is None
            else Augmentations(*(tensor if tensor is None else tensor.flatten(0, 1) for tensor in augmentations))
        )
        index = rows.flatten() if streamed_pixels is None else None
        a = self._shift_and_flip(storage if streamed_pixels is None else streamed_pixels, index, flat_augmentations).to(
            torch.float32
        )
        if normalization is not None:
            a = a.sub_(normalization[0]).mul_(normalization[1])
        if flat_augmentations is not None:
            a = self._color_jitter(a, flat_augmentations, augmentation.cutout)
        a = a.permute(0, 3, 1, 2)  # memory stays channels-last
        if flat_augmentations is not None and flat_augmentations.angle is not None:
            a = _rotate(a, flat_augmentations.angle)
        return a.unflatten(0, rows.shape)

    def _shift_and_flip(self, raw: Tensor, index: Tensor | None, augmentations: Augmentations | None) -> Tensor:
        """Flip and shift the images `index`, or all if it is None, with reflection at the borders."""
        if augmentations is None or augmentations.flip is None or augmentations.shift is None:
            return raw if index is None else raw[index]
        H, W, C = raw.shape[1:]
        rows, columns = (torch.arange(side, device=self.device) for side in (H, W))
        source_rows = _reflect(rows + augmentations.shift[:, :1], H)
        source_columns = _reflect(columns + augmentations.shift[:, 1:], W)
        source_columns = torch.where(augmentations.flip[:, None], W - 1 - source_columns, source_columns)
        image_index = torch.arange(len(raw), device=self.device) if index is None else index
        return raw.view(-1, C)[(image_index[:, None] * H + source_rows)[:, :, None] * W + source_columns[:, None, :]]

    def _color_jitter(self, a: Tensor, augmentations: Augmentations, cutout: float) -> Tensor:
        """Change contrast and the level of each channel; set a square to the mean (cutout)."""
        _, H, W, _ = a.shape
        if augmentations.jitter is not None:
            a = a.mul_(1 + augmentations.jitter[:, None, None, :1]).add_(augmentations.jitter[:, None, None, 1:])
        if augmentations.cutout_center is not None:
            rows, columns = (torch.arange(n, device=self.device, dtype=torch.float32) for n in (H, W))
            in_rows = ((rows + 0.5) / H - augmentations.cutout_center[:, :1]).abs() < cutout / 2
            in_columns = ((columns + 0.5) / W - augmentations.cutout_center[:, 1:]).abs() < cutout / 2
            a = a.masked_fill_((in_rows[:, :, None] & in_columns[:, None, :])[..., None], 0.0)
        return a


def _rotate(a: Tensor, angle: Tensor) -> Tensor:
    c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rotation = torch.stack([torch.stack([c, -s, zero], 1), torch.stack([s, c, zero], 1)], 1)
    grid = F.affine_grid(rotation, list(a.shape), align_corners=False)
    return F.grid_sample(a, grid, align_corners=False)


def _reflect(positions: Tensor, n: int) -> Tensor:
    """Reflect positions beyond 0 and n - 1 into that range."""
    positions = positions.abs()
    return torch.where(positions >= n, 2 * n - 2 - positions, positions).clamp(0, n - 1)


def _mixup(batch: Batch, mixup_weight: Tensor, has_previous_row: bool) -> Batch:
    """Mix each row with the one before it, with weights (P, 1) (Zhang et al. 2018).

    The first row of a whole batch is mixed with the last one; of a part, the row before it comes first.
    """

    def rows(a: Tensor) -> Tensor:
        return a[:, 1:] if has_previous_row else a

    def previous(a: Tensor) -> Tensor:
        return a[:, :-1] if has_previous_row else a.roll(1, dims=1)

    def mix(a: Tensor) -> Tensor:
        w = mixup_weight.view(-1, *(1,) * (a.dim() - 1))
        return w * rows(a) + (1 - w) * previous(a)

    return batch._replace(
        x=mix(batch.x),
        media=tuple(mix(medium) for medium in batch.media),
        lengths=tuple(None if lengths is None else rows(lengths) for lengths in batch.lengths),
        t=rows(batch.t),
        weight=rows(batch.weight),
        mixup_targets=previous(batch.t),
        mixup_weight=mixup_weight,
    )
