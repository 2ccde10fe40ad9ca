"""In: rows of a table, and how a member meets them. Out: its batches, epoch by epoch, as tensors on a device.

Which rows make a batch, and how images are changed, is drawn from the member's seed and the number of the epoch, so
that a member that goes on meets what it would have met.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt.data.images import Pictures
from rosenblatt.data.media import MediaRows, Ragged
from rosenblatt.networks.architectures import Architecture
from rosenblatt.networks.deep import Deep
from rosenblatt.spec import Spec
from rosenblatt.training.dense import Rows
from rosenblatt.training.torch_forward import Batch

BUCKET = 16  # batches whose rows are sorted by length together
FEWEST = 2  # rows of a batch, where its mean and variance are taken


class Changes(NamedTuple):
    """How the images of a batch are changed: for each of B rows."""

    flip: np.ndarray  # (B,) bool
    move: np.ndarray  # (B, 2) pixels down and to the right
    angle: np.ndarray  # (B,) radians
    jitter: np.ndarray  # (B, 1 + channels) contrast, then each channel's shift, in standard deviations
    hole: np.ndarray  # (B, 2) middle of the square that is cut out, as shares of the sides


class Plan(NamedTuple):
    """A batch of one member: its rows, and what is done to them."""

    rows: np.ndarray  # (B,)
    weight: np.ndarray  # (B,) float32: of each row in the mean loss; 0 for those that only fill the batch up
    changes: Changes | None
    share: float  # of the row itself, where rows are mixed; 1 for not
    seed: int  # of the masks of dropout


def plans(
    spec: Spec, order: np.ndarray, strata: np.ndarray, table: Rows | MediaRows, counter: int, epoch: int, size: int = 0
) -> list[Plan]:
    """The batches of an epoch, all of them; filled up to `size` rows where that is given."""
    rng = np.random.default_rng([counter, epoch])
    batches = _dealt(spec, order, strata, table, rng)
    picture = next((one for one in getattr(table, "media", ()) if isinstance(one, Pictures)), None)
    alpha = spec.training.mixup
    made = []
    for rows in batches:
        more = max(size - rows.size, 0)
        whole = np.concatenate([rows, np.resize(rows, more)]) if more else rows
        weight = np.zeros(whole.size, np.float32)
        weight[: rows.size] = table.weight[rows]
        weight /= max(int(np.count_nonzero(weight)), 1)
        changes = None if picture is None else _changes(spec, whole.size, picture, rng)
        share = float(rng.beta(alpha, alpha)) if alpha > 0 else 1.0
        made.append(Plan(whole, weight, changes, share, int(rng.integers(-(2**31), 2**31))))
    return made


def n_batches(spec: Spec, rows: int) -> int:
    """Batches of an epoch."""
    size = rows if spec["batch_size"] == "full" else min(spec["batch_size"], rows)
    return -(-rows // size)


def _dealt(
    spec: Spec, order: np.ndarray, strata: np.ndarray, table: Rows | MediaRows, rng: np.random.Generator
) -> list[np.ndarray]:
    n, batches = order.size, n_batches(spec, order.size)
    shuffled = order.copy()
    for lo, hi in pairwise(strata):
        shuffled[lo:hi] = rng.permutation(shuffled[lo:hi])
    if spec.training.batches == "stratified":
        return [shuffled[k::batches] for k in range(batches)]
    ragged = next((one for one in getattr(table, "media", ()) if isinstance(one, Ragged)), None)
    ends = [k * n // batches for k in range(batches + 1)]
    if ragged is None or spec.training.batches == "in_order":
        return [shuffled[lo:hi] for lo, hi in pairwise(ends)]
    for first in range(0, batches, BUCKET):  # rows of about one length stand together
        lo, hi = ends[first], ends[min(first + BUCKET, batches)]
        some = shuffled[lo:hi]
        shuffled[lo:hi] = some[np.argsort(ragged.lengths[some], kind="stable")]
    return [shuffled[ends[k] : ends[k + 1]] for k in rng.permutation(batches)]


def _changes(spec: Spec, B: int, pictures: Pictures, rng: np.random.Generator) -> Changes:
    training = spec.training
    most = round(spec["crop"] * pictures.side)
    jitter = rng.uniform(-1, 1, (B, 1 + pictures.channels)) * training.color_jitter
    return Changes(
        flip=rng.random(B) < 0.5 * spec["flip"],
        move=rng.integers(-most, most + 1, (B, 2)),
        angle=np.deg2rad(rng.uniform(-1, 1, B) * training.rotate),
        jitter=jitter.astype(np.float32),
        hole=rng.random((B, 2)),
    )


class Resident:
    """A table on a device, from which batches are gathered; images that do not fit into memory come with each batch."""

    def __init__(self, table: Rows | MediaRows, architecture: Architecture | Deep, device: torch.device) -> None:
        def put(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.table, self.device = table, device
        self.x, self.t = put(table.x), put(table.t)
        self.media = cast("tuple[Pictures | Ragged, ...]", getattr(table, "media", ()))
        self._whole = (
            architecture.kind == "cnn"
        )  # sequences as long as can be: convolutions see what is after their end
        self._held: list[Any] = []
        for one in self.media:
            if isinstance(one, Ragged):
                alike = np.ptp(one.lengths) == 0 and one.lengths[0] == one.longest
                rows = put(one.values.reshape(-1, one.longest, *one.values.shape[1:])) if alike else put(one.values)
                self._held.append((rows, None if alike else put(one.starts)))
            else:
                self._held.append(None if one.pixels is None else put(one.pixels))
        self._normal = [
            tuple(torch.tensor(pair, dtype=torch.float32, device=device) for pair in (one.center, one.scale))
            if isinstance(one, Pictures)
            else None
            for one in self.media
        ]

    @property
    def bytes(self) -> int:
        """Bytes on the device."""
        pairs = [pair if isinstance(pair, tuple) else (pair,) for pair in self._held]
        return sum(one.nbytes for one in (self.x, self.t, *chain(*pairs)) if one is not None)

    def batches(self, epoch: Sequence[Sequence[Plan]], cutout: float, mixes: bool) -> Iterator[Batch]:
        """One batch after the other, of the plans of each of P members."""
        streams: list[Iterator[np.ndarray] | None] = []
        for one, held in zip(self.media, self._held, strict=True):
            rows = [np.concatenate([plan.rows for plan in step]) for step in epoch] if held is None else []
            streams.append(one.batches(rows) if held is None and isinstance(one, Pictures) else None)
        taken = torch.from_numpy(np.concatenate([plan.rows for step in epoch for plan in step])).to(self.device)
        weights = torch.from_numpy(np.concatenate([plan.weight for step in epoch for plan in step])).to(self.device)
        sizes = [len(step) * len(step[0].rows) for step in epoch]
        known = (tensor.split(sizes) for tensor in (taken, self.t[taken], weights))
        for step, row, t, weight in zip(epoch, *known, strict=True):
            shape = len(step), len(step[0].rows)
            pixels = [None if stream is None else torch.from_numpy(next(stream)).to(self.device) for stream in streams]
            media, lengths = self._media(step, row.view(shape), pixels, cutout)
            batch = Batch(self.x[row.view(shape)], media, lengths, t.view(*shape, -1), weight.view(shape))
            yield _mixed(batch, step) if mixes else batch

    def _media(
        self, step: Sequence[Plan], rows: Tensor, pixels: Sequence[Tensor | None], cutout: float
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        """The images, steps or tokens of rows (P, B), and their lengths where these differ."""
        media, lengths = list[Tensor](), list[Tensor | None]()
        for k, one in enumerate(self.media):
            if isinstance(one, Ragged):
                values, many = self._steps(k, rows, step)
                media.append(values)
                lengths.append(many)
            else:
                raw, held = pixels[k], self._held[k]
                raw = held[rows.flatten()] if raw is None else raw
                media.append(self._images(k, raw, [plan.changes for plan in step], cutout).unflatten(0, rows.shape))
                lengths.append(None)
        return tuple(media), tuple(lengths)

    def plain(self, rows: Sequence[np.ndarray]) -> Batch:
        """Some rows as they are, as many for each of P networks."""
        step = [Plan(one, np.ones(one.size, np.float32), None, 1.0, 0) for one in rows]
        return next(self.batches([step], 0.0, mixes=False))

    def _steps(self, k: int, rows: Tensor, step: Sequence[Plan]) -> tuple[Tensor, Tensor | None]:
        """(P, B, T, C) numbers or (P, B, T) tokens, zeros after their ends; lengths (P, B), None if all are T."""
        values, starts = self._held[k]
        if starts is None:
            return values[rows], None
        one = cast("Ragged", self.media[k])
        lengths = np.stack([one.lengths[plan.rows] for plan in step])
        longest = one.longest if self._whole else int(lengths.max())
        first = starts[rows]
        if lengths.min() == longest:
            return values[first[..., None] + torch.arange(longest, device=self.device)], None
        many = torch.from_numpy(lengths).to(self.device)
        place = torch.arange(longest, device=self.device)
        inside = place < many[..., None]
        found = values[torch.where(inside, first[..., None] + place, 0)]
        gone = ~inside if found.dim() == 3 else ~inside[..., None]
        return found.masked_fill_(gone, 0), many

    def _images(self, k: int, raw: Tensor, changes: Sequence[Changes | None], cutout: float) -> Tensor:
        """(N, H, W, C) as it is, to (N, C, H, W) with mean 0 and variance 1, changed."""
        known = [one for one in changes if one is not None]
        if known:
            none = Changes(*(np.zeros_like(part) for part in known[0]))  # of lanes without a member
            joined = Changes(*(np.concatenate(p) for p in zip(*(one or none for one in changes), strict=True)))
            raw = self._moved(raw, joined)
        pair = self._normal[k]
        a = raw.to(torch.float32)
        if pair is not None:
            a = a.sub_(pair[0]).mul_(pair[1]) if raw.dtype == torch.uint8 else (a - pair[0]) * pair[1]
        if known:
            a = self._recolored(a, joined, cutout)
        a = a.permute(0, 3, 1, 2)  # in memory channels still come last
        return self._turned(a, joined) if known and joined.angle.any() else a

    def _moved(self, raw: Tensor, changes: Changes) -> Tensor:
        """Mirrored and moved; what comes in at the margins is mirrored there."""
        _, H, W, _ = raw.shape
        if not changes.move.any() and not changes.flip.any():
            return raw
        high = _mirrored(np.arange(H) + changes.move[:, :1], H)
        wide = _mirrored(np.arange(W) + changes.move[:, 1:], W)
        wide = np.where(changes.flip[:, None], W - 1 - wide, wide)
        at = torch.from_numpy(high[:, :, None] * W + wide[:, None, :]).to(self.device)
        at = at + torch.arange(len(at), device=self.device)[:, None, None] * (H * W)
        return raw.reshape(-1, raw.shape[3])[at]

    def _recolored(self, a: Tensor, changes: Changes, cutout: float) -> Tensor:
        """Contrast and each channel's level changed; a square set to the mean."""
        _, H, W, _ = a.shape
        if changes.jitter.any():
            jitter = torch.from_numpy(changes.jitter).to(self.device)
            a = a.mul_(1 + jitter[:, None, None, :1]).add_(jitter[:, None, None, 1:])
        if cutout > 0:
            hole = torch.from_numpy(changes.hole.astype(np.float32)).to(self.device)
            rows, columns = (torch.arange(n, device=self.device) for n in (H, W))
            half = cutout / 2
            high = ((rows + 0.5) / H - hole[:, :1]).abs() < half
            wide = ((columns + 0.5) / W - hole[:, 1:]).abs() < half
            a = a.masked_fill_((high[:, :, None] & wide[:, None, :])[..., None], 0.0)
        return a

    def _turned(self, a: Tensor, changes: Changes) -> Tensor:
        angle = torch.from_numpy(changes.angle.astype(np.float32)).to(self.device)
        c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        turn = torch.stack([torch.stack([c, -s, zero], 1), torch.stack([s, c, zero], 1)], 1)
        grid = F.affine_grid(turn, list(a.shape), align_corners=False)
        return F.grid_sample(a, grid, align_corners=False)


def _mirrored(place: np.ndarray, n: int) -> np.ndarray:
    """Places from 0 to n - 1: those beyond are mirrored."""
    place = np.abs(place)
    return np.clip(np.where(place >= n, 2 * n - 2 - place, place), 0, n - 1)


def _mixed(batch: Batch, step: Sequence[Plan]) -> Batch:
    """Each row mixed with the one before it (Zhang et al. 2018); sequences are not, as their lengths differ."""
    share = torch.tensor([[plan.share] for plan in step], device=batch.x.device, dtype=torch.float32)

    def mixed(a: Tensor) -> Tensor:
        part = share.view(-1, *(1,) * (a.dim() - 1))
        return part * a + (1 - part) * a.roll(1, dims=1)

    if any(one.dim() != 5 for one in batch.media):
        return batch
    media = tuple(mixed(one) for one in batch.media)
    return batch._replace(x=mixed(batch.x), media=media, other=batch.t.roll(1, dims=1), share=share)
