"""Options for the machines that a command uses, and the workers on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.cli.options import ask_confirmation
from rosenblatt.errors import ClusterError, Notify, SpecError
from rosenblatt.runs.store.locations import LOCAL_PLACE
from rosenblatt.spec.fields import DEEP_KINDS

if TYPE_CHECKING:
    from rosenblatt.spec.spec import Spec
    from rosenblatt.tuning.ray_connection import RayConnection
    from rosenblatt.tuning.ray_workers import TrialLog
    from rosenblatt.tuning.workers import MakeWorkers, Workers


def _read_place(_context: click.Context, _option: click.Parameter, on: str | None) -> str | None:
    return None if on == LOCAL_PLACE else on


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `Machines` to a command."""
    for option in (
        click.option(
            "--nodes-per-network", type=click.IntRange(min=1), default=1, metavar="NUMBER",
            help="Machines of --on that train each network together, a part of every batch each; with --device cuda, "
            "GPUs.  [default: 1]",
        ),
        click.option(
            "--on", metavar="PLACE", callback=_read_place,
            help="Train on many machines: a file of hosts, the name of a cluster that is up, cluster.yaml for a cloud "
            "or Kubernetes, slurm:PARTITION, or ray://HEAD:PORT.  [default: local, this machine]",
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
    def open(self, spec: Spec, notify: Notify, log: TrialLog) -> Iterator[MakeWorkers | None]:
        """Yield what starts workers on the cluster, None for this machine; the cluster ends with the block.

        `log` receives what the machines do with each trial.

        The cluster is opened when workers are first started, so that nothing is started for a table that cannot be
        used.
        """
        if self.on is None:
            yield None
            return
        with ExitStack() as stack:
            yield _Cluster(self, spec.training.device, notify, log, stack).make_workers


class _Cluster:
    """The cluster of a command, once workers have been started on it.

    Args:
        machines: the options of the command.
        device: "cpu", or the device of PyTorch that trains.
        notify: called with each message for the user.
        log: called with what the machines do with a trial.
        stack: closes the cluster.
    """

    def __init__(self, machines: Machines, device: str, notify: Notify, log: TrialLog, stack: ExitStack) -> None:
        self._machines, self._device, self._notify, self._log, self._stack = machines, device, notify, log, stack
        self._connection: RayConnection | None = None
        self._has_started = False  # whether workers were started on it

    def make_workers(self, threads: int | None) -> Workers:
        """Start workers on the cluster; later, with the refit of a search, on this machine if the cluster is lost."""
        from rosenblatt.tuning.ray_workers import RayWorkers

        def make_local() -> Workers:
            return _make_local_workers(self._device, threads)

        connection, n_nodes = self._open(), self._machines.nodes_per_network
        try:
            workers = RayWorkers(connection, self._notify, make_local, self._device, n_nodes, self._log)
        except ClusterError as error:
            if not self._has_started:
                raise
            self._notify(f"{error} This machine goes on.")
            return make_local()
        self._has_started = True
        return workers

    def _open(self) -> RayConnection:
        from rosenblatt.cluster.open import open_cluster

        if self._connection is None:
            confirm = _confirm if ask_confirmation(yes=False) else None
            self._connection = self._stack.enter_context(open_cluster(str(self._machines.on), self._notify, confirm))
        return self._connection


def take_down_abandoned(notify: Notify) -> None:
    """Take down the temporary clusters of commands of this machine that were killed."""
    from rosenblatt.cluster.record import list_records

    if list_records(notify):  # otherwise the modules that reach machines are not loaded
        from rosenblatt.cluster.up import take_down_abandoned

        take_down_abandoned(notify)


def _confirm(question: str) -> bool:
    """Ask a question on a line of its own, since a live display shows only complete lines."""
    click.echo(f"{question} [y/N]", err=True)
    return click.confirm("", prompt_suffix="", show_default=False, err=True)


def _make_local_workers(device: str, threads: int | None) -> Workers:
    from rosenblatt.training.workers import WorkerPool
    from rosenblatt.tuning.device_workers import DeviceWorker

    return WorkerPool(threads) if device == "cpu" else DeviceWorker(device)
