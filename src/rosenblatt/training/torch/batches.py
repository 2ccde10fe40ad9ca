"""In: rows of a table, and batches of them as they are dealt. Out: these batches as tensors on a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt.data.media.columns import Ragged
from rosenblatt.data.media.images import Pictures
from rosenblatt.networks.deep import Deep
from rosenblatt.networks.dense import Architecture
from rosenblatt.training.rows import MediaRows, Rows
from rosenblatt.training.torch.forward import Batch
from rosenblatt.training.torch.sampling import Changes, Dealt, Way


class Span(NamedTuple):
    """How many steps the sequences of a batch have at most, and whether all have so many."""

    longest: int
    even: bool


class Resident:
    """A table on a device, from which batches are gathered; images that do not fit into memory come with each batch."""

    def __init__(self, table: Rows | MediaRows, architecture: Architecture | Deep, device: torch.device) -> None:
        def put(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.device = device
        self.x, self.t = put(table.x), put(table.t)
        self.media = cast("tuple[Pictures | Ragged, ...]", getattr(table, "media", ()))
        self._held: list[Any] = []  # of images their pixels; of sequences their steps, starts, lengths, longest
        self._spans = list[Span | None]()  # of sequences that are as long in all batches
        for one in self.media:
            if isinstance(one, Ragged):
                even = len(one.lengths) > 0 and bool((one.lengths == one.longest).all())
                steps = put(one.values.reshape(-1, one.longest, *one.values.shape[1:]) if even else one.values)
                places = (None, None) if even else (put(one.starts), put(one.lengths))
                self._held.append((steps, *places, int(one.lengths.max(initial=1))))
                whole = even or architecture.kind == "cnn"  # convolutions see what is after a sequence's end
                self._spans.append(Span(one.longest, even) if whole else None)
            else:
                self._held.append(None if one.pixels is None else put(one.pixels))
                self._spans.append(Span(0, even=True))
        self._normal = [
            tuple(torch.tensor(pair, dtype=torch.float32, device=device) for pair in (one.center, one.scale))
            if isinstance(one, Pictures)
            else None
            for one in self.media
        ]

    @property
    def bytes(self) -> int:
        """Bytes on the device."""
        parts = [part for held in self._held for part in (held if isinstance(held, tuple) else (held,))]
        return sum(one.nbytes for one in (self.x, self.t, *parts) if isinstance(one, Tensor))

    @property
    def streams(self) -> bool:
        """Whether some images come with each batch."""
        return any(held is None for held in self._held)

    def spans(self, dealt: Dealt, rounded: int = 1) -> list[tuple[Span, ...]]:
        """Of each batch of an epoch: how long the sequences of each medium are, rounded up so that few differ."""
        S, found = dealt.rows.shape[1], list[list[Span]]()
        for held, known in zip(self._held, self._spans, strict=True):
            if known is not None:
                found.append([known] * S)
                continue
            many = held[2][dealt.rows]
            ends = torch.stack([many.amax(dim=(0, 2)), many.amin(dim=(0, 2))]).tolist()
            if rounded > 1:
                found.append([Span(min(-(-most // rounded) * rounded, held[3]), even=False) for most in ends[0]])
            else:
                found.append([Span(most, most == least) for most, least in zip(*ends, strict=True)])
        return list(zip(*found, strict=True)) if found else [()] * S

    def batches(self, dealt: Dealt, way: Way) -> Iterator[tuple[Batch, Tensor]]:
        """One batch after the other, and the seeds (P,) of its dropout."""
        each = [dealt.batch(k) for k in range(dealt.rows.shape[1])]
        rows = [one.rows.flatten().cpu().numpy() for one in each] if self.streams else []
        streams = [
            one.batches(rows) if held is None and isinstance(one, Pictures) else None
            for one, held in zip(self.media, self._held, strict=True)
        ]
        for one, span in zip(each, self.spans(dealt), strict=True):
            pixels = [None if stream is None else torch.from_numpy(next(stream)).to(self.device) for stream in streams]
            yield self.batch(one, way, span, pixels), one.seeds

    def batch(self, dealt: Dealt, way: Way, spans: Sequence[Span], pixels: Sequence[Tensor | None] = ()) -> Batch:
        """A batch of each of P members; nothing is asked of the host for it. `pixels` are those of images not held."""
        rows, media, lengths = dealt.rows, list[Tensor](), list[Tensor | None]()
        for k, one in enumerate(self.media):
            if isinstance(one, Ragged):
                values, many = self._steps(k, rows, spans[k])
                media.append(values)
                lengths.append(many)
            else:
                changes = dealt.changes[k] if dealt.changes else None
                media.append(self._images(k, rows, changes, way, pixels[k] if pixels else None))
                lengths.append(None)
        t = self.t[rows]
        batch = Batch(self.x[rows], tuple(media), tuple(lengths), t, dealt.weight)
        return batch if dealt.share is None else _mixed(batch, dealt.share[:, None])

    def plain(self, rows: Sequence[np.ndarray]) -> Batch:
        """Some rows as they are, as many for each of P networks."""
        index = torch.from_numpy(np.stack(rows).astype(np.int64)).to(self.device)[:, None]
        ones = torch.ones(index.shape, device=self.device, dtype=torch.float32)
        none = torch.zeros(index.shape[:2], device=self.device, dtype=torch.int32)
        way = Way("in_order", moves=False, recolors=False, turns=False, mixes=False, cutout=0.0)
        return next(self.batches(Dealt(index, ones, none), way))[0]

    def _steps(self, k: int, rows: Tensor, span: Span) -> tuple[Tensor, Tensor | None]:
        """(P, B, T, C) numbers or (P, B, T) tokens, zeros after their ends; lengths (P, B), None if all are T."""
        values, starts, lengths, _ = self._held[k]
        if starts is None:
            return values[rows], None
        place = torch.arange(span.longest, device=self.device)
        first = starts[rows][..., None]
        if span.even:
            return values[first + place], None
        many = lengths[rows]
        inside = place < many[..., None]
        found = values[torch.where(inside, first + place, 0)]
        return found.masked_fill_(~inside if found.dim() == 3 else ~inside[..., None], 0), many

    def _images(self, k: int, rows: Tensor, changes: Changes | None, way: Way, streamed: Tensor | None) -> Tensor:
        """Images of rows (P, B), to (P, B, C, H, W) with mean 0 and variance 1, changed."""
        pair, held = self._normal[k], self._held[k]
        flat = changes if changes is None else Changes(*(one if one is None else one.flatten(0, 1) for one in changes))
        index = rows.flatten() if streamed is None else None
        a = self._moved(held if streamed is None else streamed, index, flat).to(torch.float32)
        if pair is not None:
            a = a.sub_(pair[0]).mul_(pair[1])
        if flat is not None:
            a = self._recolored(a, flat, way.cutout)
        a = a.permute(0, 3, 1, 2)  # in memory channels still come last
        if flat is not None and flat.angle is not None:
            a = _turned(a, flat.angle)
        return a.unflatten(0, rows.shape)

    def _moved(self, raw: Tensor, index: Tensor | None, changes: Changes | None) -> Tensor:
        """The images of an index, or all, mirrored and moved; what comes in at the margins is mirrored there."""
        if changes is None or changes.flip is None or changes.move is None:
            return raw if index is None else raw[index]
        H, W, C = raw.shape[1:]
        rows, columns = (torch.arange(side, device=self.device) for side in (H, W))
        high = _mirrored(rows + changes.move[:, :1], H)
        wide = _mirrored(columns + changes.move[:, 1:], W)
        wide = torch.where(changes.flip[:, None], W - 1 - wide, wide)
        first = torch.arange(len(raw), device=self.device) if index is None else index
        return raw.view(-1, C)[(first[:, None] * H + high)[:, :, None] * W + wide[:, None, :]]

    def _recolored(self, a: Tensor, changes: Changes, cutout: float) -> Tensor:
        """Contrast and each channel's level changed; a square set to the mean."""
        _, H, W, _ = a.shape
        if changes.jitter is not None:
            a = a.mul_(1 + changes.jitter[:, None, None, :1]).add_(changes.jitter[:, None, None, 1:])
        if changes.hole is not None:
            rows, columns = (torch.arange(n, device=self.device, dtype=torch.float32) for n in (H, W))
            high = ((rows + 0.5) / H - changes.hole[:, :1]).abs() < cutout / 2
            wide = ((columns + 0.5) / W - changes.hole[:, 1:]).abs() < cutout / 2
            a = a.masked_fill_((high[:, :, None] & wide[:, None, :])[..., None], 0.0)
        return a


def _turned(a: Tensor, angle: Tensor) -> Tensor:
    c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([torch.stack([c, -s, zero], 1), torch.stack([s, c, zero], 1)], 1)
    grid = F.affine_grid(turn, list(a.shape), align_corners=False)
    return F.grid_sample(a, grid, align_corners=False)


def _mirrored(place: Tensor, n: int) -> Tensor:
    """Places from 0 to n - 1: those beyond are mirrored."""
    place = place.abs()
    return torch.where(place >= n, 2 * n - 2 - place, place).clamp(0, n - 1)


def _mixed(batch: Batch, share: Tensor) -> Batch:
    """Each row mixed with the one before it (Zhang et al. 2018), by a share (P, 1)."""

    def mixed(a: Tensor) -> Tensor:
        part = share.view(-1, *(1,) * (a.dim() - 1))
        return part * a + (1 - part) * a.roll(1, dims=1)

    media = tuple(mixed(one) for one in batch.media)
    return batch._replace(x=mixed(batch.x), media=media, other=batch.t.roll(1, dims=1), share=share)
