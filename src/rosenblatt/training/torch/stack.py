"""In: members of one shape. Out: these, a step further: forward, loss, backward, clip, update, of all of them at once.

What differs from member to member (learning rates, decays, betas, dropout, smoothing, seeds) stands in arrays with an
axis P; one member on a CPU is a stack of one, whose arrays are the member's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from rosenblatt.networks.deep import Deep
from rosenblatt.networks.dense import Architecture, Part
from rosenblatt.networks.layers import Colors, Summary, flat
from rosenblatt.training.compiled.optimizers import OPTIMIZERS as COMPILED
from rosenblatt.training.compiled.regularization import average, clip, shrink
from rosenblatt.training.member import Member
from rosenblatt.training.state import Recipe
from rosenblatt.training.torch.forward import Batch, Stacked
from rosenblatt.training.torch.losses import LOSSES
from rosenblatt.training.torch.optimizers import OPTIMIZERS
from rosenblatt.training.torch.random import Noise

CPU = torch.device("cpu")
COLUMNS = (
    "beta1", "beta2", "input_dropout", "dropout", "smoothing", "loss_parameter", "clip_norm", "max_norm", "l1",
    "averaging",
)  # fmt: skip
IDLE = tuple(0.5 if name.startswith("beta") else 0.0 for name in COLUMNS)  # of a lane that trains nothing
DROPOUTS = ("dropout", "input_dropout")


class Stack:
    """P members that are trained as one; `put` and `get` change which these are, and nothing is made anew for it."""

    def __init__(self, like: Member, lanes: int, device: torch.device = CPU, *, shared: bool = False) -> None:
        self.architecture, self.loss, self.P, self.device = like.architecture, like.loss, lanes, device
        self.optimizer = like.spec.training.optimizer
        self.mixed = like.spec.training.precision == "mixed"
        self.recipes: list[Recipe | None] = [None] * lanes
        recipe = cast("Recipe", like.recipe)  # all members have these, or none has
        self.drops, self.smooths = {name: getattr(recipe, name) > 0 for name in DROPOUTS}, recipe.smoothing > 0
        n = self.architecture.n_parameters
        if shared:
            self.theta, self.m, self.v = (torch.from_numpy(getattr(like.state, k))[None] for k in ("theta", "m", "v"))
            self.mean = torch.from_numpy(like.state.mean)[None]
            self._state = like.state
        else:
            self.theta, self.m, self.v = (torch.zeros(lanes, n, device=device, dtype=torch.float32) for _ in range(3))
            self.mean = torch.zeros(lanes, n if like.state.mean.size else 0, device=device, dtype=torch.float32)
        self.shared = shared
        self.gradient = torch.zeros(lanes, n, device=device, dtype=torch.float32)
        self._g = self.gradient[0].numpy() if shared else np.empty(0)
        self.net = Stacked(self.architecture, self.theta, self.gradient)
        self.steps = torch.zeros(lanes, 1, device=device, dtype=torch.float32)
        self._numbers = torch.tensor([IDLE] * lanes, device=device, dtype=torch.float32)
        self.columns = {name: self._numbers[:, k : k + 1] for k, name in enumerate(COLUMNS)}
        each = 0 if shared else n  # one alone is updated by its recipe
        self._factors = torch.zeros(3, lanes, each, device=device, dtype=torch.float32)
        self.rates, self.decays, self.shrinks = self._factors
        self._weights = [part for part in self.architecture.parts if part.name.endswith("weight")]
        if shared:
            self._take_recipe(0, like)

    def put(self, lane: int, member: Member) -> None:
        """Have a lane train this member on from where it is."""
        state = member.state
        for tensor, array in ((self.theta, state.theta), (self.m, state.m), (self.v, state.v), (self.mean, state.mean)):
            tensor[lane].copy_(torch.from_numpy(array))
        self.steps[lane] = float(state.step[0])
        self._take_recipe(lane, member)

    def get(self, members: Sequence[Member | None]) -> None:
        """Write what each lane has come to into its member."""
        names, steps = ("theta", "m", "v", "mean"), self.steps[:, 0].tolist()
        come_to = {name: getattr(self, name).cpu().numpy() for name in names}
        for lane, member in enumerate(members):
            if member is not None:
                for name in names:
                    getattr(member.state, name)[:] = come_to[name][lane]
                member.state.step[0] = int(steps[lane])

    def clear(self, lane: int) -> None:
        """Have a lane train nothing."""
        self.recipes[lane] = None
        self.theta[lane].zero_()
        self._numbers[lane] = torch.tensor(IDLE, dtype=torch.float32)
        self._factors[:, lane].zero_()

    def _take_recipe(self, lane: int, member: Member) -> None:
        recipe = cast("Recipe", member.recipe)
        self.recipes[lane] = recipe
        self._numbers[lane] = torch.tensor([getattr(recipe, name) for name in COLUMNS], dtype=torch.float32)
        if self.shared:
            return
        factors = np.zeros((3, self.theta.shape[1]), np.float32)
        for (lo, hi), of_group in zip(recipe.groups, recipe.rates, strict=True):
            factors[:, lo:hi] = np.array(of_group)[:, None]
        self._factors[:, lane] = torch.from_numpy(factors)

    def step(self, batch: Batch, factors: np.ndarray | Tensor, seeds: Tensor) -> Tensor:
        """One update of all: factors (P, 3) of learning rate, dropout and decay, seeds (P,) int32 of dropout.

        Returns the mean loss (P,) of each member's batch.
        """
        told = factors if isinstance(factors, Tensor) else torch.from_numpy(factors).float()
        rates = [self.columns[name][:, 0] * told[:, 1] if self.drops[name] else None for name in DROPOUTS]
        loss = self.learn_from(batch, Noise(seeds, *rates))
        if self.shared:
            self._update_one(cast("np.ndarray", factors))
        else:
            with torch.no_grad():
                self.net.move_on()
                self._update(told)
        return loss.detach()

    def learn_from(self, batch: Batch, noise: Noise | None) -> Tensor:
        """A step without its update: the mean losses (P,), whose gradients are written down."""
        with self._precision():
            z = self.net(batch, noise)
        loss = self.mean_loss(z.float() if self.mixed else z, batch)
        self.net.backward(loss.sum())
        return loss

    def _precision(self) -> AbstractContextManager[Any]:
        """Where products are computed in 16 bits, if they are."""
        if not self.mixed:
            return nullcontext()
        kept = self.device.type != "cpu"  # what is cast is kept for all threads alike: one would empty another's
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=kept)

    def mean_loss(self, z: Tensor, batch: Batch) -> Tensor:
        """(P,) over the rows, or over all their steps."""
        cost = self.costs(z, batch.t)
        if batch.other is not None and batch.share is not None:
            cost = batch.share * cost + (1 - batch.share) * self.costs(z, batch.other)
        if cost.dim() == 3:  # steps
            inside = (_of_steps(batch.t, cost.shape[2]) >= 0) * batch.weight[..., None]
            return (cost * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1e-12)
        return torch.linalg.vecdot(cost, batch.weight)

    def costs(self, z: Tensor, t: Tensor) -> Tensor:
        """What each row costs, (P, B), or each step (P, B, T)."""
        a = self.columns["smoothing"] if self.smooths else None
        b, loss = self.columns["loss_parameter"], LOSSES[self.loss]
        if z.dim() == 3:
            return loss(z, t, a, b)
        steps = _of_steps(t, z.shape[2]).clamp(min=0)
        return loss(z.flatten(1, 2), steps.reshape(self.P, -1, 1), a, b).view(z.shape[:3])

    # Updates

    def _update_one(self, factors: np.ndarray) -> None:
        """One member on a CPU: by the compiled rules of the dense engine, over its own arrays."""
        recipe, state, g = cast("Recipe", self.recipes[0]), self._state, self._g
        theta, m, v = state.theta, state.m, state.v
        if recipe.clip_norm > 0:
            clip(g, recipe.clip_norm)
        state.step[0] += 1
        step, update = int(state.step[0]), COMPILED[self.optimizer]
        rate, _, decay = factors[0]
        for (lo, hi), (own, decays, shrinks) in zip(recipe.groups, recipe.rates, strict=True):
            lr = own * rate
            keep = 1.0 - lr * decays * decay
            update(theta[lo:hi], g[lo:hi], m[lo:hi], v[lo:hi], lr, keep, recipe.beta1, recipe.beta2, step)
            if recipe.l1 > 0 and shrinks > 0:
                shrink(theta[lo:hi], lr * recipe.l1)
        if recipe.max_norm > 0:
            with torch.no_grad():
                self._limit()
        if recipe.averaging > 0:
            average(state.mean, theta, recipe.averaging, step)

    def _update(self, factors: Tensor) -> None:
        known, g = self.columns, self.gradient
        norm = g.norm(dim=1, keepdim=True)
        limit = known["clip_norm"]
        g.mul_(torch.where((limit > 0) & (norm > limit), limit / norm, torch.ones_like(norm)))
        self.steps += 1
        lr = self.rates * factors[:, :1]
        keep = 1 - lr * self.decays * factors[:, 2:]
        OPTIMIZERS[self.optimizer](self.theta, g, self.m, self.v, lr, keep, known["beta1"], known["beta2"], self.steps)
        recipes = [one for one in self.recipes if one is not None]
        if any(one.l1 > 0 for one in recipes):
            less = lr * self.shrinks * known["l1"]
            self.theta.copy_(torch.sign(self.theta) * (self.theta.abs() - less).clamp(min=0))
        if any(one.max_norm > 0 for one in recipes):
            self._limit()
        if self.mean.shape[1]:
            memory = torch.minimum(known["averaging"], (1 + self.steps) / (10 + self.steps))
            self.mean.lerp_(self.theta, (1 - memory).expand_as(self.theta))

    def _limit(self) -> None:
        """Weights of a unit scaled down to `max_norm`."""
        most = self.columns["max_norm"]
        for part in self._weights:
            weights = self.theta[:, part.start : part.end].view(self.P, *part.shape)
            over = _inputs_of(self.architecture, part)
            norm = torch.linalg.vector_norm(weights, dim=over, keepdim=True)
            limit = most.view(-1, *(1,) * len(part.shape))
            weights.mul_(torch.where((limit > 0) & (norm > limit), limit / norm, torch.ones_like(norm)))


def _inputs_of(architecture: Architecture | Deep, part: Part) -> tuple[int, ...]:
    """The axes of a stack of weights that run over the inputs of a unit: dense ones are (P, in, out)."""
    towers = [] if isinstance(architecture, Architecture) else [*flat([*chain(*architecture.towers)])]
    out_last = part.layer >= len(towers) or isinstance(towers[part.layer], Colors | Summary)
    return (len(part.shape) - 1,) if out_last else tuple(range(2, len(part.shape) + 1))


def _of_steps(t: Tensor, steps: int) -> Tensor:
    """The answers (P, B, T) of so many steps; -1 where a row has fewer."""
    return t[:, :, :steps] if t.shape[2] >= steps else pad(t, (0, steps - t.shape[2]), value=-1.0)
