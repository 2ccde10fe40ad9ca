"""A hosts file is read as it is meant, or refused with the line."""

from __future__ import annotations

import pytest

from rosenblatt.cluster.hosts import Host, read_hosts
from rosenblatt.errors import ClusterError


def read(tmp_path, text):
    path = tmp_path / "hosts.txt"
    path.write_text(text)
    return read_hosts(path)


def test_lines_name_machines_and_what_differs(tmp_path):
    text = "# lab\nann@lab1:2222 cores=8 gpus=0 # the head\n\n[fe80::1]\n10.0.0.7 python=/opt/bin/python\n"
    assert read(tmp_path, text) == (
        Host("lab1", "ann", 2222, 8, 0),
        Host("fe80::1"),
        Host("10.0.0.7", python="/opt/bin/python"),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-oProxyCommand=reboot@a", "line 2: '-oProxyCommand=reboot@a' is no machine."),
        ("a core=8", "line 2: 'core=8' is no option of a machine. Did you mean 'cores'?"),
        ("a cores=eight", "line 2: cores=eight is no number"),
        ("a cores=0", "line 2: cores=0 is not between 1"),
        ("a gpus=1 gpus=2", "line 2: gpus is given twice"),
        ("a b", "line 2: 'b' is no option"),
        ("-oProxyCommand=x", "line 2: '-oProxyCommand=x' is no machine"),
        ("ann@-a", "line 2: 'ann@-a' is no machine"),
        ("a:70000", "70000 is no port"),
        ("first", "'first' is in the file twice, first in line 1"),
        ("ann@2001:db8::7", "line 2: write the IPv6 address in brackets: [2001:db8::7]"),
    ],
)
def test_an_invalid_line_is_refused_by_its_number(tmp_path, line, message):
    with pytest.raises(ClusterError) as error:
        read(tmp_path, f"first\n{line}\n")
    assert message in str(error.value)


def test_lines_are_numbered_and_ipv6_addresses_have_brackets_before_a_port(tmp_path):
    first, second = read(tmp_path, "\ufeff# saved on Windows\n[fe80::1%eth0]:2222\nann@lab2:2222\n")
    assert (first.line, first.address, first.name) == (2, "fe80::1%eth0", "[fe80::1%eth0]:2222")
    assert (second.line, second.name) == (3, "lab2:2222")


def test_a_file_without_machines_is_refused(tmp_path):
    with pytest.raises(ClusterError, match="names no machine"):
        read(tmp_path, "# none\n")
    with pytest.raises(ClusterError, match="cannot be read: No such file"):
        read_hosts(tmp_path / "absent.txt")
