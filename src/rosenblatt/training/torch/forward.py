"""In: parameters of P networks of one architecture, and a batch for each. Out: their last weighted sums.

Everything is stacked along a leading population axis P; one network is a stack of one, for which PyTorch's fused
kernels are used. Images and channels of sequences stand as (B, P C, H, W), so that convolutions of all networks are one
with P groups.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt.networks.deep import Deep
from rosenblatt.networks.dense import Architecture
from rosenblatt.networks.layers import (
    GROUPS,
    Activate,
    Colors,
    Conv,
    Dropout,
    Embed,
    LayerNorm,
    Norm,
    Pool,
    Recurrent,
    Residual,
    Summary,
)
from rosenblatt.training.compiled.normalization import EPSILON, RUNNING
from rosenblatt.training.torch.random import Noise

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "step": lambda z: (z > 0).to(z.dtype),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
}
IM2COL = "im2col"
GROUPED = "grouped"
RUNS = ("mean", "variance")  # parts that follow the batches, and are not learnt


class Batch(NamedTuple):
    """Rows for each of P networks."""

    x: Tensor  # (P, B, F)
    media: tuple[Tensor, ...]  # images (P, B, C, H, W), steps (P, B, T, C), or tokens (P, B, T)
    lengths: tuple[Tensor | None, ...]  # of steps or tokens, (P, B); None for images, and where all are T
    t: Tensor  # (P, B, 1 or K), of answers for each step (P, B, T)
    weight: Tensor  # (P, B) of each row in the mean loss
    other: Tensor | None = None  # (P, B, ...) targets that are mixed in, where rows are mixed
    share: Tensor | None = None  # (P, 1) of the row itself in the mixture


class _Lone(dict[tuple[int, str], Tensor]):
    """Parts of one network, given with an axis P that is made anew each time: autograd ties what is made to the stream
    it was made on, and a CUDA graph is recorded on another."""

    def __getitem__(self, place: tuple[int, str]) -> Tensor:
        return super().__getitem__(place)[None]


class Stacked:
    """P networks of one architecture, whose parameters are views of `theta` (P, n).

    Where a `gradient` (P, n) is given they learn: `backward` writes to it.
    """

    def __init__(self, architecture: Architecture | Deep, theta: Tensor, gradient: Tensor | None = None) -> None:
        self.architecture, self.P = architecture, theta.shape[0]
        found: dict[tuple[int, str], Tensor] = {}
        self.convolve: str = GROUPED
        self._gradient = gradient
        self._moved: list[tuple[Tensor, Tensor]] = []  # running statistics, and what they become after the step
        for part in architecture.parts:
            place, shape = (part.layer, part.name), part.shape if self.P == 1 else (self.P, *part.shape)
            value = theta[:, part.start : part.end].view(shape)
            if gradient is not None and part.name not in RUNS:
                value = value.detach().requires_grad_()
                if self.P == 1:
                    value.grad = gradient[0, part.start : part.end].view(shape)
            found[place] = value
        self.single = found if self.P == 1 else {}  # of one network, without the axis P
        self.values = _Lone(found) if self.P == 1 else found  # (P, ...)

    def backward(self, loss: Tensor) -> None:
        """Write the gradient of a loss to where it belongs, 0 for what does not learn."""
        assert self._gradient is not None  # noqa: S101 - whoever calls this made them learn
        self._gradient.zero_()
        if self.P == 1:  # whose gradients are views of it
            loss.backward()  # type: ignore[no-untyped-call]
            return
        parts = [part for part in self.architecture.parts if part.name not in RUNS]
        leaves = [self.values[part.layer, part.name] for part in parts]
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
        for part, one in zip(parts, found, strict=True):
            if one is not None:
                self._gradient[:, part.start : part.end] = one.flatten(1)

    def move_on(self) -> None:
        """Let the running statistics of batch normalization become what the last batch made of them."""
        for value, moved in self._moved:
            value.copy_(moved.view(value.shape))

    def __call__(self, batch: Batch, noise: Noise | None = None) -> Tensor:
        """The last weighted sums, (P, B, K), or (P, B, T, K) for each step; with `noise` while learning."""
        architecture = self.architecture
        self._moved.clear()
        x = batch.x
        if noise is not None and noise.inputs is not None:
            x = noise.drop(x, noise.inputs)
        if isinstance(architecture, Architecture):
            return self.dense(architecture, x, 0, noise)
        layers, joined = count(), list[Tensor]()
        for tower, medium, lengths in zip(architecture.towers, batch.media, batch.lengths, strict=True):
            given = medium if noise is None else noise.drop_inputs(medium)
            joined.append(self.tower(tower, given, lengths, layers, noise))
        if architecture.each_step and x.shape[-1]:
            x = x[:, :, None].expand(-1, -1, joined[0].shape[2], -1)
        joined += [x] * bool(x.shape[-1])
        inputs = torch.cat(joined, dim=-1) if len(joined) > 1 else joined[0]
        return self.dense(architecture.head, inputs, next(layers), noise)

    def tower(
        self,
        layers: tuple[Any, ...],
        a: Tensor,
        lengths: Tensor | None,
        number: Any,
        noise: Noise | None,
        kept: list[Tensor] | None = None,
    ) -> Tensor:
        """What a tower makes of its medium; `kept` is given what the last layer of images or steps makes."""
        if a.dim() == 5:  # images
            a = a.transpose(0, 1).flatten(1, 2)
            if self.P == 1 and a.device.type == "cpu":
                a = a.contiguous(memory_format=torch.channels_last)
        elif not _is_sequence(layers):
            lengths = None if lengths is None else lengths / a.shape[2]  # shares of the steps, which become fewer
            a = _as_columns(a) if a.dim() == 4 else a
        for layer in layers:
            if isinstance(layer, Summary) and kept is not None:
                if a.requires_grad:
                    a.retain_grad()
                kept.append(a)
            a = self.layer(layer, a, lengths, number, noise, layers)
        return a

    def layer(self, layer: Any, a: Tensor, lengths: Any, number: Any, noise: Noise | None, among: Any) -> Tensor:
        """What one layer makes of what enters it; `number` counts layers with parameters, `among` are its tower's."""
        if isinstance(layer, Conv):
            return self._conv(layer, a, next(number))
        if isinstance(layer, Norm):
            return self._norm(layer, a, next(number), noise is not None)
        if isinstance(layer, Activate):
            return ACTIVATIONS[self.architecture.activation](a)
        if isinstance(layer, Pool):
            size = (min(layer.size[0], a.shape[2]), min(layer.size[1], a.shape[3]))
            return F.max_pool2d(a, size) if layer.kind == "max" else F.avg_pool2d(a, size)
        if isinstance(layer, Residual):
            inner = a
            for one in layer.inner:
                inner = self.layer(one, inner, lengths, number, noise, among)
            return inner + (self._conv(layer.around, a, next(number)) if layer.around else a)
        if isinstance(layer, Summary):
            place = next(number) if layer.kind == "attention" else -1
            return (
                self._of_steps(layer, a, lengths, place) if _is_sequence(among) else self._of_pixels(layer, a, lengths)
            )
        if isinstance(layer, Recurrent):
            return self._recurrent(layer, a, lengths, number)
        if isinstance(layer, LayerNorm):
            place = next(number)
            hat = F.layer_norm(a, (layer.units,), eps=EPSILON)
            return hat * self._wide(place, "gain", a.dim()) + self._wide(place, "shift", a.dim())
        if isinstance(layer, Embed):
            a = self._embed(a, next(number))
            return a if any(isinstance(one, Recurrent) for one in among) else _as_columns(a)
        if isinstance(layer, Colors):
            return self._colors(layer, a, number, noise)
        assert isinstance(layer, Dropout)  # noqa: S101 - there is no other
        if noise is None or noise.dropout is None:
            return a
        if a.dim() == 4 and not _is_sequence(among):  # (B, P C, H, W)
            B, _, H, W = a.shape
            of = a.view(B, self.P, -1, H, W).transpose(0, 1)
            return noise.drop(of, noise.dropout).transpose(0, 1).reshape(a.shape)
        return noise.drop(a, noise.dropout)

    def _wide(self, layer: int, name: str, dims: int) -> Tensor:
        """A part (P, n) with axes of size 1 in between, to stand beside (P, ..., n)."""
        value = self.values[layer, name]
        return value.view(self.P, *(1,) * (dims - 2), -1)

    # Convolutions, over (B, P C, H, W)

    def _conv(self, layer: Conv, a: Tensor, place: int) -> Tensor:
        high, wide = (layer.dilation * (k - 1) for k in layer.kernel)  # pixels of margin, on both sides together
        pads = high // 2, wide // 2
        if high % 2 or wide % 2:  # even kernels see one pixel more on the one side than on the other
            a, pads = F.pad(a, (wide // 2, wide - wide // 2, high // 2, high - high // 2)), (0, 0)
        if self.P == 1:
            W, b = self.single[place, "weight"], self.single.get((place, "bias"))
            return F.conv2d(a, W, b, layer.stride, pads, layer.dilation, layer.groups)
        weights, bias = self.values[place, "weight"], self.values.get((place, "bias"))
        if self.convolve == IM2COL and layer.groups == 1:
            return self._conv_by_products(layer, a, weights, bias, pads)
        b = None if bias is None else bias.flatten()
        return F.conv2d(a, weights.flatten(0, 1), b, layer.stride, pads, layer.dilation, self.P * layer.groups)

    def _conv_by_products(self, layer: Conv, a: Tensor, W: Tensor, bias: Tensor | None, pads: Any) -> Tensor:
        """Convolution as one batched product of unfolded images (im2col: Chellapilla et al. 2006)."""
        B, _, H, _ = a.shape
        of_all = a.reshape(1, -1, *a.shape[2:])  # PyTorch unfolds the images of a batch one by one
        windows = F.unfold(of_all, layer.kernel, layer.dilation, pads, layer.stride)
        L = windows.shape[-1]
        rows = windows.view(B, self.P, -1, L).permute(1, 2, 0, 3).reshape(self.P, -1, B * L)
        out = torch.bmm(W.reshape(self.P, layer.n_out, -1), rows)
        if bias is not None:
            out = out + bias[:, :, None]
        high = (H + 2 * pads[0] - layer.dilation * (layer.kernel[0] - 1) - 1) // layer.stride[0] + 1
        return out.view(self.P, layer.n_out, B, high, -1).permute(2, 0, 1, 3, 4).reshape(B, -1, high, L // high)

    def _norm(self, layer: Norm, a: Tensor, place: int, learning: bool) -> Tensor:
        if layer.kind == "batch":
            return self._batch_norm(a, place, learning)
        gain, shift = self._flat(place, "gain", "shift")
        groups = 1 if layer.kind == "layer" else max(g for g in range(1, GROUPS + 1) if layer.channels % g == 0)
        return F.group_norm(a, self.P * groups, gain, shift, EPSILON)

    def _batch_norm(self, a: Tensor, place: int, learning: bool) -> Tensor:
        """Of channels (B, P C, ...); running statistics are moved while learning, else they take the batch's place."""
        gain, shift, mean, variance = self._flat(place, "gain", "shift", *RUNS)
        learns = learning and a.numel() > a.shape[1]
        out = F.batch_norm(a, mean, variance, gain, shift, learns, RUNNING, EPSILON)
        if learns and self.P > 1:
            self._moved += zip((self.values[place, name] for name in RUNS), (mean, variance), strict=True)
        return out

    def _flat(self, place: int, *names: str) -> list[Tensor]:
        """Parts of a layer, those of all networks after one another: of one network the parts, of more copies."""
        if self.P == 1:
            return [self.single[place, name] for name in names]
        return [self.values[place, name].flatten() for name in names]

    def _of_pixels(self, layer: Summary, a: Tensor, lengths: Tensor | None) -> Tensor:
        """(P, B, C) or, flat, (P, B, C H W)."""
        B = a.shape[0]
        if lengths is not None:  # of a sequence, which has become shorter on the way
            steps = (lengths * a.shape[2]).ceil().clamp(min=1)
            inside = torch.arange(a.shape[2], device=a.device) < steps[:, :, None]  # (P, B, T)
            a = a.view(B, self.P, -1, a.shape[2]).permute(1, 0, 3, 2)
            return _summed_up(a, inside, layer.kind)
        if layer.kind == "flatten":
            return a.reshape(B, self.P, -1).transpose(0, 1)
        a = a.amax(dim=(2, 3)) if layer.kind == "max" else a.mean(dim=(2, 3))
        return a.view(B, self.P, -1).transpose(0, 1)

    # Sequences, over (P, B, T, C)

    def _embed(self, tokens: Tensor, place: int) -> Tensor:
        if self.P == 1:
            return F.embedding(tokens[0], self.single[place, "weight"])[None]
        W = self.values[place, "weight"]
        apart = torch.arange(self.P, device=tokens.device).view(-1, 1, 1) * W.shape[1]
        return F.embedding(tokens + apart, W.reshape(-1, W.shape[2]))

    def _recurrent(self, layer: Recurrent, a: Tensor, lengths: Tensor | None, number: Any) -> Tensor:
        """Each direction by itself: what stands after a sequence's end is met last, and changes nothing before it."""
        ahead = self._direction(layer, a, next(number))
        if layer.directions == 1:
            return ahead
        turned = a.flip(2) if lengths is None else reverse(a, lengths)
        back = self._direction(layer, turned, next(number))
        return torch.cat([ahead, back.flip(2) if lengths is None else reverse(back, lengths)], dim=-1)

    def _direction(self, layer: Recurrent, a: Tensor, place: int) -> Tensor:
        names = ("weight", "recurrent_weight", "bias", "recurrent_bias")
        if self.P == 1:
            parts = [self.single[place, name] for name in names]
            if not a.is_cuda:
                return self.fused(layer, a[0], parts)[0][None]
            with torch.autocast("cuda", enabled=False):  # which would choose float16, whatever was asked for
                return self.fused(layer, a[0].float(), parts)[0][None]
        W, U, b, c = (self.values[place, name] for name in names)
        P, B, T, _ = a.shape
        entering = torch.baddbmm(b[:, None], a.reshape(P, B * T, -1), W.transpose(1, 2)).view(P, B, T, -1)
        h = a.new_zeros(P, B, layer.units)
        memory, said, turned = h, list[Tensor](), U.transpose(1, 2)
        for entered in entering.unbind(2):
            h, memory = cell(layer.cell, entered, torch.baddbmm(c[:, None], h, turned), h, memory)
            said.append(h)
        return torch.stack(said, dim=2)

    @staticmethod
    def fused(layer: Recurrent, a: Tensor, parts: list[Tensor], state: Any = None) -> tuple[Tensor, Any]:
        """One network's layer in one direction, by PyTorch's own kernel: (B, T, units), and the state after it."""
        zero = a.new_zeros(1, a.shape[0], layer.units)
        common = (parts, True, 1, 0.0, True, False, True)  # biases, layers, dropout, training, directions, batch first
        if layer.cell == "lstm":
            out, h, c = torch.lstm(a, state or (zero, zero), *common)
            return out, (h, c)
        kernel = torch.gru if layer.cell == "gru" else torch.rnn_tanh
        out, h = kernel(a, zero if state is None else state, *common)
        return out, h

    def _of_steps(self, layer: Summary, a: Tensor, lengths: Tensor | None, place: int) -> Tensor:
        if layer.kind == "last":
            return self._ends(a, lengths)
        inside = None if lengths is None else torch.arange(a.shape[2], device=a.device) < lengths[:, :, None]
        if layer.kind != "attention":
            return _summed_up(a, inside, layer.kind)
        heed = torch.matmul(torch.tanh(a), self.values[place, "weight"][:, None])[..., 0]
        heed = heed if inside is None else heed.masked_fill(~inside, -torch.inf)
        return torch.einsum("pbt,pbth->pbh", heed.softmax(dim=-1), a)

    def _ends(self, a: Tensor, lengths: Tensor | None) -> Tensor:
        """What each direction says after all steps: at the end, and, of the other, at the beginning."""
        if lengths is None:
            last = a[:, :, -1]
        else:
            last = a.gather(2, (lengths - 1)[:, :, None, None].expand(-1, -1, 1, a.shape[3]))[:, :, 0]
        architecture = self.architecture
        if isinstance(architecture, Deep) and architecture.bidirectional:
            half = a.shape[3] // 2
            return torch.cat([last[..., :half], a[:, :, 0, half:]], dim=-1)
        return last

    # Dense layers, over (P, B, F)

    def _colors(self, layer: Colors, a: Tensor, number: Any, noise: Noise | None) -> Tensor:
        B = a.shape[0]
        a = a.view(B, self.P * layer.channels, -1).transpose(0, 1)  # (P C, B, pixels)
        for _ in layer.sizes[1:]:
            place = next(number)
            W, b = self.values[place, "weight"].flatten(0, 1), self.values[place, "bias"].flatten(0, 1)
            a = ACTIVATIONS[self.architecture.activation](torch.baddbmm(b[:, None], a, W))
            if noise is not None and noise.dropout is not None:
                a = noise.drop(a.view(self.P, -1, B, a.shape[2]), noise.dropout).view(a.shape)
        return a.view(self.P, layer.channels, B, -1).transpose(1, 2).flatten(2)

    def dense(self, head: Architecture, x: Tensor, first: int, noise: Noise | None) -> Tensor:
        """(P, B, K), or (P, B, T, K) of steps; layers of `head` are counted from `first`."""
        lead = x.shape[1:-1]
        a = x.reshape(self.P, -1, x.shape[-1])
        if head.front_scale:
            a = a * self.values[first, "scale"][:, None]
        last = len(head.sizes) - 2
        for l in range(last + 1):
            place, entered = first + l, a
            if self.P == 1:
                z = torch.addmm(self.single[place, "bias"], a[0], self.single[place, "weight"])[None]
            else:
                z = torch.baddbmm(self.values[place, "bias"][:, None], a, self.values[place, "weight"])
            if l == last:
                return z.view(self.P, *lead, -1)
            if head.normalization == "layer":
                z = F.layer_norm(z, (z.shape[-1],), eps=EPSILON)
                z = z * self.values[place, "gain"][:, None] + self.values[place, "shift"][:, None]
            elif head.normalization == "batch":
                columns = self._batch_norm(z.transpose(0, 1).flatten(1), place, noise is not None)
                z = columns.view(-1, self.P, z.shape[2]).transpose(0, 1)
            a = ACTIVATIONS[head.activation](z)
            if head.parametric:
                a = z + self.values[place, "blend"][:, None] * (a - z)
            if noise is not None and noise.dropout is not None:
                a = noise.drop(a, noise.dropout)
            if head.residual and l > 0 and entered.shape == a.shape:
                a = a + entered
        raise AssertionError("a network has one layer at least")


def cell(kind: str, entering: Tensor, recurring: Tensor, h: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a recurrent cell: its new output, and memory (PyTorch's order of gates and places of biases)."""
    if kind == "elman":
        return torch.tanh(entering + recurring), memory
    if kind == "gru":  # Cho et al. 2014, with the reset gate after the product
        r, z, n = entering.chunk(3, dim=-1)
        hr, hz, hn = recurring.chunk(3, dim=-1)
        keep = torch.sigmoid(z + hz)
        new = torch.tanh(n + torch.sigmoid(r + hr) * hn)
        return new + keep * (h - new), memory
    i, f, g, o = (entering + recurring).chunk(4, dim=-1)  # Hochreiter & Schmidhuber 1997; Gers et al. 2000
    memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(memory), memory


def reverse(a: Tensor, lengths: Tensor) -> Tensor:
    """The sequences (P, B, T, C) from their ends to their beginnings; what is after an end stays there."""
    P, B, T, _ = a.shape
    steps = torch.arange(T, device=a.device)
    other = torch.where(steps < lengths[:, :, None], lengths[:, :, None] - 1 - steps, steps)
    first = torch.arange(0, P * B * T, T, device=a.device).view(P, B, 1)
    exchanged: Tensor = _Exchange.apply(a.flatten(0, 2), (first + other).flatten())  # type: ignore[no-untyped-call]
    return exchanged.view(a.shape)


class _Exchange(torch.autograd.Function):
    """Rows that change places in pairs; so do their gradients, which need not be added up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, other: Tensor) -> Tensor:
        ctx.save_for_backward(other)
        return rows.index_select(0, other)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.saved_tensors[0]), None


def _is_sequence(layers: Any) -> bool:
    return any(isinstance(layer, Recurrent) for layer in layers)


def _as_columns(a: Tensor) -> Tensor:
    """Sequences (P, B, T, C) as images one pixel wide, (B, P C, T, 1)."""
    P, B, T, C = a.shape
    return a.permute(1, 0, 3, 2).reshape(B, P * C, T, 1)


def _summed_up(a: Tensor, inside: Tensor | None, kind: str) -> Tensor:
    """The mean or the largest of the steps (P, B, T, C) that are inside (P, B, T), or of all."""
    if inside is None:
        return a.amax(dim=2) if kind == "max" else a.mean(dim=2)
    if kind == "max":
        return a.masked_fill(~inside[..., None], -torch.inf).amax(dim=2)
    return (a * inside[..., None]).sum(dim=2) / inside.sum(dim=2, keepdim=True)
