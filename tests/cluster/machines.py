"""Several machines on one: network, process and mount namespaces joined by a bridge, with a real sshd in each."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
PREFIX = "rbm"  # names of bridges, links and network namespaces: rbm, process id of the owner, number
PROGRAMS = ("ip", "unshare", "nsenter", "setpriv", "ssh", "ssh-keygen", "sshd")
LOCK = Path(tempfile.gettempdir()) / "rosenblatt-machines.lock"
SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"

SSHD_CONFIG = """
ListenAddress 0.0.0.0
HostKey {keys}/host
AuthorizedKeysFile {keys}/user.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
SetEnv PYTHONPATH={sources} PYTHONDONTWRITEBYTECODE=1
"""

SSH_CONFIG = """
Host 10.*
    IdentityFile {keys}/user
    UserKnownHostsFile {keys}/known_hosts
    IdentitiesOnly yes
    User root
"""

# A machine sees the files of this one, except that what it writes to its home, /tmp, /run and /dev/shm is its own.
BOOT = """
set -e
mount --make-rprivate /
staged=$(mktemp -d /run/staged-XXXXXX)
mount -t tmpfs -o size={disk},mode=755 none $staged
mkdir $staged/repository $staged/keys $staged/upper $staged/work
mount --bind {repository} $staged/repository
mount --bind {keys} $staged/keys
mount -t overlay overlay -o lowerdir={home},upperdir=$staged/upper,workdir=$staged/work {home}
mount -t tmpfs -o size={disk},mode=1777 none /tmp
mount -t tmpfs -o size=1g,mode=1777 none /dev/shm
mkdir -p {repository} {keys}
mountpoint -q {repository} || mount --bind $staged/repository {repository}
mount --bind $staged/keys {keys}
mkdir -p /run/sshd
mount -t tmpfs -o mode=755 none /run/sshd
printf '127.0.0.1 localhost\n{address} {name}\n' > /tmp/.hosts
mount --bind /tmp/.hosts /etc/hosts
hostname {name}
ip link set lo up
cd /
exec {sshd} -D -e -f {keys}/sshd_config
"""


@dataclass
class Machine:
    """One machine of the rig.

    Attributes:
        name: of its network namespace, and its host name.
        address: its IPv4 address on the bridge.
    """

    name: str
    address: str
    process: subprocess.Popen[bytes]
    log: Path
    bridge: str
    _init: int = field(default=0, init=False)
    _relay: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def init(self) -> int:
        """Id, on this machine, of the first process of the machine."""
        if not self._init:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            self._init = int(children[0])
        return self._init

    @property
    def port(self) -> str:
        """Name of the bridge's end of the link."""
        return f"{self.name}p"

    @property
    def inside(self) -> list[str]:
        """The start of a command that runs in the machine, whatever the state of its network."""
        return ["nsenter", "-t", str(self.init), "-m", "-n", "-p", "-u"]

    def run(self, command: str, *, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the machine, and return its output.

        It does not use the network, so that it works in a machine that is cut off.
        """
        program = [*self.inside, "bash", "-c", command]
        run = subprocess.run(
            program, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=timeout, check=False, cwd="/"
        )
        assert not check or run.returncode == 0, f"{self.name}: {command}: {run.stdout}{run.stderr}"
        return run

    def processes(self, text: str) -> list[int]:
        """Ids, in the machine, of the processes with a text in their command line."""
        lines = self.run("ps -eo pid=,args= --width 4096").stdout.splitlines()
        return [int(line.split()[0]) for line in lines if text in line]

    def power_off(self) -> None:
        """Kill all processes of the machine at once; the kernel closes their connections."""
        self.process.kill()
        self.process.wait()

    def cut(self) -> None:
        """Drop all packets from and to the machine silently; its processes go on."""
        _ip("link", "set", self.port, "down")

    def mend(self) -> None:
        """Undo `cut` and `slow`."""
        if self._relay:
            self._relay.kill()
            self._relay.wait()
            self._relay.stdout.close()
            self._relay = None
            _ip("link", "set", self.port, "master", self.bridge)
            _ip("link", "del", f"{self.name}s")
        _ip("link", "set", self.port, "up")

    def slow(self, ms: float, loss: float = 0.0) -> None:
        """Delay each packet, in either direction, and lose a fraction of them."""
        self.mend()
        segment = f"{self.name}s"  # the bridge that the machine is alone on
        _ip("link", "add", segment, "type", "bridge")
        _ip("link", "set", segment, "up")
        _ip("link", "set", self.port, "master", segment)
        relay = Path(__file__).with_name("slow_link.py")
        program = ["setpriv", "--pdeathsig", "KILL", sys.executable, relay, self.bridge, segment, str(ms), str(loss)]
        self._relay = subprocess.Popen(program, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert self._relay.stdout.readline() == b"relaying\n"


@contextmanager
def machines(n: int, disk: str = "2g") -> Iterator[tuple[Machine, ...]]:
    """Start machines, and make `ssh` and `scp` of this process log in to them by their addresses.

        with machines(3) as (a, b, c):
            a.run("hostname")
            subprocess.run(["ssh", a.address, "hostname"])
            b.cut()

    They see the files of this machine, with a home, /tmp, /run/sshd and /dev/shm of their own, and sessions find the
    package by PYTHONPATH, so that the Python of these tests can be used there. The test is skipped where namespaces are
    not permitted. If the tests are killed, the machines die with them.

    Args:
        n: number of machines.
        disk: size of /tmp of each, and of what it writes to its home, as for a tmpfs.
    """
    require_namespaces()
    with ExitStack() as stack:
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rosenblatt-machines-")))
        _make_keys(keys)
        bridge, network = stack.enter_context(_bridge())
        rig = tuple(stack.enter_context(_machine(bridge, network, i, keys, disk)) for i in range(n))
        with (keys / "known_hosts").open("a") as file:
            key = (keys / "host.pub").read_text()
            file.writelines(f"{machine.address} {key}" for machine in rig)
        for machine in rig:
            _wait_for_sshd(machine)
        stack.enter_context(_ssh_on_path(keys))
        yield rig


def require_namespaces() -> None:
    """Skip the test where machines cannot be made, with the reason."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=SEARCH_PATH)]
    if missing:
        pytest.skip(f"machines in namespaces need {', '.join(missing)}")
    attempt = [shutil.which("unshare", path=SEARCH_PATH), "-n", "-m", "-p", "-f", "--mount-proc", "ip", "link"]
    if os.geteuid() != 0 or subprocess.run(attempt, capture_output=True, check=False).returncode:
        pytest.skip("machines in namespaces are not permitted here (they need root)")


def _run(program: str, *arguments: str, check: bool = True) -> str:
    path = shutil.which(program, path=SEARCH_PATH)
    run = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert not check or run.returncode == 0, f"{program} {shlex.join(arguments)}: {run.stderr}"
    return run.stdout


def _ip(*arguments: str, check: bool = True) -> str:
    return _run("ip", *arguments, check=check)


def _make_keys(folder: Path) -> None:
    for name in ("host", "user"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(keys=folder, sources=REPOSITORY / "src"))
    (folder / "ssh_config").write_text(SSH_CONFIG.format(keys=folder) + "Include ~/.ssh/config\n")
    (folder / "bin").mkdir()
    for name in ("ssh", "scp", "sftp"):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shutil.which(name)} -F {folder}/ssh_config "$@"\n')
        program.chmod(0o700)


