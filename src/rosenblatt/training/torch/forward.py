"""Forward pass and gradients of P stacked networks of one architecture.

All arrays have a leading population axis P; for P = 1 PyTorch's fused kernels are used. Images, and sequences in
convolutions, are (B, P C, H, W), so that all networks share one convolution with P groups.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.networks.layers import (
    MAX_NORM_GROUPS,
    Activation,
    Conv,
    Dropout,
    Embedding,
    GlobalPooling,
    LayerNorm,
    Norm,
    PerChannelMLP,
    Pool,
    Recurrent,
    Residual,
)
from rosenblatt.training.compiled.normalization import EPSILON, RUNNING_MOMENTUM
from rosenblatt.training.recipes import RUNNING_STATISTICS
from rosenblatt.training.torch.random import ROW_STRIDE, DropoutMasks
from rosenblatt.training.torch.ranks import Ranks
from rosenblatt.training.torch.ranks_normalization import batch_norm_over_ranks
from rosenblatt.training.torch.recurrent import cell, reverse, run_single

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


class Batch(NamedTuple):
    """Rows for each of P networks."""

    x: Tensor  # (P, B, F)
    media: tuple[Tensor, ...]  # images (P, B, C, H, W), steps (P, B, T, C), or tokens (P, B, T)
    lengths: tuple[Tensor | None, ...]  # (P, B) of steps or tokens; None for images, or if all are T
    t: Tensor  # (P, B, 1 or K), or (P, B, T) for steps
    weight: Tensor  # (P, B) weight of each row in the mean loss
    mixup_targets: Tensor | None = None  # (P, B, ...) targets of the other row in mixup
    mixup_weight: Tensor | None = None  # (P, 1) weight of the row itself in mixup
    first_row: int = 0  # position of the first row in the whole batch, of which other ranks have the other rows


class _SingleNetworkParameters(dict[tuple[int, str], Tensor]):
    """Parameters of one network, which get their axis P on each access.

    Autograd ties a tensor to the CUDA stream that created it, and CUDA graphs are recorded on another stream.
    """

    def __getitem__(self, key: tuple[int, str]) -> Tensor:
        return super().__getitem__(key)[None]


class StackedNetworks:
    """P networks of one architecture, whose parameters are views of `theta` (P, n).

    With a `gradient` (P, n) they can be trained: `backward` writes to it. `ranks` have the other rows of the batches.
    """

    def __init__(
        self,
        architecture: DenseArchitecture | DeepArchitecture,
        theta: Tensor,
        gradient: Tensor | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.architecture, self.P, self._ranks = architecture, theta.shape[0], ranks
        parameters: dict[tuple[int, str], Tensor] = {}
        self.convolution: str = GROUPED
        self._gradient = gradient
        self._new_running_stats: list[tuple[Tensor, Tensor]] = []  # running statistics, and their values after the step
        for part in architecture.parts:
            key, shape = (part.layer, part.name), part.shape if self.P == 1 else (self.P, *part.shape)
            value = theta[:, part.start : part.end].view(shape)
            if gradient is not None and part.name not in RUNNING_STATISTICS:
                value = value.detach().requires_grad_()
                if self.P == 1:
                    value.grad = gradient[0, part.start : part.end].view(shape)
            parameters[key] = value
        self.single = parameters if self.P == 1 else {}  # of a single network, without the axis P
        self.values = _SingleNetworkParameters(parameters) if self.P == 1 else parameters  # (P, ...)

    def backward(self, loss: Tensor) -> None:
        """Write the gradient of a loss; it is 0 for parameters that are not trained."""
        assert self._gradient is not None  # noqa: S101 - only called in training
        self._gradient.zero_()
        if self.P == 1:  # gradients are views of `gradient`
            loss.backward()  # type: ignore[no-untyped-call]
            return
        parts = [part for part in self.architecture.parts if part.name not in RUNNING_STATISTICS]
        leaves = [self.values[part.layer, part.name] for part in parts]
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        for part, gradient in zip(parts, gradients, strict=True):
            if gradient is not None:
                self._gradient[:, part.start : part.end] = gradient.flatten(1)

    def update_running_stats(self) -> None:
        """Set the running statistics of batch normalization to their values after the last batch."""
        for value, new_value in self._new_running_stats:
            value.copy_(new_value.view(value.shape))

    def __call__(self, batch: Batch, masks: DropoutMasks | None = None) -> Tensor:
        """Return the logits (P, B, K), or (P, B, T, K) for steps; `masks` are given in training only."""
        architecture = self.architecture
        self._new_running_stats.clear()
        x = batch.x
        if masks is not None and masks.inputs is not None:
            x = masks.drop(x, masks.inputs)
        if isinstance(architecture, DenseArchitecture):
            return self.forward_dense(architecture, x, 0, masks)
        layers, features = count(), list[Tensor]()
        for tower, medium, lengths in zip(architecture.towers, batch.media, batch.lengths, strict=True):
            values = medium if masks is None else masks.drop_inputs(medium)
            features.append(self.forward_tower(tower, values, lengths, layers, masks))
        if architecture.is_per_step and x.shape[-1]:
            x = x[:, :, None].expand(-1, -1, features[0].shape[2], -1)
        features += [x] * bool(x.shape[-1])
        inputs = torch.cat(features, dim=-1) if len(features) > 1 else features[0]
        return self.forward_dense(architecture.head, inputs, next(layers), masks)

    def forward_tower(
        self,
        layers: tuple[Any, ...],
        a: Tensor,
        lengths: Tensor | None,
        layer_counter: Any,
        masks: DropoutMasks | None,
        feature_maps: list[Tensor] | None = None,
    ) -> Tensor:
        """Return a tower's features of its medium; append the input of its global pooling to `feature_maps`."""
        if a.dim() == 5:  # images
            a = a.transpose(0, 1).flatten(1, 2)
            if self.P == 1 and a.device.type == "cpu":
                a = a.contiguous(memory_format=torch.channels_last)
        elif not _is_sequence(layers):
            lengths = (
                None if lengths is None else lengths / a.shape[2]
            )  # as fractions, because pooling shortens the sequences
            a = _as_columns(a) if a.dim() == 4 else a
        for layer in layers:
            if isinstance(layer, GlobalPooling) and feature_maps is not None:
                if a.requires_grad:
                    a.retain_grad()
                feature_maps.append(a)
            a = self.forward_layer(layer, a, lengths, layer_counter, masks, layers)
        return a

    def forward_layer(
        self, layer: Any, a: Tensor, lengths: Any, layer_counter: Any, masks: DropoutMasks | None, tower_layers: Any
    ) -> Tensor:
        """Return the output of one layer for input a.

        `layer_counter` counts layers with parameters, `tower_layers` are all layers of the tower.
        """
        if isinstance(layer, Conv):
            return self._conv(layer, a, next(layer_counter))
        if isinstance(layer, Norm):
            return self._norm(layer, a, next(layer_counter), masks is not None)
        if isinstance(layer, Activation):
            return ACTIVATIONS[self.architecture.activation](a)
        if isinstance(layer, Pool):
            size = (min(layer.size[0], a.shape[2]), min(layer.size[1], a.shape[3]))
            return F.max_pool2d(a, size) if layer.kind == "max" else F.avg_pool2d(a, size)
        if isinstance(layer, Residual):
            body_out = a
            for sublayer in layer.body:
                body_out = self.forward_layer(sublayer, body_out, lengths, layer_counter, masks, tower_layers)
            return body_out + (self._conv(layer.shortcut, a, next(layer_counter)) if layer.shortcut else a)
        if isinstance(layer, GlobalPooling):
            index = next(layer_counter) if layer.kind == "attention" else -1
            return (
                self._pool_sequence(layer, a, lengths, index)
                if _is_sequence(tower_layers)
                else self._pool_pixels(layer, a, lengths)
            )
        if isinstance(layer, Recurrent):
            return self._recurrent(layer, a, lengths, layer_counter)
        if isinstance(layer, LayerNorm):
            index = next(layer_counter)
            hat = F.layer_norm(a, (layer.units,), eps=EPSILON)
            return hat * self._broadcast(index, "gain", a.dim()) + self._broadcast(index, "shift", a.dim())
        if isinstance(layer, Embedding):
            a = self._embed(a, next(layer_counter))
            return a if any(isinstance(tower_layer, Recurrent) for tower_layer in tower_layers) else _as_columns(a)
        if isinstance(layer, PerChannelMLP):
            return self._per_channel_mlp(layer, a, layer_counter, masks)
        assert isinstance(layer, Dropout)  # noqa: S101 - all other kinds are handled above
        return self._dropout(a, masks, _is_sequence(tower_layers))

    def _dropout(self, a: Tensor, masks: DropoutMasks | None, is_sequence: bool) -> Tensor:
        if masks is None or masks.dropout is None:
            return a
        if a.dim() == 4 and not is_sequence:  # (B, P C, H, W)
            B, _, H, W = a.shape
            per_network = a.view(B, self.P, -1, H, W).transpose(0, 1)
            return masks.drop(per_network, masks.dropout).transpose(0, 1).reshape(a.shape)
        return masks.drop(a, masks.dropout)

    def _broadcast(self, index: int, name: str, dims: int) -> Tensor:
        """A parameter (P, n) with axes of size 1 in between, to broadcast with (P, ..., n)."""
        value = self.values[index, name]
        return value.view(self.P, *(1,) * (dims - 2), -1)

    # Convolutions, over (B, P C, H, W)

    def _conv(self, layer: Conv, a: Tensor, index: int) -> Tensor:
        # padding in pixels, both sides together
        pad_height, pad_width = (layer.dilation * (k - 1) for k in layer.kernel)
        padding = pad_height // 2, pad_width // 2
        if pad_height % 2 or pad_width % 2:  # even kernels pad one pixel more at the end
            a, padding = (
                F.pad(a, (pad_width // 2, pad_width - pad_width // 2, pad_height // 2, pad_height - pad_height // 2)),
                (0, 0),
            )
        if self.P == 1:
            W, b = self.single[index, "weight"], self.single.get((index, "bias"))
            return F.conv2d(a, W, b, layer.stride, padding, layer.dilation, layer.groups)
        weights, bias = self.values[index, "weight"], self.values.get((index, "bias"))
        if self.convolution == IM2COL and layer.groups == 1:
            return self._conv_im2col(layer, a, weights, bias, padding)
        b = None if bias is None else bias.flatten()
        return F.conv2d(a, weights.flatten(0, 1), b, layer.stride, padding, layer.dilation, self.P * layer.groups)

    def _conv_im2col(self, layer: Conv, a: Tensor, W: Tensor, bias: Tensor | None, padding: Any) -> Tensor:
        """Convolution as one batched product of unfolded images (im2col: Chellapilla et al. 2006)."""
        B, _, H, _ = a.shape
        images = a.reshape(1, -1, *a.shape[2:])  # one image, because PyTorch unfolds those of a batch one by one
        windows = F.unfold(images, layer.kernel, layer.dilation, padding, layer.stride)
        L = windows.shape[-1]
        rows = windows.view(B, self.P, -1, L).permute(1, 2, 0, 3).reshape(self.P, -1, B * L)
        out = torch.bmm(W.reshape(self.P, layer.n_out, -1), rows)
        if bias is not None:
            out = out + bias[:, :, None]
        out_height = (H + 2 * padding[0] - layer.dilation * (layer.kernel[0] - 1) - 1) // layer.stride[0] + 1
        return (
            out.view(self.P, layer.n_out, B, out_height, -1)
            .permute(2, 0, 1, 3, 4)
            .reshape(B, -1, out_height, L // out_height)
        )

    def _norm(self, layer: Norm, a: Tensor, index: int, training: bool) -> Tensor:
        if layer.kind == "batch":
            return self._batch_norm(a, index, training)
        gain, shift = self._flat_parameters(index, "gain", "shift")
        groups = (
            1 if layer.kind == "layer" else max(g for g in range(1, MAX_NORM_GROUPS + 1) if layer.channels % g == 0)
        )
        return F.group_norm(a, self.P * groups, gain, shift, EPSILON)

    def _batch_norm(self, a: Tensor, index: int, training: bool) -> Tensor:
        """Batch normalization of channels (B, P C, ...); uses and updates batch statistics in training only."""
        gain, shift, mean, variance = self._flat_parameters(index, "gain", "shift", *RUNNING_STATISTICS)
        use_batch_stats = training and a.numel() > a.shape[1]
        updated = [mean, variance]
        if training and self._ranks is not None:
            out, updated = batch_norm_over_ranks(a, gain, shift, updated, self._ranks)
        else:
            out = F.batch_norm(a, mean, variance, gain, shift, use_batch_stats, RUNNING_MOMENTUM, EPSILON)
        if training and (self._ranks is not None or (use_batch_stats and self.P > 1)):
            statistics = (self.values[index, name] for name in RUNNING_STATISTICS)
            self._new_running_stats += zip(statistics, updated, strict=True)
        return out

    def _flat_parameters(self, index: int, *names: str) -> list[Tensor]:
        """Parameters of a layer, flat over all networks; views for one network, else copies."""
        if self.P == 1:
            return [self.single[index, name] for name in names]
        return [self.values[index, name].flatten() for name in names]

    def _pool_pixels(self, layer: GlobalPooling, a: Tensor, lengths: Tensor | None) -> Tensor:
        """Return (P, B, C), or (P, B, C H W) for "flatten"."""
        B = a.shape[0]
        if lengths is not None:  # a sequence, shortened by pooling
            steps = (lengths * a.shape[2]).ceil().clamp(min=1)
            mask = torch.arange(a.shape[2], device=a.device) < steps[:, :, None]  # (P, B, T)
            a = a.view(B, self.P, -1, a.shape[2]).permute(1, 0, 3, 2)
            return _pool_steps(a, mask, layer.kind)
        if layer.kind == "flatten":
            return a.reshape(B, self.P, -1).transpose(0, 1)
        a = a.amax(dim=(2, 3)) if layer.kind == "max" else a.mean(dim=(2, 3))
        return a.view(B, self.P, -1).transpose(0, 1)

    # Sequences, over (P, B, T, C)

    def _embed(self, tokens: Tensor, index: int) -> Tensor:
        if self.P == 1:
            return F.embedding(tokens[0], self.single[index, "weight"])[None]
        W = self.values[index, "weight"]
        offsets = torch.arange(self.P, device=tokens.device).view(-1, 1, 1) * W.shape[1]
        return F.embedding(tokens + offsets, W.reshape(-1, W.shape[2]))

    def _recurrent(self, layer: Recurrent, a: Tensor, lengths: Tensor | None, layer_counter: Any) -> Tensor:
        """Run each direction separately; padding comes last in both, so that it does not affect the sequence."""
        forward_out = self._direction(layer, a, next(layer_counter))
        if layer.directions == 1:
            return forward_out
        reversed_input = a.flip(2) if lengths is None else reverse(a, lengths)
        backward_out = self._direction(layer, reversed_input, next(layer_counter))
        return torch.cat(
            [forward_out, backward_out.flip(2) if lengths is None else reverse(backward_out, lengths)], dim=-1
        )

    def _direction(self, layer: Recurrent, a: Tensor, index: int) -> Tensor:
        names = ("weight", "recurrent_weight", "bias", "recurrent_bias")
        if self.P == 1:
            parts = [self.single[index, name] for name in names]
            return run_single(layer, a[0], parts)[None]
        W, U, b, c = (self.values[index, name] for name in names)
        P, B, T, _ = a.shape
        input_parts = torch.baddbmm(b[:, None], a.reshape(P, B * T, -1), W.transpose(1, 2)).view(P, B, T, -1)
        h = a.new_zeros(P, B, layer.units)
        cell_state, outputs, U_transposed = h, list[Tensor](), U.transpose(1, 2)
        for input_part in input_parts.unbind(2):
            h, cell_state = cell(layer.cell, input_part, torch.baddbmm(c[:, None], h, U_transposed), h, cell_state)
            outputs.append(h)
        return torch.stack(outputs, dim=2)

    def _pool_sequence(self, layer: GlobalPooling, a: Tensor, lengths: Tensor | None, index: int) -> Tensor:
        if layer.kind == "last":
            return self._last_states(a, lengths)
        mask = None if lengths is None else torch.arange(a.shape[2], device=a.device) < lengths[:, :, None]
        if layer.kind != "attention":
            return _pool_steps(a, mask, layer.kind)
        attention_scores = torch.matmul(torch.tanh(a), self.values[index, "weight"][:, None])[..., 0]
        attention_scores = attention_scores if mask is None else attention_scores.masked_fill(~mask, -torch.inf)
        return torch.einsum("pbt,pbth->pbh", attention_scores.softmax(dim=-1), a)

    def _last_states(self, a: Tensor, lengths: Tensor | None) -> Tensor:
        """Final output of each direction: at the last step, and at the first step for the backward direction."""
        if lengths is None:
            last = a[:, :, -1]
        else:
            last = a.gather(2, (lengths - 1)[:, :, None, None].expand(-1, -1, 1, a.shape[3]))[:, :, 0]
        architecture = self.architecture
        if isinstance(architecture, DeepArchitecture) and architecture.bidirectional:
            half = a.shape[3] // 2
            return torch.cat([last[..., :half], a[:, :, 0, half:]], dim=-1)
        return last

    # Dense layers, over (P, B, F)

    def _per_channel_mlp(
        self, layer: PerChannelMLP, a: Tensor, layer_counter: Any, masks: DropoutMasks | None
    ) -> Tensor:
        B = a.shape[0]
        a = a.view(B, self.P * layer.channels, -1).transpose(0, 1)  # (P C, B, pixels)
        for _ in layer.sizes[1:]:
            index = next(layer_counter)
            W, b = self.values[index, "weight"].flatten(0, 1), self.values[index, "bias"].flatten(0, 1)
            a = ACTIVATIONS[self.architecture.activation](torch.baddbmm(b[:, None], a, W))
            if masks is not None and masks.dropout is not None:
                units = a.shape[2]
                a = masks.drop(a.view(self.P, -1, B, units), masks.dropout, row_stride=units).view(a.shape)
        return a.view(self.P, layer.channels, B, -1).transpose(1, 2).flatten(2)

    def forward_dense(self, head: DenseArchitecture, x: Tensor, first_layer: int, masks: DropoutMasks | None) -> Tensor:
        """Return the logits (P, B, K), or (P, B, T, K) for steps; layers of `head` are numbered from `first_layer`."""
        leading_shape = x.shape[1:-1]
        a = x.reshape(self.P, -1, x.shape[-1])
        if head.scaling_layer:
            a = a * self.values[first_layer, "scale"][:, None]
        last = len(head.sizes) - 2
        for l in range(last + 1):
            index, layer_input = first_layer + l, a
            if self.P == 1:
                z = torch.addmm(self.single[index, "bias"], a[0], self.single[index, "weight"])[None]
            else:
                z = torch.baddbmm(self.values[index, "bias"][:, None], a, self.values[index, "weight"])
            if l == last:
                return z.view(self.P, *leading_shape, -1)
            if head.normalization == "layer":
                z = F.layer_norm(z, (z.shape[-1],), eps=EPSILON)
                z = z * self.values[index, "gain"][:, None] + self.values[index, "shift"][:, None]
            elif head.normalization == "batch":
                columns = self._batch_norm(z.transpose(0, 1).flatten(1), index, masks is not None)
                z = columns.view(-1, self.P, z.shape[2]).transpose(0, 1)
            a = ACTIVATIONS[head.activation](z)
            if head.parametric_activation:
                a = z + self.values[index, "blend"][:, None] * (a - z)
            if masks is not None and masks.dropout is not None:
                a = masks.drop(a, masks.dropout, row_stride=ROW_STRIDE * prod(leading_shape[1:]))
            if head.residual and l > 0 and layer_input.shape == a.shape:
                a = a + layer_input
        raise AssertionError("a network has one layer at least")


def _is_sequence(layers: Any) -> bool:
    return any(isinstance(layer, Recurrent) for layer in layers)


def _as_columns(a: Tensor) -> Tensor:
    """Sequences (P, B, T, C) as images one pixel wide, (B, P C, T, 1)."""
    P, B, T, C = a.shape
    return a.permute(1, 0, 3, 2).reshape(B, P * C, T, 1)


def _pool_steps(a: Tensor, mask: Tensor | None, kind: str) -> Tensor:
    """Mean or maximum of the steps (P, B, T, C) in a mask (P, B, T), or of all steps."""
    if mask is None:
        return a.amax(dim=2) if kind == "max" else a.mean(dim=2)
    if kind == "max":
        return a.masked_fill(~mask[..., None], -torch.inf).amax(dim=2)
    return (a * mask[..., None]).sum(dim=2) / mask.sum(dim=2, keepdim=True)
