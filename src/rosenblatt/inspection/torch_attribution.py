"""In: a model of images, sequences or texts, and a row. Out: which pixels, steps or tokens its answer came from.

Integrated gradients (Sundararajan, Taly & Yan 2017) add up gradients on the way from an empty input, the mean of all,
to the row's; their sum is what the answer gained. Grad-CAM (Selvaraju et al. 2017) weighs the last maps of convolutions
by how much the answer rises with each. Occlusion (Zeiler & Fergus 2014) covers a part at a time: what is lost?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from rosenblatt.data.encoding.media_encodings import ImageEncoding, TextEncoding
from rosenblatt.data.media.columns import Inputs
from rosenblatt.errors import TableError, listed, nearest
from rosenblatt.models.model import Model, table_of
from rosenblatt.networks.deep import Deep
from rosenblatt.networks.layers import Embed, Summary, flat
from rosenblatt.training.torch.batches import Resident
from rosenblatt.training.torch.engine import said, stacked
from rosenblatt.training.torch.forward import Batch, Stacked
from rosenblatt.training.torch.stack import CPU

Method = Literal["gradients", "grad_cam", "occlusion"]
STEPS = 32  # of the way from an empty input
PATCH = 6  # parts of a side that are covered, in turn


@dataclass(frozen=True)
class Heed:
    """What a model's answer owes to each pixel, step or token of one column."""

    column: str
    kind: str  # image, text or sequence
    shown: np.ndarray  # (H, W, C) as read; (T, channels) as scaled
    tokens: tuple[str, ...]  # of a text
    values: np.ndarray  # (H, W) or (T,): how much they spoke for the answer; below 0 against it


@dataclass(frozen=True)
class Explained:
    """A model's answer for a row, and where it came from."""

    answer: str
    said: dict[str, float]  # probabilities, the largest first, or values
    method: Method
    heeds: tuple[Heed, ...]


def explain_row(
    model: Model, frame: pl.DataFrame, row: int, method: Method = "gradients", answer: str | None = None
) -> Explained:
    """Explain what the first trial's networks say of a row, numbered from 1.

    Args:
        frame: rows as the model takes them; of a forecast its windows.
        answer: a class, label or target; else the likeliest class or label, the first target.

    Raises:
        TableError: where there is no such row or answer, or where the method does not suit the network.
    """
    if not 1 <= row <= frame.height:
        raise TableError(f"There is no row {row}; the table has {frame.height:,}. Choose one from 1 on.")
    if model.target.each_step:
        raise TableError(f"What is explained is an answer for a row, but this model is for {model.target.task}.")
    trial = model.trials[0]
    typed = model.schema.read(frame[row - 1 : row])
    inputs = cast("Inputs", trial.encoder.encode(typed))
    batch = Resident(cast("Any", table_of(inputs)), trial.networks[0].architecture, CPU).plain([np.arange(1)])
    decoded = model.decoded(frame[row - 1 : row])[0]
    names = [str(name) for name in (model.target.labels or model.target.names)]
    if answer is not None and answer not in names:
        raise TableError(f"There is no answer {answer!r}; there are {listed(names, 12)}.{nearest(answer, names)}")
    likeliest = 0 if model.target.task == "regression" else int(decoded.argmax())
    chosen = likeliest if answer is None else names.index(answer)
    unit, sign = (0, 1 if chosen else -1) if model.target.task == "binary" else (chosen, 1)
    heeds = []
    for k, encoding in enumerate(trial.encoder.perceived):
        if method == "grad_cam" and not _has_maps(cast("Deep", trial.networks[0].architecture), k):
            continue
        values = np.mean(
            [_ways()[method](stacked(n.architecture, n.theta), batch, k, unit, sign) for n in trial.networks], axis=0
        )
        cell = typed[encoding.column]
        tokens: tuple[str, ...] = ()
        shown = np.empty(0)
        if isinstance(encoding, ImageEncoding):
            shown = encoding.encode(cell).take(np.arange(1))[0]
        elif isinstance(encoding, TextEncoding):
            text = cell.struct.field("text")[0]
            tokens = tuple(text[a:b] for a, b in encoding.vocabulary.spans(text))[: len(values)]
            values = values[: len(tokens)]
        else:
            shown = batch.media[k][0, 0].numpy()
        heeds.append(Heed(encoding.column, encoding.kind, shown, tokens, values))
    if not heeds:
        raise TableError("Grad-CAM needs convolutions of images. Choose --method gradients or occlusion.")
    pairs = list(zip(names, decoded.tolist(), strict=False))
    said_of = pairs if model.target.task == "regression" else sorted(pairs, key=lambda pair: -pair[1])
    return Explained(names[chosen], dict(said_of), method, tuple(heeds))


def _ways() -> dict[str, Callable[[Stacked, Batch, int, int, int], np.ndarray]]:
    return {"gradients": _gradients, "grad_cam": _grad_cam, "occlusion": _occlusion}


