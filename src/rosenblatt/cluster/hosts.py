"""Read a hosts file: one machine per line, as for `ssh`, with what differs from what it has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from pathlib import Path

from rosenblatt.errors import ClusterError, did_you_mean

OPTIONS = ("cores", "gpus", "python")
MAX_COUNT = 65_536  # cores or GPUs of one machine
MAX_PORT = 65_535
_TARGET = re.compile(
    r"(?:(?P<user>[^-@\s][^@\s]*)@)?(?P<host>\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9_][A-Za-z0-9_.-]*)(?::(?P<port>\d+))?"
)


@dataclass(frozen=True)
class Host:
    """A machine that is reached by SSH.

    Attributes:
        address: name or address, as the user's SSH configuration knows it.
        user: "" for that of the SSH configuration.
        port: None for that of the SSH configuration.
        cores: number of cores to use; None for all.
        gpus: number of GPUs to use; None for all.
        python: interpreter whose environment is used as it is; "" to build one.
        line: its number in the hosts file; 0 if there is none.
    """

    address: str
    user: str = ""
    port: int | None = None
    cores: int | None = None
    gpus: int | None = None
    python: str = ""
    line: int = field(default=0, compare=False)

    @property
    def name(self) -> str:
        """The host in messages: its address, and its port if one was given."""
        return join_address(self.address, self.port) if self.port else self.address


def join_address(host: str, port: int) -> str:
    """Write an address with a port; an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_hosts(path: Path) -> tuple[Host, ...]:
    """Read a hosts file.

        # the first machine is the head
        ann@lab1                cores=8
        10.0.0.7:2222           gpus=0
        lab3                    python=/opt/ml/bin/python

    Returns:
        The hosts, in the order of the file.

    Raises:
        ClusterError: if the file cannot be read, a line is invalid, or a host is there twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # of Windows, too
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ClusterError(f"The hosts file {str(path)!r} cannot be read: {reason}.") from error
    hosts: dict[str, Host] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if words:
            place = f"{str(path)!r}, line {number}"
            host = replace(_parse_host(words, place), line=number)
            if host.name in hosts:
                raise ClusterError(
                    f"{place}: {host.name!r} is in the file twice, first in line {hosts[host.name].line}. Remove one "
                    "of the lines."
                )
            hosts[host.name] = host
    if not hosts:
        raise ClusterError(f"The hosts file {str(path)!r} names no machine. Write one per line, such as user@machine.")
    return tuple(hosts.values())


def _parse_host(words: list[str], place: str) -> Host:
    match = _TARGET.fullmatch(words[0])
    if not match and _is_ipv6(words[0].rpartition("@")[2]):
        raise ClusterError(f"{place}: write the IPv6 address in brackets: [{words[0].rpartition('@')[2]}].")
    if not match:
        raise ClusterError(f"{place}: {words[0]!r} is no machine. Write [user@]host[:port].")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= MAX_PORT:
        raise ClusterError(f"{place}: {port} is no port. Ports are from 1 to {MAX_PORT}.")
    options = _parse_options(words[1:], place)
    return Host(
        address=match["host"].strip("[]"),
        user=match["user"] or "",
        port=port,
        cores=_parse_count(options, "cores", 1, place),
        gpus=_parse_count(options, "gpus", 0, place),
        python=options.get("python", ""),
    )


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _parse_options(words: Iterable[str], place: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if name not in OPTIONS or not separator or not value:
            raise ClusterError(
                f"{place}: {word!r} is no option of a machine.{did_you_mean(name, OPTIONS)} "
                "Options are cores=N, gpus=N and python=PATH."
            )
        if name in options:
            raise ClusterError(f"{place}: {name} is given twice. Remove one of both.")
        options[name] = value
    return options


def _parse_count(options: dict[str, str], name: str, smallest: int, place: str) -> int | None:
    if name not in options:
        return None
    if not options[name].isascii() or not options[name].isdecimal():
        raise ClusterError(f"{place}: {name}={options[name]} is no number.")
    count = int(options[name])
    if not smallest <= count <= MAX_COUNT:
        raise ClusterError(f"{place}: {name}={count} is not between {smallest} and {MAX_COUNT:,}.")
    return count
