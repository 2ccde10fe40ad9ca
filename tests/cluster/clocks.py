"""Clocks of machines of the rig that differ from that of this machine, also for programs that run already."""

from __future__ import annotations

import shutil
import struct

import pytest

from tests.cluster.machines import REPOSITORY, Machine

CLOCK, LIBRARY = "/tmp/clock", "/tmp/clock.so"
# All programs load the library: /etc is an overlay, which hides /etc/hosts of the machine until it is mounted again
ATTACH = f"""
set -e
gcc -O2 -shared -fPIC -DCLOCK_FILE='"{CLOCK}"' -o {LIBRARY} {REPOSITORY}/tests/cluster/clock.c -ldl
head -c 8 /dev/zero > {CLOCK}
mkdir /tmp/.etc /tmp/.etc-work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/tmp/.etc,workdir=/tmp/.etc-work /etc
mount --bind /tmp/.hosts /etc/hosts
echo {LIBRARY} > /etc/ld.so.preload
"""


def attach_clock(machine: Machine) -> None:
    """Give the programs that a machine starts from here on a clock that `set_clock` shifts."""
    if not shutil.which("gcc"):
        pytest.skip("the clock of a machine needs gcc")
    machine.run(ATTACH)


def set_clock(machine: Machine, seconds: int) -> None:
    """Shift the clock of a machine by seconds from that of this one."""
    content = "".join(f"\\x{byte:02x}" for byte in struct.pack("q", seconds))
    machine.run(f"printf '{content}' | dd of={CLOCK} conv=notrunc status=none")  # programs have it mapped
