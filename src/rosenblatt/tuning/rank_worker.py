"""Actor of a machine of a cluster that trains each network together with the actors of other machines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from rosenblatt.errors import SpecError, format_count
from rosenblatt.tuning.attempts import Attempt, Collection
from rosenblatt.tuning.node_worker import NodeWorker
from rosenblatt.tuning.packing import pack_results, unpack_item
from rosenblatt.tuning.work_queue import WorkItem, WorkResult

if TYPE_CHECKING:
    from rosenblatt.training.member import Member
    from rosenblatt.training.rows import MediaRows
    from rosenblatt.training.torch.ranks import Listener


class RankWorker(NodeWorker):
    """Trains a part of the rows of each batch, as a rank of a network (see `training.torch.data_parallel`).

    Rank 0 leads: `listen`, then `lead`; the others `follow`. If a rank is lost, these end, and the item can be trained
    again from the state that it had.

    Args:
        threads: cores of this machine.
        device: "cpu", or the device of PyTorch that trains the items.
    """

    def __init__(self, threads: int, device: str) -> None:
        from rosenblatt.training.torch.lanes import find_device

        super().__init__(threads, device)
        self._n_cores, self._torch_device = threads, find_device(device)  # PyTorch is loaded before ranks meet
        self._listener: Listener | None = None

    @property
    def threads(self) -> int:
        """Number of items that are trained at a time."""
        return 1

    def listen(self, host: str, secret: str) -> int:
        """Open the rendezvous of a network on an address of this machine; return its port."""
        from rosenblatt.training.torch.ranks import Listener

        self._listener = Listener(host, secret)
        return self._listener.rendezvous.port

    def lead(self, attempt: Attempt, content: bytes, host: str, size: int) -> Collection | str:
        """Train an item as rank 0 of `size`; return its result, or why a rank was lost."""
        from rosenblatt.training.torch.data_parallel import lead
        from rosenblatt.training.torch.ranks import RankLostError, Ranks

        item = unpack_item(content, self._shared)
        member = item.trial.folds.members[item.index]
        n_before = len(member.history) if member else 0
        result = self._refuse(item, size)
        if result is None:
            try:
                ranks = Ranks(cast("Listener", self._listener), 0, size, host, self._torch_device)
                with self._output.training(item.key):
                    result = item(self._workers.stop, partial(lead, ranks=ranks, threads=self._n_cores))
            except RankLostError as error:
                return str(error)
        result = self._add_output(result)
        return Collection([attempt], result.seconds, pack_results([(attempt, n_before, item, result)]))

    def follow(self, content: bytes, address: tuple[str, int, str], host: str, rank: int, size: int) -> None:
        """Train an item as another rank, until rank 0 ends or a rank is lost."""
        from rosenblatt.training.torch.data_parallel import follow
        from rosenblatt.training.torch.ranks import RankLostError, Ranks, Rendezvous

        item = unpack_item(content, self._shared)
        if self._refuse(item, size) is None:
            try:
                ranks = Ranks(Rendezvous(*address), rank, size, host, self._torch_device)
                member, rows = cast("Member", item.member()), cast("MediaRows", item.trial.encoded_rows)
                follow(member, rows, ranks, self._n_cores)
            except RankLostError:
                return

    @staticmethod
    def _refuse(item: WorkItem, size: int) -> WorkResult | None:
        """The result of an item that this number of ranks cannot train, equal on all ranks; None for others."""
        from rosenblatt.training.torch.data_parallel import max_ranks

        try:
            member = item.member()
        except SpecError as error:
            return item.failure(str(error))
        if member is None:
            return item.failure(item.trial.reason)
        limit = max_ranks(member)
        if size <= limit:
            return None
        rows = format_count(limit, "row")
        return item.failure(f"its batches have {rows}, too few for {size} machines: choose a larger batch_size")