@contextmanager
def _ssh_on_path(folder: Path) -> Iterator[None]:
    previous = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}/bin:{previous}"
    try:
        yield
    finally:
        os.environ["PATH"] = previous


@contextmanager
def _bridge() -> Iterator[tuple[str, str]]:
    """Make a bridge, and yield its name and the first three numbers of its addresses, which no other network uses."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_abandoned()
        links = json.loads(_ip("-json", "address"))
        used = {address["local"].rsplit(".", 1)[0] for link in links for address in link.get("addr_info", ())}
        names = {link["ifname"] for link in links}
        network = next(f"10.77.{i}" for i in range(256) if f"10.77.{i}" not in used)
        bridge = next(name for i in range(100) if (name := f"{PREFIX}{os.getpid()}x{i}") not in names)
        _ip("link", "add", bridge, "type", "bridge")
        _ip("address", "add", f"{network}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
    try:
        yield bridge, network
    finally:
        _ip("link", "del", bridge)


def _remove_abandoned() -> None:
    """Remove bridges and network namespaces of test processes that were killed."""
    namespaces = [entry["name"] for entry in json.loads(_ip("-json", "netns", "list") or "[]")]
    bridges = [link["ifname"] for link in json.loads(_ip("-json", "link", "show", "type", "bridge") or "[]") if link]
    for name in (*namespaces, *bridges):
        owner = name.removeprefix(PREFIX).split("x")[0]
        if name.startswith(PREFIX) and owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            _ip(*(("netns", "del", name) if name in namespaces else ("link", "del", name)), check=False)


@contextmanager
def _machine(bridge: str, network: str, number: int, keys: Path, disk: str) -> Iterator[Machine]:
    name = f"{bridge}m{number}"[:14]
    address = f"{network}.{number + 1}"
    log = keys / f"{name}.log"
    sshd = shutil.which("sshd", path=SEARCH_PATH)
    boot = BOOT.format(
        repository=REPOSITORY, keys=keys, home=Path.home(), disk=disk, address=address, name=name, sshd=sshd
    )
    _ip("netns", "add", name)
    try:
        _ip("link", "add", f"{name}p", "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("link", "set", f"{name}p", "master", bridge, "up")
        own = ["unshare", "-m", "-u", "-p", "-f", "--mount-proc", "--kill-child=KILL", "bash", "-c", boot]
        program = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", name, *own]
        environment = {"PATH": SEARCH_PATH, "HOME": str(Path.home())}
        with log.open("wb") as output:
            process = subprocess.Popen(
                program, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        machine = Machine(name, address, process, log, bridge)
        try:
            yield machine
        finally:
            machine.power_off()
            machine.mend()
    finally:
        _ip("netns", "del", name)
        _ip("link", "del", f"{name}p", check=False)


def _wait_for_sshd(machine: Machine) -> None:
    def listens() -> bool:
        assert machine.process.poll() is None, machine.log.read_text()
        return "Server listening" in machine.log.read_text()

    wait_until(listens, timeout=20, description=f"sshd of {machine.name}")


def host_line(machine: Machine, cores: int = 1) -> str:
    """Return the line of a hosts file for a machine, with the Python of these tests as its environment."""
    return f"root@{machine.address} cores={cores} python={sys.executable}"


def write_hosts(folder: Path, rig: Sequence[Machine]) -> Path:
    """Write a hosts file of machines, with one core of each."""
    path = folder / "hosts.txt"
    path.write_text("".join(f"{host_line(machine)}\n" for machine in rig))
    return path


def assert_idle(*rig: Machine) -> None:
    """Fail unless nothing but sshd and what it runs for `ssh` is left on machines."""
    for machine in rig:
        lines = machine.run("ps -eo args= --width 300").stdout.splitlines()
        left = [line for line in lines if not line.startswith(("sshd", "bash -c ps", "ps -eo"))]
        assert not left, f"{machine.name}: {left}"
