"""Training step of a stack of members: forward, loss, backward, clipping, update.

Settings that may differ between members (learning rates, decays, betas, dropout, smoothing, seeds) are arrays with an
axis P. One member on a CPU is a stack of one that shares the member's arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from rosenblatt.training.compiled.dispatch import optimizer_address
from rosenblatt.training.compiled.update import update_parameters
from rosenblatt.training.member import Member
from rosenblatt.training.state import TrainingConfig
from rosenblatt.training.torch.forward import Batch, StackedNetworks
from rosenblatt.training.torch.losses import LOSSES
from rosenblatt.training.torch.optimizers import OPTIMIZERS
from rosenblatt.training.torch.random import DropoutMasks
from rosenblatt.training.torch.ranks import Ranks

CPU = torch.device("cpu")
PER_MEMBER_SETTINGS = (
    "beta1", "beta2", "input_dropout", "dropout", "smoothing", "loss_parameter", "clip_norm", "max_norm", "l1",
    "ema_decay",
)  # fmt: skip
# settings of a lane without a member
IDLE_SETTINGS = tuple(0.5 if name.startswith("beta") else 0.0 for name in PER_MEMBER_SETTINGS)
DROPOUTS = ("dropout", "input_dropout")


class MemberStack:
    """P members that are trained together, in arrays that are reused when lanes change their members.

    Args:
        template: a member with the stack key of all members.
        shared: use the arrays of the template, the only member, on a CPU.
        ranks: other processes that train the only member on other rows of each batch.
    """

    def __init__(
        self,
        template: Member,
        lanes: int,
        device: torch.device = CPU,
        *,
        shared: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self._ranks = ranks
        self.architecture, self.loss, self.P, self.device = template.architecture, template.loss, lanes, device
        self.optimizer = template.spec.training.optimizer
        self.mixed = template.spec.training.precision == "mixed"
        self.configs: list[TrainingConfig | None] = [None] * lanes
        config = cast("TrainingConfig", template.config)  # these are on for all members, or for none
        self.has_dropout = {"dropout": config.dropout > 0, "input_dropout": config.input_dropout > 0}
        self.has_smoothing = config.smoothing > 0
        n = self.architecture.n_parameters
        if shared:
            state = self._state = template.state
            arrays = state.theta, state.m, state.v, state.mean
            self.theta, self.m, self.v, self.mean = (torch.from_numpy(array)[None] for array in arrays)
        else:
            self.theta, self.m, self.v = (torch.zeros(lanes, n, device=device, dtype=torch.float32) for _ in range(3))
            self.mean = torch.zeros(lanes, n if template.state.mean.size else 0, device=device, dtype=torch.float32)
        self.shared = shared
        self.gradient = torch.zeros(lanes, n, device=device, dtype=torch.float32)
        self._gradient_array = self.gradient[0].numpy() if shared else np.empty(0)
        self.net = StackedNetworks(self.architecture, self.theta, self.gradient, ranks)
        self.steps = torch.zeros(lanes, 1, device=device, dtype=torch.float32)
        self._setting_values = torch.tensor([IDLE_SETTINGS] * lanes, device=device, dtype=torch.float32)
        self.settings = {name: self._setting_values[:, k : k + 1] for k, name in enumerate(PER_MEMBER_SETTINGS)}
        n_columns = 0 if shared else n  # a single member is updated from its config
        self._factors = torch.zeros(3, lanes, n_columns, device=device, dtype=torch.float32)
        self.rates, self.weight_decays, self.l1_mask = self._factors
        self._unit_weights = config.unit_weights
        if shared:
            self._load_config(0, template)

    def load_member(self, lane: int, member: Member) -> None:
        """Copy a member's state and settings to a lane."""
        state = member.state
        for tensor, array in ((self.theta, state.theta), (self.m, state.m), (self.v, state.v), (self.mean, state.mean)):
            tensor[lane].copy_(torch.from_numpy(array))
        self.steps[lane] = float(state.step[0])
        self._load_config(lane, member)

    def store_members(self, members: Sequence[Member | None]) -> None:
        """Copy the state of each lane to its member."""
        steps = self.steps[:, 0].tolist()
        arrays = [tensor.cpu().numpy() for tensor in (self.theta, self.m, self.v, self.mean)]
        for lane, member in enumerate(members):
            if member is not None:
                state = member.state
                for target, source in zip((state.theta, state.m, state.v, state.mean), arrays, strict=True):
                    target[:] = source[lane]
                state.step[0] = int(steps[lane])

    def clear_lane(self, lane: int) -> None:
        """Reset a lane that has no member."""
        self.configs[lane] = None
        self.theta[lane].zero_()
        self._setting_values[lane] = torch.tensor(IDLE_SETTINGS, dtype=torch.float32)
        self._factors[:, lane].zero_()

    def _load_config(self, lane: int, member: Member) -> None:
        config = cast("TrainingConfig", member.config)
        self.configs[lane] = config
        self._setting_values[lane] = torch.tensor(
            [getattr(config, name) for name in PER_MEMBER_SETTINGS], dtype=torch.float32
        )
        if self.shared:
            return
        factors = np.zeros((3, self.theta.shape[1]), np.float32)
        for (lo, hi), group_rates in zip(config.groups, config.rates, strict=True):
            factors[:, lo:hi] = np.array(group_rates)[:, None]
        self._factors[:, lane] = torch.from_numpy(factors)

    def step(self, batch: Batch, factors: np.ndarray | Tensor, seeds: Tensor) -> Tensor:
        """Update all members once; return the mean loss (P,) of each member's batch.

        `factors` (P, 3) are those of learning rate, dropout and weight decay; `seeds` (P,) int32 are for dropout masks.
        """
        factor_tensor = factors if isinstance(factors, Tensor) else torch.from_numpy(factors).float()
        dropout, inputs = (
            self.settings[name][:, 0] * factor_tensor[:, 1] if self.has_dropout[name] else None for name in DROPOUTS
        )
        loss = self.compute_gradients(batch, DropoutMasks(seeds, dropout, inputs, batch.first_row))
        with torch.no_grad():
            self.net.update_running_stats()
            if self.shared:
                self._update_single(cast("np.ndarray", factors))
            else:
                self._update(factor_tensor)
        return loss.detach()

    def compute_gradients(self, batch: Batch, masks: DropoutMasks | None) -> Tensor:
        """Compute the gradients; return the mean losses (P,), of ranks their parts."""
        with self._precision():
            z = self.net(batch, masks)
        loss = self.mean_loss(z.float() if self.mixed else z, batch)
        self.net.backward(loss.sum())
        if self._ranks is not None:
            self._ranks.sum(self.gradient)
        return loss

    def _precision(self) -> AbstractContextManager[Any]:
        """Return a context in which matrix products use 16 bits, if the precision is mixed."""
        if not self.mixed:
            return nullcontext()
        # on a CPU the cache is shared by threads, which would clear each other's
        cache_enabled = self.device.type != "cpu"
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=cache_enabled)

    def mean_loss(self, z: Tensor, batch: Batch) -> Tensor:
        """Weighted mean losses (P,) over rows, or over their steps."""
        cost = self.losses(z, batch.t)
        if batch.mixup_targets is not None and batch.mixup_weight is not None:
            cost = batch.mixup_weight * cost + (1 - batch.mixup_weight) * self.losses(z, batch.mixup_targets)
        if cost.dim() == 3:  # steps
            weights = (_pad_targets(batch.t, cost.shape[2]) >= 0) * batch.weight[..., None]
            total = weights.sum(dim=(1, 2))
            if self._ranks is not None:
                self._ranks.sum(total)
            return (cost * weights).sum(dim=(1, 2)) / total.clamp(min=1e-12)
        return torch.linalg.vecdot(cost, batch.weight)

    def losses(self, z: Tensor, t: Tensor) -> Tensor:
        """Loss of each row (P, B), or of each step (P, B, T)."""
        a = self.settings["smoothing"] if self.has_smoothing else None
        b, loss = self.settings["loss_parameter"], LOSSES[self.loss]
        if z.dim() == 3:
            return loss(z, t, a, b)
        steps = _pad_targets(t, z.shape[2]).clamp(min=0)
        return loss(z.flatten(1, 2), steps.reshape(self.P, -1, 1), a, b).view(z.shape[:3])

    # Updates

    def _update_single(self, factors: np.ndarray) -> None:
        """Update the arrays of one member on a CPU with the compiled code."""
        rate, _, decay = factors[0]
        config, optimizer = cast("TrainingConfig", self.configs[0]), optimizer_address(self.optimizer)
        update_parameters(optimizer, config, self._state, self._gradient_array, rate, decay)

    def _update(self, factors: Tensor) -> None:
        settings, g = self.settings, self.gradient
        norm = g.norm(dim=1, keepdim=True)
        limit = settings["clip_norm"]
        g.mul_(torch.where((limit > 0) & (norm > limit), limit / norm, torch.ones_like(norm)))
        self.steps += 1
        lr = self.rates * factors[:, :1]
        decay_factor = 1 - lr * self.weight_decays * factors[:, 2:]
        OPTIMIZERS[self.optimizer](
            self.theta, g, self.m, self.v, lr, decay_factor, settings["beta1"], settings["beta2"], self.steps
        )
        configs = [config for config in self.configs if config is not None]
        if any(config.l1 > 0 for config in configs):
            threshold = lr * self.l1_mask * settings["l1"]
            self.theta.copy_(torch.sign(self.theta) * (self.theta.abs() - threshold).clamp(min=0))
        if any(config.max_norm > 0 for config in configs):
            self._apply_max_norm()
        if self.mean.shape[1]:
            decay = torch.minimum(settings["ema_decay"], (1 + self.steps) / (10 + self.steps))
            self.mean.lerp_(self.theta, (1 - decay).expand_as(self.theta))

    def _apply_max_norm(self) -> None:
        """Scale each unit's weights down to its member's `max_norm`."""
        limit = self.settings["max_norm"][..., None]
        for start, n_units, n_in, units_last in self._unit_weights.tolist():
            shape = (n_in, n_units) if units_last else (n_units, n_in)
            weights = self.theta[:, start : start + n_in * n_units].view(self.P, *shape)
            norm = torch.linalg.vector_norm(weights, dim=1 if units_last else 2, keepdim=True)
            weights.mul_(torch.where((limit > 0) & (norm > limit), limit / norm, torch.ones_like(norm)))


def _pad_targets(t: Tensor, steps: int) -> Tensor:
    """Cut or pad targets (P, B, T) to this many steps, with -1."""
    return t[:, :, :steps] if t.shape[2] >= steps else pad(t, (0, steps - t.shape[2]), value=-1.0)
