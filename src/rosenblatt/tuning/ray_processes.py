"""Driver of a cluster that trains the trials of a function, each in a process with its own cores and GPUs."""

from __future__ import annotations

from typing import IO, Any

from rosenblatt.errors import format_count
from rosenblatt.tuning.attempts import Attempt
from rosenblatt.tuning.ray_connection import Message, write_report
from rosenblatt.tuning.ray_dispatch import MAX_TRIALS, Node, RayDriver
from rosenblatt.tuning.trial_process import TrialProcess


class ProcessDriver(RayDriver):
    """Distributes trials over the processes of a cluster, as many on each machine as its cores and GPUs allow.

    Args:
        ray: the module, connected to the cluster.
        reports: the pipe to the controller.
        cores_per_trial: cores of each process.
        gpus_per_trial: GPUs of each process.
    """

    def __init__(self, ray: Any, reports: IO[bytes], cores_per_trial: int, gpus_per_trial: int) -> None:
        super().__init__(ray, reports, "cpu", TrialProcess)
        self._cores_per_trial, self._gpus_per_trial = cores_per_trial, gpus_per_trial

    @property
    def _n_ahead(self) -> int:
        return 0

    def _report_nodes(self) -> None:
        """Report the machines, each with the number of its processes."""
        nodes: dict[str, dict[str, Any]] = {}
        for node in self._nodes:
            if node.threads:
                machine = nodes.setdefault(node.name, {"name": node.name, "threads": 0, "running": 0, "trials": []})
                machine["threads"] += 1
                machine["running"] += len(node.assigned)
                machine["trials"] += node.trials[: MAX_TRIALS - len(machine["trials"])]
        state: dict[str, Any] = {"is_started": self._is_started, "latency_s": self._collection_window}
        write_report(self._reports, "nodes", nodes=list(nodes.values()), **state)

    def _start_machine(self, node_id: str, name: str, cores: int, gpus: int) -> None:
        """Start the processes of a machine."""
        n_processes = cores // self._cores_per_trial
        if self._gpus_per_trial:
            n_processes = min(n_processes, gpus // self._gpus_per_trial)
        resources = {"num_cpus": self._cores_per_trial, "num_gpus": self._gpus_per_trial}
        for _ in range(n_processes):
            self._start_actor(node_id, name, self._cores_per_trial, resources)
        if not n_processes and cores:
            gpu_text = f" and {format_count(gpus, 'GPU')}" if self._gpus_per_trial else ""
            message = f"{name} has {format_count(cores, 'core')}{gpu_text}, too few for a trial, so that it trains none"
            write_report(self._reports, "notice", message=message)

    def _lose(self, node: Node, reason: str, *, is_machine_alive: bool) -> None:
        """Forget a process, or all processes of a machine that is lost."""
        if node not in self._nodes:
            return
        if not is_machine_alive:
            for other in [other for other in self._nodes if other.node_id == node.node_id and other is not node]:
                self._nodes.remove(other)
                self._ray.kill(other.actor)
                node.assigned |= other.assigned
        super()._lose(node, reason, is_machine_alive=is_machine_alive)
        if is_machine_alive and not self._nodes and self._closes_at is None:
            message = f"The processes of trials end on all machines, at last on {node.name}: {reason}"
            write_report(self._reports, "error", name="ClusterError", message=message)

    def on_command(self, message: Message) -> None:
        """Carry out a command of the controller; "stop" asks a trial to stop."""
        super().on_command(message)
        if message.header["kind"] == "stop":
            attempt = Attempt(*message.header["attempt"])
            for node in self._nodes:
                if attempt in node.assigned:
                    self._call(node, node.actor.stop.remote(attempt, message.header["reason"]), lambda _: None)
