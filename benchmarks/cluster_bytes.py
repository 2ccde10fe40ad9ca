"""Part `bytes` of cluster.py: bytes that a search sends to each machine, beside the size of what its items share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from cluster_machines import machine_cluster
from cluster_search import KeptOpen, make_search

from rosenblatt.tuning.packing import ItemPacker
from rosenblatt.tuning.work_queue import WorkItem
from rosenblatt.tuning.workers import Workers

TRIALS_PER_MACHINE = 4
SETTINGS: dict[str, Any] = {"epochs": 1, "hidden_sizes": (4,), "batch_size": 4096, "sampler": "random"}
DISK = "4g"


class Traffic(NamedTuple):
    """Bytes of a machine's link."""

    received: int
    sent: int

    @classmethod
    def of(cls, port: str) -> Traffic:
        """Bytes so far, counted at the other end of the link."""
        folder = Path("/sys/class/net") / port / "statistics"
        received, sent = (int((folder / name).read_text()) for name in ("tx_bytes", "rx_bytes"))
        return cls(received, sent)

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(self.received - other.received, self.sent - other.sent)


class CountedWorkers(KeptOpen):
    """Workers that also pack what is submitted, to know the sizes of messages."""

    def __init__(self, workers: Workers) -> None:
        super().__init__(workers)
        self._packer = ItemPacker()
        self.shared_bytes = self.item_bytes = 0

    def submit(self, work: WorkItem) -> None:
        self.item_bytes += len(self._packer.pack(work, 1).content)
        self.shared_bytes += sum(len(shared.content) for shared in self._packer.take_new())
        self._workers.submit(work)


def measure_bytes(n_machines: int, rows: int) -> dict[str, Any]:
    """Run a search, and count the bytes of each link while it runs."""
    with machine_cluster(n_machines, DISK) as cluster:
        before = [Traffic.of(machine.port) for machine in cluster.machines]
        workers = CountedWorkers(cluster.workers)
        search = make_search(TRIALS_PER_MACHINE * n_machines, lambda _: workers, rows, **SETTINGS)
        search.run()
        links = [Traffic.of(machine.port) - start for machine, start in zip(cluster.machines, before, strict=True)]
    assert all(trial.state == "finished" for trial in search.history.trials)
    shared, items = workers.shared_bytes, workers.item_bytes
    figures: dict[str, Any] = {"machines": n_machines, "MB shared": shared / 1e6, "MB of items": items / 1e6}
    figures |= {f"MB received by machine {i}": link.received / 1e6 for i, link in enumerate(links)}
    figures |= {f"MB sent by machine {i}": link.sent / 1e6 for i, link in enumerate(links)}
    # The head receives all that the controller sends, and results; the others only what they need
    figures["received by the head / (shared and items)"] = links[0].received / (shared + items)
    figures["received by others / shared, largest"] = max(link.received for link in links[1:]) / shared
    return figures
