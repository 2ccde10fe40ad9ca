"""Options for the machines that a command uses, and the workers on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.cli.options import ask_confirmation
from rosenblatt.errors import ClusterError, Notify, SpecError
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.spec.spec import Spec

if TYPE_CHECKING:
    from rosenblatt.tuning.workers import MakeWorkers, Workers


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `Machines` to a command."""
    for option in (
        click.option(
            "--nodes-per-network", type=click.IntRange(min=1), default=1, metavar="NUMBER",
            help="Machines of --on that train each network together, a part of every batch each; with --device cuda, "
            "GPUs.  [default: 1]",
        ),
        click.option(
            "--on", metavar="PLACE",
            help="Train on many machines: a file of hosts, the name of a cluster that is up, cluster.yaml for a cloud "
            "or Kubernetes, slurm:PARTITION, or ray://HEAD:PORT.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@dataclass(frozen=True)
class Machines:
    """The machines that train: this one, or those of a cluster."""

    on: str | None
    nodes_per_network: int = 1

    def check(self, spec: Spec) -> None:
        """Raise SpecError if the networks of a spec cannot be trained as the options say."""
        if self.nodes_per_network == 1:
            return
        if self.on is None:
            raise SpecError("--nodes-per-network needs the machines of a cluster. Add --on.")
        kind, device = spec.network.kind, spec.training.device
        if kind not in DEEP_KINDS and (kind != "mlp" or device == "cpu"):
            raise SpecError(
                f"--nodes-per-network is for networks that PyTorch trains ({', '.join(DEEP_KINDS)}, and mlp on a GPU), "
                f"but this is a network of kind {kind} on device {device}. Remove it: the networks of a fit are "
                "trained on all machines anyway."
            )

    @contextmanager
    def open(self, spec: Spec, notify: Notify) -> Iterator[MakeWorkers | None]:
        """Open the cluster for the time of a command; yield what starts workers on it, None for this machine."""
        if self.on is None:
            yield None
            return
        from rosenblatt.cluster.open import open_cluster
        from rosenblatt.training.workers import WorkerPool
        from rosenblatt.tuning.device_workers import DeviceWorker
        from rosenblatt.tuning.ray_workers import RayWorkers

        device, has_connected = spec.training.device, False
        with open_cluster(self.on, notify, ask_confirmation(yes=False)) as connection:

            def make_workers(threads: int | None) -> Workers:
                nonlocal has_connected

                def make_local() -> Workers:
                    return WorkerPool(threads) if device == "cpu" else DeviceWorker(device)

                try:
                    workers = RayWorkers(connection, notify, make_local, device, self.nodes_per_network)
                except ClusterError as error:
                    if not has_connected:
                        raise
                    notify(f"{error} This machine goes on.")  # with the refit of a search
                    return make_local()
                has_connected = True
                return workers

            yield make_workers
