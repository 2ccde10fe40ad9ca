"""Training of one network by several ranks, each with a part of the rows of every batch.

All ranks sample the same batches, and the gradient of a batch is the sum of the gradients of its parts, so that every
rank makes the same step and the result is that of one machine, up to the order of sums. Rank 0 leads: it decides what
is trained, scores the validation rows, and has the member; the others follow. Each epoch begins with a copy of the
state of rank 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum

import numpy as np
import torch

from rosenblatt.training.backend import MemberTrainer
from rosenblatt.training.compiled.losses import apply_output_activation
from rosenblatt.training.member import EpochRecord, Member
from rosenblatt.training.population import EpochScorer, train_member
from rosenblatt.training.rows import DenseRows, MediaRows
from rosenblatt.training.schedules import member_factors
from rosenblatt.training.torch.batches import DeviceTable
from rosenblatt.training.torch.engine import limit_threads, logits
from rosenblatt.training.torch.ranks import Ranks
from rosenblatt.training.torch.sampling import BatchSampler, n_batches
from rosenblatt.training.torch.stack import MemberStack
from rosenblatt.training.validation import mean_loss


class _Command(IntEnum):
    """What rank 0 tells the others to do."""

    TRAIN = 1
    VALIDATE = 2
    END = 3


def max_ranks(member: Member) -> int:
    """The largest number of ranks that can train a member: each needs a row of every batch."""
    n_rows = member.state.order.size
    return -(-n_rows // n_batches(member.spec, n_rows))


def lead(
    member: Member,
    table: DenseRows | MediaRows,
    scorer: EpochScorer | None,
    stop: np.ndarray,
    target_epochs: int | None = None,
    *,
    ranks: Ranks,
    threads: int,
) -> Iterator[EpochRecord]:
    """Train a member with other ranks as rank 0; yield a record after each epoch, as `train_member`.

    Raises RankLostError if a rank is lost. The state of the member is then that of an unfinished epoch.
    """
    try:
        trainer = _RankTrainer(member, table, ranks, threads)
        steps = MemberTrainer(trainer.lead_epochs, trainer.lead_validation, None, lambda: False)
        yield from train_member(member, table, scorer, stop, target_epochs, steps)
        if not stop[0]:
            trainer.command(_Command.END)
    finally:
        ranks.close()


def follow(member: Member, table: DenseRows | MediaRows, ranks: Ranks, threads: int) -> None:
    """Train a copy of a member as rank 0 says, until the end. Raises RankLostError if a rank is lost."""
    try:
        _RankTrainer(replace(member.copy(), history=[]), table, ranks, threads).follow()
    finally:
        ranks.close()


class _RankTrainer:
    """Training and predictions of one rank's part of the rows."""

    def __init__(self, member: Member, table: DenseRows | MediaRows, ranks: Ranks, threads: int) -> None:
        self._member, self._table, self._ranks, self._threads = member, table, ranks, threads
        device = ranks.device
        self._stack = MemberStack(member, 1, device, shared=device.type == "cpu", ranks=ranks)
        if not self._stack.shared:
            self._stack.load_member(0, member)
        self._sampler = BatchSampler(member, table, 1, device)
        self._sampler.load_member(0, member)
        self._device_table = DeviceTable(table, member.architecture, device)
        self._part = ranks.part(self._sampler.batch_size)

    def command(self, command: _Command, epoch: int = 0) -> None:
        """Tell the other ranks what to do."""
        self._ranks.broadcast(torch.tensor([command, epoch], device=self._ranks.device))

    def follow(self) -> None:
        """Do what rank 0 says until the end."""
        while True:
            message = torch.zeros(2, dtype=torch.int64, device=self._ranks.device)
            self._ranks.broadcast(message)
            command, epoch = message.tolist()
            if command == _Command.END:
                return
            if command == _Command.VALIDATE:
                self._predict()
            else:
                self._member.n_dropped = epoch
                self._train_epoch(0, np.zeros((self._sampler.n_batches, 3)), np.zeros(1, np.uint8))

    def lead_epochs(self, losses: np.ndarray, stop: np.ndarray) -> int:
        """Train epochs with all ranks; see `backend.TrainEpochs`."""
        for k in range(losses.size):
            if stop[0]:
                return k
            epoch = self._member.n_epochs + k
            self.command(_Command.TRAIN, epoch)
            loss = self._train_epoch(k, member_factors(self._member, epoch, 1, self._sampler.n_batches), stop)
            if loss is None:
                return k
            losses[k] = loss
            if not np.isfinite(loss):
                return k
        return losses.size

    def lead_validation(self) -> tuple[np.ndarray, float]:
        """Return the member's outputs (n, K) and mean loss on its validation rows."""
        self.command(_Command.VALIDATE)
        outputs, rows = self._predict(), self._member.validation
        loss = mean_loss(self._member, outputs, self._table.t[rows], self._table.weight[rows])
        apply_output_activation(self._member.loss, outputs)
        return outputs, loss

    def _train_epoch(self, epochs_ahead: int, factors: np.ndarray, stop: np.ndarray) -> float | None:
        """Train an epoch with the state and factors (steps, 3) of rank 0; return its mean loss, or None if stopped."""
        with limit_threads(self._threads):
            self._share_state()
            shared_factors = torch.from_numpy(factors).to(self._ranks.device)
            self._ranks.broadcast(shared_factors)
            step_factors = shared_factors.numpy() if self._stack.shared else shared_factors.float()
            total = torch.zeros(1, device=self._ranks.device)
            epoch_batches, augmentation = self._sampler.sample_epoch(epochs_ahead), self._sampler.augmentation
            batches = self._device_table.batches(epoch_batches, augmentation, self._part)
            for step, (batch, seeds) in enumerate(batches):
                if stop[0]:
                    return None
                total += self._stack.step(batch, step_factors[step : step + 1], seeds)
            self._ranks.sum(total)
            if not self._stack.shared:
                self._stack.store_members([self._member])
            return float(total) / self._sampler.n_batches

    def _share_state(self) -> None:
        """Copy the state of rank 0 to the others."""
        stack = self._stack
        step = torch.from_numpy(self._member.state.step) if stack.shared else stack.steps
        for tensor in (stack.theta, stack.m, stack.v, stack.mean, step):
            if tensor.numel():
                self._ranks.broadcast(tensor)

    def _predict(self) -> np.ndarray:
        """Return the logits (n, K) or (n, T, K) for all validation rows, of which this rank predicts a part."""
        member, ranks = self._member, self._ranks
        n = member.validation.size
        rows = member.validation[ranks.part(n)]
        with limit_threads(self._threads):
            out = logits(member.architecture, member.inference_parameters, self._table, rows, self._device_table)
        sizes = [n * (rank + 1) // ranks.size - n * rank // ranks.size for rank in range(ranks.size)]
        return ranks.gather(torch.from_numpy(out).to(ranks.device), sizes).cpu().numpy()