def _with(batch: Batch, k: int, medium: Tensor) -> Batch:
    """The batch with another medium in the place of the k-th, repeated for its rows."""
    many = medium.shape[1]

    def wide(a: Tensor) -> Tensor:
        return a.expand(-1, many, *a.shape[2:])

    media = tuple(medium if place == k else wide(one) for place, one in enumerate(batch.media))
    lengths = tuple(None if one is None else wide(one) for one in batch.lengths)
    return batch._replace(x=wide(batch.x), media=media, lengths=lengths)


def _gradients(net: Stacked, batch: Batch, k: int, unit: int, sign: int) -> np.ndarray:
    """Integrated gradients of a unit's signed sum, (H, W) or (T,): from an input that is zero, the mean of all."""
    medium = batch.media[k]
    architecture = cast("Deep", net.architecture)
    embeds = isinstance(architecture.towers[k][0], Embed)
    start = _embedded(net, architecture, k, medium) if embeds else medium
    shares = (torch.arange(STEPS, dtype=torch.float32) + 0.5) / STEPS
    way = (start.detach() * shares.view(1, -1, *(1,) * (start.dim() - 2))).requires_grad_()
    z = _after_embedding(net, _with(batch, k, way), k) if embeds else said(net, _with(batch, k, way))
    (gradient,) = torch.autograd.grad(sign * z[0, :, unit].sum(), way)
    owed = (gradient.mean(dim=1) * start[:, 0])[0]
    return np.asarray(owed.sum(dim=0 if medium.dim() == 5 else -1).detach().numpy())


def _first_layer(architecture: Deep, k: int) -> int:
    """The number of the first layer of the k-th tower."""
    return sum(1 for tower in architecture.towers[:k] for _ in flat(tower))


def _embedded(net: Stacked, architecture: Deep, k: int, tokens: Tensor) -> Tensor:
    return net.values[_first_layer(architecture, k), "weight"][0][tokens[0]][None]


def _after_embedding(net: Stacked, batch: Batch, k: int) -> Tensor:
    """What the network says where the k-th medium is embedded already."""
    architecture, number, joined = cast("Deep", net.architecture), count(), list[Tensor]()
    for place, (tower, medium, lengths) in enumerate(zip(architecture.towers, batch.media, batch.lengths, strict=True)):
        if place == k:
            next(number)
            joined.append(net.tower(tower[1:], medium, lengths, number, None))
        else:
            joined.append(net.tower(tower, medium, lengths, number, None))
    joined += [batch.x] * bool(batch.x.shape[-1])
    return net.dense(architecture.head, torch.cat(joined, dim=-1), next(number), None)


def _has_maps(architecture: Deep, k: int) -> bool:
    """Whether the k-th tower is of convolutions of images."""
    return architecture.media[k].kind == "image" and any(isinstance(one, Summary) for one in architecture.towers[k])


def _grad_cam(net: Stacked, batch: Batch, k: int, unit: int, sign: int) -> np.ndarray:
    """Where the last maps speak for a unit's signed sum: (H, W), none below 0."""
    medium, kept = batch.media[k].clone().requires_grad_(), list[Tensor]()
    architecture, number, joined = cast("Deep", net.architecture), count(), list[Tensor]()
    for place, (tower, one, lengths) in enumerate(zip(architecture.towers, batch.media, batch.lengths, strict=True)):
        of = kept if place == k else None
        joined.append(net.tower(tower, medium if place == k else one, lengths, number, None, of))
    joined += [batch.x] * bool(batch.x.shape[-1])
    z = net.dense(architecture.head, torch.cat(joined, dim=-1), next(number), None)
    (gradient,) = torch.autograd.grad(sign * z[0, 0, unit], kept[0])
    maps = (gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1, keepdim=True).clamp(min=0)
    large = torch.nn.functional.interpolate(maps, size=medium.shape[3:], mode="bilinear", align_corners=False)
    return np.asarray(large[0, 0].detach().numpy())


def _occlusion(net: Stacked, batch: Batch, k: int, unit: int, sign: int) -> np.ndarray:
    """What a unit's signed sum loses where a part is covered, by the mean of all or an unknown token: (H, W), (T,)."""
    medium = batch.media[k]
    image = medium.dim() == 5
    sides = medium.shape[3:] if image else medium.shape[2:3]
    masks = [_parts(side) for side in sides]
    covered, places = [], []
    for rows in masks[0]:
        for columns in masks[1] if image else [slice(None)]:
            one = medium.clone()
            place = (..., rows, columns) if image else (slice(None), slice(None), rows)
            one[place] = 0
            covered.append(one)
            places.append((rows, columns) if image else rows)
    with torch.inference_mode():
        whole = said(net, batch)[0, 0, unit]
        z = said(net, _with(batch, k, torch.cat(covered, dim=1)))[0, :, unit]
    lost, many = np.zeros(tuple(sides)), np.zeros(tuple(sides))
    for where, change in zip(places, (sign * (whole - z)).tolist(), strict=True):
        lost[where] += change
        many[where] += 1
    return lost / np.maximum(many, 1)


def _parts(side: int) -> list[slice]:
    """Parts of a side that overlap by half, the last one at its end; single steps where these are few."""
    size = max(1, side // PATCH) if side > 4 * PATCH else 1
    starts = [*range(0, side - size, max(1, size // 2)), side - size]
    return [slice(first, first + size) for first in starts]
