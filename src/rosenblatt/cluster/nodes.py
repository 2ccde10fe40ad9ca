"""Start, stop and watch the nodes of a cluster on their machines, from the controller."""

from __future__ import annotations

import base64
import shlex
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rosenblatt.cluster.hosts import Host
from rosenblatt.cluster.node_commands import START_TIMEOUT_S, StartRequest
from rosenblatt.cluster.node_state import NodeConfig, NodeLogs, NodeReport, NodeState
from rosenblatt.cluster.security import Credentials
from rosenblatt.cluster.ssh import SshSessions
from rosenblatt.errors import ClusterError

COMMAND_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 60.0
Answer = TypeVar("Answer", bound=BaseModel)


class Node(BaseModel):
    """A node of a cluster, as the controller records it.

    Attributes:
        python: interpreter of the node's environment, on its machine.
        folder: of the node, on its machine; "" until it is started.
    """

    model_config = ConfigDict(frozen=True)

    host: Host
    config: NodeConfig
    python: str
    folder: str = ""


def start_node(node: Node, credentials: Credentials, sessions: SshSessions) -> NodeState:
    """Start a node and wait until it is part of the cluster. Raises ClusterError if it does not start."""
    files = {name: base64.b64encode(content).decode() for name, content in credentials.files().items()}
    request = StartRequest(config=node.config, files=files).model_dump_json().encode()
    state = _call(node, "start", NodeState, sessions, START_TIMEOUT_S + COMMAND_TIMEOUT_S, request)
    if state.phase != "ready":
        raise ClusterError(f"{node.host.name}: its node did not start: {state.reason}")
    return state


def stop_node(node: Node, sessions: SshSessions) -> NodeState:
    """End a node with all of its processes. Raises ClusterError if its machine cannot be reached."""
    return _call(node, "stop", NodeState, sessions, STOP_TIMEOUT_S)


def report_node(node: Node, sessions: SshSessions) -> NodeReport:
    """Ask a node what it does. Raises ClusterError if its machine cannot be reached."""
    return _call(node, "report", NodeReport, sessions, COMMAND_TIMEOUT_S)


def read_logs(node: Node, sessions: SshSessions) -> NodeLogs:
    """Read the ends of the logs of a node. Raises ClusterError if its machine cannot be reached."""
    return _call(node, "logs", NodeLogs, sessions, COMMAND_TIMEOUT_S)


def renew_lease(node: Node, sessions: SshSessions) -> NodeState:
    """Tell a node that the controller lives. Raises ClusterError if its machine cannot be reached."""
    return _call(node, "renew", NodeState, sessions, COMMAND_TIMEOUT_S)


def _call(
    node: Node, name: str, answer: type[Answer], sessions: SshSessions, timeout: float, stdin: bytes = b""
) -> Answer:
    command = shlex.join([node.python, "-m", "rosenblatt.cluster.node_commands", name, node.config.node])
    output = sessions.run(node.host, command, stdin, timeout)
    try:
        return answer.model_validate_json(output.strip().rpartition("\n")[2])
    except ValidationError:
        raise ClusterError(f"{node.host.name}: unexpected answer of its node: {output.strip()[:200]!r}") from None
