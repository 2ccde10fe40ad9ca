"""What a machine is, as JSON: the controller sends this file to the Python of a machine, of whatever version."""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys

TEMPORARY, SHARED_MEMORY = "/tmp", "/dev/shm"  # noqa: S108 - where Ray keeps sessions and objects


def collect(other_address: str) -> "dict[str, object]":
    """Collect what a node needs to know of its machine.

    Args:
        other_address: an address by which the address of this machine in the same network is found.
    """
    home = os.path.expanduser("~")  # noqa: PTH111 - the same in all versions of Python
    return {
        "python": list(sys.version_info[:3]),
        "executable": sys.executable,
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "shared_memory": free_bytes(SHARED_MEMORY),
        "free_disk": {folder: free_bytes(folder) for folder in (TEMPORARY, home)},
        "gpus": count_gpus(),
        "address": find_address(other_address),
        "identity": identify(),
        "uv": shutil.which("uv", path=os.pathsep.join([os.environ.get("PATH", ""), home + "/.local/bin"])) or "",
    }


def identify() -> str:
    """What only this machine, or this container, has at the moment; "" if that is unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123 - the same in all versions of Python
            return file.read().strip() + " " + os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - as above
    except OSError:
        return ""


def free_bytes(folder: str) -> int:
    """Free bytes for this user, 0 if the folder cannot be written."""
    try:
        return shutil.disk_usage(folder).free if os.access(folder, os.W_OK) else 0
    except OSError:
        return 0


def count_gpus() -> int:
    """Count the NVIDIA GPUs, 0 without a driver."""
    try:
        output = subprocess.check_output(
            ["nvidia-smi", "-L"],  # noqa: S607 - where PATH has it
            stderr=subprocess.DEVNULL,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith(b"GPU ") for line in output.splitlines())


def find_address(other_address: str) -> str:
    """Find the address of this machine: that of the SSH connection, unless it came over the loopback device."""
    address = (os.environ.get("SSH_CONNECTION", "") + " 127.0.0.1 x x").split()[2]
    if not (address.startswith("127.") or address in ("::1", "x")):
        return address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other_address, 9))  # sends nothing
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


if __name__ == "__main__":
    print(json.dumps(collect(sys.argv[1])))
